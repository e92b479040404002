"""The record of what was submitted: one folder per submission in the store, written before sbatch is called.

store/jobs/<id>/submission.json   which steps which task runs, with what; the jobs' numbers once SLURM has given them
store/jobs/<id>/steps.json        the resolved steps by key: all that a node needs
store/jobs/<id>/state-<n>.json    what task n says of itself while it runs
store/jobs/<id>/exit-<n>          the exit code of task n's srun, written by the batch script on its way out
store/jobs/<id>/*                 submitit's batch script and pickle, and the jobs' own logs

A record is advisory: whether a step is done is decided by its artifact alone, and whether it may run by its claim.
"""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from experiment.fingerprint import read_json, write_json_atomic
from experiment.plan import Step
from experiment.provenance import FORMAT, check_format
from experiment.store import Store


@dataclass(frozen=True)
class TaskRecord:
    """One job, or one task of an array: the steps it runs, in order. ``job``: ``123``, ``123_4``; None: not known."""

    steps: tuple[str, ...]
    job: str | None = None


@dataclass(frozen=True)
class Submission:
    """One call of sbatch. ``allocation``: what each task gets; ``needs``: the jobs it waits for."""

    id: str
    name: str
    tasks: tuple[TaskRecord, ...]
    allocation: Mapping[str, Any]
    needs: tuple[str, ...]
    submitted: str
    user: str
    code: str
    # Where the command was given: paths in the steps are relative to it.
    folder: str
    max_restarts: int
    # The variable that tells a rank its GPUs; None: SLURM does.
    visible_devices: str | None

    @property
    def comment(self) -> str:
        """What the job carries so that it can be found even if its number was never written down."""
        return f"kirjo:{self.id}"


@dataclass(frozen=True)
class TaskState:
    """What a task says of itself. ``steps``: key -> {state, since, reason, seconds}; times ISO 8601, UTC."""

    job: str
    restarts: int
    host: str
    started: str
    updated: str
    steps: Mapping[str, Mapping[str, Any]]
    # Why the task as a whole ended, if it said so: "" while it runs.
    ended: str = ""
    reason: str = ""


def new_id() -> str:
    """A folder name that sorts by time and meets no other."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"


def jobs_folder(store: Store) -> Path:
    """Where submissions are recorded."""
    return store.root / "jobs"


def folder_of(store: Store, submission: str) -> Path:
    """The folder of one submission."""
    return jobs_folder(store) / submission


def record(
    store: Store,
    *,
    submission: str,
    name: str,
    tasks: Sequence[Sequence[Step]],
    allocation: Mapping[str, Any],
    needs: Sequence[str],
    code: str,
    folder: str,
    max_restarts: int,
    visible_devices: str | None,
) -> Submission:
    """Write down what is about to be submitted."""
    place = folder_of(store, submission)
    place.mkdir(parents=True)
    found = Submission(
        id=submission,
        name=name,
        tasks=tuple(TaskRecord(tuple(step.key for step in task)) for task in tasks),
        allocation=dict(allocation),
        needs=tuple(needs),
        submitted=_now(),
        user=getpass.getuser(),
        code=code,
        folder=folder,
        max_restarts=max_restarts,
        visible_devices=visible_devices,
    )
    steps = {step.key: step.to_json() for task in tasks for step in task}
    write_json_atomic(place / "steps.json", {"format": FORMAT, "steps": steps})
    write(store, found)
    return found


def write(store: Store, submission: Submission) -> None:
    """Write the record of a submission, anew."""
    write_json_atomic(
        folder_of(store, submission.id) / "submission.json",
        {"format": FORMAT, **dataclasses.asdict(submission)},
    )


def numbered(submission: Submission, jobs: Sequence[str]) -> Submission:
    """The submission with the numbers that SLURM gave its tasks."""
    tasks = tuple(dataclasses.replace(task, job=job) for task, job in zip(submission.tasks, jobs, strict=True))
    return dataclasses.replace(submission, tasks=tasks)


def submissions(store: Store) -> list[Submission]:
    """All that was ever submitted from this store, oldest first."""
    found = []
    for path in sorted(jobs_folder(store).glob("*/submission.json")):
        with contextlib.suppress(FileNotFoundError):
            found.append(_submission(read_json(path), path))
    return found


def read(store: Store, submission: str) -> Submission:
    """One submission."""
    path = folder_of(store, submission) / "submission.json"
    return _submission(read_json(path), path)


def steps_of(store: Store, submission: str) -> dict[str, Step]:
    """The resolved steps of a submission, by key."""
    path = folder_of(store, submission) / "steps.json"
    content = read_json(path)
    check_format(content, path)
    return {key: Step.from_json(document) for key, document in content["steps"].items()}


def write_state(store: Store, submission: str, task: int, state: TaskState) -> None:
    """What a task says of itself, as a whole."""
    path = folder_of(store, submission) / f"state-{task}.json"
    write_json_atomic(path, {"format": FORMAT, **dataclasses.asdict(dataclasses.replace(state, updated=_now()))})


def read_state(store: Store, submission: str, task: int) -> TaskState | None:
    """What a task said last; None if it has not started."""
    path = folder_of(store, submission) / f"state-{task}.json"
    try:
        content = read_json(path)
    except FileNotFoundError:
        return None
    check_format(content, path)
    return TaskState(**{item.name: content[item.name] for item in dataclasses.fields(TaskState)})


def exit_code(store: Store, submission: str, task: int) -> int | None:
    """The exit code of a task's srun as its batch script saw it; None if the script never got so far."""
    try:
        return int((folder_of(store, submission) / f"exit-{task}").read_text())
    except (OSError, ValueError):
        return None


def _submission(content: Any, path: Path) -> Submission:
    check_format(content, path)
    values = {item.name: content[item.name] for item in dataclasses.fields(Submission)}
    values["tasks"] = tuple(TaskRecord(tuple(task["steps"]), task["job"]) for task in values["tasks"])
    values["needs"] = tuple(values["needs"])
    return Submission(**values)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
