"""The progress display: which step of how many, for which runs, how far, and how long still."""

from __future__ import annotations

import contextlib
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from experiment.errors import StoreError
from experiment.execute import Outcome
from experiment.plan import Plan
from experiment.store import Store

if TYPE_CHECKING:
    from launchers.local import LocalSweep

REMEMBERED = 10
WIDEST_NAME = 36


class Display:
    """A live display on a terminal; nothing at all elsewhere."""

    def __init__(self, plan: Plan, store: Store, sweep: LocalSweep) -> None:
        self.plan, self.sweep = plan, sweep
        self.since: dict[str, float] = {}
        self.far: dict[str, tuple[int, int]] = {}
        self.durations = _known_durations(plan, store)
        console = Console(stderr=True)
        self.live = Live(console=console, refresh_per_second=4, transient=True) if sys.stderr.isatty() else None

    def __enter__(self) -> Display:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        if self.live:
            self.live.stop()

    def begin(self, key: str) -> None:
        """A step was given to a worker."""
        self.since[key] = time.monotonic()

    def progress(self, key: str, done: int, total: int) -> None:
        """A step is ``done`` of ``total`` through."""
        self.far[key] = (done, total)

    def end(self, key: str, outcome: Outcome) -> None:
        """A step ended, one way or another."""
        self.since.pop(key, None)
        self.far.pop(key, None)
        if outcome.state == "done":
            self.durations.setdefault(self.plan.steps[key].stage, []).append(outcome.seconds)

    def update(self) -> None:
        """Draw what is known now."""
        if self.live:
            self.live.update(self.render())

    def render(self) -> Group:
        """The display as it would stand on a terminal."""
        sweep = self.sweep
        finished = len(sweep.needed & sweep.done)
        line = Text.assemble(
            (f"{finished} of {len(sweep.needed)} steps", "bold"),
            f" for {len(self.plan.runs)} runs · {_clock(time.monotonic() - sweep.started)} gone",
            f" · {self._remaining()}",
            (f" · {len(sweep.failed)} failed" if sweep.failed else "", "red"),
            f" · waiting for {len(sweep.elsewhere)} steps of another process" if sweep.elsewhere else "",
        )
        table = Table.grid(padding=(0, 2))
        for _ in range(6):
            table.add_column(no_wrap=True, overflow="ellipsis")
        for key in self.since:
            table.add_row(*self._row(key))
        return Group(line, table)

    def _row(self, key: str) -> tuple[Text | ProgressBar, ...]:
        step = self.plan.steps[key]
        users = self.plan.users(key)
        whom = users[0].name if len(users) == 1 else f"{len(users)} runs"
        short = whom if len(whom) <= WIDEST_NAME else whom[: WIDEST_NAME - 1] + "…"
        done, total = self.far.get(key, (0, 0))
        return (
            Text(step.stage, "bold"),
            Text(step.label),
            ProgressBar(total=total or 1, completed=done, width=20),
            Text(f"{done}/{total}" if total else "starting"),
            Text(_clock(time.monotonic() - self.since[key]), "dim"),
            Text(f"for {short}", "dim"),
        )

    def _remaining(self) -> str:
        """Mean time of each stage so far, over what is still to do, over the workers."""
        seconds, untimed = 0.0, set()
        for key in self.sweep.pending():
            stage = self.plan.steps[key].stage
            known = self.durations.get(stage)
            spent = time.monotonic() - self.since[key] if key in self.since else 0.0
            done, total = self.far.get(key, (0, 0))
            if done and total:
                seconds += spent * (total - done) / done
            elif known:
                seconds += max(0.0, sum(known) / len(known) - spent)
            else:
                untimed.add(stage)
        left = f"{_clock(seconds / self.sweep.size)} left"
        if untimed and not seconds:
            return "time left not known yet"
        if untimed:
            return f"at least {left} ({', '.join(sorted(untimed))} not timed yet)"
        return f"about {left}"


def _known_durations(plan: Plan, store: Store) -> dict[str, list[float]]:
    """Seconds that steps of the plan's stages took before in this store, the last few of each stage."""
    found: dict[str, list[float]] = {}
    for stage in {step.stage for step in plan.steps.values()}:
        folders = sorted(store.root.glob(f"{stage}/*/manifest.json"), key=lambda path: path.stat().st_mtime)
        for path in folders[-REMEMBERED:]:
            with contextlib.suppress(StoreError):
                manifest = store.read_manifest(stage, path.parent.name)
                if manifest:
                    found.setdefault(stage, []).append(float(manifest.timings["seconds"]))
    return found


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
