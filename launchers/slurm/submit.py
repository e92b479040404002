"""Hand jobs to SLURM through submitit: with dependencies by job number, as far as the queue has room."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
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
    (re.compile(r"time limit|walltime", re.IGNORECASE), "lower launcher.resources.STAGE.walltime_min"),
    (
        re.compile(r"node configuration|memory|cpu count|more processors|gres|gpu", re.IGNORECASE),
        "lower what launcher.resources.STAGE asks for (gpus_per_rank, cpus_per_rank, mem_gb, nodes)",
    ),
    (re.compile(r"qos", re.IGNORECASE), "set launcher.sbatch.qos=... as the site's documentation says"),
)


@dataclass
class Submitted:
    """What became of jobs: ``jobs`` step key -> job number, ``waiting`` step keys that found no room yet."""

    jobs: dict[str, str]
    waiting: list[str]
    calls: int = 0


class NoRoom(Exception):
    """The queue takes no more jobs of this user now."""


def submit(
    jobs: Sequence[Job],
    store: Store,
    launcher: Launcher,
    code: Code,
    folder: str,
    in_flight: Mapping[str, str],
    room: int | None,
) -> Submitted:
    """Submit jobs in order, each behind the jobs of the steps it needs; what finds no room is left for later.

    Args:
        in_flight: step key -> job number, for steps that are in the queue or running already.
        room: how many jobs (array tasks count one each) fit into the queue; None: no limit known.

    Raises:
        KirjoError: sbatch refused a job; what was submitted before stays submitted, and is recorded.
    """
    found = Submitted({}, [])
    placed = dict(in_flight)
    made = {step.key for job in jobs for task in job.tasks for step in task.steps}
    for job in jobs:
        fitting = len(job.tasks) if room is None else min(room, len(job.tasks))
        if fitting < 1 or any(needed in made and needed not in placed for needed in job.needs):
            found.waiting += _keys(job)
            continue
        taken = job.first(fitting)
        needs = [placed[needed] for needed in sorted(job.needs) if needed in placed]
        try:
            numbers = _call(taken, store, launcher, code, folder, list(dict.fromkeys(needs)))
        except NoRoom:
            room = 0
            found.waiting += _keys(job)
            continue
        found.calls += 1
        room = None if room is None else room - fitting
        for task, number in zip(taken.tasks, numbers, strict=True):
            placed.update(dict.fromkeys((step.key for step in task.steps), number))
            found.jobs.update(dict.fromkeys((step.key for step in task.steps), number))
        found.waiting += [step.key for task in job.tasks[fitting:] for step in task.steps]
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
        found = _executor(place, launcher, wanted).map_array(
            run_task,
            [str(place.store)] * len(job.tasks),
            [submission.id] * len(job.tasks),
            list(range(len(job.tasks))),
        )
    except BaseException as error:
        if _refused(error):
            # sbatch took nothing, so there is nothing to keep a record of.
            shutil.rmtree(place.folder, ignore_errors=True)
            if _NO_ROOM.search(str(error)):
                raise NoRoom from None
            raise KirjoError(_explain(str(error))) from None
        raise
    numbers = [one.job_id for one in found]
    ledger.write(store, ledger.numbered(submission, numbers))
    return numbers


def _executor(place: sbatch.Place, launcher: Launcher, wanted: Mapping[str, Any]) -> Any:
    import submitit

    # A new one for each call: an executor keeps what it was once told, a dependency for instance.
    executor = submitit.SlurmExecutor(place.folder, python=launcher.python)
    executor.update_parameters(**wanted)
    return executor


def _refused(error: BaseException) -> bool:
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    return isinstance(error, FailedJobError | FailedSubmissionError)


def _explain(words: str) -> str:
    """sbatch's own words, and what to change."""
    lines = [line.strip() for line in words.splitlines() if "sbatch:" in line] or [words.strip()]
    said = " ".join(line.removeprefix("sbatch:").strip() for line in lines)
    advice = next((advice for pattern, advice in _ADVICE if pattern.search(said)), "see the site's documentation")
    return f"sbatch refused the job: {said}. What to change: {advice}; the same command then submits what is missing"


def _keys(job: Job) -> list[str]:
    return [step.key for task in job.tasks for step in task.steps]
