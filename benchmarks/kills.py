"""kill -9 at random moments in pretrain, sft, dpo and generate; then the same command until it is done.

    python -m benchmarks.kills [kills=20] [override ...]

Each kill takes the launcher, or one of its workers, at a random moment of a stage in work. At the end the scores must
be byte for byte those of an undisturbed run; exit 1 if they are not.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# How long after a stage was claimed a kill may come, seconds: about what a step of it takes here, imports included.
WINDOWS = {"pretrain": 40.0, "sft": 30.0, "dpo": 30.0, "generate": 3.0}
STAGES = tuple(WINDOWS)


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


def kill_once(arguments: list[str], store: Path, stage: str, chance: random.Random) -> str:
    """Start the sweep, wait for the stage, then kill at random; says what happened."""
    begun = time.time()
    process = start(arguments, store)
    while process.poll() is None and not claimed(store, stage, begun):
        time.sleep(0.01)
    time.sleep(chance.uniform(0, WINDOWS[stage]))
    if process.poll() is not None:
        return "over before the kill"
    try:
        victim = worker_of(process.pid) if chance.random() < 0.5 else process.pid
    except OSError:
        victim = process.pid
    who = "launcher" if victim == process.pid else "worker"
    os.kill(victim, signal.SIGKILL)
    process.wait()
    return f"killed the {who}"


def main() -> None:
    """Kill, count, compare."""
    given = sys.argv[1:]
    kills = int(next((item.removeprefix("kills=") for item in given if item.startswith("kills=")), "20"))
    arguments = ["method=dpo_both", *(item for item in given if not item.startswith("kills="))]
    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        calm, store = Path(folder) / "calm", Path(folder) / "killed"
        start(arguments, calm).wait()
        done = 0
        while done < kills:
            stage = STAGES[done % len(STAGES)]
            if len(list(store.glob(f"{stage}/*/manifest.json"))) > len(list(store.glob(f"{stage}/*.work"))):
                # All of this stage is finished: begin a new store, so that every stage is killed again and again.
                _finish_and_compare(arguments, store, calm)
                store = Path(folder) / f"killed{done}"
            happened = kill_once(arguments, store, stage, chance)
            done += happened.startswith("killed")
            print(f"{done:2d} {stage}: {happened}", flush=True)
        _finish_and_compare(arguments, store, calm)


def _finish_and_compare(arguments: list[str], store: Path, calm: Path) -> None:
    code = start(arguments, store).wait()
    expected = verdicts(calm)
    same = verdicts(store) == expected
    print(f"   then the same command: exit {code}, scores {'equal' if same else 'DIFFER'} ({len(expected)} artifacts)")
    if code or not same:
        sys.exit(1)


if __name__ == "__main__":
    main()
