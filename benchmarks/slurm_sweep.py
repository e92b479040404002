"""The paper's sweep on a SLURM cluster, from submission to tables; with ``faults=true`` things go wrong on the way.

    python -m benchmarks.slurm_sweep store=PATH [reference=STORE] [faults=true] [override ...]

``reference`` is a store that a local run of the same sweep filled: its verdicts are compared byte by byte. The faults
need the cluster of tests/slurm/cluster-up.sh and root: pretraining gets a walltime of one minute, a training job is
requeued, another is cancelled, and the slurmd of a node is killed with signal 9 (and started again a minute later).
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NODE = "nid000002"
IN_FLIGHT = {"running", "queued", "waiting", "held", "not submitted"}
SHORT = ("launcher.resources.pretrain.walltime_min=1", "launcher.stop_before_s=10")


def python(*arguments: str, check: bool = True) -> str:
    """Run one of the front doors; returns what it printed."""
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, text=True, capture_output=True, check=False)
    if check and done.returncode:
        sys.exit(f"{' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def steps(store: Path) -> list[dict[str, Any]]:
    """All steps with their states."""
    return list(json.loads(python("launchers", "status", "--json", "--store", str(store), check=False))["steps"])


def wait(store: Path) -> list[dict[str, Any]]:
    """Wait until nothing is in flight any more."""
    while True:
        found = steps(store)
        if not {step["state"] for step in found} & IN_FLIGHT:
            return found
        time.sleep(3)


class Faults(threading.Thread):
    """Does harm, one thing after another, and notes when."""

    def __init__(self, store: Path, since: float) -> None:
        super().__init__(daemon=True)
        self.store, self.since = store, since
        self.harmed: set[str] = set()

    def run(self) -> None:
        """Requeue a training job, cancel another, kill a node's daemon and bring it back."""
        self._to("sft", "scontrol", "requeue")
        self._to("sft", "scancel")
        self._to("dpo", "scontrol", "requeue")
        node = str(ROOT / "tests" / "slurm" / "cluster-node.sh")
        self._call(node, "kill", NODE)
        time.sleep(60)
        self._call(node, "start", NODE)

    def _to(self, stage: str, *command: str) -> None:
        while True:
            for step in steps(self.store):
                if (step["stage"], step["state"]) == (stage, "running") and step["job"] not in self.harmed:
                    time.sleep(5)  # into its work
                    self.harmed.add(step["job"])
                    self._call(*command, step["job"])
                    return
            time.sleep(1)

    def _call(self, *command: str) -> None:
        done = subprocess.run(command, text=True, capture_output=True, check=False)
        print(f"{time.monotonic() - self.since:6.0f} s  {' '.join(command)} -> {done.returncode}", flush=True)


def verdicts(store: Path) -> dict[str, str]:
    """The checksum of each score's verdicts."""
    return {
        path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.glob("score/*/verdicts.jsonl"))
    }


def main(*arguments: str) -> None:
    """Launch, wait, go on once if something is left, make the tables, and say how it went."""
    options = dict(argument.split("=", 1) for argument in arguments if argument.split("=")[0] in _OWN)
    more = [argument for argument in arguments if argument.split("=")[0] not in _OWN]
    store, faults = Path(options["store"]), options.get("faults") == "true"
    since = time.monotonic()
    asked = ["experiment=paper", "launcher=slurm", f"store={store}", *(SHORT if faults else ()), *more]
    print(python("experiment", *asked).strip())
    print(f"{time.monotonic() - since:6.1f} s  the prompt is back", flush=True)
    if faults:
        Faults(store, since).start()
    found = wait(store)
    retries = 0
    if any(step["state"] != "done" for step in found):
        print(f"{time.monotonic() - since:6.0f} s  {dict(Counter(step['state'] for step in found))}; retry", flush=True)
        print(python("launchers", "retry", "--store", str(store)).strip())
        retries, found = 1, wait(store)
    print(f"{time.monotonic() - since:6.0f} s  all ended: {dict(Counter(step['state'] for step in found))}")
    _tell(store, found, retries, lambda: time.monotonic() - since)
    if options.get("reference"):
        same = verdicts(store) == verdicts(Path(options["reference"]))
        print(f"verdicts of {len(verdicts(store))} scores equal to those of the local run: {same}")


def _tell(store: Path, found: list[dict[str, Any]], retries: int, clock: Callable[[], float]) -> None:
    logs = [path.read_text(errors="replace") for path in store.glob("logs/*.log")]
    done = Counter(text.count("\n--- done") for text in logs)
    jobs = {step["job"] for step in found}
    print(f"{len(found)} steps in {len(jobs)} jobs, {retries} retries; times a step was ended: {dict(done)}")
    print(f"restarts: {dict(Counter(step['restarts'] for step in found))}")
    print(python("analysis", "table1", "table2", "--store", str(store)).strip())
    print(f"{clock():6.0f} s  tables")


_OWN = ("store", "reference", "faults")

if __name__ == "__main__":
    main(*sys.argv[1:])
