"""On the node: run the steps of one task, as the ranks that SLURM started. submitit calls :func:`run_task`.

Every rank comes in here. A step of one process is run by rank 0 in this process; a step of many ranks in a fresh
process of each rank (``launchers.slurm.rank``), because what the libraries know of a process group cannot be undone.
The exit code tells the truth: 0 when all steps are done, 75 when told to stop, 1 otherwise.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiment import stop
from experiment.claims import Observer
from experiment.errors import KirjoError
from experiment.execute import Outcome, execute
from experiment.plan import Step
from experiment.store import Store
from experiment.resources import Allocation
from launchers.slurm import ledger
from launchers.slurm.jobs import allocation_of
from launchers.slurm.report import Reporter, read_step
from launchers.slurm.sbatch import STOPPED
from launchers.worker import log_to

LOOK_AGAIN_S = 5.0
FAILED = 1


def run_task(store_root: str, submission: str, task: int) -> None:
    """Run a task's steps in order; does not return but ends the process with the exit code."""
    import submitit

    here = submitit.JobEnvironment()
    rank, size = here.global_rank, here.num_tasks
    store = Store(Path(store_root))
    code = FAILED
    try:
        code = _run(store, submission, task, rank, size)
    except stop.Stopped:
        code = STOPPED
    except KirjoError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        if rank == 0:
            Reporter(store, submission, task).end("failed", str(error))
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: threads of libraries, or an exit handler, must not change what the scheduler is told.
    os._exit(code)


def _run(store: Store, submission: str, task: int, rank: int, size: int) -> int:
    record = ledger.read(store, submission)
    os.environ.update(own_gpus(record, rank))
    # Threads that spin while they wait for each other are very slow on busy cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    steps = ledger.steps_of(store, submission)
    reporter = Reporter(store, submission, task)
    if rank == 0:
        reporter.start()
    _listen(store, record, task)
    try:
        os.chdir(record.folder)
    except OSError as error:
        raise KirjoError(
            f"the folder {record.folder}, where the sweep was launched, cannot be entered on "
            f"{os.environ.get('SLURMD_NODENAME', 'this node')} ({error.strerror}): launch from a shared file system"
        ) from None
    if reporter.restarts > record.max_restarts:
        raise KirjoError(
            f"started again {reporter.restarts} times, launcher.max_restarts={record.max_restarts}; "
            "look at the log, then: python -m launchers retry"
        )
    ended = "done"
    for key in record.tasks[task].steps:
        outcome = _one(steps[key], store, record, reporter, rank, size)
        if outcome == "stopped":
            raise stop.Stopped
        if outcome != "done":
            ended = "failed"
    if rank == 0:
        reporter.end(ended, "")
    return 0 if ended == "done" else FAILED


def own_gpus(record: ledger.Submission, rank: int) -> dict[str, str]:
    """Which GPUs of its node are this rank's, for sites where SLURM does not say so."""
    allocation = Allocation(**record.allocation)
    if not record.visible_devices or not allocation.gpus_per_rank:
        return {}
    first = rank % allocation.ranks_per_node * allocation.gpus_per_rank
    return {record.visible_devices: ",".join(map(str, range(first, first + allocation.gpus_per_rank)))}


def rank_environment(record: ledger.Submission, rank: int, size: int) -> dict[str, str]:
    """What the training libraries read: who this rank is. Not for a step of one process, which would look for others."""
    per_node = record.allocation["ranks_per_node"]
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        # A rank that sees its own GPU alone finds it at number 0.
        "LOCAL_RANK": "0" if own_gpus(record, rank) else str(rank % per_node),
        "LOCAL_WORLD_SIZE": str(per_node),
        # Below the range of outgoing connections, and no other job's MASTER_PORT.
        "CONTROL_PORT": str(int(os.environ["MASTER_PORT"]) + 10000),
    }


def _one(step: Step, store: Store, record: ledger.Submission, reporter: Reporter, rank: int, size: int) -> str:
    """Run a step with the ranks it wants, or wait for those that run it; returns done, failed or stopped."""
    if allocation_of(step).ranks > 1 and size > 1:
        return _with_ranks(step, store, reporter, rank_environment(record, rank, size))
    if rank == 0:
        return _alone(step, store, reporter).state
    # Who leaves early has srun end the others (--wait), so the other ranks stay until rank 0 has said how it ended.
    while (state := read_step(store, reporter.submission, reporter.task, reporter.restarts, step.key)) is None:
        time.sleep(LOOK_AGAIN_S)
        stop.obey()
    return state


def _alone(step: Step, store: Store, reporter: Reporter) -> Outcome:
    log_to(store.log(step.stage, step.fingerprint))
    reporter.begin(step)
    try:
        outcome = attempt(step, store, reporter.progress_of(step))
    except stop.Stopped:
        outcome = Outcome("stopped")  # type: ignore[arg-type]
    reporter.finish(step, outcome)
    return outcome


def attempt(step: Step, store: Store, progress: Callable[[int, int], None], **ranks: Any) -> Outcome:
    """Run a step, or wait while another process does; ``there`` counts as done."""
    observer = Observer()
    threads = int(step.execution.get("threads") or allocation_of(step).cpus_per_rank)
    print(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {step.key} {step.label}", flush=True)
    while True:
        outcome = execute(step, store, progress, threads, observer, **ranks)
        if outcome.state != "elsewhere":
            break
        time.sleep(LOOK_AGAIN_S)
    if outcome.state == "there":
        outcome = Outcome("done")
    if outcome.state == "damaged":
        outcome = Outcome(
            "failed",
            f"its inputs {', '.join(outcome.damaged)} are missing or damaged, and were put aside; "
            "python -m launchers retry makes them again",
        )
    print(f"--- {outcome.state} {outcome.reason}", flush=True)
    return outcome


def _with_ranks(step: Step, store: Store, reporter: Reporter, environment: dict[str, str]) -> str:
    rank = int(environment["RANK"])
    if rank == 0:
        reporter.begin(step)
    log_to(store.log(step.stage, step.fingerprint))
    command = [sys.executable, "-m", "launchers.slurm.rank", str(store.root), reporter.submission, str(reporter.task)]
    # The child gets the scheduler's signals itself; until it listens they must not kill it.
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGUSR2, signal.SIGTERM)}
    child = subprocess.Popen([*command, step.key], env={**os.environ, **_code_path(), **environment})
    for number, handler in handlers.items():
        signal.signal(number, handler)
    with stop.deferred():
        code = child.wait()
    if code == 0:
        return "done"
    if code == STOPPED:
        return "stopped"
    if rank == 0 and read_step(store, reporter.submission, reporter.task, reporter.restarts, step.key) is None:
        died = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        reporter.finish(step, Outcome("failed", f"rank 0 {died}; its log: {store.log(step.stage, step.fingerprint)}"))
    return "failed"


def _code_path() -> dict[str, str]:
    """The child imports the same code, though the working folder has changed meanwhile."""
    return {"PYTHONPATH": os.environ.get("PYTHONPATH", str(Path(__file__).resolve().parent.parent.parent))}


def _listen(store: Store, record: ledger.Submission, task: int) -> None:
    """USR2: the walltime ends soon, so save, stop and be queued again. TERM: cancelled or preempted, so save and stop."""
    folder = ledger.folder_of(store, record.id)

    def walltime_ends(_signal: int, _frame: Any) -> None:
        (folder / f"requeue-{task}").touch()
        stop.request()

    signal.signal(signal.SIGUSR2, walltime_ends)
    signal.signal(signal.SIGTERM, lambda _signal, _frame: stop.request())
