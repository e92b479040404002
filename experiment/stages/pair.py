"""pair: preference pairs from scored or ranked replies; equal scores make no pair."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from experiment.errors import DataError
from experiment.sources.account import account
from experiment.sources.jsonl import read_jsonl, write_jsonl
from experiment.sources.read import read_reply_groups
from experiment.sources.records import Message, Reply, ReplyGroup
from experiment.task import Task

ROWS = "pairs.jsonl"


@dataclass(frozen=True)
class Pair:
    """A prompt with a better and a worse reply."""

    id: str
    prompt: tuple[Message, ...]
    chosen: str
    rejected: str


def run(task: Task) -> dict[str, Any]:
    """Write ``pairs.jsonl``; report prompts, ties and pairs, and the source they are from."""
    source, dropped = task.source("source", task.settings["source"]), Counter[str]()
    groups = read_reply_groups(source, dropped)
    pairs = [pair for group in groups for pair in make_pairs(group, task.settings["choice"])]
    if not pairs:
        raise DataError(f"{source.where}: none of {len(groups)} prompts has a better and a worse reply")
    write_jsonl(task.work / ROWS, (_row(pair, source.language) for pair in pairs))
    tied = sum(len({reply.score for reply in group.replies}) == 1 for group in groups)
    told = account(source, len(groups), dropped)
    return {"prompts": len(groups), "tied_prompts": tied, "pairs": len(pairs), "sources": {"source": told}}


def make_pairs(group: ReplyGroup, choice: str) -> Iterator[Pair]:
    """Pairs of one prompt: the best and the worst reply, or all replies of different score against each other."""
    ranked = sorted(group.replies, key=lambda reply: -reply.score)
    couples: list[tuple[Reply, Reply]] = (
        [(ranked[0], ranked[-1])] if choice == "best_worst" else list(itertools.combinations(ranked, 2))
    )
    for number, (better, worse) in enumerate(couples):
        if better.score > worse.score:
            name = group.id if choice == "best_worst" else f"{group.id}.{number}"
            yield Pair(name, group.prompt, better.content, worse.content)


def read_pairs(task: Task) -> list[Pair]:
    """The pairs of the input that plays ``pairs``."""
    return [
        Pair(
            row["id"],
            tuple(Message(turn["role"], turn["content"]) for turn in row["prompt"]),
            row["chosen"],
            row["rejected"],
        )
        for _, row in read_jsonl(task.input("pairs") / ROWS)
    ]


def _row(pair: Pair, language: str) -> dict[str, Any]:
    return {
        "id": pair.id,
        "language": language,
        "prompt": [{"role": message.role, "content": message.content} for message in pair.prompt],
        "chosen": pair.chosen,
        "rejected": pair.rejected,
    }
