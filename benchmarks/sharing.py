"""The paper's whole sweep as one plan, against the same runs each on its own: steps, CPU seconds, ratio.

    python -m benchmarks.sharing [override ...]      e.g. sft.epochs=1 dpo.epochs=1 to see it sooner

Both sides run here, one after the other, with the same overrides; every run on its own gets a store of its own.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path


def carry_out(arguments: list[str], store: Path) -> tuple[float, float]:
    """(wall seconds, CPU seconds of the command and all its processes)."""
    before, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, "-m", "experiment", *arguments, f"store={store}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def executed(store: Path) -> Counter[str]:
    """Artifacts by stage: in a fresh store each is one executed step."""
    return Counter(path.parent.parent.name for path in store.glob("*/*/manifest.json"))


def main() -> None:
    """Run both sides and print them."""
    shared = sys.argv[1:]
    document = subprocess.run(
        [sys.executable, "-m", "experiment", "experiment=paper", "plan=json", *shared],
        check=True,
        capture_output=True,
        text=True,
    )
    runs = json.loads(document.stdout)["runs"]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        wall, cpu = carry_out(["experiment=paper", *shared], root / "plan")
        together = executed(root / "plan")
        print(f"one plan, {len(runs)} runs:  {together.total():4d} steps  {cpu:7.0f} CPU s  {wall:7.0f} s", flush=True)
        alone: Counter[str] = Counter()
        alone_wall = alone_cpu = 0.0
        for number, run in enumerate(runs):
            wall_one, cpu_one = carry_out(run["overrides"], root / f"run{number}")
            alone += executed(root / f"run{number}")
            alone_wall, alone_cpu = alone_wall + wall_one, alone_cpu + cpu_one
            print(f"  {run['name']}: {cpu_one:.0f} CPU s", flush=True)
        print(f"each run on its own: {alone.total():4d} steps  {alone_cpu:7.0f} CPU s  {alone_wall:7.0f} s")
        print(
            f"ratio:               {alone.total() / together.total():4.2f}        {alone_cpu / cpu:7.2f}        ",
            end="",
        )
        print(f"{alone_wall / wall:7.2f}")
        for stage in alone:
            print(f"  {stage:10} {together[stage]:3d} against {alone[stage]:3d}")


if __name__ == "__main__":
    main()
