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
import json
import os
import secrets
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from experiment.errors import StoreError
from experiment.fingerprint import finite, read_json, write_json_atomic
from experiment.plan import Step
from experiment.provenance import FORMAT, check_format
from experiment.store import Store

_skipped: set[str] = set()


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


_SUBMISSION, _STATE = TypeAdapter(Submission), TypeAdapter(TaskState)


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
    """All that was ever submitted from this store, oldest first; a damaged record is told of and left out."""
    found = []
    for path in sorted(jobs_folder(store).glob("*/submission.json")):
        with contextlib.suppress(FileNotFoundError), skipped_if_damaged():
            found.append(read(store, path.parent.name))
    return found


def read(store: Store, submission: str) -> Submission:
    """One submission."""
    path = folder_of(store, submission) / "submission.json"
    with checked(path, _look_first(submission)):
        return _SUBMISSION.validate_python(_content(path))


def steps_of(store: Store, submission: str) -> dict[str, Step]:
    """The resolved steps of a submission, by key."""
    path = folder_of(store, submission) / "steps.json"
    with checked(path, _look_first(submission)):
        content = _content(path)
        return {key: Step.from_json(document) for key, document in content["steps"].items()}


def write_state(store: Store, submission: str, task: int, state: TaskState) -> None:
    """What a task says of itself, as a whole."""
    write_json_atomic(_state_path(store, submission, task), _of_state(state))


def overwrite_state(store: Store, submission: str, task: int, state: TaskState) -> None:
    """The same in place, for a full disk: the file has its block already. Who reads meanwhile may see a part.

    Raises:
        OSError: it cannot be written; then it holds what it held before.
    """
    text = json.dumps(finite(_of_state(state)), ensure_ascii=False, allow_nan=False).encode()
    with _state_path(store, submission, task).open("r+b", buffering=0) as file:
        before = file.read()
        try:
            _put(file.fileno(), text)
        except OSError:
            _put(file.fileno(), before)
            raise


def read_state(store: Store, submission: str, task: int) -> TaskState | None:
    """What a task said last; None if it has not started.

    Raises:
        StoreError: the file is damaged.
    """
    path = _state_path(store, submission, task)
    with checked(path, "delete it: a task that runs writes it anew"):
        try:
            found = _STATE.validate_python(_content(path))
        except FileNotFoundError:
            return None
        for moment in (found.started, found.updated):
            datetime.fromisoformat(moment)
        for words in found.steps.values():
            _check_words(words)
        return found


def exit_code(store: Store, submission: str, task: int) -> int | None:
    """The exit code of a task's srun as its batch script saw it; None if the script never got so far."""
    try:
        return int((folder_of(store, submission) / f"exit-{task}").read_text())
    except (OSError, ValueError):
        return None


@contextlib.contextmanager
def checked(path: Path, advice: str) -> Iterator[None]:
    """StoreError with advice instead of a traceback, where a record has missing or odd fields or is no JSON."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        what = f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}"
        raise StoreError(f"{path}: not as expected ({what}); {advice}") from error
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise StoreError(f"{path}: not as expected ({error!r}); {advice}") from error


@contextlib.contextmanager
def skipped_if_damaged() -> Iterator[None]:
    """One damaged record of many stops nothing; it is told of once."""
    try:
        yield
    except StoreError as error:
        if str(error) not in _skipped:
            _skipped.add(str(error))
            print(f"warning: left out: {error}", file=sys.stderr)


def _look_first(submission: str) -> str:
    """Whoever deletes the record of a job that is in the queue or runs has its steps submitted twice."""
    return f"look for its job with squeue (comment kirjo:{submission}) first; once there is none, delete the folder"


def _content(path: Path) -> Any:
    try:
        content = read_json(path)
    except StoreError as error:  # whose advice, to delete the file, is not good for every record
        raise error.__cause__ or error from None
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise TypeError('no JSON object with a whole number "format"')
    check_format(content, path)
    return content


def _check_words(words: Mapping[str, Any]) -> None:
    """What ``launchers.states`` relies on."""
    if not isinstance(words["state"], str):
        raise TypeError(f"the state is {words['state']!r}")
    if words.get("since"):
        datetime.fromisoformat(words["since"])
    if words.get("progress"):
        _done, _total = words["progress"]


def _state_path(store: Store, submission: str, task: int) -> Path:
    return folder_of(store, submission) / f"state-{task}.json"


def _of_state(state: TaskState) -> dict[str, Any]:
    return {"format": FORMAT, **dataclasses.asdict(dataclasses.replace(state, updated=_now()))}


def _put(file: int, content: bytes) -> None:
    """Make this the file's content; a shorter one is filled up with spaces first, so that it can be read all along."""
    whole = content.ljust(os.fstat(file).st_size)
    if os.pwrite(file, whole, 0) != len(whole):
        raise OSError("written in part only: is the disk full?")
    os.ftruncate(file, len(content))
    os.fsync(file)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
