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
from experiment.confirm import confirm
from experiment.cost.estimate import Costs, estimate_plan
from experiment.cost.fits import refuse_unfit
from experiment.cost.walltime import refuse_short
from experiment.errors import KirjoError, StoreError
from experiment.plan import Plan, merge
from experiment.prefetch import prefetch
from experiment.resources import unset_options
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
        costs = estimate_plan(plan, states, config, store)
        jobs = _count_jobs(plan, states, config)
        if config.plan == "json":
            print(json.dumps(plan_document(plan, states, costs, jobs), indent=1, ensure_ascii=False))
        else:
            show_plan(plan, states, Path(config.store), costs, jobs)
            for line in unset_options(config.launcher):
                print(f"  {line}")
        return 0
    if config.prefetch:
        return prefetch(plan, step_states(plan, _existing(Path(config.store))), config.launcher)
    launch = _named(config.launcher.target)
    store = _existing(Path(config.store))
    states = step_states(plan, store)
    _refuse_unmet(plan, states)
    if config.launcher.site is not None:
        refuse_unfit(plan, states, config)
        costs = estimate_plan(plan, _without_jobs(plan, states, config, store), config, store)
        refuse_short(plan, costs.steps, config.launcher)
        confirm(costs.billed_most, config.launcher.confirm_above)
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


def plan_document(
    plan: Plan, states: dict[str, str], costs: Costs | None = None, jobs: int | None = None
) -> dict[str, object]:
    """The plan for programs; a step's ``runs`` is how many runs need it.

    Where the costs are known, a step that is to run has its ``estimate``, and ``cost`` is the total.
    """
    known = costs is not None and bool(costs.site or costs.seconds)
    estimates = costs.steps if costs is not None and known else {}
    steps = []
    for key, step in plan.steps.items():
        told = {
            "fingerprint": step.fingerprint,
            "stage": step.stage,
            "state": states[key],
            "runs": len(plan.users(key)),
        }
        steps.append({**told, "estimate": estimates[key].document()} if key in estimates else told)
    runs = [
        {
            "name": run.name,
            "overrides": list(run.overrides),
            "steps": [plan.steps[key].fingerprint for key in run.steps.values()],
        }
        for run in plan.runs
    ]
    return {"runs": runs, "steps": steps, **({"cost": costs.document(jobs)} if costs is not None and known else {})}


def _same_for_all(first: Config, other: Config) -> None:
    for name in ("store", "plan", "prefetch", "launcher"):
        if getattr(first, name) != getattr(other, name):
            raise KirjoError(f"{name} must be the same for all runs of a sweep: it cannot be swept over")


def _named(target: str) -> Callable[..., int]:
    try:
        found: Callable[..., int] = get_method(str(target))
    except Exception as error:  # noqa: BLE001 - Hydra wraps whatever the import raises
        raise KirjoError(
            f"launcher.target: cannot find {target} ({type(error).__name__}); use launcher=local"
        ) from None
    return found


def _without_jobs(plan: Plan, states: dict[str, str], config: Config, store: Store | None) -> dict[str, str]:
    """The states with what is under way already taken as done: it was confirmed when it was launched."""
    if config.launcher.under_way is None or store is None:
        return states
    find: Callable[..., set[str]] = get_method(config.launcher.under_way)
    return {**states, **dict.fromkeys(find(plan, store), "done")}


def _count_jobs(plan: Plan, states: dict[str, str], config: Config) -> int | None:
    """How many jobs the launcher would make of what is to run; None where it makes none."""
    if config.launcher.count_jobs is None:
        return None
    todo = {key for key, state in states.items() if state in ("missing", "running")}
    return _named(config.launcher.count_jobs)(plan.steps, todo, config.launcher.site)


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
            "id": plan.id,
            "runs": runs,
            "command": ["python", "-m", "experiment", *sys.argv[1:]],
            "asked_for": now,
        }
    )
