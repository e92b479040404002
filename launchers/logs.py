"""``python -m launchers logs``: where the logs of steps are, and their last lines."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from experiment.errors import KirjoError
from experiment.stages import STAGES
from experiment.store import Store
from launchers.known import Known, chosen, known
from launchers.slurm.queue import read_queue
from launchers.states import StepState, look

POLL_S = 1.0
_BLOCK = 1 << 16
_SHORTEST_PREFIX = 4


def logs(store: Store, wanted: Sequence[str], lines: int, follow: bool) -> int:
    """Print the logs of the steps that are wanted, or of those that run or failed; with ``follow``, go on for ever.

    Raises:
        KirjoError: no step is meant by a word, or none has a log.
    """
    found = known(store)
    if wanted:
        keys = list(dict.fromkeys(key for word in wanted for key in _meant(found, word)))
        states = look(store, {key: found.steps[key] for key in keys}, read_queue())
        paths = _existing(states[key] for key in keys)
    else:
        states = look(store, found.steps, read_queue(), frozenset(found.steps) - found.launched)
        paths = _existing(state for state in states.values() if state.state in ("running", "failed"))
        # Nothing runs and nothing failed: what was written last.
        paths = paths or sorted(_existing(states.values()), key=lambda path: path.stat().st_mtime)[-1:]
    if not paths:
        raise KirjoError(
            f"none of the steps{' that are meant' if wanted else ''} has a log yet in {store.root}: "
            "python -m launchers status tells which have started"
        )
    for path in paths:
        print(f"==> {path} <==" if lines else path)
        print("".join(f"{line}\n" for line in last_lines(path, lines)), end="")
    sys.stdout.flush()
    if follow:
        _follow(paths)
    return 0


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a file, read from its end; of a progress bar's line the newest state."""
    if count < 1:
        return []
    with path.open("rb") as file:
        place, found = file.seek(0, 2), b""
        while place and found.count(b"\n") <= count:
            step = min(_BLOCK, place)
            place -= step
            file.seek(place)
            found = file.read(step) + found
    return [_shown(line) for line in found.decode(errors="replace").split("\n") if line][-count:]


def _shown(line: str) -> str:
    """As a terminal would: what stands behind the last carriage return."""
    return line.rstrip("\r").rpartition("\r")[2]


def _meant(found: Known, word: str) -> list[str]:
    """The steps of a stage, of a fingerprint's beginning, or of runs."""
    if word in STAGES:
        keys = [key for key in found.steps if key.startswith(f"{word}/")]
        if not keys:
            raise KirjoError(f"no run in this store has a step of the stage {word}")
        return keys
    fingerprint = word.partition("/")[2] if word.partition("/")[0] in STAGES else word
    if re.fullmatch(rf"[0-9a-f]{{{_SHORTEST_PREFIX},16}}", fingerprint):
        keys = [key for key in found.steps if key.split("/")[1].startswith(fingerprint)]
        if keys:
            return keys
    return [key for run in chosen(found.runs, word, within=True) for key in run.steps.values()]


def _existing(states: Iterable[StepState]) -> list[Path]:
    paths = [state.log for state in states if state.log]
    return list(dict.fromkeys(path for path in paths if path.exists()))


def _follow(paths: Sequence[Path]) -> None:
    places = {path: path.stat().st_size for path in paths}
    shown = paths[-1]
    while True:
        for path in paths:
            size = path.stat().st_size
            if size < places[path]:  # made anew
                places[path] = 0
            if size == places[path]:
                continue
            if path != shown:
                print(f"\n==> {path} <==")
                shown = path
            with path.open("rb") as file:
                file.seek(places[path])
                text = file.read()
            places[path] += len(text)
            sys.stdout.write(text.decode(errors="replace"))
            sys.stdout.flush()
        time.sleep(POLL_S)
