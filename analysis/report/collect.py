"""From runs and store to plain data: what each run is, which steps the runs share, and what they cost."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from analysis.origins import command
from analysis.report.curves import collect_curves
from experiment.errors import KirjoError
from experiment.metrics import METRICS, counts
from experiment.provenance import Manifest
from experiment.results import RunResult
from experiment.store import Store

# In order of work; a run without DPO has nothing between sft and generate.
STAGES = (
    "pretrain",
    "pair",
    "translate",
    "clean",
    "quality",
    "mix",
    "sft",
    "reference",
    "dpo",
    "generate",
    "score",
)

# Axes that tell no reader which runs are meant.
_NOT_IN_LABELS = ("settings", "source_language", "target_language")


@dataclass
class SharedStep:
    """A distinct step of the plan, with the runs (places in the report) that use it."""

    key: str  # stage/fingerprint
    stage: str
    role: str
    label: str  # what tells the runs that use it from others
    runs: list[int]
    state: str  # done, missing or damaged
    why: str  # where it is damaged
    seconds: float | None


def collect(runs: Sequence[RunResult], store: Store) -> dict[str, Any]:
    """Runs, steps and learning curves as plain values for the page."""
    users: dict[str, list[int]] = {}
    roles: dict[str, str] = {}
    for place, run in enumerate(runs):
        for role, key in run.steps.items():
            users.setdefault(key, []).append(place)
            roles.setdefault(key, role)
    manifests: dict[str, Manifest | None] = {}
    problems: dict[str, str] = {}
    for key in users:
        try:
            manifests[key] = store.read_manifest(*key.split("/", 1))
        except KirjoError as error:
            manifests[key], problems[key] = None, str(error)
    labels = {key: label(runs, roles[key], places) for key, places in users.items()}
    steps = [
        SharedStep(
            key,
            key.split("/", 1)[0],
            roles[key],
            labels[key],
            places,
            "damaged" if key in problems else "missing" if manifests[key] is None else "done",
            problems.get(key, ""),
            seconds(manifests[key]),
        )
        for key, places in users.items()
    ]
    curves, gaps = collect_curves(store, manifests)
    return {
        "store": str(store.root),
        "runs": [_run(run, store, manifests) for run in runs],
        "steps": [asdict(step) for step in _by_stage(steps)],
        "curves": [
            {**asdict(curve), "role": roles[curve.key], "label": labels[curve.key], "runs": users[curve.key]}
            for curve in curves
        ],
        "curve_gaps": gaps,
        "metrics": {name: metric.description for name, metric in METRICS.items()},
    }


def label(runs: Sequence[RunResult], role: str, places: Sequence[int]) -> str:
    """The values of axes that tell the runs at these places from all others that have the role; as few as will do."""
    rivals = [run for run in runs if role in run.steps]
    users = [runs[place] for place in places]
    common: dict[str, str] = {}
    for axis in dict.fromkeys(axis for run in users for axis in run.axes):
        held = {str(run.axes.get(axis)) for run in users}
        if axis not in _NOT_IN_LABELS and len(held) == 1 and {str(run.axes.get(axis)) for run in runs} != held:
            common[axis] = held.pop()
    for axis in reversed(list(common)):
        fewer = {name: value for name, value in common.items() if name != axis}
        if _having(rivals, fewer) == _having(rivals, common):
            common = fewer
    return ", ".join(f"{axis}={value}" for axis, value in common.items())


def _having(runs: Sequence[RunResult], values: Mapping[str, str]) -> list[str]:
    return [run.id for run in runs if all(str(run.axes.get(axis)) == value for axis, value in values.items())]


def seconds(manifest: Manifest | None) -> float | None:
    """How long a step took, where its manifest tells."""
    found = None if manifest is None else manifest.timings.get("seconds")
    return float(found) if isinstance(found, (int, float)) else None


def _by_stage(steps: Iterable[SharedStep]) -> list[SharedStep]:
    """The steps of a stage together, stages in order of work, others last."""
    grouped: dict[str, list[SharedStep]] = {}
    for step in steps:
        grouped.setdefault(step.stage, []).append(step)
    order = sorted(grouped, key=lambda stage: STAGES.index(stage) if stage in STAGES else len(STAGES))
    return [step for stage in order for step in sorted(grouped[stage], key=lambda step: step.runs)]


def _run(run: RunResult, store: Store, manifests: Mapping[str, Manifest | None]) -> dict[str, Any]:
    measured: dict[str, dict[str, list[int]]] = {language: {} for language in run.languages}
    for language in run.languages:
        with suppress(KirjoError):  # what cannot be read is told where the answers are
            scored = run.scored(language)
            found = {} if scored is None else counts(scored)
            measured[language] = {name: [count.correct, count.total] for name, count in found.items()}
    return {
        "id": run.id,
        "name": run.name,
        "asked_for": run.asked_for,
        "command": command(run.overrides, str(store.root)),
        "steps": dict(run.steps),
        "settings": {name: in_words(value) for name, value in run.settings.items() if name != "settings"},
        "versions": _versions({role: manifests.get(key) for role, key in run.steps.items()}),
        "counts": measured,
    }


def in_words(value: Any) -> str:
    """A setting's value as text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _versions(manifests: Mapping[str, Manifest | None]) -> dict[str, str]:
    """Package -> version, of all steps; where steps have different ones, each with the steps that have it."""
    found: dict[str, dict[str, list[str]]] = {}
    for role, manifest in manifests.items():
        if manifest is None:
            continue
        packages, git = manifest.provenance.get("packages") or {}, manifest.provenance.get("git") or {}
        named = {"python": manifest.provenance.get("python"), **packages}
        if git.get("commit"):
            named["git commit"] = f"{git['commit']}{' with changes' if git.get('dirty') else ''}"
        for name, version in named.items():
            if version is not None:
                found.setdefault(name, {}).setdefault(str(version), []).append(role)
    return {
        name: next(iter(by))
        if len(by) == 1
        else "; ".join(f"{version} ({', '.join(at)})" for version, at in by.items())
        for name, by in found.items()
    }
