"""What a launch says when it ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from experiment.plan import Plan
from experiment.store import Store

if TYPE_CHECKING:
    from launchers.local import LocalSweep


def summarize(plan: Plan, store: Store, sweep: LocalSweep, out: Console, err: Console) -> int:
    """Print what was done, warnings, and what failed, why and where its log is; returns the exit code."""
    complete = sum(all(key in sweep.done for key in run.targets()) for run in plan.runs)
    took = time.monotonic() - sweep.started
    out.print(
        f"{len(sweep.executed)} steps run, {len(plan.steps) - len(sweep.needed)} not needed or there already; "
        f"{complete} of {len(plan.runs)} runs complete in {store.root}; {took:.0f} s",
        highlight=False,
        soft_wrap=True,
    )
    for key, warning in sweep.warnings:
        step = plan.steps[key]
        err.print(f"warning: {step.stage} {step.label}: {warning}", highlight=False, markup=False, soft_wrap=True)
    if not sweep.failed:
        return 0
    table = Table("step", "why", "log", title="Failed", title_justify="left", show_lines=True)
    for key, reason in sweep.failed.items():
        step = plan.steps[key]
        table.add_row(f"{step.stage} {step.label}", reason, str(store.log(step.stage, step.fingerprint)))
    err.print(table)
    stopped = len(sweep.pending())
    also = f" {stopped} steps that need them did not run." if stopped else ""
    err.print(f"{len(sweep.failed)} steps failed.{also} The same command does only what is missing.", highlight=False)
    return 1
