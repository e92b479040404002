"""mix: all source-language conversations and the first X % of the target-language ones, shuffled.

The subsets are nested (10 % is contained in 20 %): first rows, not a sample. floor(X/100 * rows), computed exactly.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from experiment.errors import DataError
from experiment.sources.account import account
from experiment.sources.jsonl import read_jsonl, write_jsonl
from experiment.sources.read import read_conversations
from experiment.sources.records import Conversation, Message
from experiment.task import Task

ROWS = "mix.jsonl"
MADE = "conversations.jsonl"  # the rows of an artifact that plays "target"

# A conversation with its language.
_Row = tuple[str, Conversation]


def run(task: Task) -> dict[str, Any]:
    """Write ``mix.jsonl``; report the rows of each language, and the sources they are from."""
    percent = task.settings["percent"]
    rows, told = _read(task, "source")
    accounts = {"source": told}
    counts = {"source_rows": len(rows), "target_rows": 0}
    if "target" in task.settings or "target" in task.step.inputs:
        target, accounts["target"] = _read(task, "target")
        kept = share(len(target), percent)
        if kept == 0:
            raise DataError(f"{percent} % of {len(target)} target-language rows are none; raise mix, or use mix=0")
        rows += target[:kept]
        counts |= {"target_rows": kept, "target_rows_available": len(target)}
    random.Random(task.settings["seed"]).shuffle(rows)
    write_jsonl(task.work / ROWS, _documents(rows))
    return {**counts, "rows": len(rows), "sources": accounts}


def share(rows: int, percent: int | float) -> int:
    """How many rows ``percent`` of them are: floor, without floating-point surprises (0.7 of 10 is 7)."""
    return int(Fraction(str(percent)) * rows / 100)


def read_mix(task: Task) -> list[Conversation]:
    """The conversations of the input that plays ``mix``."""
    return [_conversation(row) for _, row in read_jsonl(task.input("mix") / ROWS)]


def _read(task: Task, role: str) -> tuple[list[_Row], dict[str, Any]]:
    """The rows of a role, in order, with the account of where they are from: an artifact of the plan, or a source."""
    if role in task.step.inputs:
        found = [(row["language"], _conversation(row)) for _, row in read_jsonl(task.input(role) / MADE)]
        return found, {"artifact": task.step.inputs[role], "rows": len(found)}
    source, dropped = task.source(role, task.settings[role]), Counter[str]()
    rows = [(source.language, row) for row in read_conversations(source, dropped)]
    return rows, account(source, len(rows), dropped)


def _documents(rows: list[_Row]) -> Iterator[dict[str, Any]]:
    for language, row in rows:
        messages = [{"role": message.role, "content": message.content} for message in row.messages]
        yield {"id": row.id, "language": language, "messages": messages}


def _conversation(row: dict[str, Any]) -> Conversation:
    return Conversation(row["id"], tuple(Message(turn["role"], turn["content"]) for turn in row["messages"]))
