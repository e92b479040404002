"""Tokens a second of greedy generation: our engine beside lm_eval's hf model and transformers' generate, same model.

python -m benchmarks.generation [rounds=3] [requests=96] [new_tokens=64] [threads=1] [hidden=256] [layers=6]
    [architecture=llama]    (or bloom; or model=FOLDER)
python -m benchmarks.generation batches     (how many answers are the same to the last byte in batches of 1, 8 and 64)
python -m benchmarks.generation server      (the engine openai against transformers serve; needs transformers[serving])

Two kinds of requests: translation with four examples that all share, cut at the end of the line; and texts of unequal
length that share nothing. The model has random weights, in which the end of the text and the end of the line take the
place of frequent tokens, so that answers are unequally long. The rounds are interleaved; what is counted is, for all,
the tokens of our answers. Loading, and lm_eval's search for a batch size (it ends at 64, its maximum), are not on the
clock.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch

from benchmarks.toy_model import ROWS, Bench, alone, make_bench, translations
from experiment.engines.engine import Answer, Request
from experiment.engines.open import open_engine
from experiment.engines.settings import Engines, Server

LMEVAL_ROWS = 64
PAGE = os.sysconf("SC_PAGE_SIZE")


Way = Callable[[Sequence[Request]], list[str]]


def ways_of(bench: Bench) -> dict[str, Way]:
    """Each takes requests with one limit and gives texts in their order; all are loaded."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    engine = open_engine("transformers", Engines(), model=bench.folder, batch_rows=ROWS, work=bench.folder)
    engine.answer([Request("warm", 2, prompt="a")], lambda _id, _answer: None)
    harness = HFLM(pretrained=bench.model, tokenizer=bench.tokenizer, batch_size=LMEVAL_ROWS, max_length=2048)

    def ours(requests: Sequence[Request]) -> list[str]:
        found: dict[str, Answer] = {}
        engine.answer(requests, found.__setitem__)
        return [found[one.id].text for one in requests]

    def lm_eval(requests: Sequence[Request]) -> list[str]:
        asked = [
            Instance(
                "generate_until",
                {},
                (
                    one.prompt,
                    {
                        "until": list(one.stop),
                        "max_gen_toks": one.max_new_tokens,
                        "do_sample": False,
                        "temperature": 0.0,
                    },
                ),
                at,
            )
            for at, one in enumerate(requests)
        ]
        return list(harness.generate_until(asked, disable_tqdm=True))

    def plain(rows: int) -> Way:
        def answer(requests: Sequence[Request]) -> list[str]:
            found: list[str] = []
            for start in range(0, len(requests), rows):
                found += generate(bench, requests[start : start + rows])
            return found

        return answer

    return {
        f"kirjo, {ROWS} rows": ours,
        f"lm_eval hf, batch_size=auto ({LMEVAL_ROWS})": lm_eval,
        "model.generate, batches of 8": plain(8),
        "model.generate, batches of 32": plain(32),
    }


@torch.inference_mode()
def generate(bench: Bench, batch: Sequence[Request]) -> list[str]:
    """One call of transformers' generate."""
    tokenizer, stop = bench.tokenizer, batch[0].stop
    given = tokenizer([one.prompt for one in batch], return_tensors="pt", padding=True)
    more = {"stop_strings": list(stop), "tokenizer": tokenizer} if stop else {}
    out = bench.model.generate(
        input_ids=given["input_ids"],
        attention_mask=given["attention_mask"],
        max_new_tokens=batch[0].max_new_tokens,
        do_sample=False,
        **more,
    )
    texts = tokenizer.batch_decode(out[:, given["input_ids"].shape[1] :], skip_special_tokens=True)
    return [text.split(stop[0])[0] if stop else text for text in texts]


class Memory:
    """The highest resident memory while it runs over that at its start, MB."""

    def __enter__(self) -> Memory:
        self.start = self.most = self._now()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def megabytes(self) -> float:
        """Over what was there."""
        return (self.most - self.start) / 1e6

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self.most = max(self.most, self._now())

    def _now(self) -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def compare(bench: Bench, name: str, requests: Sequence[Request], rounds: int) -> None:
    """Print a line a way: tokens a second of the median round, and how many times faster ours is."""
    ways = ways_of(bench)
    right = bench.ours(requests)
    tokens = sum(answer.tokens for answer in right.values())
    lengths = sorted(answer.tokens for answer in right.values())
    prompts = sorted(len(bench.tokenizer(one.prompt)["input_ids"]) for one in requests)
    print(
        f"\n{name}: {len(requests)} requests of {prompts[0]} to {prompts[-1]} tokens, answers of {lengths[0]} to "
        f"{lengths[-1]} (median {lengths[len(lengths) // 2]}), {tokens} tokens in all",
        flush=True,
    )
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    memory: dict[str, list[float]] = {way: [] for way in ways}
    same: dict[str, int] = {}
    for _ in range(rounds):
        for way, answer in ways.items():
            clock = time.monotonic()
            with Memory() as held:
                texts_ = answer(requests)
            seconds[way].append(time.monotonic() - clock)
            memory[way].append(held.megabytes)
            same[way] = sum(text == right[one.id].text for text, one in zip(texts_, requests, strict=True))
    base = statistics.median(next(iter(seconds.values())))
    for way, found in seconds.items():
        median = statistics.median(found)
        print(
            f"{way:34} {tokens / median:8.1f} tokens/s {median / base:6.2f} x our time {max(memory[way]):7.0f} MB "
            f"{same[way]:4d} answers as ours   (rounds: {', '.join(f'{value:.1f}' for value in found)} s)",
            flush=True,
        )


def asked(options: Mapping[str, str]) -> dict[str, list[Request]]:
    """The two kinds of requests."""
    count, limit = int(options.get("requests", 96)), int(options.get("new_tokens", 64))
    return {
        "translation": [
            Request(f"t{at}", limit, prompt=one, stop=("\n",)) for at, one in enumerate(translations(count))
        ],
        "nothing shared": [Request(f"a{at}", limit, prompt=one) for at, one in enumerate(alone(count))],
    }


def batches(bench: Bench, options: Mapping[str, str]) -> None:
    """Print how many answers are the same in every size of batch."""
    for name, requests in asked(options).items():
        alone_ = bench.ours(requests, 1)
        for rows in (8, 64):
            found = bench.ours(requests, rows)
            same = sum(found[one.id] == alone_[one.id] for one in requests)
            print(
                f"{name}: {same} of {len(requests)} answers the same in batches of {rows} as one at a time", flush=True
            )


def server(bench: Bench, options: Mapping[str, str]) -> None:
    """Print what the engine openai gets from transformers serve, with its continuous batching and without."""
    script = Path(sys.executable).with_name("transformers")
    for name, requests in asked(options).items():
        right = bench.ours(requests)
        tokens = sum(answer.tokens for answer in right.values())
        for more in ("--no-continuous-batching", "--continuous-batching"):
            start = f"{script} serve {{model}} --port {{port}} --host 127.0.0.1 --device cpu {more}"
            settings = Engines(openai=Server(start=start, concurrency=32, retries=1))
            with open_engine("openai", settings, model=bench.folder, batch_rows=1, work=bench.folder) as engine:
                engine.answer(requests[:1], lambda _id, _answer: None)
                found: dict[str, Answer] = {}
                clock = time.monotonic()
                engine.answer(requests, found.__setitem__)
                taken = time.monotonic() - clock
            same = sum(found[one.id].text == right[one.id].text for one in requests)
            print(
                f"{name}, {more}: {tokens / taken:.1f} tokens/s, {same} of {len(requests)} answers as ours", flush=True
            )


def main() -> None:
    """Compare speeds; or batches; or ask a server."""
    options = dict(item.partition("=")[::2] for item in sys.argv[1:])
    torch.set_num_threads(int(options.get("threads", 1)))
    with tempfile.TemporaryDirectory() as folder:
        bench = make_bench(Path(folder), options)
        size = sum(weight.numel() for weight in bench.model.parameters()) / 1e6
        print(f"{type(bench.model).__name__} of {size:.1f} million parameters, {bench.model.dtype}, CPU", flush=True)
        if "batches" in options:
            batches(bench, options)
        elif "server" in options:
            server(bench, options)
        else:
            for name, requests in asked(options).items():
                compare(bench, name, requests, int(options.get("rounds", 3)))


if __name__ == "__main__":
    main()
