"""DeepSpeed's ZeRO on two CPU ranks against one process: real shards, real checkpoints, over gloo."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from experiment.errors import KirjoError
from experiment.plan import Step, make_step
from experiment.sources.source import Source
from experiment.store import Store
from experiment.training.parallel import whole_weights
from tests import models
from tests.ranked import spread, together
from tests.test_ranks import alike, done_by, dpo, sft

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("alone")]  # the first start compiles an extension

pytest.importorskip("deepspeed")

# Every training, every stage of ZeRO, and micro-batches with and without accumulation.
CASES = [("plain", "zero2", 4), ("plain", "zero3", 2), ("masked", "zero3", 4), ("dpo", "zero2", 4), ("dpo", "zero3", 2)]


@pytest.fixture(scope="module")
def one(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Store, Step]]:
    """What one process makes of each training."""
    folder = tmp_path_factory.mktemp("one")
    made = {
        "plain": sft(base, folder / "plain"),
        "masked": sft(base, folder / "masked", loss_on="assistant"),
        "dpo": dpo(folder / "dpo"),
    }
    for store, step in made.values():
        models.finish(store, step)
    return made


@pytest.mark.parametrize(("what", "parallel", "micro_batch"), CASES)
def test_training_is_the_same_on_two_ranks(
    one: dict[str, tuple[Store, Step]], base: Path, tmp_path: Path, what: str, parallel: str, micro_batch: int
) -> None:
    if what == "dpo":
        store, step = dpo(tmp_path / "ranks")
    else:
        store, step = sft(base, tmp_path / "ranks", loss_on="assistant" if what == "masked" else "all")
    assert step.fingerprint == one[what][1].fingerprint
    step = spread(step, parallel, micro_batch)
    done_by(store, step)
    alike((store, step), one[what])


def test_offloading_changes_nothing(one: dict[str, tuple[Store, Step]], base: Path, tmp_path: Path) -> None:
    store, step = sft(base, tmp_path)
    step = spread(step, "zero3", 4)
    step = replace(step, execution={**step.execution, "parallel": {"name": "zero3", "offload": "optimizer"}})
    done_by(store, step)
    alike((store, step), one["plain"])


@pytest.mark.parametrize("parallel", ["zero2", "zero3"])
def test_shards_are_gone_on_with(one: dict[str, tuple[Store, Step]], base: Path, tmp_path: Path, parallel: str) -> None:
    """Killed in the second epoch, then told to stop, then left in peace."""
    store, step = sft(base, tmp_path)
    step = spread(step, parallel, 4, checkpoint_every=2)
    killed = together(store, step, does={1: "kill 4"})
    assert killed[0].state == "failed"
    stopped = together(store, step, does={0: "stop 3"})
    assert [outcome.state for outcome in stopped] == ["stopped", "stopped"], stopped
    refused = models.attempt(store, spread(step, "single", 8))
    assert refused.state == "failed"
    assert f"was saved by {parallel} on 2 ranks, and this is not sharded: train as before" in refused.reason
    done_by(store, step)
    assert models.summary(store, step)["resumed_from"] == 3
    alike((store, step), one["plain"])


@pytest.mark.parametrize(("parallel", "micro_batch"), [("zero3", 4), ("zero2", 1), ("zero3", 1)])
def test_with_bf16_the_master_weights_are_float32(base: Path, tmp_path: Path, parallel: str, micro_batch: int) -> None:
    """Steps of 1e-4 where bf16 resolves 2e-3 (the toy's weights are about 0.3): in bf16 masters most would be lost."""
    settings: dict[str, Any] = {"precision": "bf16", "learning_rate": 1e-4, "epochs": 16, "schedule": "constant"}
    store, step = sft(base, tmp_path, **settings)
    step = spread(step, parallel, micro_batch)
    done_by(store, step)
    saved = load_file(store.artifact("sft", step.fingerprint) / "model" / "model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.bfloat16}
    alone, mine = sft(base, tmp_path / "alone", **settings)
    models.finish(alone, mine)
    ours, theirs = models.losses(store, step), models.losses(alone, mine)
    assert ours == pytest.approx(theirs, rel=0.01)
    # An epoch is three steps; the rows of one step differ from those of another.
    fallen = [sum(losses[:3]) - sum(losses[-3:]) for losses in (ours, theirs)]
    assert fallen[1] > 0.1
    assert fallen[0] == pytest.approx(fallen[1], rel=0.1)


@pytest.mark.parametrize("parallel", ["zero2", "zero3"])
def test_with_bf16_gradients_of_several_passes_are_added_up_in_float32(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parallel: str
) -> None:
    """What DeepSpeed itself says of it."""
    kinds = []

    def look(trainer: Any) -> Any:
        kinds.append(trainer.model_wrapped.optimizer.gradient_accumulation_dtype)
        return whole_weights(trainer)

    monkeypatch.setattr("experiment.training.models.whole_weights", look)
    for micro_batch in (1, 8):
        store, step = sft(base, tmp_path / str(micro_batch), precision="bf16", epochs=1)
        step = spread(step, parallel, micro_batch)
        step = replace(step, execution={**step.execution, "parallel": {"name": parallel, "offload": "optimizer"}})
        models.finish(store, step)
    assert kinds == [torch.float32, torch.bfloat16]


def test_a_whole_chain_and_what_it_leaves_is_read_by_one_process(base: Path, tmp_path: Path) -> None:
    """pretrain, sft, reference, dpo and generate, the trainings under ZeRO-3 with gradient checkpointing."""
    store = Store.open(tmp_path / "store", create=True)
    texts = {language: Source(reader="demo", language=language, rows=40, seed=1) for language in ("en", "fi")}
    pretraining = {
        **models.SFT,
        "global_batch": 8,
        "epochs": 1,
        "max_length": 64,
        "architecture": {"hidden_size": 32, "n_layer": 1, "n_head": 2, "vocab_size": 400},
    }
    pretrain = make_step(
        "pretrain",
        settings={
            "training": pretraining,
            "texts": {language: source.identity() for language, source in texts.items()},
            "seed": 7,
        },
        execution={
            "training": {"micro_batch": 8},
            "sources": {language: models.asdict(source) for language, source in texts.items()},
        },
    )
    ranked = spread(pretrain, "zero3", 2)
    done_by(store, ranked)
    alone = Store.open(tmp_path / "alone", create=True)
    models.finish(alone, pretrain)
    alike((store, ranked), (alone, pretrain))
    reports = [dict(models.summary(where, pretrain)) for where in (store, alone)]
    assert reports[0].pop("final_loss") == pytest.approx(reports[1].pop("final_loss"), rel=1e-4)
    assert reports[0] == reports[1]
    saved = [
        AutoTokenizer.from_pretrained(where.artifact("pretrain", pretrain.fingerprint) / "model")
        for where in (store, alone)
    ]
    assert saved[0].get_vocab() == saved[1].get_vocab()

    mix = models.mix_step(Source(reader="demo", language="en", rows=12, seed=2))
    models.finish(store, mix)
    folder = models.sft_step(mix, base, global_batch=4)
    tuned = make_step(
        "sft",
        settings={name: value for name, value in folder.settings.items() if name != "base"},
        inputs={"mix": mix.key, "base": pretrain.key},
        execution=folder.execution,
    )
    done_by(store, spread(tuned, "zero3", 2, gradient_checkpointing=True))
    pairs = models.pair_step(
        models.pairs_file(tmp_path / "pairs.jsonl", [("Who?", "Pekka is.", "No."), ("A", "B", "C")])
    )
    reference = models.reference_step(tuned, pairs)
    for step in (pairs, reference):
        models.finish(store, step)
    preferred = models.dpo_step(tuned, {"en": reference}, global_batch=2)
    done_by(store, spread(preferred, "zero3", 1, gradient_checkpointing=True))
    model = AutoModelForCausalLM.from_pretrained(store.artifact("dpo", preferred.fingerprint) / "model")
    assert model.get_input_embeddings().num_embeddings == model.config.vocab_size
    prompts = Source(reader="demo", language="en", rows=2, seed=3)
    answers = models.generate_step(preferred, prompts)
    models.finish(store, answers)


def test_one_process_offloads_and_then_trains_without(
    one: dict[str, tuple[Store, Step]], base: Path, tmp_path: Path
) -> None:
    """In this very process, as a worker does: nothing of DeepSpeed may be left for the next step."""
    store, step = sft(base, tmp_path)
    step = spread(step, "zero3", 4)
    step = replace(step, execution={**step.execution, "parallel": {"name": "zero3", "offload": "optimizer"}})
    models.finish(store, step)
    alike((store, step), one["plain"])
    again = sft(base, tmp_path / "again")
    models.finish(*again)
    assert models.weights(*again) == models.weights(*one["plain"])


def test_without_deepspeed_the_command_is_named(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    store, step = sft(base, tmp_path)
    step = spread(step, "zero3", 8)
    step = replace(step, execution={**step.execution, "parallel": {"name": "zero3", "offload": "optimizer"}})
    outcome = models.attempt(store, step)
    assert outcome.state == "failed"
    assert "parallel=zero3 needs DeepSpeed, which is not installed: DS_BUILD_OPS=0 pip install" in outcome.reason
    assert KirjoError.__name__ not in outcome.reason
