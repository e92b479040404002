"""A step's side of tracking: records go to a child process, which is waited for only for a moment at the end."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from experiment import stop
from experiment.plan import Step
from experiment.store import Store
from experiment.tracking.speed import Speed

TRACKED = ("pretrain", "sft", "dpo", "generate", "score")

# How long a finished step waits for W&B to write or upload what is left, in seconds; an interrupted one has less time.
PATIENCE_S = {"offline": 15.0, "online": 45.0}
PATIENCE_STOPPED_S = 3.0
MOST_WAITING = 20_000  # records in memory when W&B does not take them

# W&B has its own count of steps; and TRL counts tokens from where it was resumed.
_LEFT_OUT = ("step", "num_tokens")

_PACKAGE = Path(__file__).resolve().parents[2]

# What W&B may see of the environment: who the user is and where the server is. Its other variables would change the
# run's name, folder or mode behind the config's back.
_PASSED_ON = ("WANDB_BASE_URL", "WANDB_CONFIG_DIR", "WANDB_INSECURE_DISABLE_SSL")
_KEYS = ("WANDB_API_KEY", "WANDB_CREDENTIALS_FILE", "WANDB_IDENTITY_TOKEN_FILE")

# SLURM sends a step's signals to each of its processes, in whichever session: they are for the step, which ends the
# child in its time.
NOT_FOR_US = (signal.SIGTERM, signal.SIGUSR2)

# Once W&B had to be left behind in this process, its next steps do not wait for it again.
_gave_up: list[str] = []


class Tracker:
    """Follows one step: ``with Tracker(step, store) as tracker``, then ``log``, and ``done`` once it is published."""

    def __init__(self, step: Step, store: Store) -> None:
        self.step, self.store = step, store
        self.tracking = step.execution.get("tracking") or {}
        self.warnings: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None
        self._queue: queue.Queue[bytes | None] = queue.Queue()
        self._replayed = 0
        self._ending: dict[str, Any] | None = None
        self._speed = Speed(step)
        self._lost = 0

    def __enter__(self) -> Tracker:
        """Start the child, if this step is tracked."""
        if self.tracking.get("name") == "wandb" and self.step.stage in TRACKED:
            self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        """Let the child end: in its time after success, quickly when the step has to stop."""
        if self.process is None:
            return
        stopped = kind is not None and not issubclass(kind, Exception)
        ending = {"end": "done" if kind is None else "stopped" if stopped else "failed", **(self._ending or {})}
        patience = PATIENCE_STOPPED_S if stopped else PATIENCE_S[self.tracking.get("mode", "offline")]
        try:
            with stop.deferred():  # done is done
                self._end(ending, patience)
        except Exception as error:  # noqa: BLE001 - a result is never lost to what only watched it
            self._warn(f"W&B tracking ended badly ({type(error).__name__}: {error})")

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Hand over what was measured at an optimizer step; never waits, never raises."""
        if self.process is None:
            return
        try:
            numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
            values = {**numbers, **self._speed.of(step, numbers)}
            kept = {name: value for name, value in values.items() if name not in _LEFT_OUT}
            # An entry of a resumed training's history is in memory anyway, and has its room beside the new ones.
            self._replayed += "step" in values
            self._put({"step": step, "values": {**kept, "_timestamp": time.time()}})
        except Exception:  # noqa: BLE001
            self._lost += 1

    def done(self, summary: Mapping[str, Any]) -> None:
        """The step is published, and this came out."""
        self._ending = {"summary": dict(summary)}

    def _start(self) -> None:
        if _gave_up:
            self._warn(f"not tracked by W&B: {_gave_up[0]}")
            return
        try:
            self.process = _child(self.store, keys=self.tracking.get("mode") == "online")
        except Exception as error:  # noqa: BLE001 - no memory, no processes left ...
            self._warn(f"not tracked by W&B: cannot start its process ({error})")
            return
        self._listener = threading.Thread(target=self._listen, name="tracking", daemon=True)
        self._listener.start()
        threading.Thread(target=self._feed, name="tracking", daemon=True).start()
        self._put({"tracking": dict(self.tracking), "of": self.step.to_json()})

    def _put(self, message: Mapping[str, Any]) -> None:
        if "step" in message and self._queue.qsize() >= MOST_WAITING + self._replayed:
            self._lost += 1
        else:
            self._queue.put(json.dumps(message, default=str).encode() + b"\n")

    def _feed(self) -> None:
        """Write to the child as fast as it reads (a thread of its own: a pipe that is full would stop the step)."""
        pipe = self.process.stdin if self.process else None
        with suppress(OSError, ValueError):
            while pipe and (line := self._queue.get()) is not None:
                pipe.write(line)
                pipe.flush()
            if pipe:
                pipe.close()

    def _listen(self) -> None:
        for line in (self.process.stdout if self.process else None) or ():
            with suppress(ValueError, KeyError):
                self._warn(str(json.loads(line)["warning"]))

    def _end(self, ending: Mapping[str, Any], patience: float) -> None:
        assert self.process is not None
        self._put(ending)
        self._queue.put(None)
        code = self._wait(patience)
        if code is None:
            _kill(self.process)
            reason = f"W&B did not finish within {patience:.0f} s of the step's end and was left behind"
            if patience > PATIENCE_STOPPED_S:
                _gave_up.append(reason)
            self._warn(f"{reason}; the step is not affected")
        self._listener.join(timeout=1)
        if code and not self.warnings:
            self._warn(f"W&B's process ended with exit code {code}; the step is not affected")
        if self._lost:
            self._warn(f"W&B did not take {self._lost} records; the curve is complete in history.jsonl")

    def _wait(self, patience: float) -> int | None:
        """The child's exit code; None if it takes too long, which is soon once this process is asked to stop."""
        assert self.process is not None
        since = time.monotonic()
        while time.monotonic() - since < (min(patience, PATIENCE_STOPPED_S) if stop.requested() else patience):
            with suppress(subprocess.TimeoutExpired):
                return self.process.wait(timeout=0.2)
        return None

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)
            print(f"warning: {text}", file=sys.stderr, flush=True)


def write_rows(store: Store, timeout_s: float = 600.0) -> list[str]:
    """Write the summary runs of complete rows that have none; returns warnings. Never raises for W&B's faults."""
    process = _child(store, keys=False)
    try:
        out, _ = process.communicate(b'{"rows": true}\n', timeout=timeout_s)
    except subprocess.TimeoutExpired:
        _kill(process)
        return [f"W&B did not write the summary runs within {timeout_s:.0f} s"]
    warnings = []
    for line in out.splitlines():
        with suppress(ValueError, KeyError):
            warnings.append(str(json.loads(line)["warning"]))
    if process.returncode and not warnings:
        warnings.append(f"W&B's process ended with exit code {process.returncode}")
    return warnings


def environment(*, keys: bool) -> dict[str, str]:
    """The environment of W&B's processes; with ``keys`` only where something is uploaded."""
    passed = (*_PASSED_ON, *(_KEYS if keys else ()))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_") or name in passed}
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_PACKAGE), os.environ.get("PYTHONPATH")]))
    return kept


def _child(store: Store, *, keys: bool) -> subprocess.Popen[bytes]:
    # Blocked here, and inherited: there is no moment at which a signal ends the child or W&B's service.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, NOT_FOR_US)
    try:
        # Not in the store's folder or the user's: there, a folder named wandb would pass for the library.
        return subprocess.Popen(
            [sys.executable, "-m", "experiment.tracking.child", str(store.root.resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=_PACKAGE,
            env=environment(keys=keys),
            start_new_session=True,  # Ctrl-C is for the step
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5)
    for left in Path(tempfile.gettempdir()).glob(f"kirjo-wandb-{process.pid}-*"):
        shutil.rmtree(left, ignore_errors=True)
