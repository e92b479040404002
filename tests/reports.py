"""Stores for reports: nasty texts that must stay texts, and as many long answers as a real sweep leaves."""

from __future__ import annotations

import base64
import gzip
import json
import os
import random
import re
from pathlib import Path
from typing import Any

import msgspec

from experiment.plan import Run
from experiment.results import VERDICTS, RunResult, load_results
from experiment.scoring.verdict import Verdict
from experiment.store import Store
from tests.stores import imagined, plan, publish, publish_answers, publish_verdicts, record, with_seed

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("KIRJO_SHARED_DATA", ROOT.parent / "shared" / "data"))
NASTY = (
    "</script><script>window.pwned = 1</script>",
    "<!--<script>window.pwned = 1</script>-->",
    '<img src=x onerror="window.pwned = 1">',
    '"><svg onload="window.pwned = 1">',
    "javascript:window.pwned = 1",
    "${window.pwned = 1} $policy {{ page }} <!--answers-->",
    "a\u2028b\u2029c \x00 \x1b[31m \ud800 \udfff \u202eevil\u202c \x85",
    "مرحبا بالعالم, hello, עולם",
    "a\u0308a\u0308 e\u0301 ÄÄ 👩‍👩‍👧 \U0001f1eb\U0001f1ee",
    "",
    " \r\n\r \t ",
    "]]>' && \"' --> `",
)


def words(seed: int) -> str:
    """A long text that compresses about as badly as real prose: drawn words, frequent ones more often."""
    draw = random.Random(seed)
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    vocabulary = ["".join(draw.choices(letters, range(26, 0, -1), k=draw.randint(2, 11))) for _ in range(20_000)]
    return " ".join(draw.choices(vocabulary, [1 / (place + 3) for place in range(20_000)], k=400_000))


def real_text() -> str | None:
    """English of about two million characters from the shared data, where there is any."""
    path = SHARED / "oasst1" / "train-text.jsonl.gz"
    if not path.exists():
        return None
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return "\n".join(json.loads(line)["text_en"] for line, _ in zip(lines, range(6000), strict=False))


def many(store: Store, text: str, runs: int = 20, prompts: int = 510) -> list[RunResult]:
    """Runs with answers cut from a text at random: 1,800 characters on average, one in twelve 6,000 and more."""
    first = plan("method=sft", "mix=0")
    for seed in range(runs):
        run = with_seed(first, seed)
        record(store, run)
        for language in ("en", "fi"):
            verdicts, _, texts = imagined(language, prompts=prompts, level=0.4, in_language=0.9, seed=seed)
            draw = random.Random(f"{language} {seed}")
            answers = {}
            for key in texts:
                size = draw.randint(6000, 8000) if draw.random() < 1 / 12 else draw.randint(100, 2700)
                begin = draw.randrange(len(text) - size)
                answers[key] = text[begin : begin + size]
            publish_answers(store, run, language, answers, texts)
            publish_verdicts(store, run, language, verdicts)
    return load_results(store)


def with_answers(store: Store, run: Run, answers: dict[int, str], verdicts: list[Verdict]) -> None:
    """A run that gave these answers in Finnish."""
    record(store, run)
    publish_answers(store, run, "fi", answers, {key: f"Kysymys {key}: {NASTY[key % len(NASTY)]}" for key in answers})
    rows = [msgspec.structs.asdict(verdict) for verdict in verdicts]
    publish(store, run.steps["score.fi"], VERDICTS, rows)


def unpacked(html: str) -> dict[str, Any]:
    """The data blocks by name."""
    found = re.findall(r'<script type="application/octet-stream" id="data-(\w+)">([^<]*)</script>', html)
    return {name: json.loads(gzip.decompress(base64.b64decode(data))) for name, data in found}
