"""Refuse, before anything is launched, what cannot fit in the memory of a rank, and say what would."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

from experiment.config import Config
from experiment.cost import memory
from experiment.cost.estimate import Estimate, estimate_plan, memory_of, setup_of
from experiment.cost.memory import GB, Memory, Setup
from experiment.errors import KirjoError
from experiment.plan import Plan, Step
from experiment.resources import MANY_RANKS, SHARED_OUT, Site

MOST_RANKS = 4096


def refuse_unfit(plan: Plan, states: Mapping[str, str], config: Config) -> None:
    """Check every step that is to run against the memory of its ranks.

    Raises:
        KirjoError: a step cannot fit; each kind of misfit is listed once. Where the site's ``gpu_memory_gb`` or the
            model's shape is not known, nothing is checked.
    """
    site = config.launcher.site
    if site is None or site.gpu_memory_gb is None:
        return
    # Memory hangs on no measurement, so no store is read.
    faults = misfits(plan, estimate_plan(plan, states, config, None).steps, site)
    if faults:
        raise KirjoError("this does not fit:\n  " + "\n  ".join(faults))


def misfits(plan: Plan, estimates: Mapping[str, Estimate], site: Site | None) -> list[str]:
    """What does not fit, a sentence for each kind of step, with what to change."""
    found: dict[str, None] = {}
    for key, estimate in estimates.items():
        if site is not None and estimate.fits is False:
            try:
                check_fits(plan.steps[key], estimate, site)
            except KirjoError as error:
                found[str(error)] = None
    return list(found)


def check_fits(step: Step, estimate: Estimate, site: Site) -> None:
    """Check one step.

    Raises:
        KirjoError: its ranks need more memory than they have; names both in GB, and what to change.
    """
    need, room, allocation = estimate.memory, estimate.available, estimate.allocation
    if estimate.fits is not False or need is None or room is None or allocation is None:
        return
    parts = ", ".join(f"{name} {_gb(value)}" for name, value in need.parts().items() if value)
    lines = [f"needs {_gb(need.total)} GB of GPU memory a rank ({parts}), has {_gb(room)}"]
    if estimate.host_available is not None and need.host > estimate.host_available:
        lines.append(
            f"needs {_gb(need.host)} GB of the node's memory a rank for what is offloaded, "
            f"has {_gb(estimate.host_available)}"
        )
    remedies = list(dict.fromkeys(_remedies(step, estimate, site)))
    advice = (
        "would fit with " + "; or ".join(remedies)
        if remedies
        else f"up to {MOST_RANKS} ranks do not make it fit: take GPUs with more memory, or a smaller model"
    )
    raise KirjoError(
        f"{step.stage} on {allocation.ranks} x {allocation.gpus_per_rank} GPUs {' and '.join(lines)}; {advice}"
    )


def _remedies(step: Step, estimate: Estimate, site: Site) -> Iterator[str]:
    assert estimate.shape is not None  # the memory was computed from it
    assert site.gpu_memory_gb is not None
    if step.stage in MANY_RANKS:
        yield from _training_remedies(step.stage, setup_of(step, estimate.shape), estimate, site)
    else:
        yield from _inference_remedies(step, estimate, site.gpu_memory_gb * GB, site.gpus_per_node or math.inf)


def _training_remedies(stage: str, setup: Setup, estimate: Estimate, site: Site) -> Iterator[str]:
    """The least change that makes a training step fit: on its ranks; else spread over more, or partly on the host."""
    host = math.inf
    if site.mem_gb_per_node and site.gpus_per_node:
        host = site.mem_gb_per_node * GB / site.gpus_per_node
    zero = replace(setup, parallel="zero3", offload="none")
    spread = (other for start in _easier(zero) for other in _with_more_ranks(start))
    offloaded = (other for start in _easier(replace(zero, offload="optimizer")) for other in _with_more_ranks(start))
    for candidates in (_easier(setup), spread, offloaded):
        fitting = (other for other in candidates if _fits(memory.training(other), estimate, host))
        if (found := next(fitting, None)) is not None:
            yield f"{_changes(stage, setup, found)} ({_gb(memory.training(found).total)} GB)"
            if (found.parallel, found.ranks) == (setup.parallel, setup.ranks):
                return


def _easier(setup: Setup) -> Iterator[Setup]:
    """The same, then recomputing activations, then with a row a pass as well."""
    yield setup
    yield replace(setup, recompute=True)
    yield replace(setup, recompute=True, micro_batch=1)


def _with_more_ranks(setup: Setup) -> Iterator[Setup]:
    """The same on 1, 2, 4 ... times as many ranks, as far as the global batch can be made of them."""
    ranks = setup.ranks
    while ranks <= MOST_RANKS:
        if setup.global_batch % (ranks * setup.micro_batch) == 0:
            yield replace(setup, ranks=ranks)
        ranks *= 2


def _fits(need: Memory, estimate: Estimate, host: float) -> bool:
    assert estimate.available is not None
    return need.total <= estimate.available and need.host <= host


def _changes(stage: str, before: Setup, after: Setup) -> str:
    """The options that lead from one set-up to the other."""
    named = (
        ("parallel", "parallel"),
        ("offload", "parallel.offload"),
        ("ranks", f"launcher.resources.{stage}.ranks"),
        ("micro_batch", f"{stage}.micro_batch"),
        ("recompute", f"{stage}.gradient_checkpointing"),
    )
    changed = [
        f"{option}={str(value).lower()}"
        for name, option in named
        if (value := getattr(after, name)) != getattr(before, name)
    ]
    return " ".join(changed)


def _inference_remedies(step: Step, estimate: Estimate, gpu: float, most: float) -> Iterator[str]:
    """More GPUs for the one process, or a smaller batch."""
    assert estimate.memory is not None
    assert estimate.available is not None
    gpus = math.ceil(estimate.memory.total / gpu)
    if gpus <= most:
        yield f"launcher.resources.{step.stage}.gpus_per_rank={gpus}"
    section, option = (step.stage, "batch_size") if step.stage in SHARED_OUT else ("reference", "micro_batch")
    size = step.execution[section][option]
    while size > 1:
        size //= 2
        smaller = replace(step, execution={**step.execution, section: {**step.execution[section], option: size}})
        need = memory_of(smaller, estimate.shape, estimate.precision)
        if need is not None and need.total <= estimate.available:
            yield f"{'dpo' if section == 'reference' else section}.{option}={size} ({_gb(need.total)} GB)"
            return


def _gb(value: float) -> str:
    return f"{value / GB:.1f}" if value >= GB else f"{value / GB:.2g}"
