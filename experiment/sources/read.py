"""Read a source into rows, checking them on the way: every fault names where it stands."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeGuard

from experiment.errors import DataError
from experiment.scoring.unasked import without
from experiment.sources import demo, oasst
from experiment.sources.parquet import is_parquet, read_rows
from experiment.sources.records import BenchmarkPrompt, Conversation, Message, Reply, ReplyGroup
from experiment.sources.source import Source


def read_conversations(source: Source) -> list[Conversation]:
    """SFT conversations: alternating turns that end with the assistant.

    Raises:
        DataError: the source is unreadable, empty, or holds a conversation that does not alternate.
    """
    if source.reader == "demo":
        rows = demo.conversations(source.language, source.rows or 0, source.seed)
    elif source.reader == "oasst":
        rows = oasst.conversations(_path(source), source.language)
    elif source.reader == "conversations":
        rows = [_conversation(where, row) for where, row in _raw(source)]
    else:
        raise _wrong_reader(source, "SFT conversations", "demo, oasst, conversations")
    for row in rows:
        check_turns(row.id, row.messages, ends_with="assistant")
    return _some(rows, source)


def read_reply_groups(source: Source) -> list[ReplyGroup]:
    """Prompts with two or more scored replies.

    Raises:
        DataError: the source is unreadable or empty, or a prompt does not end with the user.
    """
    if source.reader == "demo":
        groups = demo.reply_groups(source.language, source.rows or 0, source.seed)
    elif source.reader == "oasst":
        groups = oasst.reply_groups(_path(source), source.language)
    elif source.reader == "scored_pairs":
        groups = _scored_pairs(source)
    else:
        raise _wrong_reader(source, "preference data", "demo, oasst, scored_pairs")
    for group in groups:
        check_turns(group.id, group.prompt, ends_with="user")
    return _some(groups, source)


def read_prompts(source: Source, exclude: Sequence[str], drop_unasked: bool = False) -> list[BenchmarkPrompt]:
    """Benchmark prompts, without those that carry an excluded instruction.

    ``drop_unasked`` first takes away the instructions that their prompt does not ask for.

    Raises:
        DataError: the source is unreadable, a prompt has no instructions, or nothing is left.
    """
    if source.reader == "demo":
        prompts = demo.prompts(source.language, source.rows or 0, source.seed)
    elif source.reader == "ifeval":
        prompts = [_prompt(where, row) for where, row in _raw(source)]
    else:
        raise _wrong_reader(source, "benchmark prompts", "demo, ifeval")
    keys = [prompt.key for prompt in prompts]
    if len(set(keys)) != len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise DataError(f"{source.where}: key {twice} stands twice; every prompt needs its own")
    if drop_unasked:
        prompts = without(prompts, source.language)
    return _some([prompt for prompt in prompts if not set(exclude) & set(prompt.instruction_ids)], source)


def read_texts(source: Source) -> Iterator[str]:
    """Documents for pretraining.

    Raises:
        DataError: the source is unreadable or a row has no text in the language.
    """
    if source.reader == "demo":
        yield from demo.texts(source.language, source.rows or 0, source.seed)
        return
    if source.reader != "text":
        raise _wrong_reader(source, "pretraining text", "demo, text")
    column = f"text_{source.language}"
    for count, (where, row) in enumerate(_raw(source)):
        if source.rows is not None and count >= source.rows:
            return
        text = row.get(column, row.get("text"))
        if not isinstance(text, str):
            raise DataError(f"{where}: expected a text in column '{column}' or 'text'; columns: {_columns(row)}")
        yield text


def check_turns(where: str, messages: Sequence[Message], ends_with: str) -> None:
    """Refuse turns that a chat template would render into something nobody meant.

    Raises:
        DataError: no turns, an empty turn, roles that do not alternate, or the wrong last role.
    """
    turns = [message for message in messages if message.role != "system"]
    if not turns:
        raise DataError(f"conversation {where} has no turns")
    expected = ["user" if index % 2 == 0 else "assistant" for index in range(len(turns))]
    roles = [message.role for message in turns]
    if roles != expected or any(message.role == "system" for message in messages[1:]):
        raise DataError(
            f"conversation {where} does not alternate between user and assistant (user first): "
            f"{', '.join(message.role for message in messages)}"
        )
    if roles[-1] != ends_with:
        raise DataError(f"conversation {where} ends with the {roles[-1]}; it must end with the {ends_with}")
    for index, message in enumerate(messages, start=1):
        if not message.content.strip():
            raise DataError(f"conversation {where}: turn {index} ({message.role}) is empty")


def _raw(source: Source) -> Iterator[tuple[str, dict[str, Any]]]:
    if source.path:
        for number, row in read_rows(source.path):
            yield f"{source.path}, {'row' if is_parquet(source.path) else 'line'} {number}", row
        return
    from experiment.sources.hub import hub_rows

    for number, row in enumerate(hub_rows(source), start=1):
        yield f"{source.hub}@{source.revision}, row {number}", row


def _conversation(where: str, row: dict[str, Any]) -> Conversation:
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        raise DataError(f"{where}: expected a list of turns in column 'messages'; columns: {_columns(row)}")
    return Conversation(str(row.get("id", where)), tuple(_message(where, turn) for turn in messages))


def _message(where: str, turn: Any) -> Message:
    if not isinstance(turn, dict) or turn.get("role") not in ("system", "user", "assistant"):
        raise DataError(f"{where}: expected turns with a role of system, user or assistant; got {str(turn)[:80]!r}")
    if not isinstance(turn.get("content"), str):
        raise DataError(f"{where}: a turn of the {turn['role']} has no text in 'content'")
    return Message(turn["role"], turn["content"])


def _scored_pairs(source: Source) -> list[ReplyGroup]:
    """HelpSteer2's schema: one row per reply (`prompt`, `response`, `helpfulness`), replies of a prompt together."""
    replies: dict[str, list[Reply]] = {}
    for where, row in _raw(source):
        prompt, response, score = (row.get(column) for column in ("prompt", "response", "helpfulness"))
        if not isinstance(prompt, str) or not isinstance(response, str) or not _is_score(score):
            raise DataError(
                f"{where}: expected a text as prompt and response, a number as helpfulness; columns: {_columns(row)}"
            )
        replies.setdefault(prompt, []).append(Reply(response, float(score)))
    return [
        ReplyGroup(str(number), (Message("user", prompt),), tuple(found))
        for number, (prompt, found) in enumerate(replies.items())
        if len(found) > 1
    ]


def _is_score(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _prompt(where: str, row: dict[str, Any]) -> BenchmarkPrompt:
    ids, kwargs, key = row.get("instruction_id_list"), row.get("kwargs"), _whole(row.get("key"))
    if not isinstance(row.get("prompt"), str) or not isinstance(ids, list) or not isinstance(kwargs, list):
        raise DataError(f"{where}: expected key, prompt, instruction_id_list and kwargs; columns: {_columns(row)}")
    if not isinstance(key, int) or isinstance(key, bool) or abs(key) >= 2**63:
        raise DataError(f"{where}: expected a whole number as key, got {row.get('key')!r} (one of 64 bits at most)")
    if not ids or len(ids) != len(kwargs):
        raise DataError(
            f"{where}: expected at least one instruction, each with its kwargs; got {len(ids)} and {len(kwargs)}"
        )
    if not all(isinstance(name, str) for name in ids) or not all(isinstance(given or {}, dict) for given in kwargs):
        raise DataError(f"{where}: expected texts in instruction_id_list and mappings (or null) in kwargs")
    # The hub's copy of IFEval fills every kwarg that an instruction does not use with null.
    used = tuple(
        {name: whole for name, value in (given or {}).items() if (whole := _whole(value)) is not None}
        for given in kwargs
    )
    return BenchmarkPrompt(key, row["prompt"], tuple(ids), used)


def _whole(value: Any) -> Any:
    """A number as it was before pandas read a column with gaps: 2.0 was 2, and NaN was null."""
    if not isinstance(value, float) or math.isinf(value):
        return value
    if math.isnan(value):
        return None
    return int(value) if value.is_integer() else value


def _path(source: Source) -> str:
    if not source.path:
        raise DataError(f"the {source.reader} reader needs a local file (path=FILE)")
    return source.path


def _some(rows: Iterable[Any], source: Source) -> list[Any]:
    found = list(rows)
    if not found:
        raise DataError(f"{source.where}: no rows are left ({source.reader}, '{source.language}')")
    return found


def _columns(row: dict[str, Any]) -> str:
    return ", ".join(sorted(row)) or "none"


def _wrong_reader(source: Source, what: str, allowed: str) -> DataError:
    return DataError(f"the reader '{source.reader}' does not give {what}; use one of: {allowed}")
