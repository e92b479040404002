"""What was launched, as the store keeps it: the resolved steps of each sweep and the launcher's settings.

store/plans/<sweep>.json   all that ``retry`` needs: no config is composed again
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from experiment.errors import StoreError
from experiment.fingerprint import read_json, write_json_atomic
from experiment.plan import Plan, Step, needed
from experiment.provenance import FORMAT, check_format
from experiment.resources import Launcher
from experiment.store import Store


@dataclass(frozen=True)
class Launched:
    """One sweep as it was launched; ``steps`` stand in order of work, ``targets`` are what its runs exist for.

    ``code`` is the digest of the snapshot that its jobs run; ``folder`` where the command was given, to which paths in
    the steps are relative.
    """

    sweep: str
    steps: Mapping[str, Step]
    targets: tuple[str, ...]
    launcher: Launcher
    code: str
    folder: str
    asked_for: str

    def needed(self, done: Mapping[str, bool]) -> list[str]:
        """The keys of the steps that must run, in order of work: all that leads to a target, short of what is done."""
        found = needed(self.steps, self.targets, done)
        return [key for key in self.steps if key in found]


def save(store: Store, sweep: str, plan: Plan, launcher: Launcher, code: str, folder: str, asked_for: str) -> Launched:
    """Leave in the store what a later ``retry`` needs; ``code``: the digest of the snapshot that jobs run."""
    targets = tuple(dict.fromkeys(key for run in plan.runs for key in run.targets()))
    launched = Launched(sweep, plan.steps, targets, launcher, code, folder, asked_for)
    content = {
        "format": FORMAT,
        "sweep": sweep,
        "steps": {key: step.to_json() for key, step in plan.steps.items()},
        "targets": list(targets),
        "launcher": dataclasses.asdict(launcher),
        "code": code,
        "folder": folder,
        "asked_for": asked_for,
    }
    path = _path(store, sweep)
    try:
        write_json_atomic(path, content)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}; free space or correct permissions") from None
    return launched


def withdraw(store: Store, sweep: str) -> None:
    """Forget a sweep of which nothing was submitted."""
    _path(store, sweep).unlink(missing_ok=True)


def load(store: Store) -> list[Launched]:
    """All sweeps that were launched on a cluster from this store, the oldest first; one that cannot be read is told."""
    found = []
    for path in (store.root / "plans").glob("*.json"):
        try:
            found.append(_read(path))
        except StoreError as error:
            print(f"warning: {error}", file=sys.stderr)
    return sorted(found, key=lambda launched: launched.asked_for)


def _path(store: Store, sweep: str) -> Path:
    return store.root / "plans" / f"{sweep}.json"


def _read(path: Path) -> Launched:
    try:
        content = read_json(path)
        check_format(content, path)
        steps = {key: Step.from_json(document) for key, document in content["steps"].items()}
        launched = Launched(
            content["sweep"],
            steps,
            tuple(content["targets"]),
            TypeAdapter(Launcher).validate_python(content["launcher"]),
            content["code"],
            content["folder"],
            content["asked_for"],
        )
    except (KeyError, TypeError, AttributeError, ValidationError) as error:
        raise StoreError(
            f"{path} is not as this version writes it ({type(error).__name__}): give that sweep's command again"
        ) from None
    if any(step.key != key for key, step in steps.items()) or not set(launched.targets) <= steps.keys():
        # A stage's version counts in the fingerprint: this code would make other steps of it.
        raise StoreError(f"{path} was launched with another version of a stage: give that sweep's command again")
    return launched
