"""OpenAssistant messages as they come: a row each (the hub), a tree a row, or a row each in several languages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from experiment.errors import DataError
from experiment.sources.checks import Empties
from experiment.sources.columns import shown
from experiment.sources.raw import raw_rows, whole
from experiment.sources.source import Source

OTHER_LANGUAGE = "messages in another language"
DELETED = "messages deleted or refused in review"


@dataclass
class Node:
    """One message of a tree with the replies to it; rank 0 is the best among siblings."""

    id: str
    parent: str | None
    role: str
    rank: int | None
    text: str
    children: list[Node] = field(default_factory=list)


def read_nodes(
    source: Source, empties: Empties, dropped: Counter[str], others: Counter[str]
) -> Iterator[tuple[str, Node]]:
    """The messages in the source's language, each with its place, in the order of the file.

    In OpenAssistant's own forms what was deleted, or refused in review, is passed over; what answers it then has no
    parent. A row in several languages was chosen by who translated it. ``others`` counts the messages in other
    languages, by language.

    Raises:
        DataError: a message lacks a field, or its text in this language.
    """
    for _, where, row in raw_rows(source):
        if isinstance(row.get("prompt"), Mapping):
            messages = _in_tree(where, row["prompt"])
        elif "text" in row and f"text_{source.language}" not in row:
            messages = iter([(where, row)])
        else:
            text = _in_language(where, row, source.language)
            chosen = {"text": text, "lang": source.language, "deleted": False, "review_result": True}
            messages = iter([(where, {**row, **chosen})])
        for here, message in messages:
            language = message.get("lang")
            if not isinstance(language, str):
                raise DataError(f"{here}: expected the language of the message in 'lang', got {shown(language)}")
            if source.language not in (language, language.split("-")[0]):
                others[language] += 1
                dropped[OTHER_LANGUAGE] += 1
            elif message.get("deleted") or message.get("review_result") is False:
                dropped[DELETED] += 1
            elif (node := _node(here, message, source.language, empties)) is not None:
                yield here, node


def _in_tree(where: str, prompt: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The messages of a tree, each before its replies, with the parent that it is nested in."""
    stack: list[tuple[Any, Any]] = [(prompt, None)]
    while stack:
        message, parent = stack.pop()
        replies = message.get("replies") or [] if isinstance(message, Mapping) else None
        if not isinstance(replies, list):
            raise DataError(f"{where}: expected a message with a list of replies, got {shown(message)}")
        name = message.get("message_id")
        yield f"{where}, message {name}", {**message, "parent_id": parent, "replies": None}
        stack += [(reply, name) for reply in reversed(replies)]


def _in_language(where: str, row: Mapping[str, Any], language: str) -> str | None:
    """The text in the column of the language, one of several in the row."""
    column = f"text_{language}"
    text = row.get(column)
    if column not in row or not (text is None or isinstance(text, str)):
        raise DataError(_no_text(where, row, language))
    return text


def _no_text(where: str, row: Mapping[str, Any], language: str) -> str:
    columns = [name.removeprefix("text_") for name in sorted(row) if name.startswith("text_")]
    if not columns:
        return f"{where}: no text in column 'text'; columns: {', '.join(sorted(row)) or 'none'}"
    return f"{where}: no text in column 'text_{language}'; languages in this row: {', '.join(columns)}"


def _node(where: str, message: Mapping[str, Any], language: str, empties: Empties) -> Node | None:
    """The message as a node; None if it has no text."""
    name, text, role = (message.get(key) for key in ("message_id", "text", "role"))
    rank, parent = whole(message.get("rank")), message.get("parent_id")
    if role not in ("prompter", "assistant") or not isinstance(name, str):
        raise DataError(f"{where}: expected message_id and a role of prompter or assistant; got role {role!r}")
    if not (rank is None or isinstance(rank, int)) or not (parent is None or isinstance(parent, str)):
        raise DataError(f"{where}: expected rank as a whole number or null, parent_id as a text or null")
    if text is not None and not isinstance(text, str):
        raise DataError(f"{where}: expected a text in 'text', got {shown(text)}")
    if text is None or not text.strip():
        empties.add(_no_text(where, message, language))
        return None
    return Node(name, parent, str(role), rank, text)
