"""Conversations for SFT, a row each: a list of turns, or one prompt and its response."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from experiment.errors import DataError
from experiment.sources.checks import Empties, Identifiers
from experiment.sources.columns import Columns
from experiment.sources.raw import raw_rows
from experiment.sources.records import Conversation, Message
from experiment.sources.source import Source
from experiment.sources.turns import check_turns, empty_turn, read_turns, with_system


def conversations(source: Source, empties: Empties) -> Iterator[Conversation]:
    """The conversations in the order of the rows.

    Raises:
        DataError: a row is none, does not alternate, or has the id of another.
    """
    columns = source.named()
    identifiers = Identifiers(columns)
    for raw in raw_rows(source):
        messages = _exchange(raw.where, raw.row, columns) if columns.single else _messages(raw.where, raw.row, columns)
        name = identifiers.take(raw)
        if fault := empty_turn(raw.where, messages):
            empties.add(fault)
            continue
        check_turns(raw.where, messages, ends_with="assistant")
        yield Conversation(name, messages)


def _messages(where: str, row: Mapping[str, Any], columns: Columns) -> tuple[Message, ...]:
    if not columns.has(row, "messages") and not columns.near(row, "messages"):
        prompt, response = (columns.near(row, what) for what in ("prompt", "response"))
        if prompt and response:
            raise DataError(
                f"{where}: no list of turns in column '{columns.name('messages')}'; columns: {', '.join(sorted(row))}. "
                f"For rows of one exchange name both: columns.prompt={prompt[0]} columns.response={response[0]}"
            )
    return read_turns(where, row, "messages", columns)


def _exchange(where: str, row: Mapping[str, Any], columns: Columns) -> tuple[Message, ...]:
    prompt, more, response = (columns.text(where, row, what) for what in ("prompt", "input", "response"))
    asked = "\n\n".join(text for text in (prompt, more) if text and text.strip())
    messages = (Message("user", asked), Message("assistant", response or ""))
    return with_system(where, row, messages, columns)
