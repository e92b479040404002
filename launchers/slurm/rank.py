"""One rank of a step that many ranks run: ``python -m launchers.slurm.rank STORE SUBMISSION TASK STEP``.

Started by ``launchers.slurm.node`` on every rank; exits with 0 (done), 75 (stopped, to be gone on with) or 1.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
from dataclasses import replace
from pathlib import Path

from experiment import stop
from experiment.errors import KirjoError
from experiment.execute import Outcome
from experiment.ranks import Ranks
from experiment.store import Store
from launchers.slurm import ledger
from launchers.slurm.node import FAILED, attempt
from launchers.slurm.report import Reporter, read_step
from launchers.slurm.sbatch import STOPPED


def main(store_root: str, submission: str, task: str, key: str) -> int:
    """Run the step as this rank; returns the exit code."""
    for number in (signal.SIGUSR2, signal.SIGTERM):
        signal.signal(number, lambda _signal, _frame: stop.request())
    store = Store(Path(store_root))
    step = ledger.steps_of(store, submission)[key]
    reporter = Reporter.joined(store, submission, int(task))
    rank = int(os.environ["RANK"])
    try:
        progress = reporter.progress_of(step) if rank == 0 else _untold
        outcome = attempt(step, store, progress, ranks=Ranks.from_environment())
    except stop.Stopped:
        outcome = Outcome("stopped")
    except KirjoError as error:
        outcome = Outcome("failed", str(error))
    if outcome.state == "failed" and rank:
        outcome = replace(outcome, reason=f"rank {rank} on {platform.node()}: {outcome.reason}")
        print(outcome.reason, file=sys.stderr, flush=True)
    first_failure = read_step(store, submission, int(task), reporter.restarts, key) != "failed"
    # A rank that fails leaves the others hanging until they are ended; its own word is the one that explains.
    if first_failure and (rank == 0 or outcome.state == "failed"):
        Reporter.joined(store, submission, int(task)).finish(step, outcome)
    return {"done": 0, "stopped": STOPPED}.get(outcome.state, FAILED)


def _untold(_done: int, _total: int) -> None:
    pass


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
