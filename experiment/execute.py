"""Run one step in this process: the same function on a laptop's worker and on a cluster's node."""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import re
import shutil
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from experiment import provenance, stop
from experiment.claims import Claim, Observer
from experiment.errors import KirjoError, StoreError
from experiment.plan import Step
from experiment.ranks import ALONE, Ranks, unlaunched
from experiment.resources import MANY_RANKS, SHARED_OUT
from experiment.stages import STAGES
from experiment.store import Store
from experiment.task import Progress, Task, Track, untracked
from experiment.tracking.tracker import Tracker

# Dotfiles of a work folder are no part of the artifact.
ATTEMPTS = ".attempts.json"

CHECK_CLAIM_S = 10.0
NEARLY_FULL = 1 << 20


@dataclass(frozen=True)
class Outcome:
    """How a step ended: ``done`` here, found ``there``, held ``elsewhere``, ``failed``, its inputs ``damaged``, or
    ``stopped`` on request, to be gone on with from what it saved."""

    state: Literal["done", "there", "elsewhere", "failed", "damaged", "stopped"]
    reason: str = ""
    damaged: tuple[str, ...] = ()
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()


def execute(
    step: Step, store: Store, progress: Progress, threads: int, observer: Observer, ranks: Ranks = ALONE
) -> Outcome:
    """Claim a step, check its inputs, run its stage and publish the artifact. Never raises for a failing step.

    With several ranks each calls this with the same step. Rank 0 claims, checks and decides; all run the stage in the
    same work folder; rank 0 publishes when all have come to the end. A rank that fails has the word of its own failure.
    """
    # A request stops the work where it says so (stop.at_once, or the training loop). Nothing else: a second one would
    # cut short what follows the first, and the claim would stay, or what is done would be lost.
    with stop.deferred():
        return _execute(step, store, progress, threads, observer, ranks)


def _execute(step: Step, store: Store, progress: Progress, threads: int, observer: Observer, ranks: Ranks) -> Outcome:
    ranks.begin(step.key)
    try:
        stop.obey()
        if ranks.first:
            outcome = _lead(step, store, progress, threads, observer, ranks)
            ranks.tell("outcome", asdict(outcome))
        else:
            outcome = _follow(step, store, threads, ranks)
        ranks.part()
    except stop.Stopped:
        outcome = Outcome("stopped")
    except KirjoError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        outcome = Outcome("failed", str(error))
    except Exception as error:  # noqa: BLE001 - whatever a stage raises fails this step and no other
        traceback.print_exc()
        outcome = Outcome("failed", ranks.failure() or reason_of(error, store.root, _together(step, ranks).size))
    if outcome.state in ("stopped", "failed"):
        ranks.leave(outcome.state, outcome.reason)
    return outcome


def _lead(step: Step, store: Store, progress: Progress, threads: int, observer: Observer, ranks: Ranks) -> Outcome:
    claim = Claim.acquire(store.base(step.stage, step.fingerprint), observer=observer)
    if claim is None:
        return _decided(Outcome("elsewhere"), ranks)
    with claim:
        if store.is_complete(step.stage, step.fingerprint) or store.finish(step.stage, step.fingerprint):
            return _decided(Outcome("there"), ranks)
        with stop.at_once():  # every byte is read
            damaged = damaged_inputs(step, store, observer)
        if damaged:
            return _decided(Outcome("damaged", damaged=damaged), ranks)
        with Tracker(step, store) as tracker:
            outcome = _run(step, store, claim, progress, threads, ranks, tracker)
        return replace(outcome, warnings=(*outcome.warnings, *tracker.warnings))


def _decided(outcome: Outcome, ranks: Ranks) -> Outcome:
    ranks.tell("join", False)
    return outcome


def _follow(step: Step, store: Store, threads: int, ranks: Ranks) -> Outcome:
    if ranks.hear("join"):
        _perform(step, store, _untold, threads, ranks)
        ranks.meet("end")
    found = ranks.hear("outcome")
    return Outcome(**{**found, "damaged": tuple(found["damaged"]), "warnings": tuple(found["warnings"])})


def _untold(_done: int, _of: int) -> None:
    """Rank 0 reports for all."""


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
    with stop.deferred():
        claim = Claim.acquire(store.base(stage, fingerprint), observer=observer)
        if claim is None:  # whoever holds it makes it again
            return
        with claim:
            if store.artifact(stage, fingerprint).exists() and store.verify(stage, fingerprint):
                store.quarantine(stage, fingerprint)


def reason_of(error: BaseException, folder: Path, ranks: int = 1) -> str:
    """What failed, with so many ranks at work, in one line; a full disk is named however deep a library buried it."""
    text = str(error).strip()
    line = f"{type(error).__name__}: {text.splitlines()[0] if text else 'no message'}"
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    free = shutil.disk_usage(folder).free
    # Some libraries only say that a write came out short; on a disk this full that is the likely reason.
    if full or "No space left" in text or "os error 28" in text or free < NEARLY_FULL:
        return f"disk full at {folder} ({free} bytes free): free space, then give the same command again ({line})"
    advice = what_to_do(f"{type(error).__name__}: {text}", ranks)
    return f"{advice} ({line})" if advice else line


# How torch, NCCL and gloo word it when memory ends, and when another rank has gone or hangs.
_OUT_OF_MEMORY = re.compile(r"out of ?memory|MemoryError|can't allocate memory|cannot allocate memory", re.IGNORECASE)
_RANK_GONE = re.compile(
    r"connection (closed|reset|refused|was closed) ?(by|from)? ?(remote )?peer|connection (reset|refused)|broken pipe"
    r"|watchdog|DistBackendError|DistNetworkError|DistStoreError|NCCL\b.*(error|timeout|timed out)"
    r"|(gloo|process ?group|collective|\bi?recv\b|\bi?send\b|barrier|all_?reduce|broadcast).*(timeout|timed out)"
    r"|timed out waiting .*(ms|rank|peer)",
    re.IGNORECASE | re.DOTALL,
)


def what_to_do(text: str, ranks: int) -> str:
    """The advice for an error of a stage on so many ranks that its own words do not give; empty if there is none."""
    if _OUT_OF_MEMORY.search(text):
        return (
            "out of memory: lower micro_batch (generate, translate: batch_size), set gradient_checkpointing=true, take "
            "parallel=zero3 or parallel.offload=optimizer, more ranks, or for reference and generate more gpus_per_rank"
        )
    if ranks > 1 and _RANK_GONE.search(text):
        return "another rank died or hung: look at the end of its log for the first error"
    return ""


def _together(step: Step, ranks: Ranks) -> Ranks:
    """Who carries out the step: all ranks, or one process, for which the others wait."""
    return ranks if step.stage in (*MANY_RANKS, *SHARED_OUT) else ALONE


def _run(
    step: Step, store: Store, claim: Claim, progress: Progress, threads: int, ranks: Ranks, tracker: Tracker
) -> Outcome:
    together = _together(step, ranks)
    ranks.tell("join", together is not ALONE)
    work = store.work(step.stage, step.fingerprint)
    work.mkdir(parents=True, exist_ok=True)
    attempts = _count_attempt(work)
    started, clock, cpu = datetime.now(timezone.utc), time.monotonic(), time.process_time()
    with stop.at_once() if together.size == 1 else contextlib.nullcontext():  # of many, the training loop says when
        summary = _perform(step, store, _while_held(claim, progress), threads, together, tracker.log)
    together.meet("end")
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
        execution={**step.execution, "threads": threads, "ranks": together.size, "label": step.label},
        summary=summary,
    )
    tracker.done(summary)
    return Outcome("done", seconds=seconds, warnings=tuple(summary.get("warnings", ())))


def _perform(
    step: Step, store: Store, progress: Progress, threads: int, ranks: Ranks, track: Track = untracked
) -> Mapping[str, Any]:
    """Run the stage in this process."""
    stage = importlib.import_module(STAGES[step.stage].module)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    task = Task(step, store, store.work(step.stage, step.fingerprint), progress, ranks, track)
    with unlaunched() if ranks.size == 1 else contextlib.nullcontext():
        summary: Mapping[str, Any] = stage.run(task)
    return summary


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
