"""Hand jobs to SLURM through submitit: with dependencies by job number, as far as the queue has room."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiment.errors import KirjoError
from experiment.resources import Launcher
from experiment.store import Store
from launchers.slurm import ledger, sbatch
from launchers.slurm.jobs import Job
from launchers.slurm.node import run_task
from launchers.slurm.snapshot import Code

# What sbatch says when the user's or the account's limit of queued jobs is reached: more fits later.
_NO_ROOM = re.compile(r"MaxSubmit|SubmitJobsLimit|Slurm temporarily unable to accept job|too many jobs", re.IGNORECASE)
_ADVICE = (
    (re.compile(r"account", re.IGNORECASE), "set launcher.account=... to a project of yours"),
    (re.compile(r"partition", re.IGNORECASE), "set launcher.partition=... to one of the site's (sinfo lists them)"),
    (re.compile(r"time limit|walltime", re.IGNORECASE), "lower launcher.resources.{stage}.walltime_min"),
    (
        re.compile(r"node configuration|memory|cpu count|more processors|gres|gpu", re.IGNORECASE),
        "lower what launcher.resources.{stage} asks for (gpus_per_rank, cpus_per_rank, mem_gb, nodes)",
    ),
    (re.compile(r"qos", re.IGNORECASE), "set launcher.sbatch.qos=... as the site's documentation says"),
)


@dataclass
class Submitted:
    """What became of jobs: ``jobs`` step key -> job number, ``waiting`` step keys that found no room yet.

    ``words``: what sbatch said when it took no more.
    """

    jobs: dict[str, str]
    waiting: list[str]
    words: str = ""


class NoRoom(Exception):
    """The queue takes no more jobs of this user now."""


@dataclass
class Queue:
    """Calls sbatch, and keeps in mind how much room there is; ``room`` None: no limit known."""

    store: Store
    launcher: Launcher
    code: Code
    folder: str
    room: int | None
    still_mine: Callable[[], None]
    words: str = ""

    def take(self, job: Job, needs: Sequence[str]) -> list[str]:
        """Submit as many of the job's tasks as find room; returns their numbers.

        Raises:
            KirjoError: sbatch refused.
        """
        fitting = len(job.tasks) if self.room is None else min(self.room, len(job.tasks))
        while fitting > 0:
            self.still_mine()
            try:
                numbers = _call(job.first(fitting), self.store, self.launcher, self.code, self.folder, needs)
            except NoRoom as error:
                # An array is refused whole: fewer tasks may fit.
                self.words = str(error)
                fitting = fitting // 2
                self.room = fitting
                continue
            self.room = None if self.room is None else self.room - fitting
            return numbers
        return []


def submit(jobs: Sequence[Job], queue: Queue, in_flight: Mapping[str, str]) -> Submitted:
    """Submit jobs in order, each behind the jobs of the steps it needs; what finds no room is left for later.

    Args:
        in_flight: step key -> job number, for steps that are in the queue or running already.

    Raises:
        KirjoError: sbatch refused a job; what was submitted before stays submitted, and is recorded.
    """
    found = Submitted({}, [])
    placed = dict(in_flight)
    made = {step.key for job in jobs for task in job.tasks for step in task.steps}
    for job in jobs:
        numbers = []
        if all(needed in placed for needed in job.needs & made):
            needs = [placed[needed] for needed in sorted(job.needs) if needed in placed]
            numbers = queue.take(job, list(dict.fromkeys(needs)))
        for task, number in zip(job.tasks, numbers, strict=False):  # those that found room come first
            placed.update(dict.fromkeys((step.key for step in task.steps), number))
            found.jobs.update(dict.fromkeys((step.key for step in task.steps), number))
        found.waiting += [step.key for task in job.tasks[len(numbers) :] for step in task.steps]
    found.words = queue.words
    return found


def _call(job: Job, store: Store, launcher: Launcher, code: Code, folder: str, needs: Sequence[str]) -> list[str]:
    """One call of sbatch; the numbers of the job's tasks."""
    submission = ledger.record(
        store,
        submission=ledger.new_id(),
        name=job.name,
        tasks=[task.steps for task in job.tasks],
        allocation=vars(job.allocation),
        needs=needs,
        code=code.digest,
        folder=folder,
        max_restarts=launcher.max_restarts,
        visible_devices=launcher.visible_devices,
    )
    place = sbatch.Place(ledger.folder_of(store, submission.id).resolve(), code.path, store.root.resolve())
    array = len(job.tasks) > 1
    wanted = sbatch.parameters(job.name, job.allocation, launcher, place, needs, submission.comment, array)
    try:
        with _undisturbed():
            found = _executor(place, launcher, wanted).map_array(
                run_task,
                [str(place.store)] * len(job.tasks),
                [submission.id] * len(job.tasks),
                list(range(len(job.tasks))),
            )
            numbers = [one.job_id for one in found]
            ledger.write(store, ledger.numbered(submission, numbers))
    except BaseException as error:
        if _refused(error):
            # sbatch took nothing, so there is nothing to keep a record of.
            shutil.rmtree(place.folder, ignore_errors=True)
            if _NO_ROOM.search(str(error)):
                raise NoRoom(_words(str(error))) from None
            raise KirjoError(_explain(str(error), job.name)) from None
        raise
    return numbers


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C between sbatch and the record would leave a job that nobody knows, or without what it needs."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _executor(place: sbatch.Place, launcher: Launcher, wanted: Mapping[str, Any]) -> Any:
    import submitit

    # A new one for each call: an executor keeps what it was once told, a dependency for instance.
    executor = submitit.SlurmExecutor(place.folder, python=launcher.python)
    executor.update_parameters(**wanted)
    return executor


def _refused(error: BaseException) -> bool:
    from submitit.core.utils import FailedJobError

    return isinstance(error, FailedJobError)


def _explain(output: str, stage: str) -> str:
    """sbatch's own words, and what to change."""
    said = _words(output)
    found = next((advice for pattern, advice in _ADVICE if pattern.search(said)), "see the site's documentation")
    return (
        f"sbatch refused the {stage} job: {said}. What to change: {found.format(stage=stage)}; "
        "the same command then submits what is missing"
    )


def _words(output: str) -> str:
    lines = [line.partition("sbatch:")[2] for line in output.splitlines() if "sbatch:" in line] or [output]
    said = " ".join(" ".join(lines).replace("error:", "").split())
    return said or "(sbatch gave no reason)"
