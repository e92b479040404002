"""The model and the requests that generation is measured with: random weights whose answers end at unequal lengths."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BloomConfig,
    BloomForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    set_seed,
)

from experiment.engines.engine import Answer, Request
from experiment.engines.open import open_engine
from experiment.engines.settings import Engines
from experiment.sources.demo import texts
from experiment.stages.pretrain import make_tokenizer

ROWS = 32  # of a batch of ours


def make_model(architecture: str, hidden: int, layers: int, vocab: int, tokenizer: Any) -> Any:
    """Random weights, large enough that a token depends on all before it."""
    set_seed(3)
    tokens = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    if architecture == "bloom":
        return BloomForCausalLM(
            BloomConfig(
                vocab_size=vocab,
                hidden_size=hidden,
                n_layer=layers,
                n_head=hidden // 64,
                initializer_range=0.05,
                tie_word_embeddings=False,
                **tokens,
            )
        )
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab,
            hidden_size=hidden,
            intermediate_size=hidden * 8 // 3,
            num_hidden_layers=layers,
            num_attention_heads=hidden // 64,
            initializer_range=0.05,
            max_position_embeddings=2048,
            tie_word_embeddings=False,
            **tokens,
        )
    )


def pieces(count: int) -> list[str]:
    """Lines of unequal length, English."""
    found = [line for text in texts("en", count, 5) for line in text.split("\n") if line]
    return found[:count]


def translations(count: int) -> list[str]:
    """Prompts with four examples."""
    lines = pieces(count + 8)
    examples = "".join(f"English: {one}\nFinnish: {two}\n\n" for one, two in zip(lines[:4], lines[4:8], strict=True))
    return [f"{examples}English: {line}\nFinnish:" for line in lines[8:]]


def alone(count: int) -> list[str]:
    """Prompts that share nothing, from one line to eight."""
    lines = pieces(count + 16)
    return [f"{at} " + " ".join(lines[at : at + 1 + at * 5 % 8]) for at in range(count)]


@dataclass(frozen=True)
class Bench:
    """A model with its tokenizer, in memory and in a folder."""

    model: Any
    tokenizer: Any
    folder: Path

    def ours(self, requests: Sequence[Request], rows: int = ROWS) -> dict[str, Answer]:
        """The answers of our engine; loading is on the clock of whoever calls this first."""
        found: dict[str, Answer] = {}
        with open_engine("transformers", Engines(), model=self.folder, batch_rows=rows, work=self.folder) as engine:
            engine.answer(requests, found.__setitem__)
        return found


def make_bench(folder: Path, options: Mapping[str, str]) -> Bench:
    """The model, whose answers are unequally long: that in ``model=FOLDER``, or one that is made here."""
    if "model" in options:
        folder = Path(options["model"])
        model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
        return Bench(model, AutoTokenizer.from_pretrained(folder, padding_side="left"), folder)
    both = [*texts("en", 300, 1), *texts("fi", 300, 1)]
    tokenizer = make_tokenizer(both, 4000)
    tokenizer.padding_side = "left"
    model = make_model(
        options.get("architecture", "llama"),
        int(options.get("hidden", 256)),
        int(options.get("layers", 6)),
        len(tokenizer),
        tokenizer,
    ).eval()
    bench = Bench(model, tokenizer, folder)
    limit = int(options.get("new_tokens", 64))
    save(bench)
    let_it_end(bench, [Request(str(at), limit, prompt=one) for at, one in enumerate(alone(24))], tokenizer.eos_token_id)
    newline = tokenizer("a\nb")["input_ids"][1]
    let_it_end(
        bench, [Request(str(at), limit, prompt=one, stop=("\n",)) for at, one in enumerate(translations(24))], newline
    )
    return bench


def let_it_end(bench: Bench, requests: Sequence[Request], end: int) -> None:
    """Give a token that ends answers the place of another one, so that the mean comes near a third of the limit."""
    tokenizer, head = bench.tokenizer, bench.model.get_output_embeddings().weight
    wanted = requests[0].max_new_tokens / 3
    answers = [tokenizer(one.text)["input_ids"] for one in bench.ours(requests).values()]
    shares = {token: sum(token in answer for answer in answers) for answer in answers for token in answer}
    # The more answers hold a token, the earlier it comes: some token brings the mean near to what is wanted.
    found: list[tuple[float, int]] = []
    before = head.detach().clone()
    for token in sorted(shares, key=lambda token: (-shares[token], token))[:40:5]:
        with torch.no_grad():
            head[end] = 1.02 * before[token]
        save(bench)
        mean = statistics.mean(one.tokens for one in bench.ours(requests).values())
        found.append((abs(mean - wanted), token))
    with torch.no_grad():
        head[end] = 1.02 * before[min(found)[1]]
    save(bench)


def save(bench: Bench) -> None:
    """Write the model to its folder."""
    bench.model.save_pretrained(bench.folder)
    bench.tokenizer.save_pretrained(bench.folder)
