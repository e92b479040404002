"""What there is to know of a store's steps: artifacts, claims, submissions, what tasks said, and SLURM's word."""

from __future__ import annotations

import contextlib
import getpass
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from experiment.claims import Observer, holder, is_claimed
from experiment.fingerprint import digest, read_json, write_json_atomic
from experiment.plan import Step
from experiment.store import Store
from launchers.slurm import ledger
from launchers.slurm.queue import Ended, QueueEntry, ended, read_queue

_END_OF_LOG = 1 << 16  # bytes: a failure's words may be followed by those of libraries


@dataclass(frozen=True)
class Attempt:
    """The newest task that was submitted to run a step. ``said`` and ``exit`` are the task's own words."""

    submission: str
    task: int
    job: str | None
    user: str
    steps: tuple[str, ...]
    said: ledger.TaskState | None = None
    exit: int | None = None
    log: Path | None = None


@dataclass(frozen=True)
class Worker:
    """Who holds the claim on a step. ``job`` is its SLURM job's own number, None outside SLURM."""

    where: str = ""
    since: str | None = None
    job: str | None = None


@dataclass(frozen=True)
class Facts:
    """All that decides the states of steps; keys are step keys, jobs ``123`` or ``123_4``. ``queue`` None: no SLURM.

    ``local`` are steps that were never launched on a cluster; ``failures`` why the last attempt at one failed.
    """

    steps: Mapping[str, Step]
    complete: frozenset[str]
    queue: Mapping[str, QueueEntry] | None
    attempts: Mapping[str, Attempt] = field(default_factory=dict)
    ended: Mapping[str, Ended] = field(default_factory=dict)
    claims: Mapping[str, Worker] = field(default_factory=dict)
    cancelled: frozenset[str] = frozenset()
    local: frozenset[str] = frozenset()
    failures: Mapping[str, str] = field(default_factory=dict)


def gather(
    store: Store, steps: Mapping[str, Step], queue: Mapping[str, QueueEntry] | None, local: frozenset[str] = frozenset()
) -> Facts:
    """Look at the store, after the queue was read: what ended in between has left its artifact by now."""
    submitted = ledger.submissions(store)
    if queue is not None:
        queue = {**_of_others(submitted), **queue}
    attempts = _attempts(store, submitted, queue or {})
    keys = {*steps, *(needed for step in steps.values() for needed in step.inputs.values())}
    complete = frozenset(key for key in keys if store.is_complete(*key.split("/")))
    claims = _claims(store, keys - complete, queue)
    gone: dict[str, Ended] = {}
    if queue is not None:
        gone, alive = _gone(attempts, steps.keys() - complete, queue)
        queue = {**queue, **alive}
    failures = {key: why for key in local - complete if (why := last_failure(store.log(*key.split("/")))) is not None}
    return Facts(
        steps, complete, queue, attempts, gone, claims, _cancelled(store, attempts), local - attempts.keys(), failures
    )


def last_failure(log: Path) -> str | None:
    """Why the last attempt failed that left its words in a step's log; None if it did not, or left none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _END_OF_LOG))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return None
    last = next((line for line in reversed(lines) if line.startswith("--- ")), "")
    return last.removeprefix("--- failed ") if last.startswith("--- failed ") else None


def mark_cancelled(store: Store, keys: Iterable[str], attempts: Mapping[str, Attempt]) -> None:
    """Note that steps were given up, as far as they are submitted now: a later submission takes them up again."""
    for key in keys:
        attempt = attempts.get(key)
        content = {"key": key, "submission": attempt.submission if attempt else None}
        write_json_atomic(_marks(store) / f"{digest(key)}.json", content)


def forget_cancelled(store: Store, keys: Iterable[str]) -> None:
    """Steps that were given up are wanted again."""
    for key in keys:
        (_marks(store) / f"{digest(key)}.json").unlink(missing_ok=True)


def _marks(store: Store) -> Path:
    return ledger.jobs_folder(store) / "cancelled"


def _cancelled(store: Store, attempts: Mapping[str, Attempt]) -> frozenset[str]:
    found = set()
    for path in _marks(store).glob("*.json"):
        with contextlib.suppress(FileNotFoundError), ledger.skipped_if_damaged():
            key, submission = _mark(path)
            attempt = attempts.get(key)
            if submission == (attempt.submission if attempt else None):
                found.add(key)
    return frozenset(found)


def _mark(path: Path) -> tuple[str, str | None]:
    with ledger.checked(path, "delete it, then give python -m launchers cancel again"):
        mark = read_json(path)
        return str(mark["key"]), mark["submission"]


def _of_others(submitted: Iterable[ledger.Submission]) -> dict[str, QueueEntry]:
    others = {submission.user for submission in submitted} - {getpass.getuser()}
    return (read_queue(others) or {}) if others else {}


def _attempts(
    store: Store, submitted: Iterable[ledger.Submission], queue: Mapping[str, QueueEntry]
) -> dict[str, Attempt]:
    found: dict[str, Attempt] = {}
    by_comment = {(entry.comment, entry.job.partition("_")[2]): entry.job for entry in queue.values() if entry.comment}
    for submission in submitted:
        for task, record in enumerate(submission.tasks):
            job = record.job or _lost_number(submission, task, by_comment)
            attempt = Attempt(submission.id, task, job, submission.user, record.steps)
            found.update(dict.fromkeys(record.steps, attempt))
    # Only the newest attempts are of interest, and one of many steps is read once.
    told = {(attempt.submission, attempt.task): attempt for attempt in found.values()}
    told = {name: _with_words(store, attempt) for name, attempt in told.items()}
    return {key: told[attempt.submission, attempt.task] for key, attempt in found.items()}


def _lost_number(submission: ledger.Submission, task: int, by_comment: Mapping[tuple[str, str], str]) -> str | None:
    """Who submitted died before writing the job's number down: the job's comment names the submission."""
    index = str(task) if len(submission.tasks) > 1 else ""
    return by_comment.get((submission.comment, index))


def _with_words(store: Store, attempt: Attempt) -> Attempt:
    said = None
    with ledger.skipped_if_damaged():
        said = ledger.read_state(store, attempt.submission, attempt.task)
    said = _with_logged_failures(store, attempt, said)
    job = attempt.job or (said.job if said else None)
    return replace(
        attempt,
        job=job,
        said=said,
        exit=ledger.exit_code(store, attempt.submission, attempt.task),
        log=ledger.folder_of(store, attempt.submission) / f"{job}.log" if job else None,
    )


def _with_logged_failures(store: Store, attempt: Attempt, said: ledger.TaskState | None) -> ledger.TaskState | None:
    """Where a full disk kept a task from saying that a step failed, the last words of the step's log do."""
    words = said.steps if said else {}
    silent = [key for key in attempt.steps if words.get(key, {}).get("state", "running") == "running"]
    told = {key: why for key in silent if (why := _logged_failure(store, attempt.submission, key)) is not None}
    if not told:
        return said
    said = said or ledger.TaskState(attempt.job or "", 0, "", "", "", {})
    failed = {key: {**words.get(key, {}), "state": "failed", "reason": why} for key, why in told.items()}
    return replace(said, steps={**words, **failed})


def _logged_failure(store: Store, submission: str, key: str) -> str | None:
    """Why a step failed after the submission, by its log alone; an older failure is that of an earlier attempt."""
    log = store.log(*key.split("/"))
    with contextlib.suppress(OSError):
        submitted = (ledger.folder_of(store, submission) / "steps.json").stat().st_mtime_ns
        if log.stat().st_mtime_ns > submitted:
            return last_failure(log)
    return None


def _claims(store: Store, keys: Iterable[str], queue: Mapping[str, QueueEntry] | None) -> dict[str, Worker]:
    """Who works on which step; a claim of a job that has left the queue is a dead one's."""
    by_stage: dict[str, set[str]] = defaultdict(set)
    for key in keys:
        by_stage[key.split("/")[0]].add(key)
    numbers = None if queue is None else {entry.number or entry.job for entry in queue.values()}
    observer, found = Observer(), {}
    for stage, wanted in by_stage.items():
        for key in wanted & _with_claims(store, stage):
            base = store.base(*key.split("/"))
            owner = holder(base)
            if not is_claimed(base, observer):
                continue
            if owner is None or not owner.job or numbers is None or owner.job in numbers:
                found[key] = (
                    Worker(f"process {owner.pid} on {owner.host}", owner.since, owner.job) if owner else Worker()
                )
    return found


def _with_claims(store: Store, stage: str) -> set[str]:
    try:
        names = [path.name for path in (store.root / stage).iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return set()
    return {f"{stage}/{name.partition('.')[0]}" for name in names if ".claim-" in name}


def _gone(
    attempts: Mapping[str, Attempt], keys: Iterable[str], queue: Mapping[str, QueueEntry]
) -> tuple[dict[str, Ended], dict[str, QueueEntry]]:
    """How jobs ended that are not in the queue any more, and those that came into it since it was read."""
    newest = [attempts[key] for key in keys if key in attempts]
    jobs = {one.job for one in newest if one.job and one.job not in queue}
    others = {one.user for one in newest if one.job in jobs} - {getpass.getuser()}
    found = ended(sorted(jobs), others)
    alive = {job: one for job, one in found.items() if isinstance(one, QueueEntry)}
    return {job: one for job, one in found.items() if isinstance(one, Ended)}, alive
