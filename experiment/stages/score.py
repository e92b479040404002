"""score: a verdict for every prompt and instruction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from experiment import metrics, scorers
from experiment.errors import KirjoError
from experiment.results import RESPONSES, VERDICTS
from experiment.sources.jsonl import read_jsonl, write_jsonl
from experiment.sources.read import read_prompts
from experiment.task import Task


def run(task: Task) -> dict[str, Any]:
    """Write ``verdicts.jsonl``; report the counts behind every metric."""
    _refuse_other_scorers(task)
    scorers.use_nltk_data(task.step.execution.get("nltk_data"))
    source = task.source("prompts", task.settings["prompts"])
    prompts = read_prompts(source, exclude=task.settings["exclude_instructions"])
    responses = {row["key"]: row["response"] for _, row in read_jsonl(task.input("responses") / RESPONSES)}
    verdicts = []
    for number, verdict in enumerate(scorers.verdicts(prompts, responses), start=1):
        verdicts.append(verdict)
        task.progress(number, sum(len(prompt.instruction_ids) for prompt in prompts))
    write_jsonl(task.work / VERDICTS, map(asdict, verdicts))
    return {name: f"{count.correct}/{count.total}" for name, count in metrics.counts(verdicts, source.language).items()}


def _refuse_other_scorers(task: Task) -> None:
    """Where other packages score than were planned with, the verdicts would be filed wrongly."""
    planned, here = task.settings["scorers"], scorers.identity()
    if planned != here:
        names = [name for name in {**planned, **here} if planned.get(name) != here.get(name)]
        raise KirjoError(
            f"this machine's scorers are not those that were planned ({_told(planned, names)} planned, "
            f"{_told(here, names)} here): install the planned versions here, or give the command again from here"
        )


def _told(identity: Mapping[str, Any], names: list[str]) -> str:
    return ", ".join(f"{name}: {_told_one(identity.get(name))}" for name in names)


def _told_one(scorer: Any) -> str:
    return " ".join(f"{part} {value}" for part, value in scorer.items()) if isinstance(scorer, Mapping) else "none"
