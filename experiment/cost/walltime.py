"""Refuse a walltime that ends before a training has saved anything."""

from __future__ import annotations

from collections.abc import Mapping

from experiment.cost.display import duration
from experiment.cost.estimate import Estimate
from experiment.errors import KirjoError
from experiment.plan import Plan, Step
from experiment.resources import MANY_RANKS, Launcher

MINUTE = 60.0


def refuse_short(plan: Plan, estimates: Mapping[str, Estimate], launcher: Launcher) -> None:
    """Compare what finished steps of the store took with the walltimes asked for.

    Only measured times count: a formula's are upper bounds, and a job that is told in time saves between checkpoints.

    Raises:
        KirjoError: the walltime is shorter than one checkpoint interval of a training.
    """
    faults = {}
    for key, estimate in estimates.items():
        interval = interval_of(plan.steps[key], estimate)
        if interval is None or estimate.allocation is None:
            continue
        room = max(0.0, estimate.allocation.walltime_min * MINUTE - launcher.stop_before_s)
        if interval > room:
            stage = plan.steps[key].stage
            faults[stage] = (
                f"{stage}: a checkpoint is due every {duration(interval)}, and a job works for {duration(room)} "
                f"(walltime less launcher.stop_before_s): raise launcher.resources.{stage}.walltime_min, or lower "
                f"{stage}.checkpoint_every"
            )
    if faults:
        raise KirjoError("nothing would be saved before the walltime ends:\n  " + "\n  ".join(faults.values()))


def interval_of(step: Step, estimate: Estimate) -> float | None:
    """Seconds between two checkpoints of a training step; None where its time was not measured."""
    if step.stage not in MANY_RANKS or estimate.basis != "measured" or not estimate.seconds or not estimate.work.rows:
        return None
    training = step.settings["training"]
    optimizer_steps = estimate.work.rows * estimate.work.epochs / int(training["global_batch"])
    every = int(step.execution["training"]["checkpoint_every"])
    return estimate.seconds * min(1.0, every / max(optimizer_steps, 1.0))
