"""How long verdicts take: ours and lm_eval's own, side by side, on IFEval's 541 prompts with long, different answers.

python -m benchmarks.scoring [rounds=3]
python -m benchmarks.scoring hostile     (seconds for 100,000 characters, by instruction; ours only)

Every measurement runs in a process forked off for it, so nothing is remembered from one to the next. What both load
once (lm_eval, NLTK, langdetect) is loaded before the clock starts; starting the second process is on the clock.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from experiment.scoring import punkt
from experiment.scoring.score import score, verdicts, warm_up
from experiment.sources.jsonl import read_jsonl
from experiment.sources.read import read_prompts
from experiment.sources.records import BenchmarkPrompt
from experiment.sources.source import Source

SHARED = Path(os.environ.get("KIRJO_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
IFEVAL = SHARED / "ifeval" / "en.jsonl"
CHARACTERS = 6000  # some 1,280 tokens
LMEVAL = "lm_eval's own loop"
UNITS = ("[", "<<", "*", '"', " ", "\n", "a", "A", ".", "- ", "p.", ". ", "A. ", "1. ", "Mr. ", "[a\n", "{", "talo ")


def long_answers(how_many: int, column: str = "text_en") -> list[str]:
    """Messages of OpenAssistant, joined until they are as long as answers get."""
    found, text = [], ""
    for _, row in read_jsonl(SHARED / "oasst1" / "train-text.jsonl.gz"):
        text += (row.get(column) or "") + "\n\n"
        if len(text) >= CHARACTERS:
            found.append(text[:CHARACTERS])
            text = ""
        if len(found) == how_many:
            return found
    raise SystemExit(f"expected enough text for {how_many} answers, found {len(found)}")


def timed(way: Callable[[], object]) -> float:
    """Wall seconds in a process of its own."""
    context = multiprocessing.get_context("fork")
    told = context.SimpleQueue()

    def work() -> None:
        clock = time.monotonic()
        way()
        told.put(time.monotonic() - clock)

    process = context.Process(target=work)
    process.start()
    seconds: float = told.get()
    process.join()
    return seconds


def compare(prompts: Sequence[BenchmarkPrompt], rounds: int) -> None:
    """Print one line a way of scoring: seconds of the median round, and how many times faster than lm_eval."""
    from lm_eval.tasks.ifeval.utils import process_results

    rows = [row for _, row in read_jsonl(IFEVAL)]
    answers = long_answers(len(prompts))
    responses = {prompt.key: answer for prompt, answer in zip(prompts, answers, strict=True)}

    def theirs() -> None:
        for row, answer in zip(rows, answers, strict=True):
            process_results(row, [answer])

    def ours(processes: int, identify: bool) -> Callable[[], object]:
        return lambda: list(verdicts(prompts, responses, "en", processes, identify=identify))

    ways: Mapping[str, Callable[[], object]] = {
        LMEVAL: theirs,
        "verdicts, 1 process": ours(1, False),
        "verdicts, 2 processes": ours(2, False),
        "verdicts and languages, 1 process": ours(1, True),
        "verdicts and languages, 2 processes": ours(2, True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            seconds[name].append(timed(way))
    base = statistics.median(seconds[LMEVAL])
    for name, found in seconds.items():
        median = statistics.median(found)
        listed = ", ".join(f"{value:.2f}" for value in found)
        print(f"{name:36} {median:6.2f} s  {base / median:5.1f} times as fast   (rounds: {listed})")


def hostile() -> None:
    """Print the slowest of some long repetitive answers for each instruction, under all rule sets of Finnish."""
    from tests.answers import KWARGS

    for name, make in KWARGS.items():
        prompt = BenchmarkPrompt(1, "Say it.", (name,), (make(random.Random(1)),))
        found = []
        for unit in UNITS:
            text = (unit * 100_000)[:100_000]
            clock = time.process_time()
            score(prompt, text, "fi")
            found.append((time.process_time() - clock, unit))
        print(f"{name:44} {max(found)[0]:5.2f} s of processor, for {max(found)[1]!r} again and again")


def main() -> None:
    """Compare with lm_eval, or judge hostile answers."""
    options = dict(item.partition("=")[::2] for item in sys.argv[1:])
    if not IFEVAL.is_file():
        sys.exit(
            f"no {IFEVAL}: set KIRJO_SHARED_DATA to a folder with ifeval/en.jsonl (IFEval's prompts), "
            "oasst1/train-text.jsonl.gz (JSON lines with text_en, text_fi) and nltk_data/"
        )
    punkt.use_nltk_data(str(SHARED / "nltk_data"))
    prompts = read_prompts(Source(reader="ifeval", language="en", path=str(IFEVAL)), exclude=())
    warm_up(prompts, "fi" if "hostile" in options else "en")
    if "hostile" in options:
        hostile()
    else:
        compare(prompts, int(options.get("rounds", 3)))


if __name__ == "__main__":
    main()
