"""Run one step in this process: the same function on a laptop's worker and on a cluster's node."""

from __future__ import annotations

import errno
import importlib
import json
import shutil
import sys
import time
import traceback
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from experiment import provenance
from experiment.claims import Claim, Observer
from experiment.errors import KirjoError, StoreError
from experiment.plan import Step
from experiment.stages import STAGES
from experiment.store import Store
from experiment.task import Progress, Task

# Dotfiles of a work folder are no part of the artifact.
ATTEMPTS = ".attempts.json"

CHECK_CLAIM_S = 10.0
NEARLY_FULL = 1 << 20


@dataclass(frozen=True)
class Outcome:
    """How a step ended: ``done`` here, found ``there``, held ``elsewhere``, ``failed``, or its inputs ``damaged``."""

    state: Literal["done", "there", "elsewhere", "failed", "damaged"]
    reason: str = ""
    damaged: tuple[str, ...] = ()
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()


def execute(step: Step, store: Store, progress: Progress, threads: int, observer: Observer) -> Outcome:
    """Claim a step, check its inputs, run its stage and publish the artifact. Never raises for a failing step."""
    try:
        claim = Claim.acquire(store.base(step.stage, step.fingerprint), observer=observer)
        if claim is None:
            return Outcome("elsewhere")
        with claim:
            if store.is_complete(step.stage, step.fingerprint) or store.finish(step.stage, step.fingerprint):
                return Outcome("there")
            damaged = damaged_inputs(step, store, observer)
            if damaged:
                return Outcome("damaged", damaged=damaged)
            return _run(step, store, claim, progress, threads)
    except KirjoError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return Outcome("failed", str(error))
    except Exception as error:  # noqa: BLE001 - whatever a stage raises fails this step and no other
        traceback.print_exc()
        return Outcome("failed", reason_of(error, store.root))


def damaged_inputs(step: Step, store: Store, observer: Observer) -> tuple[str, ...]:
    """Check every input against its checksums; what does not match is put aside, to be made again."""
    damaged = []
    for key in dict.fromkeys(step.inputs.values()):
        stage, fingerprint = key.split("/")
        problems = store.verify(stage, fingerprint)
        if problems:
            print(f"input {key} is not as it was published: {'; '.join(problems)}", file=sys.stderr, flush=True)
            put_aside_if_damaged(store, key, observer)
            damaged.append(key)
    return tuple(damaged)


def put_aside_if_damaged(store: Store, key: str, observer: Observer) -> None:
    """Put a damaged artifact aside under its own claim: another process may have redone it a moment ago."""
    stage, fingerprint = key.split("/")
    claim = Claim.acquire(store.base(stage, fingerprint), observer=observer)
    if claim is None:  # whoever holds it makes it again
        return
    with claim:
        if store.artifact(stage, fingerprint).exists() and store.verify(stage, fingerprint):
            store.quarantine(stage, fingerprint)


def reason_of(error: BaseException, folder: Path) -> str:
    """A failure in one line; a full disk is named as one, however deep a library buried it."""
    text = str(error).strip()
    line = f"{type(error).__name__}: {text.splitlines()[0] if text else 'no message'}"
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    free = shutil.disk_usage(folder).free
    # Some libraries only say that a write came out short; on a disk this full that is the likely reason.
    if full or "No space left" in text or "os error 28" in text or free < NEARLY_FULL:
        return f"disk full at {folder} ({free} bytes free): free space, then give the same command again ({line})"
    return line


def _run(step: Step, store: Store, claim: Claim, progress: Progress, threads: int) -> Outcome:
    work = store.work(step.stage, step.fingerprint)
    work.mkdir(parents=True, exist_ok=True)
    attempts = _count_attempt(work)
    started, clock, cpu = datetime.now(timezone.utc), time.monotonic(), time.process_time()
    stage = importlib.import_module(STAGES[step.stage].module)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    summary = stage.run(Task(step, store, work, _while_held(claim, progress)))
    seconds = time.monotonic() - clock
    claim.check()
    store.publish(
        step.stage,
        step.fingerprint,
        version=STAGES[step.stage].version,
        settings=step.settings,
        inputs=step.inputs,
        provenance=provenance.describe(),
        timings={
            "started": started.isoformat(timespec="seconds"),
            "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "seconds": round(seconds, 3),
            "cpu_seconds": round(time.process_time() - cpu, 3),
            "attempts": attempts,
        },
        execution={**step.execution, "threads": threads, "label": step.label},
        summary=summary,
    )
    return Outcome("done", seconds=seconds, warnings=tuple(summary.get("warnings", ())))


def _while_held(claim: Claim, progress: Progress) -> Progress:
    """Look now and then whether the claim is still ours: who was thought dead must not write beside the new owner."""
    last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > CHECK_CLAIM_S:
            claim.check()
            last = time.monotonic()
        progress(done, total)

    return report


def _count_attempt(work: Path) -> int:
    path = work / ATTEMPTS
    try:
        before = int(json.loads(path.read_text())["attempts"])
    except (OSError, ValueError, KeyError, TypeError):
        before = 0
    try:
        path.write_text(json.dumps({"attempts": before + 1}))
    except OSError as error:
        raise StoreError(reason_of(error, work)) from None
    return before + 1
