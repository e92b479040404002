"""The training stages on toy models: what is learned, what it is compared with, and what an interruption changes."""

from __future__ import annotations

import itertools
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from experiment.compile import compile_run
from experiment.plan import Step
from experiment.sources.records import Message
from experiment.sources.source import Source
from experiment.stages import sft
from experiment.stages.reference import ROWS
from experiment.store import Store
from experiment.sweep import expand
from experiment.training.chat import (
    TEMPLATE,
    TURN_END,
    add_chat_format,
    encode_conversation,
    encode_prompt,
    encode_reply,
    turns,
)
from experiment.training.loop import last_checkpoint
from experiment.training.packing import refuse_leaking_packs
from experiment.training.preference import TOKENS
from tests import models
from tests.tiny import TINY

pytestmark = pytest.mark.usefixtures("alone")

PAIRS = [
    ("Tell me about Turku.", "Turku is an old town.", "No."),
    ("What does Liisa do in Tampere? Use the word spring.", "Liisa builds houses. The spring is near.", "Liisa"),
    ("Who is Pekka?", "Pekka is a gardener, and he has a big dog at home.", "I do not know who that is."),
    ("Name a town.", "Kuopio.", "The town has a harbour, a hospital and a bridge."),
    ("How was the week?", "The week was long and warm.", "Fine, thank you very much indeed."),
    ("Write a line.", "The river is wide today.", "line line line"),
    ("Where is the net?", "The net is in the boat.", "What net?"),
    ("What is in the bucket?", "There are three fish in the bucket.", "Fish."),
    ("Is it cold?", "Yes, it is cold in winter.", "It is."),
    ("Say hello.", "Hello, and good morning!", "Bye."),
]
TALKS = [
    models.conversation("Hello!", "Hello, friend.", "And now?", "Now we go.\nBoth of us."),
    models.conversation("Who is Pekka?", "Pekka is a gardener.", system="You answer in short."),
    models.conversation("Kuka on Äiti Öljy?", "Hän on äiti. 日本", "Ok?", " Kyllä, näin on. ", "Hyvä.", "Kiitos!"),
]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = models.toy_tokenizer()
    return models.save_model(tmp_path_factory.mktemp("llama"), models.toy_llama(tokenizer), tokenizer)


@pytest.fixture
def chat() -> tuple[Any, Any]:
    """(model, tokenizer) with the chat format."""
    tokenizer = models.toy_tokenizer()
    model = models.toy_bloom(tokenizer)
    add_chat_format(tokenizer, model)
    return model, tokenizer


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store for steps that several tests look at and none changes."""
    return Store.open(tmp_path_factory.mktemp("shared") / "store", create=True)


def new_store(folder: Path, rows: int = 22) -> tuple[Store, Step]:
    """A store of its own, with the mix of the demo's conversations in it."""
    store = Store.open(folder / "store", create=True)
    mix = models.mix_step(Source(reader="demo", language="en", rows=rows, seed=2))
    models.finish(store, mix)
    return store, mix


def checkpoint(store: Store, layers: int = 2, name: str = "checkpoint") -> Step:
    """A chat model in the store, as SFT leaves one."""
    tokenizer = models.toy_tokenizer()
    model = models.toy_bloom(tokenizer, layers)
    add_chat_format(tokenizer, model)
    return models.publish_model(store, model, tokenizer, name)


@pytest.fixture(scope="module")
def made(shared: Store, tmp_path_factory: pytest.TempPathFactory) -> tuple[Step, Step, Step]:
    """(checkpoint, pairs, reference), done."""
    model = checkpoint(shared, name="for references")
    pairs = models.pair_step(models.pairs_file(tmp_path_factory.mktemp("pairs") / "pairs.jsonl", PAIRS))
    reference = models.reference_step(model, pairs)
    for step in (pairs, reference):
        models.finish(shared, step)
    return model, pairs, reference


def ids_of(store: Store, pairs: Step) -> list[str]:
    """The ids of the pairs, in the order of their file."""
    return [row["id"] for _, row in models.read_jsonl(store.artifact("pair", pairs.fingerprint) / "pairs.jsonl")]


def supervised_pieces(tokenizer: Any, encoded: dict[str, Any]) -> list[str]:
    """The stretches of text that are learned, each up to where nothing is learned again."""
    pieces: list[list[int]] = [[]]
    for token, label in zip(encoded["input_ids"], encoded["labels"], strict=True):
        if label == -100:
            pieces.append([])
        else:
            assert label == token
            pieces[-1].append(token)
    return [tokenizer.decode(piece) for piece in pieces if piece]


class TestChat:
    def test_the_template_is_chatml(self, chat: tuple[Any, Any]) -> None:
        _, tokenizer = chat
        talk = turns(models.conversation("Hei", "Moi", "Mitä?", "Ei.", system="Short."))
        assert tokenizer.apply_chat_template(talk, tokenize=False) == (
            "<|im_start|>system\nShort.<|im_end|>\n<|im_start|>user\nHei<|im_end|>\n<|im_start|>assistant\nMoi<|im_end|>\n"
            "<|im_start|>user\nMitä?<|im_end|>\n<|im_start|>assistant\nEi.<|im_end|>\n"
        )
        prompt = tokenizer.apply_chat_template(talk[:2], tokenize=False, add_generation_prompt=True)
        assert prompt == (
            "<|im_start|>system\nShort.<|im_end|>\n<|im_start|>user\nHei<|im_end|>\n<|im_start|>assistant\n"
        )

    @pytest.mark.parametrize("talk", TALKS)
    def test_only_the_assistants_turns_and_their_ends_are_learned(
        self, chat: tuple[Any, Any], talk: list[Message]
    ) -> None:
        _, tokenizer = chat
        encoded = encode_conversation(tokenizer, talk, "assistant", 1000)
        said = [turn.content + TURN_END for turn in talk if turn.role == "assistant"]
        assert supervised_pieces(tokenizer, encoded) == said
        assert encoded["labels"].count(tokenizer.eos_token_id) == len(said)

    @pytest.mark.parametrize("talk", TALKS)
    def test_loss_on_all_learns_every_token(self, chat: tuple[Any, Any], talk: list[Message]) -> None:
        _, tokenizer = chat
        encoded = encode_conversation(tokenizer, talk, "all", 1000)
        assert encoded["labels"] == encoded["input_ids"]
        assert tokenizer.decode(encoded["input_ids"]) == tokenizer.apply_chat_template(turns(talk), tokenize=False)
        assert tokenizer.eos_token_id in encoded["labels"]
        assert not encoded["cut"]

    def test_a_long_conversation_is_cut_and_says_so(self, chat: tuple[Any, Any]) -> None:
        _, tokenizer = chat
        whole = encode_conversation(tokenizer, TALKS[0], "assistant", 1000)
        cut = encode_conversation(tokenizer, TALKS[0], "assistant", 20)
        assert (cut["input_ids"], cut["labels"]) == (whole["input_ids"][:20], whole["labels"][:20])
        assert cut["cut"]
        assert not encode_conversation(tokenizer, TALKS[0], "all", len(whole["input_ids"]))["cut"]

    @pytest.mark.parametrize("loss_on", ["all", "assistant"])
    @pytest.mark.parametrize("talk", TALKS)
    def test_the_ends_of_answers_are_counted_as_far_as_they_are_learned(
        self, chat: tuple[Any, Any], talk: list[Message], loss_on: str
    ) -> None:
        _, tokenizer = chat
        answers = sum(turn.role == "assistant" for turn in talk)
        whole = encode_conversation(tokenizer, talk, loss_on, 1000)
        assert (whole["ends"], whole["answers"]) == (answers, answers)
        ends = [at for at, token in enumerate(whole["input_ids"]) if token == tokenizer.eos_token_id]
        ends = [at for at, turn in zip(ends, talk, strict=True) if turn.role == "assistant"]
        for length in range(1, len(whole["input_ids"])):
            cut = encode_conversation(tokenizer, talk, loss_on, length)
            assert (cut["ends"], cut["answers"]) == (sum(at < length for at in ends), answers)

    def test_an_end_that_the_template_leaves_off_or_does_not_mark_is_seen(self, chat: tuple[Any, Any]) -> None:
        _, tokenizer = chat
        answer = "{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
        assert answer in TEMPLATE
        tokenizer.chat_template = TEMPLATE.replace(answer, "{{ message['content'] }}{% endgeneration %}")
        assert encode_conversation(tokenizer, TALKS[0], "all", 1000)["ends"] == 0
        outside = "{{ message['content'] }}{% endgeneration %}{{ '<|im_end|>' }}"
        tokenizer.chat_template = TEMPLATE.replace(answer, outside)
        assert encode_conversation(tokenizer, TALKS[0], "assistant", 1000)["ends"] == 0
        assert encode_conversation(tokenizer, TALKS[0], "all", 1000)["ends"] == 2  # learned all the same

    def test_an_end_of_turn_within_an_answer_is_not_its_end(self, chat: tuple[Any, Any]) -> None:
        _, tokenizer = chat
        talk = models.conversation("Hi", f"One.{TURN_END} And two.", "And?", "Three.")
        whole = encode_conversation(tokenizer, talk, "all", 1000)
        assert (whole["ends"], whole["answers"]) == (2, 2)

    @pytest.mark.parametrize("talk", TALKS)
    def test_a_prompt_is_the_beginning_of_its_conversation(self, chat: tuple[Any, Any], talk: list[Message]) -> None:
        _, tokenizer = chat
        whole = encode_conversation(tokenizer, talk, "all", 1000)["input_ids"]
        prompt = encode_prompt(tokenizer, talk[:-1])
        assert whole == prompt + encode_reply(tokenizer, talk[-1].content)

    def test_adding_the_format_grows_the_embedding_by_the_two_tokens(self) -> None:
        tokenizer = models.toy_tokenizer()
        model = models.toy_bloom(tokenizer)
        before, old = model.get_input_embeddings().weight.detach().clone(), len(tokenizer)
        add_chat_format(tokenizer, model)
        after = model.get_input_embeddings().weight
        assert after.shape[0] == len(tokenizer) == old + 2
        assert torch.equal(after[:old], before)
        assert model.get_output_embeddings().weight.shape[0] == old + 2
        assert tokenizer.eos_token == TURN_END
        assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids(TURN_END)
        add_chat_format(tokenizer, model)
        assert len(tokenizer) == model.get_input_embeddings().num_embeddings == old + 2

    @pytest.mark.parametrize(
        ("eos", "unk", "pad", "expected"),
        [
            ("</s>", "<unk>", "<pad>", "<pad>"),
            ("</s>", "<unk>", None, "</s>"),
            (TURN_END, "<unk>", None, "<unk>"),
            (TURN_END, "<unk>", TURN_END, "<unk>"),
            (TURN_END, None, None, "<|pad|>"),
            (None, None, None, "<|pad|>"),
        ],
    )
    def test_padding_is_never_the_end_of_a_turn(
        self, eos: str | None, unk: str | None, pad: str | None, expected: str
    ) -> None:
        tokenizer = models.toy_tokenizer()
        tokenizer.eos_token, tokenizer.unk_token, tokenizer.pad_token = eos, unk, pad
        model = models.toy_bloom(tokenizer)
        add_chat_format(tokenizer, model)
        assert tokenizer.pad_token == expected
        assert model.config.pad_token_id == tokenizer.pad_token_id != tokenizer.eos_token_id
        assert model.get_input_embeddings().num_embeddings == len(tokenizer)

    def test_other_special_tokens_stay_special(self) -> None:
        tokenizer = models.toy_tokenizer()
        tokenizer.add_special_tokens({"extra_special_tokens": ["<|tool|>"]})
        add_chat_format(tokenizer, models.toy_bloom(tokenizer))
        assert {"<|tool|>", "<|im_start|>", "<|im_end|>"} <= set(tokenizer.all_special_tokens)
        text = tokenizer.decode(tokenizer("<|tool|>hei<|im_end|>")["input_ids"], skip_special_tokens=True)
        assert text == "hei"

    def test_labels_are_those_of_trls_assistant_only_loss(self, chat: tuple[Any, Any], tmp_path: Path) -> None:
        model, tokenizer = chat
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(
                output_dir=str(tmp_path),
                assistant_only_loss=True,
                max_length=40,
                report_to=[],
                use_cpu=True,
                bf16=False,
            ),
            train_dataset=Dataset.from_list([{"messages": turns(talk)} for talk in TALKS]),
            processing_class=tokenizer,
        )
        ours = [encode_conversation(tokenizer, talk, "assistant", 40) for talk in TALKS]
        ours = [row for row in ours if any(label != -100 for label in row["labels"])]
        assert len(ours) == 2  # of the other nothing that is learned is left: TRL drops it, and so does sft
        assert tokenizer.chat_template == TEMPLATE
        assert list(trainer.train_dataset["input_ids"]) == [row["input_ids"] for row in ours]
        assert list(trainer.train_dataset["labels"]) == [row["labels"] for row in ours]


class TestSft:
    def test_methods_differ_and_a_seed_repeats_bit_for_bit(self, base: Path, tmp_path: Path) -> None:
        store, mix = new_store(tmp_path)
        variants = {
            "plain": models.sft_step(mix, base),
            "masked": models.sft_step(mix, base, loss_on="assistant"),
            "neftune": models.sft_step(mix, base, neftune_alpha=5),
            "seed": models.sft_step(mix, base, seed=8),
        }
        for step in variants.values():
            models.finish(store, step)
        assert len({models.weights(store, step) for step in variants.values()}) == len(variants)
        report = {name: models.summary(store, step) for name, step in variants.items()}
        assert report["masked"]["supervised_tokens"] < report["masked"]["tokens"]
        assert report["plain"]["supervised_tokens"] == report["plain"]["tokens"] == report["masked"]["tokens"]

        again, mix = new_store(tmp_path / "again")
        for name in ("plain", "neftune"):
            models.finish(again, variants[name])
            assert models.weights(again, variants[name]) == models.weights(store, variants[name])
            assert models.history(again, variants[name]) == models.history(store, variants[name])

    def test_training_teaches(self, base: Path, tmp_path: Path) -> None:
        store, mix = new_store(tmp_path)
        step = models.sft_step(mix, base, epochs=4, learning_rate=2e-2)
        models.finish(store, step)
        curve = models.losses(store, step)
        assert len(curve) == models.summary(store, step)["optimizer_steps"] == 4 * math.ceil(22 / 4)
        assert curve[-1] < 0.7 * curve[0]
        assert models.summary(store, step)["final_loss"] == curve[-1]

    def test_neftune_noise_is_there_in_training_and_not_afterwards(self, base: Path, tmp_path: Path) -> None:
        """The first loss is taken before any weight has moved: only noise can change it, and little."""
        store, mix = new_store(tmp_path)
        plain, noisy = models.sft_step(mix, base), models.sft_step(mix, base, neftune_alpha=5)
        for step in (plain, noisy):
            models.finish(store, step)
        gap = abs(models.losses(store, plain)[0] - models.losses(store, noisy)[0])
        assert 1e-4 < gap < 1
        model = AutoModelForCausalLM.from_pretrained(store.artifact("sft", noisy.fingerprint) / "model").eval()
        embedding = model.get_input_embeddings()
        ids = torch.arange(20)
        assert not embedding._forward_hooks
        assert torch.equal(embedding(ids), embedding.weight[ids])
        model.train()
        assert torch.equal(embedding(ids), embedding.weight[ids])

    def test_micro_batches_make_the_same_global_batch(self, base: Path, tmp_path: Path) -> None:
        """Rows of unequal length and a last batch that is not full: the loss is a mean over tokens, not over passes."""
        curves = []
        for micro in (2, 8):
            store, mix = new_store(tmp_path / str(micro))
            step = models.sft_step(mix, base, micro_batch=micro, global_batch=8, loss_on="assistant")
            models.finish(store, step)
            curves.append(models.losses(store, step))
        assert len(curves[0]) == 6
        assert curves[0] == pytest.approx(curves[1], rel=1e-4)

    def test_an_input_model_is_trained_as_a_folder_is(self, base: Path, tmp_path: Path) -> None:
        store, mix = new_store(tmp_path)
        model = AutoModelForCausalLM.from_pretrained(base)
        made = models.publish_model(store, model, AutoTokenizer.from_pretrained(base), "base")
        folder = models.sft_step(mix, base)
        settings = {name: value for name, value in folder.settings.items() if name != "base"}
        step = models.make_step(
            "sft", settings=settings, inputs={"mix": mix.key, "base": made.key}, execution=folder.execution
        )
        models.finish(store, folder)
        models.finish(store, step)
        assert models.weights(store, step) == models.weights(store, folder)


class Interrupted(Exception):
    """Stands for whatever ends a process."""


def interrupt_at(step: int) -> Any:
    def progress(done: int, _of: int) -> None:
        if done == step:
            raise Interrupted

    return progress


class TestResume:
    @pytest.mark.parametrize("neftune", [None, 5.0])
    def test_an_interrupted_run_ends_as_an_undisturbed_one(
        self, base: Path, tmp_path: Path, neftune: float | None
    ) -> None:
        straight, mix = new_store(tmp_path / "straight")
        step = models.sft_step(mix, base, checkpoint_every=3, micro_batch=2, neftune_alpha=neftune)
        models.finish(straight, step)

        store, _ = new_store(tmp_path / "broken")
        outcome = models.attempt(store, step, interrupt_at(8))
        assert outcome.state == "failed"
        assert not store.is_complete("sft", step.fingerprint)
        models.finish(store, step)
        assert models.summary(store, step)["resumed_from"] == 6
        assert models.summary(straight, step)["resumed_from"] == 0
        assert models.weights(store, step) == models.weights(straight, step)
        assert models.history(store, step) == models.history(straight, step)

    def test_a_checkpoint_that_was_being_written_is_removed(self, base: Path, tmp_path: Path) -> None:
        straight, mix = new_store(tmp_path / "straight")
        step = models.sft_step(mix, base, checkpoint_every=3)
        models.finish(straight, step)

        store, _ = new_store(tmp_path / "broken")
        models.attempt(store, step, interrupt_at(8))
        checkpoints = store.work("sft", step.fingerprint) / "checkpoints"
        torn = checkpoints / "checkpoint-9"
        torn.mkdir()
        (torn / "model.safetensors").write_bytes(b"half")
        # Younger still, but of an attempt whose mark never came.
        (checkpoints / "checkpoint-6").rename(checkpoints / "checkpoint-12")
        (checkpoints / "checkpoint-12" / "complete").unlink()
        assert last_checkpoint(store.work("sft", step.fingerprint)) == checkpoints / "checkpoint-3"
        assert [path.name for path in checkpoints.glob("checkpoint-*")] == ["checkpoint-3"]
        models.finish(store, step)
        assert models.summary(store, step)["resumed_from"] == 3
        assert models.weights(store, step) == models.weights(straight, step)
        assert models.history(store, step) == models.history(straight, step)

    def test_a_killed_process_is_taken_up_by_the_next(self, base: Path, tmp_path: Path) -> None:
        straight, mix = new_store(tmp_path / "straight")
        step = models.sft_step(mix, base, checkpoint_every=5)
        models.finish(straight, step)

        store, _ = new_store(tmp_path / "killed")
        program = (
            "import json, os, signal, sys\n"
            "from tests import models\n"
            "kill = lambda done, of: os.kill(os.getpid(), signal.SIGKILL) if done == 7 else None\n"
            "models.torch.set_num_threads(1)\n"
            "store = models.Store.open(models.Path(sys.argv[1]), create=False)\n"
            "models.attempt(store, models.Step.from_json(json.loads(sys.argv[2])), kill)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(store.root), models.as_json(step.to_json())],
            cwd=Path(__file__).parents[1],
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        models.finish(store, step)
        assert models.summary(store, step)["resumed_from"] == 5
        assert models.weights(store, step) == models.weights(straight, step)
        assert models.history(store, step) == models.history(straight, step)

    def test_dpo_goes_on_as_if_nothing_had_happened(self, tmp_path: Path) -> None:
        ends = []
        for name in ("straight", "broken"):
            store = Store.open(tmp_path / name, create=True)
            model = checkpoint(store)
            pairs = models.pair_step(models.pairs_file(tmp_path / "pairs.jsonl", PAIRS))
            reference = models.reference_step(model, pairs)
            for step in (pairs, reference):
                models.finish(store, step)
            dpo = models.dpo_step(model, {"en": reference}, checkpoint_every=2)
            if name == "broken":
                assert models.attempt(store, dpo, interrupt_at(5)).state == "failed"
            models.finish(store, dpo)
            ends.append((models.weights(store, dpo), models.history(store, dpo)))
        assert models.summary(store, dpo)["resumed_from"] == 4
        assert ends[0] == ends[1]


class TestNoNumber:
    @pytest.mark.parametrize("epochs", [1, 2])
    def test_a_loss_that_runs_away_leaves_no_artifact(self, base: Path, tmp_path: Path, epochs: int) -> None:
        """Also where it happens in the last step of all: 1 epoch is 3 steps, of which the first warms up."""
        store, mix = new_store(tmp_path, rows=12)
        step = models.sft_step(mix, base, learning_rate=1e38, max_grad_norm=1e30, epochs=epochs, schedule="constant")
        outcome = models.attempt(store, step)
        assert outcome.state == "failed"
        assert re.search(r"(loss|gradient norm) became (nan|inf) at step \d", outcome.reason)
        assert "lower the learning rate (now 1e+38 at its peak)" in outcome.reason
        assert not store.artifact("sft", step.fingerprint).exists()

    def test_poisoned_weights_are_refused_before_training(self, tmp_path: Path) -> None:
        tokenizer = models.toy_tokenizer()
        model = models.toy_bloom(tokenizer)
        with torch.no_grad():
            model.transformer.h[0].mlp.dense_h_to_4h.weight[0, 0] = float("nan")
        poisoned = models.save_model(tmp_path / "poisoned", model, tokenizer)
        store, mix = new_store(tmp_path)
        step = models.sft_step(mix, poisoned)
        outcome = models.attempt(store, step)
        assert outcome.state == "failed"
        assert "preflight: the loss of the first batch is nan" in outcome.reason
        assert not store.artifact("sft", step.fingerprint).exists()


class TestReference:
    def rows(self, store: Store, reference: Step) -> Dataset:
        return Dataset.from_parquet(str(store.artifact("reference", reference.fingerprint) / ROWS))

    def test_log_probabilities_are_those_of_plain_torch(self, shared: Store, made: tuple[Step, Step, Step]) -> None:
        model = AutoModelForCausalLM.from_pretrained(shared.artifact("sft", made[0].fingerprint) / "model").eval()
        rows = self.rows(shared, made[2])
        assert len(rows) == len(PAIRS)
        for row in rows:
            for side in ("chosen", "rejected"):
                ids = torch.tensor([row["prompt_ids"] + row[f"{side}_ids"]])
                with torch.no_grad():
                    logps = model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
                expected = float(logps[len(row["prompt_ids"]) - 1 :].sum())
                assert row[f"ref_{side}_logps"] == pytest.approx(expected, abs=1e-3)

    @pytest.mark.parametrize(("micro_batch", "expected"), [(4, [4, 8, 10]), (1, list(range(1, 11))), (32, [10])])
    def test_progress_is_told_after_every_batch(
        self, made: tuple[Step, Step, Step], shared: Store, tmp_path: Path, micro_batch: int, expected: list[int]
    ) -> None:
        told: list[tuple[int, int]] = []
        store = Store.open(tmp_path / "store", create=True)
        model = checkpoint(store, name="for references")
        pairs = models.pair_step(models.pairs_file(tmp_path / "pairs.jsonl", PAIRS))
        models.finish(store, pairs)
        step = models.reference_step(model, pairs, micro_batch=micro_batch)
        outcome = models.attempt(store, step, lambda done, of: told.append((done, of)))
        assert outcome.state == "done", outcome.reason
        assert told == [(done, len(PAIRS)) for done in expected]
        if micro_batch == 4:
            assert self.rows(store, step).to_dict() == self.rows(shared, made[2]).to_dict()

    def test_pairs_are_tokenised_and_trained_as_by_stock_trl(
        self, shared: Store, made: tuple[Step, Step, Step], tmp_path: Path
    ) -> None:
        model, _, reference = made
        step = models.dpo_step(model, {"en": reference})
        models.finish(shared, step)
        assert models.losses(shared, step)[0] == pytest.approx(math.log(2), abs=1e-6)

        order = [ids_of(shared, made[1]).index(name) for name in self.rows(shared, reference)["id"]]
        folder = shared.artifact("sft", model.fingerprint) / "model"
        stock = DPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(folder),
            args=DPOConfig(
                output_dir=str(tmp_path),
                per_device_train_batch_size=4,
                num_train_epochs=2,
                learning_rate=models.DPO["learning_rate"],
                lr_scheduler_type="cosine",
                warmup_steps=0.1,
                weight_decay=0.0,
                beta=models.DPO["beta"],
                max_length=None,
                precompute_ref_log_probs=True,
                seed=models.SEED,
                data_seed=models.SEED,
                bf16=False,
                use_cpu=True,
                gradient_checkpointing=False,
                logging_steps=1,
                report_to=[],
            ),
            train_dataset=Dataset.from_list(
                [
                    {
                        "prompt": [{"role": "user", "content": PAIRS[index][0]}],
                        "chosen": [{"role": "assistant", "content": PAIRS[index][1]}],
                        "rejected": [{"role": "assistant", "content": PAIRS[index][2]}],
                    }
                    for index in order
                ]
            ),
            processing_class=AutoTokenizer.from_pretrained(folder),
        )
        ours = self.rows(shared, reference)
        for name in TOKENS:
            assert list(stock.train_dataset[name]) == list(ours[name])
        stock.train()
        theirs = [entry["loss"] for entry in stock.state.log_history if "loss" in entry]
        assert len(theirs) == 6
        assert models.losses(shared, step) == pytest.approx(theirs, abs=1e-5)
        assert theirs[-1] != pytest.approx(theirs[0], abs=1e-3)

    def test_micro_batches_make_the_same_global_batch(self, tmp_path: Path) -> None:
        """The last batch has 6 of 8 pairs: in passes of 4 they are 4 and 2, and every pair must count the same."""
        curves, margins = [], []
        for micro in (2, 4, 8):
            store = Store.open(tmp_path / str(micro), create=True)
            model = checkpoint(store)
            pairs = models.pair_step(
                models.pairs_file(
                    tmp_path / "pairs.jsonl", [(f"{number}: {p}", c, r) for number in (1, 2) for p, c, r in PAIRS[:7]]
                )
            )
            reference = models.reference_step(model, pairs, micro_batch=micro)
            dpo = models.dpo_step(model, {"en": reference}, micro_batch=micro, global_batch=8)
            for step in (pairs, reference, dpo):
                models.finish(store, step)
            curves.append(models.losses(store, dpo))
            margins.append([entry["rewards/margins"] for entry in models.history(store, dpo)])
        assert len(curves[0]) == 4
        for found in (curves, margins):
            assert found[0] == pytest.approx(found[2], abs=1e-5)
            assert found[1] == pytest.approx(found[2], abs=1e-5)
        assert margins[2][-1] > 0.1  # they have come apart, so that weights of passes would show

    def test_two_betas_share_the_reference_and_end_apart(self, shared: Store, made: tuple[Step, Step, Step]) -> None:
        model, _, reference = made
        betas = [models.dpo_step(model, {"en": reference}, beta=beta) for beta in (0.01, 0.5)]
        for step in betas:
            models.finish(shared, step)
        assert models.weights(shared, betas[0]) != models.weights(shared, betas[1])

    def test_a_sweep_over_betas_plans_one_reference(self) -> None:
        points = [[*TINY, "method=dpo_both", f"dpo_beta={beta}"] for beta in ("0.01", "0.05")]
        runs = [compile_run(point.config, point.overrides)[0] for point in expand(points)]
        for role in ("sft", "pair.en", "pair.fi", "reference.en", "reference.fi"):
            assert runs[0].steps[role] == runs[1].steps[role]
        assert runs[0].steps["dpo"] != runs[1].steps["dpo"]

    def test_two_languages_are_the_rows_of_both(self, tmp_path: Path) -> None:
        """References of two languages, put together by dpo, train as one reference of all the pairs."""
        store = Store.open(tmp_path / "store", create=True)
        model = checkpoint(store)
        whole = models.pair_step(models.pairs_file(tmp_path / "both.jsonl", PAIRS))
        models.finish(store, whole)
        # A reference stands in the order of its ids.
        by_id = [pair for _, pair in sorted(zip(ids_of(store, whole), PAIRS, strict=True))]
        files = {"en": by_id[:5], "fi": by_id[5:], "both": PAIRS}
        references = {}
        for name, rows in files.items():
            pairs = models.pair_step(models.pairs_file(tmp_path / f"{name}.jsonl", rows))
            references[name] = models.reference_step(model, pairs)
            models.finish(store, pairs)
            models.finish(store, references[name])
        apart = models.dpo_step(model, {"en": references["en"], "fi": references["fi"]})
        together = models.dpo_step(model, {"en": references["both"]})
        models.finish(store, apart)
        models.finish(store, together)
        assert models.summary(store, apart)["pairs"] == models.summary(store, together)["pairs"] == len(PAIRS)
        assert models.losses(store, apart) == pytest.approx(models.losses(store, together), abs=1e-5)

    def test_a_reference_of_another_checkpoint_is_refused(self, tmp_path: Path) -> None:
        store = Store.open(tmp_path / "store", create=True)
        model, other = checkpoint(store), checkpoint(store, layers=1, name="other")
        pairs = models.pair_step(models.pairs_file(tmp_path / "pairs.jsonl", PAIRS))
        reference = models.reference_step(other, pairs)
        for step in (pairs, reference):
            models.finish(store, step)
        dpo = models.dpo_step(model, {"en": reference})
        outcome = models.attempt(store, dpo)
        assert outcome.state == "failed"
        assert "expected 0.6931: the reference log-probabilities are not those of the checkpoint" in outcome.reason
        assert not store.artifact("dpo", dpo.fingerprint).exists()


class TestPretrain:
    def test_micro_batches_make_the_same_global_batch(self, tmp_path: Path) -> None:
        curves = []
        texts = {language: Source(reader="demo", language=language, rows=40, seed=1) for language in ("en", "fi")}
        training = {name: value for name, value in models.SFT.items() if name != "max_length"}
        for micro in (2, 8):
            store = Store.open(tmp_path / str(micro), create=True)
            step = models.make_step(
                "pretrain",
                settings={
                    "training": {
                        **training,
                        "global_batch": 8,
                        "max_length": 64,
                        "architecture": {"hidden_size": 32, "n_layer": 1, "n_head": 2, "vocab_size": 400},
                    },
                    "texts": {language: source.identity() for language, source in texts.items()},
                    "seed": models.SEED,
                },
                execution={
                    "training": {"micro_batch": micro},
                    "sources": {language: models.asdict(source) for language, source in texts.items()},
                    "preflight": {"max_truncated": 1.0},
                },
            )
            models.finish(store, step)
            curves.append(models.losses(store, step))
        assert models.summary(store, step)["tokens"] % (64 * 8)  # the last batch is not full
        assert curves[0] == pytest.approx(curves[1], rel=1e-4)


class TestPacking:
    def rows(self, folder: Path) -> tuple[Any, list[dict[str, Any]]]:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder)
        add_chat_format(tokenizer, model)
        return model, [encode_conversation(tokenizer, talk, "assistant", 100) for talk in TALKS]

    def test_bloom_is_refused(self, base: Path, tmp_path: Path) -> None:
        store, mix = new_store(tmp_path)
        step = models.sft_step(mix, base, packing=True)
        outcome = models.attempt(store, step)
        assert outcome.state == "failed"
        assert "BloomForCausalLM takes no position ids" in outcome.reason
        assert "sft.packing=false" in outcome.reason

    def test_llama_passes(self, llama: Path) -> None:
        model, rows = self.rows(llama)
        refuse_leaking_packs(model, rows)
        assert model.training

    def test_attention_that_reaches_across_is_refused(self, llama: Path) -> None:
        """Flex and SDPA tell samples apart by their position ids; a layer that ignores the mask does not."""
        from transformers import AttentionInterface

        model, rows = self.rows(llama)
        sdpa = AttentionInterface()["sdpa"]

        def leaking(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **kwargs: Any) -> Any:
            return sdpa(module, query, key, value, attention_mask=None, is_causal=True, **kwargs)

        AttentionInterface.register("toy_leak", leaking)
        model.set_attn_implementation("toy_leak")
        with pytest.raises(Exception, match="lets packed samples attend to each other"):
            refuse_leaking_packs(model, rows)

    def test_a_packed_batch_costs_what_its_rows_cost_apart(self, llama: Path, tmp_path: Path) -> None:
        """Token by token: the packed rows, as TRL collates them, under the model in training mode."""
        seen: dict[str, Any] = {}

        def look(trainer: Any, _found: Any) -> None:
            seen["trainer"] = trainer
            raise Interrupted

        store, mix = new_store(tmp_path)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sft, "check_first_batch", look)
            models.attempt(store, models.sft_step(mix, llama, packing=True, micro_batch=2, loss_on="assistant"))
        trainer = seen["trainer"]
        model = trainer.model.train()
        counted = 0
        for batch in trainer.get_train_dataloader():
            labels, positions = batch["labels"][0], batch["position_ids"][0]
            with torch.no_grad():
                packed = model(**{name: value for name, value in batch.items() if name != "labels"}, use_cache=False)
            starts = [*torch.nonzero(positions == 0).flatten().tolist(), len(positions)]
            for start, end in itertools.pairwise(starts):
                with torch.no_grad():
                    alone = model(input_ids=batch["input_ids"][:, start:end], use_cache=False).logits[0]
                assert labels[start] == -100  # else a sample's last token would be taught its neighbour's first
                assert torch.allclose(packed.logits[0, start:end], alone, atol=1e-4)
                counted += int((labels[start:end] != -100).sum())
        _, read = trainer.train_dataset, models.read_jsonl(store.artifact("mix", mix.fingerprint) / "mix.jsonl")
        tokenizer = trainer.processing_class
        talks = [[Message(turn["role"], turn["content"]) for turn in row["messages"]] for _, row in read]
        expected = [encode_conversation(tokenizer, talk, "assistant", 256)["labels"] for talk in talks]
        assert counted == sum(label != -100 for row in expected for label in row)

    def test_packing_end_to_end_learns_every_supervised_token(self, llama: Path, tmp_path: Path) -> None:
        losses = {}
        for packing in (False, True):
            store, mix = new_store(tmp_path / str(packing))
            # One batch of everything: the first loss, before any weight has moved, is then over the same tokens.
            more = {"packing": True} if packing else {}
            step = models.sft_step(
                mix, llama, global_batch=22, micro_batch=22, loss_on="assistant", learning_rate=1e-3, **more
            )
            models.finish(store, step)
            losses[packing] = models.losses(store, step)[0]
        assert losses[True] == pytest.approx(losses[False], rel=1e-4)
