"""``python -m launchers status``: how every run and every unfinished step of a store stands."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from experiment.errors import KirjoError
from experiment.show import counted
from experiment.store import Store
from launchers.known import Known, KnownRun, chosen, known
from launchers.slurm.queue import read_queue
from launchers.states import IN_FLIGHT, StepState, look

# A run is in the first of these states that one of its needed steps is in.
_FIRST = ("failed", "cancelled", "blocked", "held", "running", "queued", "waiting", "not submitted", "missing")
WIDEST_NAME = 60  # longer ones are shown, but the others are not moved for them
FAILED = ("failed", "cancelled", "blocked")
_STYLES = {"failed": "red", "cancelled": "red", "blocked": "red", "held": "yellow", "running": "green"}
_LIVELIEST = ("failed", "held", "cancelled", "blocked", "running", "queued", "waiting", "not submitted", "missing")


@dataclass(frozen=True)
class RunState:
    """How a run stands: ``done`` of its ``steps``; ``reason``: that of its first step in this state."""

    name: str
    state: str
    done: int
    steps: int
    reason: str


@dataclass(frozen=True)
class Survey:
    """The store at one moment; ``states`` holds the steps of the runs that were asked for."""

    store: Path
    known: Known
    runs: tuple[RunState, ...]
    states: Mapping[str, StepState]
    slurm: bool

    @property
    def in_flight(self) -> int:
        """Steps that are being worked on, or will be."""
        return sum(state.state in IN_FLIGHT for state in self.states.values())

    @property
    def failed(self) -> bool:
        """Whether a run cannot get done any more unless somebody does something."""
        return any(run.state in FAILED for run in self.runs)

    @property
    def stalled(self) -> bool:
        """Whether a run is not done and nothing works on it, or will by itself."""
        return not self.in_flight and any(run.state != "done" for run in self.runs)


def survey(store: Store, pattern: str | None = None) -> Survey:
    """Look at all runs of a store, or those that match.

    Raises:
        KirjoError: the store has no runs, or none that matches; SLURM does not answer.
    """
    # The queue first: what ends in between has left its artifact when the store is looked at.
    queue = read_queue()
    found = known(store)
    if not found.steps:
        raise KirjoError(f"no run was launched with {store.root} yet: python -m experiment ... does that")
    runs = found.runs if pattern is None else chosen(found.runs, pattern, within=True)
    states = look(store, found.steps, queue, frozenset(found.steps) - found.launched)
    states = with_unneeded(found, states)
    shown = {key for run in runs for key in run.steps.values()} if pattern is not None else states.keys()
    return Survey(
        store.root,
        found,
        tuple(_run_state(found, run, states) for run in runs),
        {key: state for key, state in states.items() if key in shown},
        queue is not None,
    )


def with_unneeded(found: Known, states: Mapping[str, StepState]) -> dict[str, StepState]:
    """The states, ``unneeded`` for a step of a run that is not there and that nothing missing asks for."""
    needed = found.needed(found.runs, {key: state.state == "done" for key, state in states.items()})
    of_runs = {key for run in found.runs for key in run.steps.values()}
    return {
        key: replace(state, state="unneeded", reason="", waits_for=())
        if key in of_runs and key not in needed and state.state not in ("done", *IN_FLIGHT)
        else state
        for key, state in states.items()
    }


def _run_state(found: Known, run: KnownRun, states: Mapping[str, StepState]) -> RunState:
    own = list(dict.fromkeys(run.steps.values()))
    counted_steps = [key for key in own if states[key].state != "unneeded"]
    done = sum(states[key].state == "done" for key in counted_steps)
    needed = found.needed([run], {key: states[key].state == "done" for key in own})
    for state in _FIRST:
        first = next((key for key in own if key in needed and states[key].state == state), None)
        if first:
            step = found.steps[first]
            reason = f"{step.stage} {step.label}: {states[first].reason}".rstrip(": ") if state in FAILED else ""
            return RunState(run.name, state, done, len(counted_steps), reason)
    return RunState(run.name, "done", done, len(counted_steps), "")


def document(found: Survey) -> dict[str, list[dict[str, Any]]]:
    """The survey for programs."""
    return {
        "runs": [
            {"name": run.name, "state": run.state, "done": run.done, "steps": run.steps, "reason": run.reason}
            for run in found.runs
        ],
        "steps": [
            {
                "fingerprint": key.split("/")[1],
                "stage": key.split("/")[0],
                "state": state.state,
                "job": state.job,
                "restarts": state.restarts,
                "log": str(state.log),
                "label": found.known.steps[key].label,
                "reason": state.reason,
                "since": state.since,
                "waits_for": list(state.waits_for),
            }
            for key, state in found.states.items()
        ],
    }


def status(store: Store, pattern: str | None, as_json: bool, watch_s: float | None) -> int:
    """Print how runs and steps stand, once or until nothing is in flight; 1 if a run cannot get done by itself.

    Between two steps of launcher=local nothing is in flight for a moment, so only who watched can tell.
    """
    show = _as_json if as_json else _plain
    if watch_s is None:
        found = survey(store, pattern)
        show(found)
    elif sys.stdout.isatty() and not as_json:
        found = _redrawn(lambda: survey(store, pattern), watch_s)
    else:
        found = _repeated(lambda: survey(store, pattern), show, watch_s)
    return 1 if found.failed or (watch_s is not None and found.stalled) else 0


def _redrawn(look_again: Callable[[], Survey], every_s: float) -> Survey:
    console = Console()
    with Live(console=console, auto_refresh=False, vertical_overflow="visible", screen=True) as live:
        while True:
            found = look_again()
            live.update(drawn(found), refresh=True)
            if not found.in_flight:
                break
            time.sleep(every_s)
    console.print(drawn(found))
    return found


def _repeated(look_again: Callable[[], Survey], show: Callable[[Survey], None], every_s: float) -> Survey:
    """Where nothing can be redrawn, say it again when something has changed."""
    before = None
    while True:
        found = look_again()
        if (found.runs, found.states) != before:
            show(found)
            sys.stdout.flush()
        before = (found.runs, found.states)
        if not found.in_flight:
            return found
        time.sleep(every_s)


def _as_json(found: Survey) -> None:
    print(json.dumps(document(found), indent=1, ensure_ascii=False))


def _plain(found: Survey) -> None:
    Console(soft_wrap=True).print(drawn(found))


def drawn(found: Survey) -> RenderableType:
    """The survey for people."""
    width = min(WIDEST_NAME, max((len(run.name) for run in found.runs), default=0))
    runs = [Text(f"{run.name:{width}}  ") + _of_run(run) for run in found.runs]
    return Group(*runs, Text(), *_of_steps(found), _summary(found))


def _of_run(run: RunState) -> Text:
    text = run.state if run.state == "done" else f"{run.state}, {run.done} of {run.steps} steps done"
    return Text(text, _STYLES.get(run.state, "")) + Text(f": {run.reason}" if run.reason else "")


def _of_steps(found: Survey) -> list[Text]:
    """Lines, not a table: a path or a reason that is cut by a column's edge is of no use."""
    open_steps = [state for state in found.states.values() if state.state not in ("done", "unneeded")]
    lines = []
    for state in sorted(open_steps, key=lambda one: _LIVELIEST.index(one.state)):
        step = found.known.steps[state.key]
        line = Text(f"{state.state:13} ", _STYLES.get(state.state, "")) + Text(f"{step.stage} {step.label}", "bold")
        lines.append(line + Text("".join(f" · {part}" for part in _parts(found, state))))
        if state.state in ("failed", "running") and state.log and state.log.exists():
            lines.append(Text(f"{'':13} {state.log}", "dim"))
    return [*lines, Text()] if lines else []


def _parts(found: Survey, state: StepState) -> list[str]:
    parts = [f"job {state.job}"] if state.job else []
    if state.since and state.state in ("running", "failed"):
        parts.append(f"{'since' if state.state == 'running' else 'at'} {_local(state.since)}")
    if state.since and state.state == "queued":
        parts.append(f"expected {_local(state.since)}")
    if state.restarts:
        parts.append("restarted once" if state.restarts == 1 else f"restarted {state.restarts} times")
    parts += [state.reason] if state.reason else []
    if state.waits_for and state.state in ("waiting", "not submitted", "missing"):
        parts.append(f"waits for {', '.join(_named(found, key) for key in state.waits_for)}")
    return [*parts, state.key.split("/")[1][:8]]


def _named(found: Survey, key: str) -> str:
    step, state = found.known.steps.get(key), found.states.get(key)
    name = f"{step.stage} {step.label}".strip() if step else key
    return f"{name} (job {state.job})" if state and state.job else name


def _summary(found: Survey) -> Text:
    runs, steps = Counter(run.state for run in found.runs), Counter(state.state for state in found.states.values())
    text = f"{counted(len(found.runs), 'run')}: {_counts(runs)}; {counted(len(found.states), 'step')}: {_counts(steps)}"
    submitted = any(state.job for state in found.states.values() if state.state != "done")
    if submitted and not found.slurm:
        text += "; no SLURM commands here, so what the queue holds is not known"
    return Text(f"{text}; store: {found.store}")


def _counts(states: Mapping[str, int]) -> str:
    order: Sequence[str] = ("done", *_FIRST, "unneeded")
    return ", ".join(f"{states[state]} {state}" for state in order if states.get(state)) or "none"


def _local(moment: str) -> str:
    """A time of day here; with the date unless it is today's."""
    then = datetime.fromisoformat(moment).astimezone()
    today = then.date() == datetime.now(timezone.utc).astimezone().date()
    return then.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M")
