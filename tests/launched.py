"""Sweeps on the test cluster: launch as a user would, wait for the end, look at what the jobs did."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiment.store import Store
from launchers.slurm import ledger
from tests.sweeps import ENVIRONMENT, ROOT, command

# States in which nothing more will happen by itself.
SETTLED = {"done", "failed", "cancelled", "blocked", "unneeded"}


def launch(*arguments: str, store: Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Launch a tiny sweep on the cluster; returns when the prompt does."""
    found = subprocess.run(
        command("launcher=slurm", *arguments, store=store),
        cwd=ROOT,
        env=ENVIRONMENT,
        text=True,
        capture_output=True,
        timeout=120,
    )
    assert found.returncode == expect, found.stdout + found.stderr
    return found


def launchers(*arguments: str, store: Path) -> subprocess.CompletedProcess[str]:
    """``python -m launchers``, as a user gives it."""
    return subprocess.run(
        [sys.executable, "-m", "launchers", *arguments, "--store", str(store)],
        cwd=ROOT,
        env=ENVIRONMENT,
        text=True,
        capture_output=True,
        timeout=120,
    )


def status(store: Path) -> dict[str, Any]:
    """The status, as programs get it."""
    found = launchers("status", "--json", store=store)
    assert found.stdout, found.stderr
    return dict(json.loads(found.stdout))


def settled(store: Path, seconds: float = 300.0) -> dict[str, Any]:
    """Wait until no step is in flight any more; returns the last status."""
    end = time.monotonic() + seconds
    while True:
        found = status(store)
        if {step["state"] for step in found["steps"]} <= SETTLED:
            return found
        assert time.monotonic() < end, json.dumps(found, indent=1)
        time.sleep(2)


def until(store: Path, stage: str, state: str, seconds: float = 120.0) -> dict[str, Any]:
    """Wait until a step of the stage is in a state; returns the step."""
    end = time.monotonic() + seconds
    while True:
        found = status(store)
        for step in found["steps"]:
            if step["stage"] == stage and step["state"] == state:
                return dict(step)
        assert time.monotonic() < end, json.dumps(found, indent=1)
        time.sleep(0.5)


def wait_for(seen: Callable[[], Any], seconds: float = 120.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)


def jobs(store: Path) -> list[str]:
    """The numbers of all jobs that were ever submitted from the store."""
    return [task.job or "?" for one in ledger.submissions(Store(store)) for task in one.tasks]


def slurm(*arguments: str) -> str:
    """A SLURM command's output."""
    return subprocess.run(arguments, check=True, text=True, capture_output=True, timeout=60).stdout
