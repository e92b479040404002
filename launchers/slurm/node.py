"""On the node: run the steps of one task, as the ranks that SLURM started. submitit calls :func:`run_task`.

Every rank comes in here. A step of one process is run by rank 0 in this process; a step of many ranks in a fresh
process of each rank (``launchers.slurm.rank``), because what the libraries know of a process group cannot be undone.
The exit code tells the truth: 0 when all steps are done, 75 when told to stop, 1 otherwise.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiment import stop
from experiment.claims import Observer
from experiment.errors import KirjoError
from experiment.execute import Outcome, execute, reason_of
from experiment.plan import Step
from experiment.resources import SHARED_OUT
from experiment.store import Store
from launchers.slurm import ledger
from launchers.slurm.jobs import allocation_of
from launchers.slurm.report import Reporter, read_step
from launchers.slurm.sbatch import STOPPED
from launchers.worker import log_to

LOOK_AGAIN_S = 5.0
FAILED = 1
# What the scheduler tells a job: its walltime ends (USR2), or it is cancelled or preempted (TERM).
SIGNALS = (signal.SIGUSR2, signal.SIGTERM)
# A preempted job that ends by itself counts as failed; one that SLURM has to end is queued again.
LINGER_S = 120.0


_told: set[int] = set()  # the signals that came


@dataclass(frozen=True)
class Rank:
    """One process of a task: which of how many it is, which on its node, and what the task is to run."""

    store: Store
    record: ledger.Submission
    task: int
    rank: int
    size: int
    local: int
    reporter: Reporter

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which runs what one process runs, and reports."""
        return self.rank == 0

    def said_of(self, key: str) -> str | None:
        """How a step ended in this start of the task, by rank 0's word."""
        return read_step(self.store, self.record.id, self.task, self.reporter.restarts, key)


def run_task(store_root: str, submission: str, task: int) -> None:
    """Run a task's steps in order; does not return but ends the process with the exit code."""
    import submitit

    here = submitit.JobEnvironment()
    store = Store(Path(store_root))
    reporter = Reporter(store, submission, task)
    code, reason = FAILED, ""
    try:
        record = ledger.read(store, submission)
        rank = Rank(store, record, task, here.global_rank, here.num_tasks, here.local_rank, reporter)
        code = _run(rank)
    except stop.Stopped:
        code = STOPPED
    except KirjoError as error:
        reason = str(error)
        print(f"error: {error}", file=sys.stderr, flush=True)
    except Exception as error:  # noqa: BLE001 - whatever it was, status must be able to tell
        reason = reason_of(error, store.root)
        traceback.print_exc()
    if reason and here.global_rank == 0:
        reporter.end("failed", reason)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    if code == STOPPED and _told == {signal.SIGTERM}:
        time.sleep(LINGER_S)
    # Not sys.exit: threads of libraries, or an exit handler, must not change what the scheduler is told.
    os._exit(code)


def _run(rank: Rank) -> int:
    os.environ.update(own_gpus(rank.record, rank.local))
    # Threads that spin while they wait for each other are very slow on busy cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    steps = ledger.steps_of(rank.store, rank.record.id)
    if rank.first:
        rank.reporter.start()
    _listen(rank)
    _enter(rank.record.folder)
    if rank.reporter.restarts > rank.record.max_restarts:
        raise KirjoError(
            f"started again {rank.reporter.restarts} times, launcher.max_restarts={rank.record.max_restarts}; "
            "look at the log, then: python -m launchers retry"
        )
    ended = "done"
    for key in rank.record.tasks[rank.task].steps:
        stop.obey()
        outcome = _one(steps[key], rank)
        if outcome == "stopped":
            return STOPPED
        if outcome != "done":
            ended = "failed"
            if rank.size > 1:  # the others may hang in what this one has left: the sooner it says so, the better
                return FAILED
    if rank.first:
        rank.reporter.end(ended, "")
    return 0 if ended == "done" else FAILED


def _enter(folder: str) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise KirjoError(
            f"the folder {folder}, where the sweep was launched, cannot be entered on "
            f"{os.environ.get('SLURMD_NODENAME', 'this node')} ({error.strerror}): launch from a shared file system"
        ) from None


def own_gpus(record: ledger.Submission, local: int) -> dict[str, str]:
    """Which GPUs of its node belong to the rank ``local`` there, for sites where SLURM does not say so."""
    gpus = record.allocation["gpus_per_rank"]
    if not record.visible_devices or not gpus:
        return {}
    return {record.visible_devices: ",".join(map(str, range(local * gpus, (local + 1) * gpus)))}


def rank_environment(rank: Rank) -> dict[str, str]:
    """What the training libraries read. Not for a step of one process: they would look for the others."""
    return {
        "RANK": str(rank.rank),
        "WORLD_SIZE": str(rank.size),
        # A rank that sees its own GPUs alone finds the first at number 0.
        "LOCAL_RANK": "0" if own_gpus(rank.record, rank.local) else str(rank.local),
        "LOCAL_WORLD_SIZE": str(rank.record.allocation["ranks_per_node"]),
        # Below the range of outgoing connections, and no other job's MASTER_PORT.
        "CONTROL_PORT": str(int(os.environ["MASTER_PORT"]) + 10000),
    }


def gpus_of_its_own(step: Step, rank: Rank) -> dict[str, str]:
    """For a rank that works alone on its share: its GPUs of those that it sees, where all ranks of a node see all.

    Ranks that train together take theirs by number; an engine that is one process takes the first ones, or all.
    """
    gpus = rank.record.allocation["gpus_per_rank"]
    if step.stage not in SHARED_OUT or not gpus or own_gpus(rank.record, rank.local):
        return {}
    name = "CUDA_VISIBLE_DEVICES"  # ROCm's libraries read it, too
    everything = rank.record.allocation["ranks_per_node"] * gpus
    seen = os.environ[name].split(",") if os.environ.get(name) else list(map(str, range(everything)))
    if len(seen) < everything:  # the scheduler has shared them out
        return {}
    return {name: ",".join(seen[rank.local * gpus : (rank.local + 1) * gpus]), "LOCAL_RANK": "0"}


def _one(step: Step, rank: Rank) -> str:
    """Run a step with the ranks it wants, or wait for those that run it; returns done, failed or stopped."""
    if allocation_of(step).ranks > 1 and rank.size > 1:
        return _with_ranks(step, rank)
    if rank.first:
        return _alone(step, rank)
    # Who leaves early has srun end the others (--wait), so the other ranks stay until rank 0 has said how it ended.
    while (state := rank.said_of(step.key)) is None:
        time.sleep(LOOK_AGAIN_S)
    return state


def _alone(step: Step, rank: Rank) -> str:
    log_to(rank.store.log(step.stage, step.fingerprint))
    rank.reporter.begin(step)
    try:
        outcome = attempt(step, rank.store, rank.reporter.progress_of(step))
    except stop.Stopped:
        outcome = Outcome("stopped")
    rank.reporter.finish(step, outcome)
    return outcome.state


def attempt(step: Step, store: Store, progress: Callable[[int, int], None], **ranks: Any) -> Outcome:
    """Run a step, or wait while another process does; ``there`` counts as done."""
    observer = Observer()
    threads = int(step.execution.get("threads") or allocation_of(step).cpus_per_rank)
    _log(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {step.key} {step.label}")
    while True:
        outcome = execute(step, store, progress, threads, observer, **ranks)
        if outcome.state != "elsewhere":
            break
        time.sleep(LOOK_AGAIN_S)
    if outcome.state == "there":
        _log("--- there")
        return Outcome("done")
    if outcome.state == "damaged":
        outcome = Outcome(
            "failed",
            f"its inputs {', '.join(outcome.damaged)} are missing or damaged, and were put aside; "
            "python -m launchers retry makes them again",
        )
    _log(f"--- {outcome.state} {outcome.reason}")
    return outcome


def _log(line: str) -> None:
    with contextlib.suppress(OSError):  # a full disk fails the step, not its log
        print(line, flush=True)


def _with_ranks(step: Step, rank: Rank) -> str:
    if rank.first:
        rank.reporter.begin(step)
    log = rank.store.log(step.stage, step.fingerprint)
    log_to(log)
    command = [sys.executable, "-m", "launchers.slurm.rank", str(rank.store.root), rank.record.id, str(rank.task)]
    # The child gets the scheduler's signals itself: until it listens (rank.py) they wait, and are not lost.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    environment = {**os.environ, **_code_path(), **rank_environment(rank), **gpus_of_its_own(step, rank)}
    child = subprocess.Popen([*command, step.key], env=environment)
    with stop.deferred():
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        code = child.wait()
    if code in (0, STOPPED):
        return "done" if code == 0 else "stopped"
    if rank.first and rank.said_of(step.key) is None:
        died = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        rank.reporter.finish(step, Outcome("failed", f"rank 0 {died}; its log: {log}"))
    return "failed"


def _code_path() -> dict[str, str]:
    """The child imports the same code, though the working folder has changed meanwhile."""
    return {"PYTHONPATH": os.environ.get("PYTHONPATH", str(Path(__file__).resolve().parent.parent.parent))}


def _listen(rank: Rank) -> None:
    """USR2: the walltime ends soon, so stop and be queued again. TERM: cancelled or preempted, so stop. Both save."""
    marker = ledger.folder_of(rank.store, rank.record.id) / f"requeue-{rank.task}"

    def told(number: int, _frame: Any) -> None:
        _told.add(number)
        if number == signal.SIGUSR2:
            marker.touch()
        stop.request()

    for number in SIGNALS:
        signal.signal(number, told)
