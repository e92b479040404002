"""mix: all source-language conversations and the first X % of the target-language ones, shuffled.

The subsets are nested (10 % is contained in 20 %): first rows, not a sample. floor(X/100 * rows), computed exactly.
"""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

from experiment.errors import DataError
from experiment.sources.jsonl import read_jsonl, write_jsonl
from experiment.sources.read import read_conversations
from experiment.sources.records import Conversation, Message
from experiment.task import Task

ROWS = "mix.jsonl"


def run(task: Task) -> dict[str, Any]:
    """Write ``mix.jsonl``; report the rows of each language."""
    percent = task.settings["percent"]
    rows = _rows(task, "source")
    counts = {"source_rows": len(rows), "target_rows": 0}
    if "target" in task.settings:
        target = _rows(task, "target")
        kept = share(len(target), percent)
        if kept == 0:
            raise DataError(f"{percent} % of {len(target)} target-language rows are none; raise mix, or use mix=0")
        rows += target[:kept]
        counts |= {"target_rows": kept, "target_rows_available": len(target)}
    random.Random(task.settings["seed"]).shuffle(rows)
    write_jsonl(task.work / ROWS, rows)
    return {**counts, "rows": len(rows)}


def share(rows: int, percent: int | float) -> int:
    """How many rows ``percent`` of them are: floor, without floating-point surprises (0.7 of 10 is 7)."""
    return int(Fraction(str(percent)) * rows / 100)


def read_mix(task: Task) -> list[Conversation]:
    """The conversations of the input that plays ``mix``."""
    return [
        Conversation(row["id"], tuple(Message(turn["role"], turn["content"]) for turn in row["messages"]))
        for _, row in read_jsonl(task.input("mix") / ROWS)
    ]


def _rows(task: Task, role: str) -> list[dict[str, Any]]:
    source = task.source(role, task.settings[role])
    return [
        {
            "id": row.id,
            "language": source.language,
            "messages": [{"role": message.role, "content": message.content} for message in row.messages],
        }
        for row in read_conversations(source)
    ]
