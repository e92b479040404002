"""Toy models, tokenizers and steps for the tests of the stages: the real classes, only small, and no network."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when huggingface_hub is imported

import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM, LlamaConfig, LlamaForCausalLM, set_seed

from experiment.claims import Observer
from experiment.execute import Outcome, execute
from experiment.plan import Step, make_step
from experiment.scoring import versions
from experiment.sources.demo import texts
from experiment.sources.jsonl import read_jsonl, write_jsonl
from experiment.sources.records import Message
from experiment.sources.source import Source, folder_digest
from experiment.stages.pretrain import make_tokenizer
from experiment.store import Store

SEED = 7

# Chosen for a curve of some ten steps within a second.
SFT = {
    "global_batch": 4,
    "learning_rate": 5e-3,
    "schedule": "cosine",
    "warmup_ratio": 0.1,
    "epochs": 2,
    "max_length": 256,
    "precision": "float32",
}
DPO = {
    "global_batch": 4,
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "warmup_ratio": 0.1,
    "epochs": 2,
    "max_length": 128,
    "max_prompt_length": 64,
    "precision": "float32",
    "beta": 0.1,
}


def quiet(_done: int, _of: int) -> None:
    """Progress that nobody watches."""


def refuse_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, in this process, a connection is an error."""

    def refuse(_socket: Any, address: Any) -> None:
        raise AssertionError(f"a test tried to connect to {address}")

    monkeypatch.setattr("socket.socket.connect", refuse)


def toy_tokenizer(vocab_size: int = 400) -> Any:
    """The demo's own kind of tokenizer, of a base model: without chat tokens."""
    both = [*texts("en", 40, 1), *texts("fi", 40, 1)]
    return make_tokenizer(both, vocab_size)


def toy_bloom(tokenizer: Any, layers: int = 1) -> Any:
    """A BLOOM model with random weights, always the same."""
    set_seed(SEED)
    config = BloomConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        n_layer=layers,
        n_head=2,
        # Random weights of the usual size would answer every prompt alike.
        initializer_range=0.3,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return BloomForCausalLM(config)


def toy_llama(tokenizer: Any) -> Any:
    """A LLaMA model with random weights, always the same: one that takes position ids."""
    set_seed(SEED)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        initializer_range=0.3,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config)


def save_model(folder: Path, model: Any, tokenizer: Any) -> Path:
    """A local model folder, as ``model.path`` names one."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def conversation(*contents: str, system: str = "") -> list[Message]:
    """Turns that alternate, the user first."""
    opening = [Message("system", system)] if system else []
    return opening + [Message(("user", "assistant")[index % 2], text) for index, text in enumerate(contents)]


def conversations_file(path: Path, rows: Iterable[Sequence[Message]]) -> Source:
    """SFT conversations as a local file."""
    write_jsonl(
        path, ({"id": str(number), "messages": [asdict(turn) for turn in row]} for number, row in enumerate(rows))
    )
    return Source(reader="conversations", language="en", path=str(path))


def pairs_file(path: Path, pairs: Iterable[tuple[str, str, str]], language: str = "en") -> Source:
    """(prompt, chosen, rejected) as a local file of scored replies."""
    rows = (
        {"prompt": prompt, "response": reply, "helpfulness": grade}
        for prompt, chosen, rejected in pairs
        for reply, grade in ((chosen, 4), (rejected, 1))
    )
    write_jsonl(path, rows)
    return Source(reader="scored_pairs", language=language, path=str(path))


def attempt(store: Store, step: Step, progress: Callable[[int, int], None] = quiet) -> Outcome:
    """Run a step as a launcher does."""
    return execute(step, store, progress, 1, Observer())


def finish(store: Store, step: Step) -> Path:
    """Run a step that must succeed; its artifact."""
    outcome = attempt(store, step)
    assert outcome.state in ("done", "there"), outcome.reason
    return store.artifact(step.stage, step.fingerprint)


def summary(store: Store, step: Step) -> Mapping[str, Any]:
    """What the manifest of a finished step reports."""
    manifest = store.read_manifest(step.stage, step.fingerprint)
    assert manifest is not None
    return manifest.summary


def history(store: Store, step: Step) -> list[dict[str, Any]]:
    """The learning curve of a finished step."""
    return [row for _, row in read_jsonl(store.artifact(step.stage, step.fingerprint) / "history.jsonl")]


def losses(store: Store, step: Step) -> list[float]:
    """The training losses of a finished step, one a logged step."""
    return [row["loss"] for row in history(store, step) if "loss" in row]


def weights(store: Store, step: Step) -> bytes:
    """The bytes of a finished step's weights."""
    return (store.artifact(step.stage, step.fingerprint) / "model" / "model.safetensors").read_bytes()


def mix_step(source: Source) -> Step:
    """The mix of one language's rows."""
    return make_step(
        "mix",
        settings={"percent": 0, "seed": SEED, "source": source.identity()},
        execution={"sources": {"source": asdict(source)}},
    )


def sft_step(
    mix: Step,
    base: Path,
    *,
    micro_batch: int = 4,
    checkpoint_every: int = 100,
    max_truncated: float = 0.5,
    loss_on: str = "all",
    neftune_alpha: float | None = None,
    seed: int = SEED,
    **training: Any,
) -> Step:
    """SFT from a model in a local folder."""
    settings = {
        "base": {"folder": folder_digest(str(base))},
        "training": {**SFT, **training},
        "loss_on": loss_on,
        "seed": seed,
    }
    if neftune_alpha is not None:
        settings["neftune_alpha"] = neftune_alpha
    return make_step(
        "sft",
        settings=settings,
        inputs={"mix": mix.key},
        execution={
            "base_folder": str(base),
            "training": {"micro_batch": micro_batch, "checkpoint_every": checkpoint_every},
            "preflight": {"max_truncated": max_truncated},
        },
    )


def pair_step(source: Source) -> Step:
    """Pairs of one language."""
    return make_step(
        "pair",
        settings={"source": source.identity(), "choice": "best_worst"},
        execution={"sources": {"source": asdict(source)}},
    )


def reference_step(
    model: Step, pairs: Step, *, micro_batch: int = 4, max_truncated: float = 1.0, **settings: Any
) -> Step:
    """Reference log-probabilities of the pairs under the model."""
    names = ("max_length", "max_prompt_length", "precision")
    return make_step(
        "reference",
        settings={**{name: DPO[name] for name in names}, **settings},
        inputs={"model": model.key, "pairs": pairs.key},
        execution={"reference": {"micro_batch": micro_batch}, "preflight": {"max_truncated": max_truncated}},
    )


def dpo_step(
    model: Step, references: Mapping[str, Step], *, micro_batch: int = 4, checkpoint_every: int = 100, **training: Any
) -> Step:
    """DPO from the model on the pairs of the references, by language."""
    return make_step(
        "dpo",
        settings={"training": {**DPO, **training}, "seed": SEED},
        inputs={"model": model.key, **{f"reference.{language}": step.key for language, step in references.items()}},
        execution={
            "training": {"micro_batch": micro_batch, "checkpoint_every": checkpoint_every},
            "preflight": {"max_truncated": 1.0},
        },
    )


def generate_step(model: Step, prompts: Source, *, batch_size: int = 4, max_new_tokens: int = 12) -> Step:
    """Answers of the model to the prompts."""
    return make_step(
        "generate",
        settings={"prompts": prompts.identity(), "exclude_instructions": [], "max_new_tokens": max_new_tokens},
        inputs={"model": model.key},
        execution={"generate": {"batch_size": batch_size}, "sources": {"prompts": asdict(prompts)}},
    )


def score_step(answers: Step, prompts: Source) -> Step:
    """Verdicts on the answers."""
    return make_step(
        "score",
        settings={
            "prompts": prompts.identity(),
            "exclude_instructions": [],
            "scorers": versions.identity(prompts.language),
        },
        inputs={"responses": answers.key},
        execution={"sources": {"prompts": asdict(prompts)}, "nltk_data": None},
    )


def publish_model(store: Store, model: Any, tokenizer: Any, name: str) -> Step:
    """A checkpoint put into the store as if a step had made it."""
    step = make_step("sft", settings={"toy": name})
    work = store.work(step.stage, step.fingerprint)
    save_model(work / "model", model, tokenizer)
    publish(store, step)
    return step


def publish(store: Store, step: Step) -> None:
    """Turn the step's work folder into its artifact."""
    store.publish(
        step.stage,
        step.fingerprint,
        version=1,
        settings=step.settings,
        inputs=step.inputs,
        provenance={},
        timings={},
        execution={},
        summary={},
    )


def publish_rows(store: Store, stage: str, file: str, rows: Iterable[Mapping[str, Any]], name: str) -> Step:
    """An artifact of one JSONL file put into the store as if a step had made it."""
    step = make_step(stage, settings={"toy": name})
    work = store.work(step.stage, step.fingerprint)
    work.mkdir(parents=True)
    write_jsonl(work / file, rows)
    publish(store, step)
    return step


def same_tensors(left: Mapping[str, torch.Tensor], right: Mapping[str, torch.Tensor]) -> bool:
    """Whether two models are the same bit for bit."""
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def as_json(value: Any) -> str:
    """A comparable form of nested values."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
