"""bf16 is the precision of the passes and of what is saved; the optimizer works on float32 weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import set_seed

from experiment.stages import sft
from experiment.store import Store
from experiment.task import Task
from experiment.training import loop
from experiment.training.models import load, save
from tests import models


@pytest.fixture
def bf16(tmp_path: Path) -> tuple[Store, Task]:
    """An sft task in bf16 from a checkpoint that was saved in bf16, as hub models are."""
    torch.set_num_threads(1)
    set_seed(0)
    store = Store.open(tmp_path / "store", create=True)
    tokenizer = models.toy_tokenizer()
    base = models.save_model(tmp_path / "base", models.toy_bloom(tokenizer).to(torch.bfloat16), tokenizer)
    rows = [models.conversation(f"Say {word}.", f"{word} it is.") for word in ("red", "blue", "green", "grey")]
    mix = models.mix_step(models.conversations_file(tmp_path / "rows.jsonl", rows))
    models.finish(store, mix)
    step = models.sft_step(mix, base, precision="bf16", epochs=12, checkpoint_every=4)
    work = store.work("sft", step.fingerprint)
    work.mkdir(parents=True)
    return store, Task(step, store, work, models.quiet)


def test_the_optimizer_has_float32_weights_and_the_checkpoint_is_bf16(bf16: tuple[Store, Task]) -> None:
    _, task = bf16
    sft.run(task)
    saved = load_file(task.work / "model" / "model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.bfloat16}
    (newest,) = [folder for folder in [loop.last_checkpoint(task.work)] if folder]
    trained = load_file(newest / "model.safetensors")
    assert {tensor.dtype for tensor in trained.values()} == {torch.float32}
    losses = [json.loads(row)["loss"] for row in (task.work / "history.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0] / 2


def test_a_step_smaller_than_bf16_can_hold_still_counts(tmp_path: Path) -> None:
    """At the paper's DPO learning rate a weight of 0.02 moves by 5e-7 a step; bf16 resolves 0.0001 there."""
    set_seed(0)
    tokenizer = models.toy_tokenizer()
    base = models.save_model(tmp_path / "base", models.toy_bloom(tokenizer).to(torch.bfloat16), tokenizer)
    model, _ = load(base)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-7, weight_decay=0.0)
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    moved = sum(int((weight != before[name]).sum()) for name, weight in model.named_parameters())
    assert moved > 0.9 * model.num_parameters()
    save(model, tokenizer, tmp_path, "bf16")
    again, _ = load(tmp_path / "model", dtype="auto")
    assert again.dtype == torch.bfloat16
