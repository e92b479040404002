"""What a launch says when it ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console

from experiment.plan import Plan
from experiment.show import counted
from experiment.store import Store

if TYPE_CHECKING:
    from launchers.local import LocalSweep


def summarize(plan: Plan, store: Store, sweep: LocalSweep, out: Console, err: Console) -> int:
    """Print what was done, warnings, and what failed, why and where its log is; returns the exit code."""
    complete = sum(all(key in sweep.done for key in run.targets()) for run in plan.runs)
    took = time.monotonic() - sweep.started
    parts = [f"{counted(len(sweep.executed), 'step')} run"]
    if sweep.theirs:
        parts.append(f"{len(sweep.theirs)} made by another process")
    parts.append(f"{len(plan.steps) - len(sweep.needed)} not needed or there already")
    out.print(
        f"{', '.join(parts)}; {complete} of {counted(len(plan.runs), 'run')} complete; "
        f"store: {store.root}; {took:.0f} s",
        highlight=False,
        soft_wrap=True,
    )
    for key in _data(plan):
        if key in sweep.done:
            step = plan.steps[key]
            where = store.artifact(step.stage, step.fingerprint)
            out.print(f"{step.stage} {step.label}: {where}", highlight=False, markup=False, soft_wrap=True)
    for key, warning in sweep.warnings:
        step = plan.steps[key]
        err.print(f"warning: {step.stage} {step.label}: {warning}", highlight=False, markup=False, soft_wrap=True)
    if not sweep.failed:
        return 0 if complete == len(plan.runs) else 1
    steps = {key: f"{plan.steps[key].stage} {plan.steps[key].label}" for key in sweep.failed}
    width = max(map(len, steps.values()))
    err.print(f"\n{'FAILED':<{width}}  WHY, AND WHERE THE LOG IS", style="bold")
    for key, reason in sweep.failed.items():
        log = store.log(plan.steps[key].stage, plan.steps[key].fingerprint)
        # Not in a boxed table: a path cut by a column's edge cannot be copied.
        lines = [" ".join(line.split()) for line in reason.splitlines() if line.strip()]
        for first, second in zip([steps[key], *[""] * len(lines)], [*lines, str(log)], strict=True):
            err.print(f"{first:<{width}}  {second}", highlight=False, markup=False, soft_wrap=True)
    stopped = len(sweep.pending())
    also = f" {stopped} steps that need them did not run." if stopped else ""
    err.print(
        f"\n{len(sweep.failed)} of {len(sweep.needed)} steps failed.{also} The same command does only what is missing.",
        highlight=False,
        soft_wrap=True,
    )
    return 1


def _data(plan: Plan) -> list[str]:
    """The steps of runs that exist for their data: whoever asked for it wants to know where it lies."""
    of_data = (run for run in plan.runs if not any(role.startswith("score.") for role in run.steps))
    return list(dict.fromkeys(key for run in of_data for key in run.targets()))
