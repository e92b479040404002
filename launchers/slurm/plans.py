"""What was launched, as the store keeps it: the resolved steps of each sweep and the launcher's settings.

store/plans/<sweep>.json   all that ``retry`` needs: no config is composed again
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter

from experiment.fingerprint import read_json, write_json_atomic
from experiment.plan import Plan, Step
from experiment.provenance import FORMAT, check_format
from experiment.resources import Launcher
from experiment.store import Store


@dataclass(frozen=True)
class Launched:
    """One sweep as it was launched; ``steps`` stand in order of work, ``targets`` are what its runs exist for.

    ``folder`` is where the command was given: paths in the steps are relative to it.
    """

    sweep: str
    steps: Mapping[str, Step]
    targets: tuple[str, ...]
    launcher: Launcher
    folder: str
    asked_for: str

    def needed(self, done: Mapping[str, bool]) -> list[str]:
        """The keys of the steps that must run, in order of work: all that leads to a target, short of what is done."""
        needed: set[str] = set()
        open_keys = list(self.targets)
        while open_keys:
            key = open_keys.pop()
            if key not in needed and not done[key]:
                needed.add(key)
                open_keys += self.steps[key].inputs.values()
        return [key for key in self.steps if key in needed]


def save(store: Store, sweep: str, plan: Plan, launcher: Launcher, folder: str, asked_for: str) -> Launched:
    """Leave in the store what a later ``retry`` needs."""
    targets = tuple(dict.fromkeys(key for run in plan.runs for key in run.targets()))
    launched = Launched(sweep, plan.steps, targets, launcher, folder, asked_for)
    write_json_atomic(
        store.root / "plans" / f"{sweep}.json",
        {
            "format": FORMAT,
            "sweep": sweep,
            "steps": [step.to_json() for step in plan.steps.values()],
            "targets": list(targets),
            "launcher": dataclasses.asdict(launcher),
            "folder": folder,
            "asked_for": asked_for,
        },
    )
    return launched


def load(store: Store) -> list[Launched]:
    """All sweeps that were launched on a cluster from this store, the oldest first."""
    found = []
    for path in (store.root / "plans").glob("*.json"):
        content = read_json(path)
        check_format(content, path)
        steps = [Step.from_json(document) for document in content["steps"]]
        launcher = TypeAdapter(Launcher).validate_python(content["launcher"])
        found.append(
            Launched(
                content["sweep"],
                {step.key: step for step in steps},
                tuple(content["targets"]),
                launcher,
                content["folder"],
                content["asked_for"],
            )
        )
    return sorted(found, key=lambda launched: launched.asked_for)
