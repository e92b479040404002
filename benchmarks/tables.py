"""How long Table 1 takes over a store of 1,000 runs, as a user waits for it.

    python -m benchmarks.tables [runs=1000] [prompts=510]

The store is made in a temporary folder: seven mixes with as many seeds as that takes, every run scored in two
languages, each score with its own file of verdicts. Times are of new processes, their start included.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from experiment.store import Store
from tests.stores import imagined, plan, publish_verdicts, record, with_seed

MIXES = (0, 10, 20, 40, 60, 80, 100)
COMMANDS = (
    ["table1"],
    ["table1", "--where", "seed=1"],
    [
        "compare",
        "--rows",
        "mix",
        "--columns",
        "seed",
        "--metric",
        "ifeval_fi.instruction_strict",
        "--where",
        "seed=1,2,3",
    ],
)


def fill(root: Path, runs: int, prompts: int) -> int:
    """Make the store; returns how many runs it holds."""
    store = Store.open(root, create=True)
    made = 0
    for seed in range(1, -(-runs // len(MIXES)) + 1):
        for mix in MIXES[: runs - made]:
            run = with_seed(plan(f"mix={mix}"), seed)
            record(store, run)
            for language in ("en", "fi"):
                verdicts, _, _ = imagined(language, prompts=prompts, level=0.4, in_language=0.9, seed=seed)
                publish_verdicts(store, run, language, verdicts)
            made += 1
    return made


def main() -> None:
    """Print the times."""
    options = dict(item.split("=") for item in sys.argv[1:])
    prompts = int(options.get("prompts", 510))
    with tempfile.TemporaryDirectory() as folder:
        runs = fill(Path(folder) / "store", int(options.get("runs", 1000)), prompts)
        print(f"{runs} runs, {prompts} prompts in each of two languages")
        for command in COMMANDS:
            started = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "analysis", *command, "--store", f"{folder}/store"],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            print(f"{time.perf_counter() - started:6.2f} s  analysis {' '.join(command)}")


if __name__ == "__main__":
    main()
