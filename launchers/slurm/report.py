"""What a running task says of itself in the store, for ``python -m launchers status``."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from experiment.errors import StoreError
from experiment.execute import Outcome
from experiment.plan import Step
from experiment.store import Store
from launchers.slurm import ledger

WRITE_EVERY_S = 15.0


class Reporter:
    """Keeps a task's state file up to date; a full disk or a slow file system never stops the work.

    ``written``: whether the last word could be written down.
    """

    def __init__(self, store: Store, submission: str, task: int) -> None:
        self.store, self.submission, self.task = store, submission, task
        self.restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        self.steps: dict[str, dict[str, Any]] = {}
        self.state = ledger.TaskState(
            job=_job_number(), restarts=self.restarts, host=platform.node(), started=_now(), updated=_now(), steps={}
        )
        self.last = 0.0
        self.written = True

    @classmethod
    def joined(cls, store: Store, submission: str, task: int) -> Reporter:
        """The reporter of a task that has started already, in another process."""
        found = cls(store, submission, task)
        before = _said(store, submission, task)
        if before is not None and before.restarts == found.restarts:
            found.state = before
            found.steps = {key: dict(value) for key, value in before.steps.items()}
        return found

    def start(self) -> None:
        """The task has started (again)."""
        folder = ledger.folder_of(self.store, self.submission)
        for left in ("requeue", "exit"):  # what an earlier start was told, or told, does not hold for this one
            with contextlib.suppress(OSError):
                (folder / f"{left}-{self.task}").unlink(missing_ok=True)
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
        # A node that SLURM lost sight of may still run an earlier start of this task: its word counts no more.
        said = _said(self.store, self.submission, self.task)
        if said is not None and said.restarts > self.restarts:
            return
        state, problem = dataclasses.replace(self.state, steps=self.steps), ""
        for write in (ledger.write_state, ledger.overwrite_state):
            try:
                write(self.store, self.submission, self.task, state)
                self.written = True
                return
            except OSError as error:
                problem = problem or error.strerror or str(error)
        if self.written:  # said once, in the log, which may be on the same full disk
            with contextlib.suppress(OSError):
                print(f"the task's state cannot be written: {problem}", file=sys.stderr, flush=True)
        self.written = False


def read_step(store: Store, submission: str, task: int, restarts: int, key: str) -> str | None:
    """How a step ended in this start of the task: done, failed or stopped; None while it has not.

    An artifact speaks for itself, also where a full disk kept the task from saying that the step is done.
    """
    state = _said(store, submission, task)
    words = state.steps.get(key, {}) if state is not None and state.restarts == restarts else {}
    found = str(words.get("state", "running"))
    if found != "running":
        return found
    with contextlib.suppress(StoreError):  # the disk does not answer: ask again later
        return "done" if store.is_complete(*key.split("/")) else None
    return None


def _said(store: Store, submission: str, task: int) -> ledger.TaskState | None:
    """What the task said last; None also where it cannot be read now, or stands there in part."""
    try:
        return ledger.read_state(store, submission, task)
    except (OSError, StoreError):
        return None


def _job_number() -> str:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID", "")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
