"""score: a verdict for every prompt and instruction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from experiment.errors import KirjoError
from experiment.metrics import Scored, counts
from experiment.results import RESPONSES, VERDICTS
from experiment.scoring import punkt, score, unasked, versions
from experiment.scoring.identify import unknown_to_langdetect
from experiment.scoring.rules import has_own_rules
from experiment.sources.jsonl import read_jsonl, write_jsonl
from experiment.sources.read import read_prompts
from experiment.sources.source import Source
from experiment.task import Task

NAMED = 3  # of many prompts in a warning


def run(task: Task) -> dict[str, Any]:
    """Write ``verdicts.jsonl``; report the counts behind every metric."""
    source = task.source("prompts", task.settings["prompts"])
    _refuse_other_scorers(task, versions.identity(source.language))
    punkt.use_nltk_data(task.step.execution.get("nltk_data"))
    exclude, drop = task.settings["exclude_instructions"], "drop_unasked" in task.settings
    prompts = read_prompts(source, exclude, drop)
    score.refuse_faults(prompts)
    responses = {row["key"]: row["response"] for _, row in read_jsonl(task.input("responses") / RESPONSES)}
    processes = task.step.execution.get("threads") or 1
    verdicts, total = [], sum(len(prompt.instruction_ids) for prompt in prompts)
    for number, verdict in enumerate(score.verdicts(prompts, responses, source.language, processes), start=1):
        verdicts.append(verdict)
        task.progress(number, total)
    write_jsonl(task.work / VERDICTS, map(msgspec.structs.asdict, verdicts))
    found = {name: f"{count.correct}/{count.total}" for name, count in counts(Scored.of(verdicts)).items()}
    # No part of the fingerprint: that must not depend on where a plan is made, and on what NLTK has there.
    models = punkt.used(prompts, source.language)
    return {**found, **({"nltk_models": models} if models else {}), **_doubts(source, exclude, drop)}


def _doubts(source: Source, exclude: Sequence[str], drop: bool) -> dict[str, Any]:
    """How many instructions the prompts carry but do not ask for, and warnings of what may judge wrongly."""
    everything = read_prompts(source, exclude=())
    found = unasked.unasked(everything, source.language)
    warnings = []
    if source.language != "en" and not has_own_rules(source.language):
        warnings.append(
            f"there are no rules for '{source.language}': answers are judged by lm_eval's, made for English, alone "
            "(experiment/scoring/rules.py says how to write some)"
        )
    if unknown := unknown_to_langdetect(source.language):
        warnings.append(unknown)
    if found and not drop:
        named = ", ".join(f"prompt {item.key} {item.instruction_id}: {item.reason}" for item in found[:NAMED])
        warnings.append(
            f"{len(found)} instructions are not asked for by their prompt ({named}{', ...' * (len(found) > NAMED)}); "
            "they are kept, and judged unless excluded: benchmark.unasked_instructions=drop takes them away"
        )
        lost = unasked.lost(everything, found, exclude)
        if lost:
            keys = ", ".join(map(str, lost[:NAMED])) + ", ..." * (len(lost) > NAMED)
            warnings.append(
                f"{len(lost)} prompts are excluded only for instructions that they do not ask for ({keys}): "
                "benchmark.unasked_instructions=drop keeps these prompts"
            )
    return {"unasked_instructions": len(found), "warnings": warnings}


def _refuse_other_scorers(task: Task, here: Mapping[str, Any]) -> None:
    """Where other packages score than were planned with, the verdicts would be filed wrongly."""
    planned = task.settings["scorers"]
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
