"""Submit what is needed, not done and not in flight: the one way in which launch, retry and ending jobs submit.

Who submits holds a claim on the store's ledger, so that two launches of overlapping sweeps do not both submit a step.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from experiment.claims import Claim, Observer
from experiment.errors import KirjoError
from experiment.plan import Step
from experiment.store import Store
from launchers.slurm import ledger, sbatch
from launchers.slurm.jobs import Job, make_jobs
from launchers.slurm.plans import Launched
from launchers.slurm.queue import QueueEntry, cancel_jobs, read_queue
from launchers.slurm.snapshot import snapshot
from launchers.slurm.submit import Submitted, submit
from launchers.states import StepState, in_flight, look

WAIT_FOR_CLAIM_S = 600.0


@dataclass(frozen=True)
class Advanced:
    """What one call did: step keys by what became of them, and the numbers of the jobs."""

    submitted: Mapping[str, str]
    attached: Mapping[str, str]
    waiting: tuple[str, ...]
    calls: int


def advance(store: Store, launched: Launched, wanted: Callable[[StepState], bool] = lambda _state: True) -> Advanced:
    """Submit the steps of a sweep that are needed and not under way.

    Args:
        wanted: which of them, by their state; a step that needs one that is not wanted is left alone too.

    Raises:
        KirjoError: SLURM does not answer or refuses; another process holds the ledger for too long.
    """
    with _ledger_claim(store):
        queue = read_queue()
        if queue is None:
            raise KirjoError("there are no SLURM commands here (squeue): give the command on the cluster's login node")
        states = look(store, launched.steps, queue)
        flight = in_flight(states)
        needed = launched.needed({key: state.state == "done" for key, state in states.items()})
        todo = _submittable(launched.steps, [key for key in needed if key not in flight], states, wanted)
        _cancel_blocked(todo, states, queue)
        jobs = make_jobs(launched.steps, set(todo), launched.launcher.site)
        found = _submit(store, launched, jobs, flight, queue) if jobs else Submitted({}, [])
    return Advanced(
        found.jobs, {key: job for key, job in flight.items() if key in needed}, tuple(found.waiting), found.calls
    )


def _submit(
    store: Store, launched: Launched, jobs: list[Job], flight: Mapping[str, str], queue: Mapping[str, QueueEntry]
) -> Submitted:
    launcher = launched.launcher
    code = snapshot(store)
    return submit(jobs, store, launcher, code, launched.folder, flight, room_for(launched, jobs, len(queue)))


def room_for(launched: Launched, jobs: list[Job], queued: int) -> int | None:
    """How many more jobs of this user the queue takes; None: no limit is known."""
    launcher = launched.launcher
    site = launcher.site
    names = {job.allocation.partition for job in jobs if job.allocation.partition}
    limits = [site.partitions[name].max_jobs for name in names if site and name in site.partitions]
    known = [limit for limit in (launcher.max_jobs, *limits) if limit]
    return max(0, min(known) - queued) if known else None


def _submittable(
    steps: Mapping[str, Step], todo: list[str], states: Mapping[str, StepState], wanted: Callable[[StepState], bool]
) -> list[str]:
    left_alone: set[str] = set()
    for key in todo:
        if not wanted(states[key]) or left_alone & set(steps[key].inputs.values()):
            left_alone.add(key)
    return [key for key in todo if key not in left_alone]


def _cancel_blocked(todo: list[str], states: Mapping[str, StepState], queue: Mapping[str, QueueEntry]) -> None:
    """A job that waits for one that failed is of no more use: its steps are submitted anew."""
    useful = set(in_flight(states).values())
    stale = {job for key in todo if (job := states[key].job) and job in queue} - useful
    if stale:
        cancel_jobs(sorted(stale))


def note_waiting(store: Store, some: bool) -> None:
    """Have ending jobs submit more, or no longer: the batch scripts look for this file."""
    marker = ledger.jobs_folder(store) / sbatch.WAITING
    with contextlib.suppress(OSError):
        if some:
            marker.touch()
        else:
            marker.unlink(missing_ok=True)


@contextlib.contextmanager
def _ledger_claim(store: Store) -> Iterator[None]:
    ledger.jobs_folder(store).mkdir(parents=True, exist_ok=True)
    observer, began = Observer(), time.monotonic()
    while (claim := Claim.acquire(ledger.jobs_folder(store) / "submit", observer=observer)) is None:
        if time.monotonic() - began > WAIT_FOR_CLAIM_S:
            raise KirjoError(
                f"another process has been submitting from {store.root} for {WAIT_FOR_CLAIM_S / 60:.0f} minutes "
                "(jobs/submit.claim-*): wait for it, or end it, then give the command again"
            )
        time.sleep(0.5)
    with claim:
        yield
