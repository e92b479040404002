"""Stores made by hand: run records, answers and verdicts as the stages leave them, without training anything."""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from experiment.compile import compile_run
from experiment.fingerprint import digest
from experiment.plan import Run, Step
from experiment.results import RESPONSES, VERDICTS
from experiment.scoring.verdict import LANGDETECT, PAPER, Verdict
from experiment.sources.jsonl import write_jsonl
from experiment.stages import STAGES
from experiment.store import Store
from experiment.sweep import expand

RULES = {"en": (PAPER,), "fi": (PAPER, "finnish", "finnish_inflected")}
IDENTIFIERS = (LANGDETECT, "py3langid")
CATEGORIES = (
    "keywords:existence",
    "punctuation:no_comma",
    "change_case:english_lowercase",
    "length_constraints:number_words",
    "startend:quotation",
    "detectable_format:title",
)
PROVENANCE = {"packages": {"lm_eval": "0.4.13"}, "git": {"commit": "0" * 40, "dirty": False}, "python": "3.11.7"}
TIMINGS = {"started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T00:00:02+00:00", "seconds": 2.0}
TEXTS = {
    "en": "Liisa builds houses in the village every day, and she likes her work.",
    "fi": "Liisa rakentaa taloja kylässä joka päivä, ja hän pitää työstään kovasti.",
    "sv": "Liisa bygger hus i byn varje dag, och hon tycker mycket om sitt arbete.",
}


@functools.cache
def compiled(*overrides: str) -> tuple[Run, Mapping[str, Step]]:
    """A run of the real config, with its steps by key."""
    (point,) = expand([list(overrides)])
    run, steps = compile_run(point.config, point.overrides)
    return run, {step.key: step for step in steps}


def plan(*overrides: str) -> Run:
    """A run of the real config."""
    return compiled(*overrides)[0]


def with_seed(run: Run, seed: int) -> Run:
    """The same run with another seed, without the time that composing takes."""
    steps = {role: f"{key.split('/')[0]}/{digest([key, seed])}" for role, key in run.steps.items()}
    return dataclasses.replace(
        run,
        name=f"{run.name},seed={seed}",
        overrides=(*run.overrides, f"seed={seed}"),
        axes={**run.axes, "seed": seed},
        steps=steps,
        config={**run.config, "seed": seed},
    )


def record(store: Store, run: Run, asked_for: str = "2026-01-01T00:00:00.000+00:00") -> None:
    """Leave the record of a run."""
    store.save_run(run.record(asked_for))


def publish(store: Store, key: str, file: str, rows: Iterable[Mapping[str, Any]], **known: Any) -> Path:
    """Publish an artifact of one file; settings, inputs and so on as given, else empty."""
    stage, fingerprint = key.split("/")
    work = store.work(stage, fingerprint)
    work.mkdir(parents=True)
    write_jsonl(work / file, rows)
    empty: dict[str, Any] = {}
    fields: dict[str, Any] = {
        "version": 1,
        "settings": empty,
        "inputs": empty,
        "provenance": PROVENANCE,
        "timings": TIMINGS,
        "execution": empty,
        "summary": empty,
    }
    store.publish(stage, fingerprint, **{**fields, **known})
    return store.artifact(stage, fingerprint)


def publish_verdicts(store: Store, run: Run, language: str, verdicts: Sequence[Verdict]) -> Path:
    """Publish a score, with the settings of the run's own step."""
    base, steps = compiled(*(item for item in run.overrides if not item.startswith("seed=")))
    known = {
        "settings": steps[base.steps[f"score.{language}"]].settings,
        "inputs": {"responses": run.steps[f"generate.{language}"]},
        "version": STAGES["score"].version,
    }
    rows = [msgspec.structs.asdict(verdict) for verdict in verdicts]
    return publish(store, run.steps[f"score.{language}"], VERDICTS, rows, **known)


def publish_answers(
    store: Store, run: Run, language: str, answers: Mapping[int, str], prompts: Mapping[int, str]
) -> Path:
    """Publish answers, by key."""
    rows = [
        {"key": key, "prompt": prompts[key], "response": answer, "tokens": len(answer.split()), "finished": True}
        for key, answer in answers.items()
    ]
    return publish(store, run.steps[f"generate.{language}"], RESPONSES, rows)


def verdict(
    key: int,
    index: int,
    strict: bool,
    loose: bool | None = None,
    language: str = "fi",
    asked: str = "fi",
    instruction_id: str = "keywords:existence",
) -> Verdict:
    """A verdict that is the same under all rule sets of its language."""
    names = RULES[asked]
    return Verdict(
        key,
        index,
        instruction_id,
        dict.fromkeys(names, strict),
        dict.fromkeys(names, strict if loose is None else loose),
        dict.fromkeys(IDENTIFIERS, language),
        asked,
    )


def imagined(
    language: str, *, prompts: int, level: float, in_language: float, seed: int
) -> tuple[list[Verdict], dict[int, str], dict[int, str]]:
    """Verdicts, answers and prompts at a level of accuracy; hard prompts are hard for every ``seed``."""
    draw = random.Random(f"{language} {level} {in_language} {seed}")
    verdicts, answers, texts = [], {}, {}
    for key in range(1000, 1000 + prompts):
        prompt = random.Random(f"{language} {key}")
        hardness = prompt.random()
        texts[key] = f"{TEXTS[language]} ({key})"
        found = language if draw.random() < in_language else "sv"
        answers[key] = " ".join([TEXTS[found]] * draw.randint(1, 6))
        for index in range(prompt.choice((1, 1, 2, 2))):
            name = prompt.choice(CATEGORIES)
            chance = min(1.0, max(0.0, level + 0.6 * (0.5 - hardness)))
            strict = draw.random() < chance
            loose = strict or draw.random() < 0.1
            relaxed = strict or (language == "fi" and name.startswith("change_case") and draw.random() < chance)
            verdicts.append(
                Verdict(
                    key,
                    index,
                    name,
                    {rules: strict if rules == PAPER else relaxed for rules in RULES[language]},
                    {rules: loose if rules == PAPER else loose or relaxed for rules in RULES[language]},
                    {LANGDETECT: found, "py3langid": found if draw.random() < 0.97 else "et"},
                    language,
                )
            )
    return verdicts, answers, texts


def fill(store: Store, run: Run, *, prompts: int = 24, level: float = 0.4, in_language: float = 0.9) -> None:
    """Record a run and publish answers and verdicts in all its languages."""
    record(store, run)
    for role in run.steps:
        if role.startswith("score."):
            language = role.removeprefix("score.")
            verdicts, answers, texts = imagined(
                language, prompts=prompts, level=level, in_language=in_language, seed=int(run.axes["seed"])
            )
            publish_answers(store, run, language, answers, texts)
            publish_verdicts(store, run, language, verdicts)
