"""From points to a plan, and from a plan to whoever carries it out."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path

from hydra.utils import get_method

from experiment.claims import Observer, is_claimed
from experiment.compile import compile_run
from experiment.config import Config
from experiment.errors import KirjoError, StoreError
from experiment.fingerprint import digest
from experiment.plan import Plan, merge
from experiment.show import show_plan
from experiment.store import Store
from experiment.sweep import expand


def carry_out(points: Sequence[Sequence[str]]) -> int:
    """Compose all points, then show their plan or launch it; returns the exit code.

    Raises:
        KirjoError: something asked for is wrong; then nothing has run.
    """
    composed = expand(points)
    config = composed[0].config
    for point in composed:
        _same_for_all(config, point.config)
    plan = merge(compile_run(point.config, point.overrides) for point in composed)
    if config.plan:
        store = _existing(Path(config.store))
        states = step_states(plan, store)
        if config.plan == "json":
            print(json.dumps(plan_document(plan, states), indent=1, ensure_ascii=False))
        else:
            show_plan(plan, states, Path(config.store))
        return 0
    launch = _launcher(config)
    store = _existing(Path(config.store))
    states = step_states(plan, store)
    _refuse_unmet(plan, states)
    if store and not {"missing", "running"} & set(states.values()):
        with contextlib.suppress(StoreError, OSError):  # all is there: a store that can only be read will do
            _record(plan, store)
    else:
        store = Store.open(Path(config.store), create=True)
        _record(plan, store)
    return int(launch(plan, store, config.launcher))


def step_states(plan: Plan, store: Store | None) -> dict[str, str]:
    """``done``, ``running`` (somebody holds its claim), ``missing``, or ``unneeded`` (gone, but nothing lacks it)."""
    if store is None:
        return dict.fromkeys(plan.steps, "missing")
    complete = {key: store.is_complete(step.stage, step.fingerprint) for key, step in plan.steps.items()}
    needed = plan.needed(complete)
    observer = Observer()
    states = {}
    for key, step in plan.steps.items():
        if complete[key]:
            states[key] = "done"
        elif key not in needed:
            states[key] = "unneeded"
        else:
            claimed = is_claimed(store.base(step.stage, step.fingerprint), observer)
            states[key] = "running" if claimed else "missing"
    return states


def plan_document(plan: Plan, states: dict[str, str]) -> dict[str, object]:
    """The plan for programs; a step's ``runs`` is how many runs need it."""
    return {
        "runs": [
            {
                "name": run.name,
                "overrides": list(run.overrides),
                "steps": [plan.steps[key].fingerprint for key in run.steps.values()],
            }
            for run in plan.runs
        ],
        "steps": [
            {
                "fingerprint": step.fingerprint,
                "stage": step.stage,
                "state": states[key],
                "runs": len(plan.users(key)),
            }
            for key, step in plan.steps.items()
        ],
    }


def _same_for_all(first: Config, other: Config) -> None:
    for name in ("store", "plan", "launcher"):
        if getattr(first, name) != getattr(other, name):
            raise KirjoError(f"{name} must be the same for all runs of a sweep: it cannot be swept over")


def _launcher(config: Config) -> Callable[..., int]:
    target = config.launcher.target
    try:
        launch: Callable[..., int] = get_method(str(target))
    except Exception as error:  # noqa: BLE001 - Hydra wraps whatever the import raises
        raise KirjoError(
            f"launcher.target: cannot find {target} ({type(error).__name__}); use launcher=local"
        ) from None
    return launch


def _existing(root: Path) -> Store | None:
    """The store to look things up in; planning never makes one."""
    try:
        found = (root / "store.json").exists()
    except OSError as error:
        raise StoreError(f"cannot look into {root}: {error.strerror or error}; name another store=PATH") from None
    return Store.open(root, create=False) if found else None


def _refuse_unmet(plan: Plan, states: dict[str, str]) -> None:
    unmet = dict.fromkeys(
        line for key, step in plan.steps.items() if states[key] in ("missing", "running") for line in step.unmet
    )
    if unmet:
        raise KirjoError("this cannot run yet:\n  " + "\n  ".join(unmet))


def _record(plan: Plan, store: Store) -> None:
    """Leave what the analysis needs to find the results: the runs, and the sweep that asked for them."""
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    for run in plan.runs:
        store.save_run(run.record(now))
    runs = [run.id for run in plan.runs]
    store.save_sweep(
        {
            "id": digest(runs),
            "runs": runs,
            "command": ["python", "-m", "experiment", *sys.argv[1:]],
            "asked_for": now,
        }
    )
