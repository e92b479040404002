"""What a running task says of itself in the store, for ``python -m launchers status``."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from experiment.execute import Outcome
from experiment.plan import Step
from experiment.store import Store
from launchers.slurm import ledger

WRITE_EVERY_S = 15.0


class Reporter:
    """Keeps a task's state file up to date; a full disk or a slow file system never stops the work."""

    def __init__(self, store: Store, submission: str, task: int) -> None:
        self.store, self.submission, self.task = store, submission, task
        self.restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        self.steps: dict[str, dict[str, Any]] = {}
        self.state = ledger.TaskState(
            job=_job_number(), restarts=self.restarts, host=platform.node(), started=_now(), updated=_now(), steps={}
        )
        self.last = 0.0

    @classmethod
    def joined(cls, store: Store, submission: str, task: int) -> Reporter:
        """The reporter of a task that has started already, in another process."""
        found = cls(store, submission, task)
        before = ledger.read_state(store, submission, task)
        if before is not None and before.restarts == found.restarts:
            found.state = before
            found.steps = {key: dict(value) for key, value in before.steps.items()}
        return found

    def start(self) -> None:
        """The task has started (again)."""
        with contextlib.suppress(OSError):  # what an earlier start was told does not hold for this one
            (ledger.folder_of(self.store, self.submission) / f"requeue-{self.task}").unlink(missing_ok=True)
        self._write()

    def begin(self, step: Step) -> None:
        """A step is being run."""
        self.steps[step.key] = {"state": "running", "since": _now()}
        self._write()

    def progress_of(self, step: Step) -> Callable[[int, int], None]:
        """What the step calls with (done, of how many)."""

        def progress(done: int, total: int) -> None:
            if time.monotonic() - self.last > WRITE_EVERY_S:
                self.steps[step.key]["progress"] = [done, total]
                self._write()

        return progress

    def finish(self, step: Step, outcome: Outcome) -> None:
        """A step has ended, one way or another."""
        self.steps[step.key] = {
            "state": outcome.state,
            "since": _now(),
            "reason": outcome.reason,
            "seconds": round(outcome.seconds, 3),
            "warnings": list(outcome.warnings),
        }
        self._write()

    def end(self, how: str, reason: str) -> None:
        """The task as a whole has ended."""
        self.state = dataclasses.replace(self.state, ended=how, reason=reason)
        self._write()

    def _write(self) -> None:
        self.last = time.monotonic()
        with contextlib.suppress(OSError):
            # A node that SLURM lost sight of may still run an earlier start of this task: its word counts no more.
            written = ledger.read_state(self.store, self.submission, self.task)
            if written is not None and written.restarts > self.restarts:
                return
            ledger.write_state(
                self.store, self.submission, self.task, dataclasses.replace(self.state, steps=self.steps)
            )


def read_step(store: Store, submission: str, task: int, restarts: int, key: str) -> str | None:
    """How a step ended in this start of the task: done, failed or stopped; None while it has not."""
    state = ledger.read_state(store, submission, task)
    if state is None or state.restarts != restarts:
        return None
    found = str(state.steps.get(key, {}).get("state", "running"))
    return None if found == "running" else found


def _job_number() -> str:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID", "")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
