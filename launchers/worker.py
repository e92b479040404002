"""A worker process: imports the heavy libraries once and runs one step after another."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiment.claims import Observer
from experiment.execute import Outcome, execute
from experiment.plan import Step
from experiment.store import Store

# How a worker's libraries use the machine; what the user has set stands.
# glibc hands small tensors back to the system and asks for them again at every step; keeping them saves time on a CPU.
# Blocks of 32 MiB and more still go back at once.
# Threads that spin while they wait for each other are fast on idle cores and very slow on busy ones.
ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    # A worker that is stopped in its work leaves semaphores behind; the interpreter cleans up, and complains.
    "PYTHONWARNINGS": "ignore::UserWarning:multiprocessing.resource_tracker",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "MALLOC_TOP_PAD_": str(64 << 20),
}

# Messages of a worker: ("progress", done, total) and ("ended", outcome).
Message = tuple[Any, ...]


@dataclass
class Worker:
    """The launcher's end of a worker process."""

    process: multiprocessing.process.BaseProcess
    pipe: multiprocessing.connection.Connection
    step: str | None = None

    @classmethod
    def start(cls, store: Path) -> Worker:
        """Start a process that waits for steps."""
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=serve, args=(theirs, str(store), os.getpid()), name="kirjo worker", daemon=True
        )
        process.start()
        theirs.close()
        return cls(process, ours)

    def give(self, step: Step, threads: int) -> None:
        """Let the worker run a step."""
        self.step = step.key
        self.pipe.send((step.to_json(), threads))

    def epitaph(self) -> str:
        """Why the process is gone, in a line."""
        self.process.join(timeout=10)
        code = self.process.exitcode or 0
        if code == -signal.SIGKILL:
            return "its process was killed (signal 9: by hand, or the machine ran out of memory)"
        return f"its process ended by signal {-code}" if code < 0 else f"its process ended with exit code {code}"

    def stop(self) -> None:
        """Let an idle process end by itself; end a busy one at once, for its step can be gone on with."""
        self.pipe.close()
        if self.step is None:
            self.process.join(timeout=5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join(timeout=10)


def serve(pipe: multiprocessing.connection.Connection, store_root: str, launcher: int) -> None:
    """Run steps as they come until the launcher closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the launcher, which stops its workers
    threading.Thread(target=_end_with, args=(launcher,), daemon=True).start()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    store, observer = Store(Path(store_root)), Observer()
    while True:
        try:
            document, threads = pipe.recv()
        except (EOFError, OSError):
            return
        step = Step.from_json(document)
        log_to(store.log(step.stage, step.fingerprint))
        print(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {step.key} {step.label}", flush=True)
        outcome = execute(step, store, _Reporter(pipe), threads, observer)
        print(f"--- {outcome.state} {outcome.reason}", flush=True)
        pipe.send(("ended", outcome))


class _Reporter:
    """Tells the launcher how far a step is, at most five times a second."""

    def __init__(self, pipe: multiprocessing.connection.Connection) -> None:
        self.pipe, self.last = pipe, 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.last > 0.2 or done == total:
            self.last = now
            self.pipe.send(("progress", done, total))


def _end_with(launcher: int) -> None:
    """A launcher killed outright cannot stop its workers; they notice that they are orphans."""
    while os.getppid() == launcher:
        time.sleep(0.5)
    os._exit(1)


def log_to(path: Path) -> None:
    """Send all output of this process, also that of compiled libraries, to the step's log."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError:  # a full disk fails the step, not its log
        target = os.open(os.devnull, os.O_WRONLY)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)


def outcome_of(message: Message) -> Outcome:
    """The outcome in an ``ended`` message."""
    found = message[1]
    assert isinstance(found, Outcome)
    return found
