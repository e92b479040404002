"""Submit what is needed, not done and not in flight: the one way in which launch, retry and ending jobs submit.

Who submits holds a claim on the store's ledger (:func:`ledger_claim`), so that two launches of overlapping sweeps do
not both submit a step.
"""

from __future__ import annotations

import contextlib
import os
import shutil
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
from launchers.slurm.snapshot import stored
from launchers.slurm.submit import Queue, Submitted, submit
from launchers.states import StepState, in_flight, look

WAIT_FOR_CLAIM_S = 600.0
# An ending job holds its nodes while it waits, and another ending job does the same work.
ENDING_JOB_WAITS_S = 20.0


@dataclass(frozen=True)
class Advanced:
    """What one call did: step keys by what became of them, and the numbers of the jobs.

    ``words``: what sbatch said when it took no more.
    """

    submitted: Mapping[str, str]
    attached: Mapping[str, str]
    waiting: tuple[str, ...]
    words: str = ""

    @property
    def stalled(self) -> bool:
        """Whether steps wait for room and no job is there that would submit them when it ends."""
        return bool(self.waiting) and not self.submitted and not self.attached


def advance(
    store: Store, launched: Launched, claim: Claim, wanted: Callable[[StepState], bool] = lambda _state: True
) -> Advanced:
    """Submit the steps of a sweep that are needed and not under way.

    Args:
        claim: on the ledger, held by the caller.
        wanted: which of them, by their state; a step that needs one that is not wanted is left alone too.

    Raises:
        KirjoError: SLURM does not answer or refuses.
    """
    queue = read_queue()
    if queue is None:
        raise KirjoError("there are no SLURM commands here (squeue): give the command on the cluster's login node")
    queue = _without_orphans(store, queue)
    states = look(store, launched.steps, queue)
    flight = in_flight(states)
    needed = launched.needed({key: state.state == "done" for key, state in states.items()})
    todo = _submittable(launched.steps, [key for key in needed if key not in flight], states, wanted)
    _cancel_blocked(todo, states, queue)
    jobs = make_jobs(launched.steps, set(todo), launched.launcher.site, flight)
    found = _submit(store, launched, jobs, flight, queue, claim) if jobs else Submitted({}, [])
    attached = {key: job for key, job in flight.items() if key in needed}
    return Advanced(found.jobs, attached, tuple(found.waiting), found.words)


def _submit(
    store: Store,
    launched: Launched,
    jobs: list[Job],
    flight: Mapping[str, str],
    queue: Mapping[str, QueueEntry],
    claim: Claim,
) -> Submitted:
    room = room_for(launched, jobs, queue)
    if room is not None:
        # Before the first job can end: it must find that there is more to submit.
        note_waiting(store, True)
    code = stored(store, launched.code)
    return submit(jobs, Queue(store, launched.launcher, code, launched.folder, room, claim.check), flight)


def room_for(launched: Launched, jobs: list[Job], queue: Mapping[str, QueueEntry]) -> int | None:
    """How many more jobs of this user the queue takes; None: no limit is known. A job that is ending counts no more."""
    ending = os.environ.get(sbatch.ENDING_JOB)
    queued = sum(not ending or (entry.number or entry.job) != ending for entry in queue.values())
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


def _without_orphans(store: Store, queue: Mapping[str, QueueEntry]) -> dict[str, QueueEntry]:
    """Cancel jobs whose launcher died before it left what they need (submitit's pickle): they cannot run.

    Nobody else is submitting now, so a submission without numbers is a dead launcher's.
    """
    lost = {}
    for submission in ledger.submissions(store):
        if any(task.job is None for task in submission.tasks):
            folder = ledger.folder_of(store, submission.id)
            jobs = [job for job, entry in queue.items() if entry.comment == submission.comment]
            if any(not (folder / f"{job}_submitted.pkl").exists() for job in jobs):
                lost.update(dict.fromkeys(jobs, folder))
    if lost:
        cancel_jobs(sorted(lost))
        for folder in set(lost.values()):
            shutil.rmtree(folder, ignore_errors=True)
    return {job: entry for job, entry in queue.items() if job not in lost}


def _cancel_blocked(todo: list[str], states: Mapping[str, StepState], queue: Mapping[str, QueueEntry]) -> None:
    """A job that waits for one that failed is of no more use: its steps are submitted anew."""
    useful = set(in_flight(states).values())
    stale = {job for key in todo if (job := states[key].job) and job in queue and queue[job].state == "PENDING"}
    if stale - useful:
        cancel_jobs(sorted(stale - useful))


def note_waiting(store: Store, some: bool) -> None:
    """Have ending jobs submit more, or no longer: the batch scripts look for this file."""
    marker = ledger.jobs_folder(store) / sbatch.WAITING
    with contextlib.suppress(OSError):
        if some:
            marker.touch()
        else:
            marker.unlink(missing_ok=True)


@contextlib.contextmanager
def ledger_claim(store: Store, seconds: float = WAIT_FOR_CLAIM_S) -> Iterator[Claim]:
    """The right to submit from this store.

    Raises:
        KirjoError: another process has had it for longer than ``seconds``.
    """
    ledger.jobs_folder(store).mkdir(parents=True, exist_ok=True)
    observer, began = Observer(), time.monotonic()
    while (claim := Claim.acquire(ledger.jobs_folder(store) / "submit", observer=observer)) is None:
        if time.monotonic() - began > seconds:
            raise KirjoError(
                f"another process has been submitting from {store.root} for {seconds:.0f} seconds "
                "(jobs/submit.claim-*): wait for it, or end it, then give the command again"
            )
        time.sleep(0.5)
    with claim:
        yield claim
