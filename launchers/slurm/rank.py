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
from experiment.plan import Step
from experiment.ranks import Ranks
from experiment.store import Store
from launchers.slurm import ledger
from launchers.slurm.node import FAILED, SIGNALS, attempt
from launchers.slurm.report import Reporter, read_step
from launchers.slurm.sbatch import STOPPED


def main(store_root: str, submission: str, task: str, key: str) -> int:
    """Run the step as this rank; returns the exit code."""
    for number in SIGNALS:
        signal.signal(number, lambda _signal, _frame: stop.request())
    store = Store(Path(store_root))
    step = ledger.steps_of(store, submission)[key]
    reporter = Reporter.joined(store, submission, int(task))
    rank = int(os.environ["RANK"])
    try:
        # Blocked since before this process started; what has come meanwhile is heard now.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        progress = reporter.progress_of(step) if rank == 0 else _untold
        outcome = attempt(step, store, progress, ranks=Ranks.from_environment(key))
    except stop.Stopped:
        outcome = Outcome("stopped")
    except KirjoError as error:
        outcome = Outcome("failed", str(error))
    if outcome.state == "failed" and rank:
        outcome = replace(outcome, reason=f"rank {rank} on {platform.node()}: {outcome.reason}")
        print(outcome.reason, file=sys.stderr, flush=True)
    with stop.deferred():
        _tell(store, submission, int(task), step, outcome, rank)
    return {"done": 0, "stopped": STOPPED}.get(outcome.state, FAILED)


def _tell(store: Store, submission: str, task: int, step: Step, outcome: Outcome, rank: int) -> None:
    """Rank 0 says how the step ended, unless another rank has said how it failed: that word explains more."""
    reporter = Reporter.joined(store, submission, task)
    said = read_step(store, submission, task, reporter.restarts, step.key)
    if said != "failed" and (rank == 0 or outcome.state == "failed"):
        reporter.finish(step, outcome)


def _untold(_done: int, _total: int) -> None:
    pass


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
