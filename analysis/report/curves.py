"""Learning curves: the history of each training step, thinned out to what a screen can show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from experiment.errors import KirjoError
from experiment.fingerprint import known_digest
from experiment.provenance import Manifest
from experiment.sources.jsonl import read_jsonl
from experiment.store import Store

HISTORY = "history.jsonl"  # of a training artifact: one row per optimizer step
_POINTS = 300  # of one curve, at most
_TRAINING = ("pretrain", "sft", "dpo")  # stages that leave a history


@dataclass
class Curve:
    """The history of one step: for each column its points, x being the optimizer step."""

    key: str  # stage/fingerprint
    stage: str
    columns: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    rows: int = 0
    not_finite: int = 0  # values that are no number (a training that diverged)


def collect_curves(store: Store, manifests: Mapping[str, Manifest | None]) -> tuple[list[Curve], list[str]]:
    """The curves there are, and a sentence for each that is not."""
    curves, gaps = [], []
    for key, manifest in manifests.items():
        stage, fingerprint = key.split("/", 1)
        if manifest is None or HISTORY not in manifest.files:
            if stage in _TRAINING:
                gaps.append(f"{key}: {'the step is not in the store' if manifest is None else f'it left no {HISTORY}'}")
            continue
        path = store.artifact(stage, fingerprint) / HISTORY
        try:
            if known_digest(path) != manifest.files[HISTORY].sha256:
                raise KirjoError("the file has changed since it was published; give the command of its run again")
            curves.append(curve(key, [row for _, row in read_jsonl(path)]))
        except (KirjoError, OSError) as error:
            gaps.append(f"{key}: {HISTORY} cannot be read: {error}")
    return curves, gaps


def curve(key: str, history: Sequence[Mapping[str, Any]]) -> Curve:
    """The numbers of a history, column by column."""
    found = Curve(key, key.split("/", 1)[0], rows=len(history))
    for name in dict.fromkeys(name for row in history for name in row):
        if name in ("step", "epoch"):
            continue
        points = [
            (_number(row.get("step", place)), _number(row[name])) for place, row in enumerate(history) if name in row
        ]
        finite = [
            (x, y) for x, y in points if x is not None and y is not None and math.isfinite(x) and math.isfinite(y)
        ]
        found.not_finite += len(points) - len(finite)
        if finite:
            thin = thinned(finite)
            found.columns[name] = ([x for x, _ in thin], [float(f"{y:.5g}") for _, y in thin])
    return found


def thinned(points: Sequence[tuple[float, float]], most: int = _POINTS) -> list[tuple[float, float]]:
    """At most that many of the points; those left out lie between the lowest and highest of their neighbours."""
    if len(points) <= most:
        return list(points)
    stretches = (most - 2) // 2
    inner = points[1:-1]
    kept = [points[0]]
    for number in range(stretches):
        part = inner[number * len(inner) // stretches : (number + 1) * len(inner) // stretches]
        low, high = min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])
        kept += sorted({low, high})
    return [*kept, points[-1]]


def _number(value: Any) -> float | None:
    if isinstance(value, str):  # what JSON has no word for may have been written as text
        try:
            return float(value)
        except ValueError:
            return None
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
