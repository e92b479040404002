"""The process that W&B runs in: JSON lines come in, warnings go out; started by tracker.py, ended by its silence.

The first line says what is followed: a step (``{"of": step, "tracking": settings}``) or all rows that have no summary
run (``{"rows": true}``). Then come ``{"step": n, "values": {...}}`` and at last ``{"end": "done", "summary": {...}}``.
A step whose process was killed just stops sending.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from experiment.errors import KirjoError
from experiment.plan import Step
from experiment.results import read_verdicts
from experiment.store import Store
from experiment.tracking import belongs, rows
from experiment.tracking.client import (
    LATER,
    Identity,
    NotOnline,
    NotUploaded,
    OpenRun,
    leave,
    library,
    masked,
    open_run,
)
from experiment.tracking.measured import answers, metrics
from experiment.tracking.tracker import NOT_FOR_US, environment

# When nothing more comes, W&B has this long to end; then this process ends with it.
LAST_S = 120

Messages = Iterator[dict[str, Any]]


def main(root: str) -> int:
    """Follow a step, or write rows; returns the exit code."""
    # Blocked since before this process began (see tracker.py), and so for W&B's service, which begins from here.
    for number in NOT_FOR_US:
        signal.signal(number, signal.SIG_IGN)
    out = _aside()

    def warn(text: str) -> None:
        out.write(json.dumps({"warning": masked(text)}) + "\n")
        out.flush()

    messages = (json.loads(line) for line in sys.stdin)
    try:
        first = next(messages)
        store, wandb = Store(Path(root)), library()
        if "of" in first:
            _follow(wandb, store, Step.from_json(first["of"]), first["tracking"], messages, warn)
        else:
            rows.write_rows(wandb, store, rows.waiting(store), "offline", warn, patience_s=rows.STALE_S + 5)
    except NotUploaded as error:
        warn(f"{error}: upload the rest with: python -m launchers sync")
        leave(0)
    except NotOnline as error:
        warn(f"{error}: {LATER}")
        _offline_instead(root, first, out)
    except KirjoError as error:
        warn(str(error))
        return 1
    except Exception as error:  # noqa: BLE001 - whatever it is, the step must be told in a line
        lines = str(error).strip().splitlines() or ["no message"]
        warn(f"W&B tracking failed ({type(error).__name__}: {lines[0]}); the step is not affected")
        return 1
    return 0


def _aside() -> Any:
    """The way to the step; what libraries print goes nowhere."""
    out = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return out


def _offline_instead(root: str, first: Mapping[str, Any], out: Any) -> NoReturn:
    """Hand all that comes to a fresh process: the service of this one holds on to the run that failed."""
    command = [sys.executable, "-m", "experiment.tracking.child", root]
    # Without WANDB_SERVICE, by which W&B's processes find the service of the first.
    clean = environment(keys=False)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out.fileno(), text=True, env=clean) as other:
        assert other.stdin is not None
        other.stdin.write(json.dumps({**first, "tracking": {**first["tracking"], "mode": "offline"}}) + "\n")
        for line in sys.stdin:
            other.stdin.write(line)
            other.stdin.flush()
        other.stdin.close()
        code = other.wait()
    leave(code)


def _follow(wandb: Any, store: Store, step: Step, tracking: Mapping[str, Any], messages: Messages, warn: Any) -> None:
    run = open_run(wandb, store.root, tracking, _identity(store, step), warn)
    ending: dict[str, Any] = {}
    for message in messages:
        if "end" in message:
            ending = message
            break
        run.log(message["step"], message["values"])
    signal.alarm(LAST_S)
    done = ending.get("end") == "done"
    if done:
        _conclude(run, store, step, tracking, ending.get("summary", {}))
    run.finish(failed=not done)
    if done and step.stage == "score":
        with contextlib.suppress(NotOnline):  # the row waits for the next one to look, or for sync
            rows.write_rows(wandb, store, rows.waiting(store, step.key), tracking["mode"], warn)


def _identity(store: Store, step: Step) -> Identity:
    users = belongs.users(store, step.key)
    return Identity(
        id=f"{step.stage}-{step.fingerprint}",
        name=f"{step.stage} {step.label}",
        job_type=step.stage,
        group=belongs.group(store, users),
        tags=belongs.tags(users),
        config={**dataclasses.asdict(step), "unmet": list(step.unmet), "runs": [record["name"] for record in users]},
    )


def _conclude(run: OpenRun, store: Store, step: Step, tracking: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
    table = answers(step, store, tracking["answers"])
    if table is not None and table[1]:
        run.show("answers", *table)
    measured = metrics(read_verdicts(store, step.key)) if step.stage == "score" else {}
    # The summary of a score step has the counts behind the metrics, under the same names.
    told = {f"count/{name}" if name in measured else name: value for name, value in summary.items()}
    run.conclude({**told, **measured})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
