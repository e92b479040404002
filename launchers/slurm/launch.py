"""launcher=slurm: submit the whole plan as jobs, in the order of their dependencies, and return."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from rich.console import Console

from experiment.errors import KirjoError
from experiment.plan import Plan
from experiment.resources import Launcher, unset_options
from experiment.show import counted
from experiment.store import Store
from launchers.facts import forget_cancelled
from launchers.slurm import ledger, plans
from launchers.slurm.advance import Advanced, advance, ledger_claim, note_waiting
from launchers.slurm.queue import read_queue
from launchers.slurm.snapshot import snapshot
from launchers.states import in_flight, look

COMMANDS = ("sbatch", "srun", "squeue", "scontrol", "scancel")
STALLED = (
    "warning: the queue takes no more jobs{words}, and none of this sweep's is there to submit the rest when it ends: "
    "give python -m launchers retry when other jobs of yours have ended"
)
# File systems that only the machine itself sees.
LOCAL_FILE_SYSTEMS = ("tmpfs", "ramfs", "devtmpfs")


def launch(plan: Plan, store: Store, launcher: Launcher) -> int:
    """Submit what is needed, not in the store and not in flight; returns 0 once SLURM has it, 1 if it takes none."""
    began = time.monotonic()
    refuse_without_slurm()
    unset = unset_options(launcher)
    if unset:
        raise KirjoError("\n".join(unset))
    warn_of_local_store(store.root)
    code = snapshot(store)
    with ledger_claim(store) as claim:
        launched = plans.save(store, plan.id, plan, at_home(launcher), code.digest, str(Path.cwd()), _now())
        forget_cancelled(store, plan.steps)
        try:
            found = advance(store, launched, claim)
        except KirjoError:
            _withdraw_unless_submitted(store, launched)
            raise
        if found.waiting:
            note_waiting(store, True)
    _say(plan, store, found, Console(), time.monotonic() - began)
    if found.stalled:
        print(STALLED.format(words=f" ({found.words})" if found.words else ""), file=sys.stderr)
    return int(found.stalled)


def under_way(plan: Plan, store: Store) -> set[str]:
    """The steps that have a job already: a launch attaches to them, and they cost nothing more."""
    queue = read_queue()
    return set() if queue is None else set(in_flight(look(store, plan.steps, queue)))


def _withdraw_unless_submitted(store: Store, launched: plans.Launched) -> None:
    """What was refused as a whole must not be tried again by every later retry."""
    submitted = {key for one in ledger.submissions(store) for task in one.tasks for key in task.steps}
    if not submitted & launched.steps.keys():
        plans.withdraw(store, launched.sweep)


def refuse_without_slurm() -> None:
    """KirjoError unless SLURM's commands are here."""
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    if missing:
        raise KirjoError(
            f"launcher=slurm needs SLURM's commands, and {', '.join(missing)} cannot be found here: give the command "
            "on the cluster's login node (outside containers), or use launcher=local"
        )


def warn_of_local_store(root: Path) -> None:
    """Nodes must see the store: say so where it certainly cannot be."""
    kind = file_system(root)
    if kind in LOCAL_FILE_SYSTEMS:
        print(
            f"warning: the store {root.resolve()} is on {kind}, which other machines do not see; "
            "put it on a shared file system (store=/scratch/...)",
            file=sys.stderr,
        )


def file_system(path: Path) -> str | None:
    """The type of the file system that holds the path; None where that cannot be told."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return None
    target = path.resolve()
    holding = [(mount[1], mount[2]) for mount in mounts if target.is_relative_to(mount[1])]
    return max(holding, key=lambda mount: len(mount[0]))[1] if holding else None


def at_home(launcher: Launcher) -> Launcher:
    """The launcher with this Python where none is named: on a shared file system the nodes have it too."""
    return replace(
        launcher, python=launcher.python or sys.executable, submit_python=launcher.submit_python or sys.executable
    )


def _say(plan: Plan, store: Store, found: Advanced, out: Console, seconds: float) -> None:
    jobs = len(set(found.submitted.values()))
    parts = [f"{counted(len(found.submitted), 'step')} submitted in {counted(jobs, 'job')}"]
    if found.attached:
        parts.append(f"{len(found.attached)} in flight already")
    if found.waiting:
        parts.append(f"{len(found.waiting)} waiting for room in the queue (submitted when jobs end)")
    there = len(plan.steps) - len(found.submitted) - len(found.attached) - len(found.waiting)
    parts.append(f"{there} not needed or there already")
    _line(out, f"{', '.join(parts)}; {counted(len(plan.runs), 'run')}; store: {store.root}; {seconds:.1f} s")
    stages = Counter(key.split("/")[0] for key in found.submitted)
    if stages:
        _line(out, "submitted: " + ", ".join(f"{count} {stage}" for stage, count in stages.items()))
        _line(out, f"to watch:  python -m launchers status --store {store.root}")


def _line(out: Console, text: str) -> None:
    out.print(text, highlight=False, markup=False, soft_wrap=True)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
