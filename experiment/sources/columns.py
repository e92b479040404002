"""Which column of a row holds what: the reader's own names, or those that the config gives; dotted where they nest."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from experiment.errors import DataError

# What each reader looks for, by the name it has unless `columns` gives another. None: looked for only where named.
FIELDS: dict[str, dict[str, str | None]] = {
    "conversations": {
        "id": "id",
        "messages": "messages",
        "role": "role",
        "content": "content",
        "prompt": "prompt",
        "input": None,
        "response": "response",
        "system": None,
    },
    "scored_pairs": {
        "prompt": "prompt",
        "response": "response",
        "helpfulness": "helpfulness",
        "role": "role",
        "content": "content",
        "system": None,
    },
    "pairs": {
        "id": "id",
        "prompt": "prompt",
        "chosen": "chosen",
        "rejected": "rejected",
        "role": "role",
        "content": "content",
        "system": None,
    },
    "text": {"text": None},
    "lines": {"text": None},
}
_TURNS = ("role", "content")  # fields of a turn, not of the row
_SINGLE = ("prompt", "input", "response")  # fields of a row that is one exchange

# What published sets call the same thing, for hints.
_ALSO = {
    "messages": ("conversations", "conversation", "dialogue", "turns", "chat"),
    "role": ("from", "speaker", "author"),
    "content": ("value", "text", "message"),
    "prompt": ("instruction", "question", "query", "input"),
    "response": ("output", "answer", "completion", "reply"),
    "chosen": ("chosen_response", "preferred", "accepted"),
    "rejected": ("rejected_response", "dispreferred"),
    "helpfulness": ("score", "rating", "quality", "reward", "overall_score"),
    "text": ("sentence", "line", "content", "document"),
}
_ABSENT = object()
_SHOWN = 60  # characters of a value in a message


@dataclass(frozen=True)
class Columns:
    """The columns of one source; ``named`` and ``roles`` are what the config says."""

    reader: str
    named: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)

    def name(self, what: str) -> str | None:
        """The column that holds ``what``; None if no column does."""
        return self.named.get(what, FIELDS[self.reader][what]) or None

    @property
    def single(self) -> bool:
        """Whether a row is one exchange (prompt and response) and not a list of turns."""
        return self.reader == "conversations" and any(what in self.named for what in _SINGLE)

    def has(self, row: Mapping[str, Any], what: str) -> bool:
        """Whether the row has a column for ``what``; its value may be null."""
        name = self.name(what)
        return name is not None and _get(row, name) is not _ABSENT

    def value(self, where: str, row: Mapping[str, Any], what: str, expected: str) -> Any:
        """What the row holds for ``what``; null is None.

        Raises:
            DataError: the row has no such column.
        """
        name = self.name(what)
        found = _ABSENT if name is None else _get(row, name)
        if found is _ABSENT:
            raise self.wrong(where, row, what, expected)
        return found

    def text(self, where: str, row: Mapping[str, Any], what: str) -> str | None:
        """The text that the row holds for ``what``; None is null, and what a column that is not named gives.

        Raises:
            DataError: the row has no such column, or something else than a text is in it.
        """
        if self.name(what) is None:
            return None
        found = self.value(where, row, what, "a text")
        if found is not None and not isinstance(found, str):
            raise self.wrong(where, row, what, "a text")
        return found

    def wrong(self, where: str, row: Mapping[str, Any], what: str, expected: str) -> DataError:
        """The error for a column that is not there, or holds something else than ``expected``."""
        name = self.name(what) or what
        found = _get(row, name)
        text = f"{where}: expected {expected} in column '{name}'; columns: {', '.join(sorted(row)) or 'none'}"
        if found is not _ABSENT:
            return DataError(f"{text}; got {shown(found)}")
        near = [f"columns.{what}={item}" for item in self.near(row, what)]
        how = f"(of the source: 'data_mix.sft.en.columns={{{what}: {near[0].split('=')[1]}}}')" if near else ""
        return DataError(f"{text}; did you mean {' or '.join(near)}? {how}" if near else text)

    def near(self, row: Mapping[str, Any], what: str) -> list[str]:
        """Columns of the row that may be meant: by what other sets call it, then by spelling; at most three."""
        there = list(_dotted(row))
        known = [name for name in _ALSO.get(what, ()) if name in there]
        name = self.name(what) or what
        return list(dict.fromkeys([*known, *difflib.get_close_matches(name, there, n=3, cutoff=0.7)]))[:3]


def shown(value: Any) -> str:
    """A value for a message: its kind, and how it begins."""
    if value is None:
        return "null"
    text = repr(value)
    kind = "" if isinstance(value, str) else f"{type(value).__name__} "
    return kind + (text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def check_mapping(reader: str, columns: Mapping[str, str], roles: Mapping[str, str]) -> None:
    """Refuse a mapping that the reader would not follow.

    Raises:
        ValueError: a field that the reader does not look for, a role that is none, or both forms of a conversation.
    """
    fields = FIELDS.get(reader, {})
    for name in columns:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            takes = f"it takes {', '.join(fields)}" if fields else "it takes none"
            raise ValueError(f"columns: the {reader} reader looks for no '{name}'{hint} ({takes})")
    if roles and "role" not in fields:
        raise ValueError(f"roles: the {reader} reader reads no turns with roles")
    for name, role in roles.items():
        if role not in ("system", "user", "assistant"):
            raise ValueError(f"roles: '{name}' must be system, user or assistant (came: '{role}')")
    used = [name for name in _SINGLE if name in columns]
    if reader == "conversations" and used and {"messages", *_TURNS} & set(columns):
        raise ValueError(f"columns: a row is a list of messages or one exchange ({', '.join(used)}), not both")


def _get(row: Mapping[str, Any], name: str) -> Any:
    """The value at a dotted name (``choices.0.text``); what lies under null is null."""
    if name in row:
        return row[name]
    found: Any = row
    for part in name.split("."):
        if isinstance(found, Mapping) and part in found:
            found = found[part]
        elif isinstance(found, list) and part.isdigit() and int(part) < len(found):
            found = found[int(part)]
        elif found is None:
            return None
        else:
            return _ABSENT
    return found


def _dotted(row: Mapping[str, Any]) -> Iterator[str]:
    for name, value in row.items():
        yield name
        if isinstance(value, Mapping):
            yield from (f"{name}.{inner}" for inner in value)
