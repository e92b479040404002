"""launcher=local: steps in dependency order on this machine, several at once if asked to."""

from __future__ import annotations

import contextlib
import multiprocessing.connection
import os
import sys
import time
from collections import Counter

from rich.console import Console

from experiment.claims import Observer, is_claimed
from experiment.execute import Outcome, put_aside_if_damaged
from experiment.plan import Plan, Step
from experiment.resources import Launcher
from experiment.show import counted
from experiment.store import Store
from launchers.progress import Display
from launchers.report import summarize
from launchers.worker import Worker, outcome_of

# A step whose inputs turn out damaged is tried again after they were redone; not for ever on a failing disk.
MOST_REDOS = 3
POLL_S = 0.5
LOOK_AGAIN_S = 2.0


def launch(plan: Plan, store: Store, launcher: Launcher) -> int:
    """Carry the plan out; returns 0 when every run is complete, 1 when a step failed."""
    sweep = LocalSweep(plan, store, launcher.workers)
    Console().print(
        f"{counted(len(plan.steps), 'distinct step')} for {counted(len(plan.runs), 'run')}, "
        f"{len(sweep.needed)} to run; logs in {store.root / 'logs'}",
        highlight=False,
        soft_wrap=True,
    )
    with contextlib.closing(sweep):
        sweep.carry_out()
    return summarize(plan, store, sweep, Console(), Console(stderr=True))


class LocalSweep:
    """The state of one plan under way: each step is done, failed, running here, elsewhere, or waiting."""

    def __init__(self, plan: Plan, store: Store, workers: int) -> None:
        self.plan, self.store, self.size = plan, store, workers
        self.workers: list[Worker] = []
        self.observer = Observer()
        self.started = time.monotonic()
        self.done: set[str] = {
            key for key, step in plan.steps.items() if store.is_complete(step.stage, step.fingerprint)
        }
        self._drop_damaged_results()
        self.needed = plan.needed({key: key in self.done for key in plan.steps})
        for key in self.needed:
            stage, fingerprint = key.split("/")
            if store.artifact(stage, fingerprint).exists():  # with a file missing or cut short
                _tell_damaged(key)
        self.theirs: set[str] = set()  # made by another process meanwhile
        self.executed: dict[str, float] = {}
        self.failed: dict[str, str] = {}
        self.elsewhere: dict[str, float] = {}  # when this process found it there
        self.redos: Counter[str] = Counter()
        self.warnings: list[tuple[str, str]] = []
        self.weight = _dependents(plan)
        self.display = Display(plan, store, self)

    def _drop_damaged_results(self) -> None:
        """What tables read is checked against its checksums now; inputs are checked before they are used."""
        for run in self.plan.runs:
            for key in run.targets():
                stage, fingerprint = key.split("/")
                if key in self.done and self.store.verify(stage, fingerprint):
                    put_aside_if_damaged(self.store, key, self.observer)
                    self.done.discard(key)
                    _tell_damaged(key)

    def carry_out(self) -> None:
        """Give ready steps to idle workers until nothing more can be done."""
        with self.display:
            while self.pending() or self.running():
                self._hand_out()
                if not self.running() and not self.elsewhere and not self.ready():
                    break
                self._listen()
                self._look_elsewhere()
                self.display.update()

    def pending(self) -> set[str]:
        """Needed steps that are neither done nor failed."""
        return self.needed - self.done - set(self.failed)

    def running(self) -> dict[str, Worker]:
        """Steps in work here, by key."""
        return {worker.step: worker for worker in self.workers if worker.step}

    def ready(self) -> list[str]:
        """Steps whose inputs are all there; those that most others wait for come first."""
        taken = set(self.elsewhere) | set(self.running())
        free = [key for key in self.pending() - taken if self.done.issuperset(self.plan.steps[key].inputs.values())]
        order = {key: index for index, key in enumerate(self.plan.steps)}
        return sorted(free, key=lambda key: (-self.weight[key], order[key]))

    def close(self) -> None:
        """Stop the workers."""
        for worker in self.workers:
            worker.stop()
        self.workers = []

    def _hand_out(self) -> None:
        # One that died between two steps has left nobody to tell.
        self.workers = [worker for worker in self.workers if worker.step or worker.process.is_alive()]
        for key in self.ready():
            worker = next((worker for worker in self.workers if worker.step is None), None)
            if worker is None:
                if len(self.workers) >= self.size:
                    return
                worker = Worker.start(self.store.root)
                self.workers.append(worker)
            step = self.plan.steps[key]
            try:
                worker.give(step, self._threads(step))
            except OSError:  # it died just now; the next turn starts another
                worker.step = None
                return
            self.display.begin(key)

    def _threads(self, step: Step) -> int:
        wanted = step.execution.get("threads")
        return int(wanted) if wanted else max(1, (os.cpu_count() or 1) // self.size)

    def _listen(self) -> None:
        pipes = {worker.pipe: worker for worker in self.workers if worker.step}
        if not pipes:
            time.sleep(POLL_S)
            return
        for pipe in multiprocessing.connection.wait(list(pipes), timeout=POLL_S):
            worker = pipes[pipe]  # type: ignore[index]
            key = worker.step
            assert key is not None
            try:
                message = worker.pipe.recv()
            except (EOFError, OSError):
                self.workers.remove(worker)
                self._end(key, Outcome("failed", worker.epitaph()))
                continue
            if message[0] == "progress":
                self.display.progress(key, message[1], message[2])
            else:
                worker.step = None
                self._end(key, outcome_of(message))

    def _end(self, key: str, outcome: Outcome) -> None:
        self.display.end(key, outcome)
        if outcome.state in ("done", "there"):
            self.done.add(key)
            if outcome.state == "there":
                self.theirs.add(key)
            else:
                self.executed[key] = outcome.seconds
                self.warnings += [(key, warning) for warning in outcome.warnings]
        elif outcome.state == "elsewhere":
            self.elsewhere[key] = time.monotonic()
        elif outcome.state == "damaged":
            self._redo(key, outcome.damaged)
        else:
            self.failed[key] = outcome.reason

    def _redo(self, key: str, damaged: tuple[str, ...]) -> None:
        self.redos[key] += 1
        if self.redos[key] > MOST_REDOS:
            self.failed[key] = f"its inputs {', '.join(damaged)} are damaged again and again; check the disk"
            return
        self.done -= set(damaged)
        complete = {other: other in self.done or other in self.failed for other in self.plan.steps}
        for other in damaged:
            complete[other] = False
        self.needed |= self.plan.needed({**complete, **dict.fromkeys(self.pending(), False)})
        for other in damaged:
            _tell_damaged(other)

    def _look_elsewhere(self) -> None:
        """See whether steps that another process works on are done, or free again."""
        for key in list(self.elsewhere):
            step = self.plan.steps[key]
            if self.store.is_complete(step.stage, step.fingerprint):
                del self.elsewhere[key]
                self.done.add(key)
                self.theirs.add(key)
            elif time.monotonic() - self.elsewhere[key] < LOOK_AGAIN_S:
                continue  # a worker judges a foreign owner's silence by its own clock, so it may find it there again
            elif not is_claimed(self.store.base(step.stage, step.fingerprint), self.observer):
                del self.elsewhere[key]


def _tell_damaged(key: str) -> None:
    print(f"{key} was damaged on disk: put aside and made again", file=sys.stderr)


def _dependents(plan: Plan) -> dict[str, int]:
    """How many steps wait for each step, directly or not."""
    above: dict[str, set[str]] = {key: set() for key in plan.steps}
    for key in reversed(list(plan.steps)):
        for needed in plan.steps[key].inputs.values():
            above[needed] |= above[key] | {key}
    return {key: len(waiting) for key, waiting in above.items()}
