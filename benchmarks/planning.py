"""How long planning takes, and the light commands: seconds, three times each, and whether torch was imported.

python -m benchmarks.planning
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

HUNDRED = ["-m", "mix=0,10,20,30,40,50,60,70,80,90", "method=sft,dpo_both", "seed=1,2,3,4,5"]


def timed(*arguments: str) -> tuple[list[float], str]:
    """Wall seconds of three runs of the command, and what it printed."""
    found, output = [], ""
    for _ in range(3):
        clock = time.monotonic()
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
        found.append(time.monotonic() - clock)
        output = done.stdout + done.stderr
    return found, output


def main() -> None:
    """Print one line a command."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        store.mkdir()
        (store / "store.json").write_text('{"format": 1}')
        commands = {
            "plan of 100 runs": ["-m", "experiment", *HUNDRED, "plan=json"],
            "plan of the paper": ["-m", "experiment", "experiment=paper", "plan=json"],
            "experiment --help": ["-m", "experiment", "--help"],
            "analysis table1": ["-m", "analysis", "table1", "--store", str(store)],
        }
        for name, command in commands.items():
            seconds, _ = timed(*command)
            print(f"{name:20} {'  '.join(f'{value:5.2f} s' for value in seconds)}")
    _, imports = timed("-X", "importtime", "-m", "experiment", *HUNDRED, "plan=json")
    modules = {line.rsplit("|", 1)[-1].strip() for line in imports.splitlines() if line.startswith("import time:")}
    for name in ("torch", "transformers", "trl", "datasets", "hydra"):
        print(f"{name:20} {'imported' if name in modules else 'not imported'} while planning 100 runs")


if __name__ == "__main__":
    main()
