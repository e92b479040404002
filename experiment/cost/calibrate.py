"""Seconds that finished steps really took, as a rate for steps like them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiment.cost.known import Known
from experiment.cost.work import Work, tokens_and_rows
from experiment.plan import Step
from experiment.provenance import Manifest


@dataclass(frozen=True)
class Rate:
    """Seconds a unit, the median over ``steps`` finished ones; the unit is a token or a row."""

    seconds: float
    unit: str
    steps: int


def rate_of(step: Step, work: Work, known: Known) -> Rate | None:
    """The rate of finished steps of the same stage, model, precision, parallelism and resources; None without any.

    A step that was interrupted is left out: its manifest has the seconds of the last attempt alone.
    """
    unit = "token" if work.tokens is not None else "row"
    wanted = _likeness(step.key, step.stage, step.settings, step.execution, known)
    threads = step.execution.get("threads")
    return known.once(
        ("rate", step.stage, wanted, threads, unit), lambda: _rate(step.stage, wanted, threads, unit, known)
    )


def _rate(stage: str, wanted: tuple[object, ...], threads: int | None, unit: str, known: Known) -> Rate | None:
    found = []
    for manifest in known.finished(stage):
        key = f"{manifest.stage}/{manifest.fingerprint}"
        if _likeness(key, manifest.stage, manifest.settings, manifest.execution, known) != wanted:
            continue
        if threads and manifest.execution.get("threads") != threads:
            continue
        units = _units(key, manifest, unit, known)
        if units and _in_one_go(manifest):
            found.append(float(manifest.timings["seconds"]) / units)
    return Rate(statistics.median(found), unit, len(found)) if found else None


def _in_one_go(manifest: Manifest) -> bool:
    return manifest.timings.get("attempts", 1) == 1 and not manifest.summary.get("resumed_from")


def _likeness(
    key: str, stage: str, settings: Mapping[str, Any], execution: Mapping[str, Any], known: Known
) -> tuple[object, ...]:
    resources = execution.get("resources") or {}
    ranks = resources.get("nodes", 1) * resources.get("ranks_per_node", 1)
    parallel = (execution.get("parallel") or {}).get("name", "single")
    # What a stage's time is not proportional to, but hangs on.
    limit = {"generate": settings.get("max_new_tokens"), "translate": settings.get("kind")}.get(stage)
    return (known.model(key), known.precision(key), ranks, resources.get("gpus_per_rank", 0), parallel, limit)


def _units(key: str, manifest: Manifest, unit: str, known: Known) -> float | None:
    epochs = float(manifest.settings.get("training", {}).get("epochs", 1))
    if unit == "token":
        told = tokens_and_rows(key, manifest.summary, known)
        return told[0] * epochs if told else None
    rows = known.rows(key)
    return rows * epochs if rows else None
