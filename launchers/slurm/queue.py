"""What SLURM says of jobs: squeue while it knows them, sacct afterwards where there is one; and scancel.

Each question is one call for all jobs, because a cluster's controller is shared by everybody.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from experiment.errors import KirjoError

TIME_LIMIT_S = 30.0
# squeue --Format; the comment, which may hold any character, comes last.
_FIELDS = (
    "JobArrayID",
    "JobID",
    "UserName",
    "State",
    "Reason",
    "exit_code",
    "RestartCnt",
    "StartTime",
    "NodeList",
    "Dependency",
    "Comment",
)
_SACCT_FIELDS = ("JobID", "State", "ExitCode", "Reason", "NodeList")
# States of squeue --states=all in which a job has left the queue for good.
_OVER = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
}
# What a user has told these commands to print otherwise.
_OWN_TASTE = re.compile(r"SQUEUE_|SACCT_|SCANCEL_|SLURM_TIME_FORMAT$")
_AT_ONCE = 500  # job numbers in one command line


@dataclass(frozen=True)
class QueueEntry:
    """A job, or one task of an array, in the queue. ``job``: ``123`` or ``123_4``; ``number``: its own, a plain one.

    ``start``: when it started, or is expected to; ISO 8601, UTC. ``exit``: the exit code, once it has ended.
    """

    job: str
    state: str
    reason: str = ""
    dependency: str = ""
    start: str | None = None
    nodes: str = ""
    comment: str = ""
    restarts: int = 0
    user: str = ""
    number: str = ""
    exit: int | None = None


@dataclass(frozen=True)
class Ended:
    """How a job ended, in SLURM's words: ``CANCELLED by 1000``, ``TIMEOUT``. ``exit``: 128 + n after signal n."""

    state: str
    exit: int | None = None
    reason: str = ""
    nodes: str = ""


def has_slurm() -> bool:
    """Whether SLURM's commands are here."""
    return shutil.which("squeue") is not None


def read_queue(others: Collection[str] = ()) -> dict[str, QueueEntry] | None:
    """This user's jobs in the queue, by job; None where there are no SLURM commands.

    Args:
        others: users whose jobs are wanted too.

    Raises:
        KirjoError: squeue fails or does not answer.
    """
    return None if not has_slurm() else _squeue(others, [])


def ended(jobs: Collection[str], others: Collection[str] = ()) -> dict[str, Ended | QueueEntry]:
    """What became of jobs that a look at the queue did not find; one that is there after all comes as its entry.

    SLURM forgets a job minutes after its end (MinJobAge) but for its accounting, which not every site has: a job of
    which nothing can be learned is not in the answer.

    Raises:
        KirjoError: squeue fails or does not answer.
    """
    if not jobs or not has_slurm():
        return {}
    known = _squeue(others, ["--states=all"])
    found: dict[str, Ended | QueueEntry] = {}
    for job in jobs:
        # An array that was cancelled before any task of it started keeps one record for them all.
        entry = known.get(job) or known.get(job.partition("_")[0])
        if entry is not None:
            over = entry.state in _OVER
            found[job] = Ended(entry.state, entry.exit, entry.reason, entry.nodes) if over else entry
    # The accounting alone knows who cancelled a job.
    unclear = [job for job in jobs if job not in found or getattr(found[job], "state", "") == "CANCELLED"]
    return {**found, **_sacct(unclear)}


def cancel_jobs(jobs: Iterable[str]) -> None:
    """Cancel jobs, array tasks singly; one that has ended meanwhile is no error.

    Raises:
        KirjoError: scancel refuses, or does not answer.
    """
    listed = list(jobs)
    for first in range(0, len(listed), _AT_ONCE):
        done = _call(["scancel", *listed[first : first + _AT_ONCE]])
        words = [line for line in done.stderr.splitlines() if not re.search(r"Invalid job id|already compl", line)]
        if done.returncode and words:
            raise KirjoError(f"scancel failed: {' '.join(words)}")


def parse_queue(text: str) -> dict[str, QueueEntry]:
    """squeue's lines as entries, by job."""
    entries = (_entry(line) for line in text.splitlines() if line.count("|") >= len(_FIELDS) - 1)
    return {entry.job: entry for entry in entries}


def parse_accounts(text: str) -> dict[str, Ended]:
    """sacct's lines by job; of a job that was requeued, the last."""
    found = {}
    for line in text.splitlines():
        values = dict(zip(_SACCT_FIELDS, line.split("|"), strict=False))
        if len(values) == len(_SACCT_FIELDS) and values["State"].split(" ")[0] in _OVER:
            found[values["JobID"]] = Ended(
                values["State"], _exit(values["ExitCode"]), _text(values["Reason"]), _text(values["NodeList"])
            )
    return found


def _squeue(others: Collection[str], more: Sequence[str]) -> dict[str, QueueEntry]:
    wanted = ["-a", "-r", "-h", *more, "-O", ",".join(f"{name}:|" for name in _FIELDS)]
    found = parse_queue(_told(["squeue", "--me", *wanted]))
    known = sorted(user for user in others if _has_account(user))
    if known:
        found = {**parse_queue(_told(["squeue", "-u", ",".join(known), *wanted])), **found}
    return found


def _has_account(user: str) -> bool:
    """Whether the machine knows the user (still): squeue complains of names that it does not."""
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _entry(line: str) -> QueueEntry:
    values = dict(zip(_FIELDS, line.split("|", len(_FIELDS) - 1), strict=True))
    return QueueEntry(
        job=values["JobArrayID"],
        number=values["JobID"],
        user=values["UserName"],
        state=values["State"],
        reason=_text(values["Reason"]),
        dependency=_text(values["Dependency"]),
        start=_utc(values["StartTime"]),
        nodes=_text(values["NodeList"]),
        comment=_text(values["Comment"].removesuffix("|")),
        restarts=int(values["RestartCnt"]) if values["RestartCnt"].isdecimal() else 0,
        exit=_exit(values["exit_code"]),
    )


def _sacct(jobs: Sequence[str]) -> dict[str, Ended]:
    """What the accounting knows; nothing where there is none."""
    found: dict[str, Ended] = {}
    if shutil.which("sacct") is None:
        return found
    for first in range(0, len(jobs), _AT_ONCE):
        wanted = ",".join(jobs[first : first + _AT_ONCE])
        try:
            done = _call(["sacct", "-n", "-P", "-X", "-o", ",".join(_SACCT_FIELDS), "-j", wanted])
        except KirjoError:
            break
        if done.returncode:
            break
        found.update(parse_accounts(done.stdout))
    return {job: one for job, one in found.items() if job in jobs}


def _told(command: Sequence[str]) -> str:
    done = _call(command)
    if done.returncode:
        words = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise KirjoError(f"{command[0]} failed: {words}. Once SLURM answers again, give the same command")
    return done.stdout


def _call(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=TIME_LIMIT_S, env=_plain(), check=False
        )
    except subprocess.TimeoutExpired:
        raise KirjoError(
            f"{command[0]} did not answer within {TIME_LIMIT_S:g} seconds: SLURM's controller is busy or down; "
            "give the same command again later"
        ) from None
    except OSError as error:
        raise KirjoError(f"cannot call {command[0]}: {error.strerror or error}") from None


def _plain() -> Mapping[str, str]:
    return {**{name: value for name, value in os.environ.items() if not _OWN_TASTE.match(name)}, "LC_ALL": "C"}


def _text(value: str) -> str:
    return "" if value in ("(null)", "N/A", "None", "NONE", "Unknown", "None assigned") else value


def _utc(value: str) -> str | None:
    """SLURM's times are of the local clock, without saying so."""
    try:
        return datetime.fromisoformat(value).astimezone(timezone.utc).isoformat(timespec="seconds")
    except ValueError:
        return None


def _exit(value: str) -> int | None:
    """``3:0`` (sacct: code and signal) or the status of wait(2) as a number (squeue)."""
    code, colon, signal = value.partition(":")
    if not code.isdecimal():
        return None
    if colon:
        return 128 + int(signal) if signal.isdecimal() and int(signal) else int(code)
    return 128 + (int(code) & 127) if int(code) & 127 else int(code) >> 8
