"""score: a verdict for every prompt and instruction."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from experiment import metrics, scorers
from experiment.results import RESPONSES, VERDICTS
from experiment.sources.jsonl import read_jsonl, write_jsonl
from experiment.sources.read import read_prompts
from experiment.task import Task


def run(task: Task) -> dict[str, Any]:
    """Write ``verdicts.jsonl``; report the counts behind every metric."""
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
