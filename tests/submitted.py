"""Stores with submissions in them, recorded by hand: what `launchers` reads, without launching anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiment.fingerprint import digest
from experiment.plan import Step, make_step
from experiment.store import Store
from launchers.slurm import ledger

ALLOCATION = {
    "nodes": 1,
    "ranks_per_node": 1,
    "gpus_per_rank": 0,
    "cpus_per_rank": 1,
    "mem_gb": None,
    "walltime_min": 1,
    "partition": None,
}
WHEN = "2026-01-01T00:00:00+00:00"


def chain(name: str, base: Step | None = None) -> dict[str, Step]:
    """The steps of a small run by role; ``base`` is an SFT step that it shares with others."""
    mix = make_step("mix", settings={"name": name}, label=name)
    sft = base or make_step("sft", settings={"name": name}, inputs={"rows": mix.key}, label=name)
    answers = make_step("generate", settings={"name": name}, inputs={"model": sft.key}, label=f"fi, {name}")
    score = make_step("score", settings={"name": name}, inputs={"responses": answers.key}, label=f"fi, {name}")
    own = {} if base else {"mix": mix}
    return {**own, "sft": sft, "generate.fi": answers, "score.fi": score}


def save_run(store: Store, name: str, steps: Mapping[str, Step], asked_for: str = WHEN) -> None:
    """The records that a launch leaves of a run and of a sweep with it alone."""
    keys = {role: step.key for role, step in steps.items()}
    identity = f"run-{digest([name, keys], length=8)}"
    store.save_run(
        {
            "id": identity,
            "name": name,
            "overrides": [],
            "axes": {},
            "steps": keys,
            "config": {},
            "asked_for": asked_for,
        }
    )
    store.save_sweep({"id": digest([identity]), "runs": [identity], "command": [], "asked_for": asked_for})


def finish(store: Store, step: Step) -> None:
    """Leave the step's artifact."""
    work = store.work(step.stage, step.fingerprint)
    work.mkdir(parents=True)
    (work / "result").write_text(step.key)
    empty: dict[str, Any] = {}
    store.publish(
        step.stage,
        step.fingerprint,
        version=1,
        settings=step.settings,
        inputs=step.inputs,
        provenance=empty,
        timings=empty,
        execution=empty,
        summary=empty,
    )


def submit(
    store: Store, tasks: Sequence[Sequence[Step]], jobs: Sequence[str | None], needs: Sequence[str] = (), name: str = ""
) -> ledger.Submission:
    """Record a submission, with the numbers of its jobs."""
    found = ledger.record(
        store,
        submission=name or ledger.new_id(),
        name=tasks[0][0].stage,
        tasks=tasks,
        allocation=ALLOCATION,
        needs=needs,
        code="",
        folder=str(store.root),
        max_restarts=3,
        visible_devices=None,
    )
    if any(jobs):
        found = ledger.numbered(found, jobs)  # type: ignore[arg-type]
        ledger.write(store, found)
    return found


def say(
    store: Store,
    submission: ledger.Submission,
    steps: Mapping[str, Mapping[str, Any]],
    task: int = 0,
    restarts: int = 0,
    ended: str = "",
    reason: str = "",
) -> None:
    """What a task says of itself."""
    job = submission.tasks[task].job or ""
    state = ledger.TaskState(job, restarts, "nid000001", WHEN, WHEN, steps, ended, reason)
    ledger.write_state(store, submission.id, task, state)


def opened(folder: Path) -> Store:
    """A new store."""
    return Store.open(folder / "store", create=True)
