"""Turns of a conversation as a row holds them, and what makes a conversation one that a chat template may render."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from experiment.errors import DataError
from experiment.sources.columns import Columns, shown
from experiment.sources.records import Message, Role

_ROLES = ("system", "user", "assistant")


def read_turns(where: str, row: Mapping[str, Any], what: str, columns: Columns) -> tuple[Message, ...]:
    """The turns in the column for ``what``, with the system text of the row's own column before them.

    A text that is null comes out empty: :func:`empty_turn` names it.

    Raises:
        DataError: no list of turns, or a turn without a known role or with something else than a text.
    """
    value = columns.value(where, row, what, "a list of turns")
    if not isinstance(value, list) or not value:
        raise columns.wrong(where, row, what, "a list of turns")
    found = tuple(_turn(where, number, turn, columns) for number, turn in enumerate(value, start=1))
    return with_system(where, row, found, columns)


def with_system(
    where: str, row: Mapping[str, Any], messages: tuple[Message, ...], columns: Columns
) -> tuple[Message, ...]:
    """The turns after the system text of the row, if the config names a column for it and something is in it."""
    system = columns.text(where, row, "system")
    if system is None or not system.strip():
        return messages
    if messages[:1] and messages[0].role == "system":
        raise DataError(f"{where}: a system text stands in column '{columns.name('system')}' and among the turns")
    return (Message("system", system), *messages)


def empty_turn(where: str, messages: Sequence[Message]) -> str | None:
    """Which turn has no text; None if each has one."""
    for number, message in enumerate(messages, start=1):
        if not message.content.strip():
            return f"{where}: turn {number} ({message.role}) is empty"
    return None


def check_turns(where: str, messages: Sequence[Message], ends_with: str) -> None:
    """Refuse turns that a chat template would render into something nobody meant.

    Raises:
        DataError: no turns, roles that do not alternate, or the wrong last role.
    """
    turns = [message for message in messages if message.role != "system"]
    if not turns:
        raise DataError(f"{where}: the conversation has no turns")
    roles = [message.role for message in turns]
    expected = [_ROLES[1 + index % 2] for index in range(len(turns))]
    if roles != expected or any(message.role == "system" for message in messages[1:]):
        raise DataError(
            f"{where}: the conversation does not alternate between user and assistant (user first): "
            f"{', '.join(message.role for message in messages)}"
        )
    if roles[-1] != ends_with:
        raise DataError(f"{where}: the conversation ends with the {roles[-1]}; it must end with the {ends_with}")


def _turn(where: str, number: int, turn: Any, columns: Columns) -> Message:
    here = f"{where}, turn {number}"
    if not isinstance(turn, dict):
        raise DataError(f"{here}: expected turns with a role of system, user or assistant; got {shown(turn)}")
    said = columns.value(here, turn, "role", "a role")
    role = columns.roles.get(said, said) if isinstance(said, str) else said
    if role not in _ROLES:
        hint = f"; say what it is with roles: {{{said}: user}}" if isinstance(said, str) else ""
        raise DataError(f"{here}: expected turns with a role of system, user or assistant; got {shown(said)}{hint}")
    return Message(cast(Role, role), columns.text(here, turn, "content") or "")
