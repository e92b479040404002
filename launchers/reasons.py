"""Why a step waits, is held or failed, in one line each, with what to do. Pure functions of SLURM's words."""

from __future__ import annotations

import re

from launchers.slurm.queue import Ended, QueueEntry
from launchers.slurm.sbatch import STOPPED

RETRY = "python -m launchers retry"

# SLURM's reasons (squeue's manual page, "JOB REASON CODES") for which a pending job does not start by itself.
_HELD = {
    "JobHeldUser": "held by its owner: scontrol release {job}",
    "JobHeldAdmin": "held by an administrator, who alone can release it: ask the site's support",
    "JobHoldMaxRequeue": "held after too many requeues (SLURM's MaxBatchRequeue): scontrol release {job}",
    "launch failed requeued held": "held because its launch failed on the node: scontrol release {job}",
    "PartitionTimeLimit": "asks for more time than the partition gives: lower launcher.resources.{stage}.walltime_min",
    "PartitionNodeLimit": "asks for more nodes than the partition gives: lower launcher.resources.{stage}.nodes",
    "BadConstraints": "no node can ever give what it asks for: lower launcher.resources.{stage}",
    "InvalidAccount": "the account is not valid: set launcher.account",
    "AccountNotAllowed": "the account may not use the partition: set launcher.account or launcher.partition",
    "InvalidQOS": "the quality of service is not valid: set launcher.sbatch.qos",
    "QOSNotAllowed": "the quality of service may not use the partition: set launcher.sbatch.qos",
    "PartitionDown": "the partition is down: it starts when the site opens it again",
    "PartitionInactive": "the partition is inactive: it starts when the site opens it again",
}
_MEMORY = {
    "pretrain": "lower pretrain.micro_batch, or parallel=zero2, zero3 over more ranks",
    "sft": "lower sft.micro_batch, or parallel=zero2, zero3 over more ranks",
    "dpo": "lower dpo.micro_batch, or parallel=zero2, zero3 over more ranks",
    "reference": "lower dpo.micro_batch",
    "generate": "lower generate.batch_size",
    "translate": "lower translate.batch_size",
}
_ENDINGS = {
    "TIMEOUT": f"its walltime ended before it had stopped in good order, and it was not queued again: {RETRY} goes on "
    "from the last checkpoint; or raise launcher.resources.{stage}.walltime_min or launcher.stop_before_s",
    "NODE_FAIL": f"its node failed and SLURM did not start it again: {RETRY} goes on from the last checkpoint",
    "PREEMPTED": f"preempted and not queued again: {RETRY} goes on from the last checkpoint",
    "BOOT_FAIL": f"its node did not start: {RETRY}",
    "DEADLINE": f"its deadline passed before it could run: {RETRY}",
    "REVOKED": f"taken away by another cluster of the federation: {RETRY}",
}


# What a job ends with whose output file slurmd cannot open (scontrol: ExitCode=0:53).
_NO_LOG = 128 + 53


def held(entry: QueueEntry, stage: str) -> str | None:
    """Why a pending job does not start unless somebody does something; None if it will start by itself."""
    known = _HELD.get(entry.reason)
    if known is None and "held" not in entry.reason.lower() and entry.state != "REQUEUE_HOLD":
        return None
    words = (known or "held: scontrol release {job}").format(job=entry.job, stage=stage)
    return f"{words} ({entry.reason or entry.state})"


def never_satisfied(entry: QueueEntry) -> bool:
    """Whether a job waits for one that failed."""
    return entry.reason == "DependencyNeverSatisfied"


def queued(entry: QueueEntry) -> str:
    """Why a job that will start by itself has not started yet."""
    if entry.state == "PENDING" and entry.reason == "BeginTime":
        return "starts again after a requeue" if entry.restarts else "not before its begin time"
    if entry.state == "PENDING":
        return {"": "in the queue", "Priority": "other jobs come first", "Resources": "next when nodes are free"}.get(
            entry.reason, entry.reason
        )
    return entry.state.lower()


def failure(reason: str, stage: str) -> str:
    """What a step said when it failed, with what to do where that can be told."""
    line = " ".join(reason.split()) or "it did not say why"
    if re.search(r"out of memory|OutOfMemory|MemoryError", line) and "lower" not in line:
        return f"{line}; {_of_memory(stage)}"
    return line


def ending(found: Ended, stage: str, exit_code: int | None) -> str:
    """Why a job that is gone did not do its work, from how SLURM says that it ended."""
    state = found.state.split(" ")[0]
    where = f" on {found.nodes}" if found.nodes else ""
    if state == "OUT_OF_MEMORY":
        return f"out of memory{where}; {_of_memory(stage)}"
    if state == "CANCELLED":
        by = found.state.partition(" by ")[2]
        return f"cancelled by {f'uid {by}' if by else 'scancel or an administrator'}: {RETRY} submits it again"
    if found.reason == "JobLaunchFailure" and found.exit == _NO_LOG:
        return (
            f"SLURM could not start it{where}, most often because its log cannot be opened there: is the store on a "
            f"file system that the nodes share? Then {RETRY}"
        )
    if state in _ENDINGS:
        return _ENDINGS[state].format(stage=stage)
    code = exit_code if exit_code is not None else found.exit
    return exited(code, stage) if code else f"its job ended ({found.state}) and left no result: {RETRY}"


def exited(code: int, stage: str) -> str:
    """Why a job failed, if only its exit code is known."""
    if code == STOPPED:
        return f"stopped in good order (preempted, cancelled or out of time) and not queued again: {RETRY} goes on"
    if code == 137:
        return f"killed by signal 9: by hand, or out of memory; then {_of_memory(stage)}"
    return f"its job ended with exit code {code}"


def unknown(user: str, started: bool) -> str:
    """Why a job is gone that nobody has a word about."""
    why = (
        "left the queue without a word: its node failed, it was cancelled, or ran out of memory"
        if started
        else "its job left the queue without having started: cancelled, or what it waited for failed"
    )
    return f"{why} (submitted by {user}); {RETRY} submits it again"


def _of_memory(stage: str) -> str:
    return f"raise launcher.resources.{stage}.mem_gb if it is the node's memory" + (
        f", else {_MEMORY[stage]}" if stage in _MEMORY else ""
    )
