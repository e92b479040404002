"""``python -m launchers cancel``: give runs up, and of their steps those that no other unfinished run needs."""

from __future__ import annotations

import getpass
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from experiment.errors import KirjoError
from experiment.plan import Step
from experiment.show import counted
from experiment.store import Store
from launchers.facts import Attempt, gather, mark_cancelled
from launchers.known import Known, KnownRun, chosen, known
from launchers.slurm.queue import QueueEntry, cancel_jobs, read_queue
from launchers.states import IN_FLIGHT, StepState, states_of

# No job works on these, but retry would submit them again; what was launched on this machine alone it leaves alone.
_OPEN = ("not submitted", "failed", "blocked")


@dataclass
class Cancellation:
    """What cancelling comes to: jobs to end with their steps, steps to give up, and what is left alone, and why."""

    jobs: dict[str, list[str]] = field(default_factory=dict)
    given_up: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def cancel(store: Store, patterns: Sequence[str], everything: bool, dry: bool) -> int:
    """Cancel the jobs of runs and say what was done, or with ``dry`` what would be.

    Raises:
        KirjoError: no run is meant by a pattern; no SLURM here; scancel refuses.
    """
    queue = read_queue()
    found = known(store)
    runs = list(found.runs) if everything else _chosen(found, patterns)
    facts = gather(store, found.steps, queue, frozenset(found.steps) - found.launched)
    states = states_of(facts)
    plan = plan_cancel(found, runs, states, everything, facts.queue or {})
    foreign = [job for job in plan.jobs if _is_foreign(job, facts.queue or {})]
    if queue is None and plan.jobs:
        raise KirjoError("there are no SLURM commands here (scancel): give the command on the cluster's login node")
    for job in foreign:
        plan.jobs.pop(job)
        plan.kept.append(f"job {job} is another user's, who alone can cancel it")
    if not dry:
        _carry_out(store, plan, facts.attempts)
    _say(found, plan, states, dry)
    return 0


def plan_cancel(
    found: Known,
    runs: Sequence[KnownRun],
    states: Mapping[str, StepState],
    everything: bool = False,
    queued: Collection[str] = (),
) -> Cancellation:
    """Which jobs can go: those of which every open step is needed by none but these runs. Pure.

    Args:
        queued: the jobs that SLURM holds: one of a blocked step may wait there though it will never start.
    """
    done = {key: state.state == "done" for key, state in states.items()}
    others = [run for run in found.runs if run.id not in {one.id for one in runs}]
    wanted_by_others = found.needed(_alive(found, others, done, states), done)
    own = found.needed(runs, done)
    if everything:
        own |= {key for key, state in states.items() if state.state in IN_FLIGHT}
    plan = Cancellation()
    for key in (key for key in found.steps if key in own):
        state = states[key]
        if key in wanted_by_others:
            if state.state in IN_FLIGHT:
                plan.kept.append(f"{_named(found.steps, key)} is needed by other runs")
        elif state.state == "running" and not state.job:
            plan.kept.append(f"{_named(found.steps, key)} is run by {state.reason}, not by a job: end that with Ctrl-C")
        elif state.job and (state.state in IN_FLIGHT or (state.state == "blocked" and state.job in queued)):
            plan.jobs.setdefault(state.job, []).append(key)
        elif state.state in _OPEN and key in found.launched:
            plan.given_up.append(key)
    _keep_shared(found, plan, states)
    return plan


def _alive(
    found: Known, runs: Sequence[KnownRun], done: Mapping[str, bool], states: Mapping[str, StepState]
) -> list[KnownRun]:
    """A run that was given up, all of it, needs nothing any more."""
    return [run for run in runs if not any(states[key].state == "cancelled" for key in found.needed([run], done))]


def _keep_shared(found: Known, plan: Cancellation, states: Mapping[str, StepState]) -> None:
    """A job cannot be cancelled in part."""
    own = {key for keys in plan.jobs.values() for key in keys}
    for key, state in states.items():
        if state.job in plan.jobs and state.state in IN_FLIGHT and key not in own:
            keys = plan.jobs.pop(state.job)
            plan.given_up += [one for one in keys if states[one].state not in IN_FLIGHT]
            named = ", ".join(_named(found.steps, one) for one in keys)
            plan.kept.append(
                f"job {state.job} ({named}) also does {_named(found.steps, key)}, which other runs need: not cancelled"
            )


def _carry_out(store: Store, plan: Cancellation, attempts: Mapping[str, Attempt]) -> None:
    # The marks first: jobs that end submit what waits for room, and must not find these steps wanted.
    mark_cancelled(store, [*plan.given_up, *(key for keys in plan.jobs.values() for key in keys)], attempts)
    cancel_jobs(plan.jobs)


def _chosen(found: Known, patterns: Sequence[str]) -> list[KnownRun]:
    runs = {run.id: run for pattern in patterns for run in chosen(found.runs, pattern)}
    return list(runs.values())


def _is_foreign(job: str, queue: Mapping[str, QueueEntry]) -> bool:
    entry = queue.get(job)
    return entry is not None and entry.user not in ("", getpass.getuser())


def _say(found: Known, plan: Cancellation, states: Mapping[str, StepState], dry: bool) -> None:
    did = "would cancel" if dry else "cancelled"
    for job, keys in plan.jobs.items():
        print(f"{did} job {job} ({states[keys[0]].state}): {', '.join(_named(found.steps, key) for key in keys)}")
    for key in plan.given_up:
        print(f"{'would give up' if dry else 'gave up'} {_named(found.steps, key)} ({states[key].state})")
    for line in plan.kept:
        print(f"kept: {line}")
    steps = len(plan.given_up) + sum(map(len, plan.jobs.values()))
    if not steps:
        print("nothing to cancel: no job in the queue works for these runs alone, and no step of theirs is left to do")
        return
    print(
        f"{did} {counted(len(plan.jobs), 'job')}, {counted(steps, 'step')}. python -m launchers retry leaves them "
        "alone; giving the sweep's command again takes them up again"
    )


def _named(steps: Mapping[str, Step], key: str) -> str:
    step = steps[key]
    return f"{step.stage} {step.label}".strip()
