"""kill -9 at random moments while data is translated, over a real HTTP server that counts what it is asked.

    python -m benchmarks.translation_kills [kills=20] [rows=400] [override ...]

The launcher or its worker is killed at a random moment of the translation, again and again, each time followed by the
same command; when all kills are done the command may end. The translation must be that of an undisturbed run, byte for
byte, and a kill may cost at most one shard of lines that were asked for before. Exit 1 if not.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.kills import claimed, kill_within, start
from tests.completion_server import Server
from tests.rule_server import MODEL, asked_for, serving

SHARD = 8
# After the claim of the step a kill comes within so many seconds, of which its imports take about one.
WINDOW_S = 1.8
DELAY_S = 0.05  # the server's, a request: time enough to be killed in


def arguments(server: Server, rows: int, more: list[str]) -> list[str]:
    """The data and nothing else: the demo's English conversations by a server's model, cleaning switched off."""
    return [
        "method=data",
        "method.preference=[]",
        "data_mix.target=translate",
        f"data_mix.sft.en.rows={rows}",
        "clean=none",
        "translate.engine=openai",
        f"engine.openai.url={server.url}",
        f"engine.openai.model={MODEL}",
        "engine.openai.concurrency=4",
        f"translate.shard_rows={SHARD}",
        "translate.query='{src}='",
        *more,
    ]


def translation(store: Path) -> bytes:
    """What the translate step left."""
    (path,) = store.glob("translate/*/translated.jsonl")
    return path.read_bytes()


def kill_once(asked: list[str], store: Path, chance: random.Random, window: float) -> str:
    """Start, wait until translating has begun, kill the launcher or the worker within ``window`` seconds."""
    begun = time.time()
    process = start(asked, store)
    while process.poll() is None and not claimed(store, "translate", begun):
        time.sleep(0.005)
    victim = kill_within(process, window, chance)
    _wait_for_workers(store)
    return victim or "over"


def _wait_for_workers(store: Path) -> None:
    """A worker whose launcher was killed notices within half a second; it may still have asked for something."""
    while subprocess.run(["pgrep", "-f", str(store)], capture_output=True, check=False).returncode == 0:
        time.sleep(0.05)


def main() -> None:
    """Kill, go on, compare."""
    given = dict(item.split("=", 1) for item in sys.argv[1:] if item.startswith(("kills=", "rows=")))
    more = [item for item in sys.argv[1:] if not item.startswith(("kills=", "rows="))]
    kills, rows = int(given.get("kills", "20")), int(given.get("rows", "400"))
    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as folder, serving(pause_s=DELAY_S) as server:
        calm, store = Path(folder) / "calm", Path(folder) / "killed"
        asked = arguments(server, rows, more)
        if start(asked, calm).wait():
            sys.exit(f"the undisturbed run failed: {' '.join(asked)}")
        lines = len(asked_for(server))
        assert len(server.asked) == lines, "a line was asked for twice in an undisturbed run"
        server.asked.clear()
        victims = []
        while len(victims) < kills and "over" not in victims:
            victims.append(kill_once(asked, store, chance, WINDOW_S))
        before = len(server.asked)
        code = start(asked, store).wait()
        same = translation(store) == translation(calm)
        twice = len(server.asked) - len(asked_for(server))
    bad = bool(code) or not same or twice > SHARD * len(victims) or "over" in victims
    print(
        f"{lines} distinct lines, shards of {SHARD}; {len(victims)} kills ({victims.count('launcher')} launcher, "
        f"{victims.count('worker')} worker, {victims.count('over')} after the end); {before} lines asked for by then; "
        f"then exit {code}, translation {'equal' if same else 'DIFFERS'}; {twice} lines asked for twice "
        f"(at most {SHARD * len(victims)} allowed)"
    )
    sys.exit(int(bad))


if __name__ == "__main__":
    main()
