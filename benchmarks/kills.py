"""kill -9 at random moments in pretrain, sft, dpo and generate; then the same command again.

    python -m benchmarks.kills [kills=20] [override ...]

Each kill takes the launcher, or one of its workers, at a random moment of the stage in work; the same command must
then end with exit code 0 and scores byte for byte those of an undisturbed run. Exit 1 if one does not. What stands
before the stage in the chain is copied from the undisturbed run's store: a kill costs seconds, not minutes.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from experiment.stages import STAGES

# How long after its claim a stage may be killed, seconds: about what a step of it takes here, imports included.
WINDOWS = {"pretrain": 25.0, "sft": 25.0, "dpo": 20.0, "generate": 10.0}
ORDER = list(STAGES)


def verdicts(store: Path) -> dict[str, str]:
    """Checksums of all score artifacts."""
    return {
        path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in store.glob("score/*/verdicts.jsonl")
    }


def start(arguments: list[str], store: Path) -> subprocess.Popen[bytes]:
    """The sweep, in a process group of its own."""
    command = [sys.executable, "-m", "experiment", *arguments, f"store={store}"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def claimed(store: Path, stage: str, since: float) -> bool:
    """Whether somebody has begun to work on a step of the stage since then."""
    found = []
    for folder in store.glob(f"{stage}/*.claim-*"):
        try:
            found.append(folder.stat().st_mtime >= since)
        except FileNotFoundError:
            continue
    return any(found)


def worker_of(pid: int) -> int:
    """A worker process of the launcher, or the launcher itself if there is none."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    spawned = [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
    return spawned[0] if spawned else pid


def store_before(stage: str, calm: Path, store: Path) -> None:
    """A store in which all that stands before the stage is done."""
    ahead = ORDER[: ORDER.index(stage)]
    shutil.copytree(calm, store, ignore=lambda folder, names: [] if Path(folder) != calm else _later(names, ahead))


def _later(names: list[str], ahead: list[str]) -> list[str]:
    return [name for name in names if name in ORDER and name not in ahead]


def kill_once(arguments: list[str], store: Path, stage: str, chance: random.Random) -> str | None:
    """Start the sweep, wait for the stage, then kill at random; who was killed, None if it was over by then."""
    begun = time.time()
    process = start(arguments, store)
    while process.poll() is None and not claimed(store, stage, begun):
        time.sleep(0.01)
    return kill_within(process, WINDOWS[stage], chance)


def kill_within(process: subprocess.Popen[bytes], window: float, chance: random.Random) -> str | None:
    """Kill a launcher or its worker at a random moment of so many seconds; who it was, None if all was over by then."""
    time.sleep(chance.uniform(0, window))
    if process.poll() is not None:
        return None
    try:
        victim = worker_of(process.pid) if chance.random() < 0.5 else process.pid
    except OSError:
        victim = process.pid
    os.kill(victim, signal.SIGKILL)
    process.wait()
    return "launcher" if victim == process.pid else "worker"


def main() -> None:
    """Kill, go on, compare; one line a kill."""
    given = sys.argv[1:]
    kills = int(next((item.removeprefix("kills=") for item in given if item.startswith("kills=")), "20"))
    arguments = ["method=dpo_both", *(item for item in given if not item.startswith("kills="))]
    chance = random.Random(0)
    bad = done = 0
    with tempfile.TemporaryDirectory() as folder:
        calm, store = Path(folder) / "calm", Path(folder) / "killed"
        start(arguments, calm).wait()
        expected = verdicts(calm)
        while done < kills:
            stage = list(WINDOWS)[done % len(WINDOWS)]
            store_before(stage, calm, store)
            killed = kill_once(arguments, store, stage, chance)
            left = sorted(f"{path.parent.name}" for path in store.glob("*/*.work"))
            code = start(arguments, store).wait()
            same = verdicts(store) == expected
            if killed:
                done += 1
                bad += bool(code) or not same
                words = "equal" if same else "DIFFER"
                where = f"unfinished: {', '.join(left) or 'nothing'}"
                print(f"{done:2d} {stage:8} {killed:8} killed, {where:22} then exit {code}, scores {words}", flush=True)
            shutil.rmtree(store)
    print(
        f"{done} kills, {bad} without a complete and equal result ({len(expected)} score artifacts compared each time)"
    )
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
