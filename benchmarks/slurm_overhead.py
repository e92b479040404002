"""What a sweep through launcher=slurm costs over sbatch scripts written by hand for the same work; needs a cluster.

    python -m benchmarks.slurm_overhead [runs=3] [repeats=3]

A small base model is trained once, on this machine. Then, in turn and each in a copy of that store, the cluster gets
the same jobs: each generates with a limit of its own and scores what came out (a run has one for each language). Once
Kirjo submits them; once a batch script per job does, that calls ``experiment.execute.execute`` for the job's steps,
and nothing else. Printed: the seconds until the prompt is back, until all artifacts are there, and per step; medians
of the repeats.
"""

from __future__ import annotations

import json
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiment.claims import Observer
from experiment.execute import execute
from experiment.plan import Step
from experiment.store import Store
from launchers.slurm import ledger

ROOT = Path(__file__).resolve().parent.parent
SMALL = (
    "mix=0",
    "pretrain.texts.en.rows=60",
    "pretrain.texts.fi.rows=60",
    "pretrain.architecture.hidden_size=32",
    "pretrain.architecture.n_layer=1",
    "pretrain.architecture.n_head=2",
    "pretrain.architecture.vocab_size=400",
    "sft.epochs=1",
    "data_mix.sft.en.rows=24",
    "data_mix.sft.fi.rows=20",
    "benchmark.prompts.en.rows=8",
    "benchmark.prompts.fi.rows=8",
    "preflight.max_truncated=1.0",
)


@dataclass(frozen=True)
class Measured:
    """Seconds from the command to the prompt, and from the command to the last artifact."""

    prompt: float
    done: float


def kirjo(*arguments: str, store: Path) -> None:
    """A sweep, as a user gives it."""
    command = [sys.executable, "-m", "experiment", *SMALL, *arguments, f"store={store}"]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def measured(submit: Callable[[], None], store: Path, keys: Sequence[str], limit_s: float = 600.0) -> Measured:
    """Submit, then look for the artifacts ten times a second."""
    began = time.monotonic()
    submit()
    prompt = time.monotonic() - began
    while not all((store / key / "manifest.json").exists() for key in keys):
        if time.monotonic() - began > limit_s:
            raise SystemExit(f"not done after {limit_s:g} s; see squeue and {store}")
        time.sleep(0.1)
    return Measured(prompt, time.monotonic() - began)


def by_hand(store: Path, tasks: Sequence[Sequence[str]], steps: dict[str, object]) -> None:
    """Submit one batch script per task: nothing but ``execute`` for each of its steps."""
    folder = store.parent / f"{store.name}-scripts"
    folder.mkdir()
    (folder / "steps.json").write_text(json.dumps(steps))
    for number, keys in enumerate(tasks):
        command = [sys.executable, "-m", "benchmarks.slurm_overhead", "execute", str(folder / "steps.json"), str(store)]
        script = folder / f"{number}.sh"
        script.write_text(f"#!/bin/bash\ncd {shlex.quote(str(ROOT))}\nexec {shlex.join([*command, *keys])}\n")
        subprocess.run(
            ["sbatch", "--parsable", "--time=10", f"--output={script.with_suffix('.log')}", str(script)],
            check=True,
            stdout=subprocess.DEVNULL,
        )


def execute_steps(file: Path, root: Path, keys: Sequence[str]) -> int:
    """What a batch script does on the node."""
    steps = {key: Step.from_json(document) for key, document in json.loads(file.read_text()).items()}
    store = Store(root)
    outcomes = [execute(steps[key], store, lambda *_: None, 1, Observer()) for key in keys]
    print(outcomes)
    return 0 if all(outcome.state in ("done", "there") for outcome in outcomes) else 1


def jobs_of(store: Path) -> tuple[list[tuple[str, ...]], dict[str, object]]:
    """The tasks, as keys of steps, and the resolved steps of what was submitted from a store."""
    found = Store(store)
    submitted = ledger.submissions(found)
    tasks = [task.steps for one in submitted for task in one.tasks]
    steps = [ledger.steps_of(found, one.id) for one in submitted]
    return tasks, {key: step.to_json() for some in steps for key, step in some.items()}


def compare(folder: Path, runs: int, repeats: int) -> None:
    """Run both sides in turn, and print them."""
    base = folder / "base"
    kirjo("benchmark.max_new_tokens=4", store=base)
    sweep = ("launcher=slurm", "-m", "benchmark.max_new_tokens=" + ",".join(str(8 + n) for n in range(runs)))

    def fresh(name: str) -> Path:
        return Path(shutil.copytree(base, folder / name))

    warm = fresh("warm")  # file caches, compiled Python; and it says which jobs the sweep has
    kirjo(*sweep, store=warm)
    tasks, steps = jobs_of(warm)
    keys = [key for task in tasks for key in task]
    measured(lambda: None, warm, keys)
    sides: dict[str, list[Measured]] = {"sbatch by hand": [], "launcher=slurm": []}
    for repeat in range(repeats):
        ours, theirs = fresh(f"kirjo-{repeat}"), fresh(f"hand-{repeat}")
        sides["sbatch by hand"].append(measured(lambda: by_hand(theirs, tasks, steps), theirs, keys))  # noqa: B023
        sides["launcher=slurm"].append(measured(lambda: kirjo(*sweep, store=ours), ours, keys))  # noqa: B023
    show(sides, len(tasks), len(keys))


def show(sides: dict[str, list[Measured]], tasks: int, steps: int) -> None:
    """Print medians, and what one side takes more than the other."""
    print(f"{steps} steps in {tasks} jobs; medians of {len(sides['launcher=slurm'])}, seconds (all values)")
    print(f"{'':16}{'prompt back':>13}{'all done':>10}{'a step':>8}{'a step after the prompt':>25}")
    a_step = {}
    for name, runs in sides.items():
        prompt, done = (statistics.median(values) for values in zip(*((r.prompt, r.done) for r in runs), strict=True))
        a_step[name] = done / steps
        every = ", ".join(f"{run.done:.1f}" for run in runs)
        print(f"{name:16}{prompt:13.2f}{done:10.2f}{a_step[name]:8.2f}{(done - prompt) / steps:25.2f}   ({every})")
    print(f"overhead a step: {a_step['launcher=slurm'] - a_step['sbatch by hand']:.2f} s")


def main() -> None:
    """Compare; or, on the node, execute."""
    if sys.argv[1:2] == ["execute"]:
        sys.exit(execute_steps(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]))
    settings = {"runs": 3, "repeats": 3} | {
        name: int(value) for name, _, value in (argument.partition("=") for argument in sys.argv[1:])
    }
    with tempfile.TemporaryDirectory(prefix="kirjo-overhead-") as folder:
        compare(Path(folder), settings["runs"], settings["repeats"])


if __name__ == "__main__":
    main()
