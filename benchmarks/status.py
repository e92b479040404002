"""How long ``python -m launchers status`` takes on a sweep of 200 runs, half of it done.

python -m benchmarks.status [--runs 200] [--times 5]

The store is made up: 801 steps of 200 runs, each job its own submission (300 of them). Where a SLURM cluster answers,
the open jobs really are in its queue: one held array, cancelled at the end.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiment.plan import Plan, Run, Step, make_step
from experiment.resources import Launcher
from experiment.store import Store
from launchers.slurm import ledger, plans
from launchers.slurm.queue import cancel_jobs, has_slurm

WHEN = "2026-01-01T00:00:00+00:00"
SETTINGS = {f"setting{number}": number for number in range(30)}  # as many as a training step has


def runs_of(count: int) -> Iterator[tuple[Run, list[Step]]]:
    """Runs that share one base model, and an SFT step by two and two."""
    base = make_step("pretrain", settings=SETTINGS, label="base")
    for number in range(count):
        pair = number // 2
        mix = make_step("mix", settings={**SETTINGS, "n": pair}, label=f"mix {pair}")
        sft = make_step(
            "sft", settings={**SETTINGS, "n": pair}, inputs={"base": base.key, "rows": mix.key}, label=f"mix {pair}"
        )
        dpo = make_step("dpo", settings={**SETTINGS, "n": number}, inputs={"model": sft.key}, label=f"beta {number}")
        generate = make_step("generate", settings=SETTINGS, inputs={"model": dpo.key}, label=f"fi, beta {number}")
        score = make_step("score", settings=SETTINGS, inputs={"responses": generate.key}, label=f"fi, beta {number}")
        chain = [base, mix, sft, dpo, generate, score]
        roles = ("pretrain", "mix", "sft", "dpo", "generate.fi", "score.fi")
        steps = {role: step.key for role, step in zip(roles, chain, strict=True)}
        yield Run(f"demo/demo/run{number}", (), {}, steps, {"settings": SETTINGS}), chain


def publish(store: Store, step: Step) -> None:
    """Leave an artifact of one small file."""
    work = store.work(step.stage, step.fingerprint)
    work.mkdir(parents=True)
    (work / "result").write_text(step.key)
    store.publish(
        step.stage,
        step.fingerprint,
        version=1,
        settings=step.settings,
        inputs=step.inputs,
        provenance={},
        timings={"seconds": 1.0},
        execution={"label": step.label},
        summary={},
    )


def held_array(count: int) -> str | None:
    """A held array on the cluster, if there is one: as many jobs in the queue as are asked for."""
    if not has_slurm():
        return None
    command = ["sbatch", "--parsable", "--hold", f"--array=0-{count - 1}", "--output=/dev/null", "--wrap", "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def make(root: Path, count: int) -> str | None:
    """Make the store; the number of the array that stands in the queue."""
    store = Store.open(root, create=True)
    made = list(runs_of(count))
    runs = tuple(run for run, _ in made)
    steps = {step.key: step for _, chain in made for step in chain}
    plan = Plan(runs, steps)
    launcher = Launcher(name="slurm", target="launchers.slurm.launch.launch")
    plans.save(store, plan.id, plan, launcher, str(root), WHEN)
    for run in runs:
        store.save_run(run.record(WHEN))
    store.save_sweep({"id": plan.id, "runs": [run.id for run in runs], "command": [], "asked_for": WHEN})
    tasks = [[chain[1], chain[2]] for _, chain in made[::2]] + [chain[3:] for _, chain in made]
    half = {step.key for _, chain in made[: count // 2] for step in chain}
    for key in half:
        publish(store, steps[key])
    open_tasks = sum(task[-1].key not in half for task in tasks)
    array = held_array(open_tasks)
    number = 0
    for task in tasks:
        done = task[-1].key in half
        submit(store, task, f"1{number}" if done or array is None else f"{array}_{number}", done)
        number += not done
    print(f"{len(runs)} runs, {len(steps)} steps, {len(half)} of them done, {len(tasks)} submissions", end="; ")
    print(f"{open_tasks} jobs in the queue" if array else "no cluster: the open jobs have vanished")
    return array


def submit(store: Store, task: Sequence[Step], job: str, done: bool) -> None:
    """Record a submission, and if it is done what its task said."""
    found = ledger.record(
        store,
        submission=ledger.new_id(),
        name=task[0].stage,
        tasks=[task],
        allocation={"nodes": 1},
        needs=[],
        code="",
        folder=str(store.root),
        max_restarts=3,
        visible_devices=None,
    )
    ledger.write(store, ledger.numbered(found, [job]))
    if done:
        said = {step.key: {"state": "done", "since": WHEN, "seconds": 1.0} for step in task}
        ledger.write_state(store, found.id, 0, ledger.TaskState(job, 0, "nid000001", WHEN, WHEN, said, "done"))


def main() -> None:
    """Make the store, measure, and take everything away again."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--times", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        array = make(Path(folder) / "store", asked.runs)
        try:
            command = [sys.executable, "-m", "launchers", "status", "--json", "--store", str(Path(folder) / "store")]
            took = []
            for _ in range(asked.times):
                began = time.monotonic()
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                took.append(time.monotonic() - began)
            print(Counter(step["state"] for step in json.loads(done.stdout)["steps"]))
            print(f"status: median {statistics.median(took):.2f} s, longest {max(took):.2f} s, of {asked.times}")
        finally:
            if array:
                cancel_jobs([array])


if __name__ == "__main__":
    main()
