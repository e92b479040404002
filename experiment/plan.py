"""The plan: the graph of the distinct steps of all runs of a sweep."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from experiment.errors import KirjoError
from experiment.fingerprint import JSON, digest
from experiment.stages import STAGES


@dataclass(frozen=True)
class Step:
    """One stage with its settings and inputs fixed.

    ``inputs`` maps a role to the key (``stage/fingerprint``) of the step that makes it. ``execution`` says how the
    step runs and where its outside files lie; ``unmet`` what must still be set before it can run. Neither they nor
    the label enter the fingerprint.
    """

    stage: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    execution: Mapping[str, Any]
    label: str
    unmet: tuple[str, ...]
    fingerprint: str

    @property
    def key(self) -> str:
        """``stage/fingerprint``: the step's name within a store."""
        return f"{self.stage}/{self.fingerprint}"

    def to_json(self) -> dict[str, Any]:
        """The resolved step as plain values: all that a node needs to run it."""
        return {
            "stage": self.stage,
            "settings": dict(self.settings),
            "inputs": dict(self.inputs),
            "execution": dict(self.execution),
            "label": self.label,
            "unmet": list(self.unmet),
        }

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> Step:
        """Rebuild a step; its fingerprint is computed again, so an edited document is another step."""
        return make_step(
            document["stage"],
            settings=document["settings"],
            inputs=document["inputs"],
            execution=document["execution"],
            label=document["label"],
            unmet=document["unmet"],
        )


def make_step(
    stage: str,
    *,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str] | None = None,
    execution: Mapping[str, Any] | None = None,
    label: str = "",
    unmet: Iterable[str] = (),
) -> Step:
    """Fix a stage's settings and inputs, and with them the step's fingerprint."""
    inputs = dict(inputs or {})
    identity: JSON = {"stage": stage, "version": STAGES[stage].version, "settings": settings, "inputs": inputs}
    return Step(stage, settings, inputs, dict(execution or {}), label, tuple(unmet), digest(identity))


@dataclass(frozen=True)
class Run:
    """One point of a sweep: a chain of steps and one row of a table.

    ``steps`` maps a role (``sft``, ``score.fi``) to a step's key, in order of work; ``axes`` holds the values that
    tables are built by.
    """

    name: str
    overrides: tuple[str, ...]
    axes: Mapping[str, Any]
    steps: Mapping[str, str]
    config: Mapping[str, Any]

    @property
    def id(self) -> str:
        """A file name for the run, the same for the same work."""
        short = re.sub(r"[^A-Za-z0-9.-]+", "_", re.split("[,#]", self.name)[0])[:80]
        return f"{short}-{digest(dict(self.steps), length=12)}"

    def record(self, asked_for: str) -> dict[str, Any]:
        """What the store keeps of the run; ``asked_for`` is when, ISO 8601, UTC."""
        return {
            "id": self.id,
            "name": self.name,
            "overrides": list(self.overrides),
            "axes": dict(self.axes),
            "steps": dict(self.steps),
            "config": dict(self.config),
            "asked_for": asked_for,
        }

    def targets(self) -> list[str]:
        """The keys of the steps that the run exists for."""
        return targets(self.steps)


@dataclass(frozen=True)
class Plan:
    """All runs and their distinct steps; a step stands after the steps it needs."""

    runs: tuple[Run, ...]
    steps: Mapping[str, Step]

    @property
    def id(self) -> str:
        """The sweep's name in the store: the same for the same runs."""
        return digest([run.id for run in self.runs])

    def users(self, key: str) -> list[Run]:
        """The runs that need a step."""
        return [run for run in self.runs if key in run.steps.values()]

    def needed(self, complete: Mapping[str, bool]) -> set[str]:
        """The steps that must run: what the runs exist for and all that leads to it, short of what is complete."""
        return needed(self.steps, (key for run in self.runs for key in run.targets()), complete)


def targets(steps: Mapping[str, str]) -> list[str]:
    """Of a run's steps (role -> key), the keys of those that it exists for: scores, or else the data that it makes."""
    scored = any(role.startswith("score.") for role in steps)
    wanted = ("score.", "quality.") if scored else ("mix", "pair.", "clean.", "quality.")
    return [key for role, key in steps.items() if role.startswith(wanted)]


def needed(steps: Mapping[str, Step], wanted: Iterable[str], complete: Mapping[str, bool]) -> set[str]:
    """The keys of the steps that must run: what is wanted and all that leads to it, short of what is complete.

    A step that is not among ``steps`` is needed itself; what leads to it is not known.
    """
    found: set[str] = set()
    open_keys = list(wanted)
    while open_keys:
        key = open_keys.pop()
        if key in found or complete[key]:
            continue
        found.add(key)
        open_keys += steps[key].inputs.values() if key in steps else ()
    return found


def merge(compiled: Iterable[tuple[Run, Iterable[Step]]]) -> Plan:
    """Put the runs of a sweep together; the same step of several runs stands once, and so does the same run.

    Raises:
        KirjoError: there is nothing to do.
    """
    runs: dict[str, Run] = {}
    steps: dict[str, Step] = {}
    names: dict[str, str] = {}
    for run, chain in compiled:
        if run.id in runs:
            continue
        if run.name in names:
            # Runs that differ only in what a name leaves out would stand in a table under one name.
            run = Run(f"{run.name}#{digest(dict(run.steps), length=4)}", run.overrides, run.axes, run.steps, run.config)
        names[run.name] = run.id
        runs[run.id] = run
        for step in chain:
            steps.setdefault(step.key, step)
    if not runs:
        raise KirjoError("the sweep has no runs")
    return Plan(tuple(runs.values()), _in_order(steps))


def _in_order(steps: Mapping[str, Step]) -> dict[str, Step]:
    ordered: dict[str, Step] = {}

    def place(key: str) -> None:
        if key not in ordered:
            for needed in steps[key].inputs.values():
                place(needed)
            ordered[key] = steps[key]

    for key in steps:
        place(key)
    return ordered
