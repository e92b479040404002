"""What is refused before training starts, what is only warned of, and that looking changes nothing."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiment.errors import KirjoError
from experiment.plan import Step
from experiment.sources.records import Message
from experiment.sources.source import Source
from experiment.stages import dpo, sft
from experiment.stages.pair import Pair
from experiment.store import Store
from experiment.training.chat import add_chat_format, encode_prompt, encode_reply
from experiment.training.preference import encode_pairs
from experiment.training.preflight import check_first_batch, check_pairs, check_sft
from tests import models

pytestmark = pytest.mark.usefixtures("alone")

END = 9
CUT = "are longer than max_length (or a prompt than max_prompt_length) and were cut"

SHORT = models.conversation("Hi", "Yes.")
LONG = models.conversation("Tell me about the town. " * 8, "It is old. " * 8)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    found = models.toy_tokenizer()
    add_chat_format(found, models.toy_bloom(found))
    return found


def row(labels: list[int], cut: bool = False, ends: int = 1, answers: int = 1) -> dict[str, Any]:
    return {"input_ids": [1] * len(labels), "labels": labels, "cut": cut, "ends": ends, "answers": answers}


def pair(chosen: list[int], rejected: list[int], cut: bool = False) -> dict[str, Any]:
    return {"prompt_ids": [1, 2], "chosen_ids": chosen, "rejected_ids": rejected, "cut": cut}


class TestConversations:
    def test_counts(self) -> None:
        found = check_sft([row([-100, 3, END]), row([4, 5, END, 6])], 0.0)
        assert (found.rows, found.tokens, found.supervised_tokens) == (2, 7, 6)
        assert (found.cut_rows, found.rows_without_end, found.warnings) == (0, 0, [])

    def test_nothing_to_learn_is_refused(self) -> None:
        with pytest.raises(KirjoError, match="no token is supervised"):
            check_sft([row([-100, -100], ends=0)], 1.0)

    def test_no_answers_end_of_turn_in_any_label_is_refused(self) -> None:
        """Whatever else has the token: with loss on all tokens the user's turns do."""
        with pytest.raises(KirjoError, match=r"no answer has its end-of-turn token.*max_length"):
            check_sft([row([3, END, 4], ends=0), row([-100, 5], ends=0)], 1.0)

    def test_some_rows_without_an_end_are_counted(self) -> None:
        rows = [row([3, END]), row([3, END, 4], ends=1, answers=3), row([-100, -100], ends=0)]
        found = check_sft(rows, 1.0)
        assert found.rows_without_end == 2
        assert found.warnings == [
            "2 of 3 rows have an answer without its end-of-turn token among the labels (3 of 5 answers)",
            "1 of 3 rows have no supervised token left and are passed over",
        ]

    def test_too_many_cut_rows_are_refused_and_the_option_is_named(self) -> None:
        rows = [row([END], cut=True), row([END], cut=True), row([END])]
        with pytest.raises(KirjoError, match=r"2 of 3 rows \(67%\).*preflight\.max_truncated=0\.67"):
            check_sft(rows, 0.66)
        assert check_sft(rows, 0.67).warnings == [f"2 of 3 rows {CUT}"]


class TestPairs:
    def test_counts(self) -> None:
        found = check_pairs([pair([3, END], [4, END])], END, 0.0)
        assert (found.rows, found.tokens, found.supervised_tokens, found.warnings) == (1, 8, 4, [])

    def test_the_same_reply_everywhere_is_refused(self) -> None:
        with pytest.raises(KirjoError, match="chosen and rejected are the same in every pair"):
            check_pairs([pair([3, END], [3, END])], END, 1.0)

    def test_warnings_count(self) -> None:
        rows = [pair([3, END], [3, END]), pair([3], [4], cut=True), pair([3, END], [4, END])]
        assert check_pairs(rows, END, 0.5).warnings == [
            f"1 of 3 rows {CUT}",
            "1 of 3 pairs are the same after cutting and teach nothing",
            "1 of 3 chosen replies lost their end-of-turn token to cutting",
        ]
        with pytest.raises(KirjoError, match=r"1 of 3 rows \(33%\).*preflight\.max_truncated=0\.34"):
            check_pairs(rows, END, 0.3)


class TestCutting:
    def test_a_prompt_keeps_its_end_and_a_reply_its_start(self, tokenizer: Any) -> None:
        question = Message("user", "What does Liisa do in the town of Tampere? " * 3)
        whole = encode_prompt(tokenizer, [question])
        chosen, rejected = "She builds houses in the village. " * 3, "No."
        encoded = encode_pairs(tokenizer, [Pair("a", (question,), chosen, rejected)], 30, 20)[0]
        assert len(whole) > 20
        assert encoded["prompt_ids"] == whole[-20:]
        assert encoded["chosen_ids"] == encode_reply(tokenizer, chosen)[:10]
        assert encoded["rejected_ids"] == encode_reply(tokenizer, rejected)
        assert encoded["cut"]

    def test_what_fits_is_left_as_it_is(self, tokenizer: Any) -> None:
        question = Message("user", "Who?")
        prompt, reply = encode_prompt(tokenizer, [question]), encode_reply(tokenizer, "Liisa.")
        short = encode_reply(tokenizer, "No")
        assert len(short) < len(reply)
        limits = (len(prompt) + len(reply), len(prompt))
        fits = encode_pairs(tokenizer, [Pair("a", (question,), "Liisa.", "No")], *limits)[0]
        assert fits == {"id": "a", "prompt_ids": prompt, "chosen_ids": reply, "rejected_ids": short, "cut": False}
        tight = encode_pairs(tokenizer, [Pair("a", (question,), "Liisa.", "No")], limits[0] - 1, limits[1])[0]
        assert (tight["chosen_ids"], tight["cut"]) == (reply[:-1], True)

    def test_a_prompt_that_fills_everything_leaves_no_reply(self, tokenizer: Any) -> None:
        question = Message("user", "What does Liisa do? " * 9)
        encoded = encode_pairs(tokenizer, [Pair("a", (question,), "She builds.", "No.")], 20, 20)[0]
        assert len(encoded["prompt_ids"]) == 20
        assert encoded["chosen_ids"] == encoded["rejected_ids"] == []


class TestStages:
    """The same through the stages: what a user sees."""

    def sft(self, folder: Path, base: Path, rows: list[list[Message]], **more: Any) -> tuple[Store, Step]:
        store = Store.open(folder / "store", create=True)
        mix = models.mix_step(models.conversations_file(folder / "rows.jsonl", rows))
        models.finish(store, mix)
        return store, models.sft_step(mix, base, **more)

    def reference(
        self, folder: Path, pairs: list[tuple[str, str, str]], **settings: Any
    ) -> tuple[Store, Step, Callable[[], Step]]:
        store = Store.open(folder / "store", create=True)
        chat = models.toy_tokenizer()
        model = models.toy_bloom(chat)
        add_chat_format(chat, model)
        made = models.publish_model(store, model, chat, "checkpoint")
        step = models.pair_step(models.pairs_file(folder / "pairs.jsonl", pairs))
        models.finish(store, step)
        reference = models.reference_step(made, step, **settings)
        return store, reference, lambda: models.dpo_step(made, {"en": reference})

    def test_conversations_that_would_be_cut(self, base: Path, tmp_path: Path) -> None:
        store, step = self.sft(tmp_path, base, [SHORT, LONG], max_length=40, max_truncated=0.4)
        outcome = models.attempt(store, step)
        assert outcome.state == "failed"
        assert "1 of 2 rows (50%)" in outcome.reason
        assert "preflight.max_truncated=0.5" in outcome.reason
        assert not store.artifact("sft", step.fingerprint).exists()

    def test_warnings_reach_the_artifact(self, base: Path, tmp_path: Path) -> None:
        store, step = self.sft(tmp_path, base, [SHORT, LONG], max_length=40, max_truncated=0.5, loss_on="assistant")
        folder = models.finish(store, step)
        warnings = [
            f"1 of 2 rows {CUT}",
            "1 of 2 rows have an answer without its end-of-turn token among the labels (1 of 2 answers)",
            "1 of 2 rows have no supervised token left and are passed over",
        ]
        assert models.summary(store, step)["warnings"] == warnings
        written = json.loads((folder / "preflight.json").read_text())
        assert written["warnings"] == warnings
        assert written["first_loss"] == pytest.approx(models.losses(store, step)[0], rel=1e-5)

    @pytest.mark.parametrize("loss_on", ["all", "assistant"])
    def test_no_answer_that_ends(self, base: Path, tmp_path: Path, loss_on: str) -> None:
        """The question is whole, with the end of its turn; the answer is cut."""
        talk = models.conversation("Hi", "It is old. " * 30)
        store, step = self.sft(tmp_path, base, [talk] * 2, max_length=40, max_truncated=1.0, loss_on=loss_on)
        assert "no answer has its end-of-turn token among the labels" in models.attempt(store, step).reason

    def test_a_pair_whose_prompt_fills_everything_is_dropped_and_counted(self, tmp_path: Path) -> None:
        pairs = [("Who?", "Liisa.", "No"), ("What does Liisa do? " * 9, "She builds.", "No."), ("Why?", "So.", "Eh.")]
        store, reference, dpo_step = self.reference(tmp_path, pairs, max_length=30, max_prompt_length=30)
        models.finish(store, reference)
        assert models.summary(store, reference)["pairs"] == 2
        assert models.summary(store, reference)["pairs_dropped"] == 1
        step = dpo_step()
        models.finish(store, step)
        assert models.summary(store, step)["pairs"] == 2

    def test_all_pairs_dropped(self, tmp_path: Path) -> None:
        long = [(f"{number} What does Liisa do? " * 9, "She builds.", "No.") for number in range(3)]
        store, reference, _ = self.reference(tmp_path, long, max_length=30, max_prompt_length=30)
        reason = models.attempt(store, reference).reason
        assert "no pair is left" in reason
        assert "lower dpo.max_prompt_length or raise dpo.max_length" in reason

    def test_pairs_that_cutting_makes_the_same(self, tmp_path: Path) -> None:
        start = "The town of Tampere is old, and it has a river and two lakes. "
        pairs = [(f"{number}?", start + "Yes.", start + "No.") for number in range(3)]
        store, reference, _ = self.reference(tmp_path, pairs, max_length=32, max_prompt_length=16)
        assert "chosen and rejected are the same in every pair" in models.attempt(store, reference).reason

    def test_pairs_that_would_be_cut(self, tmp_path: Path) -> None:
        pairs = [("Who?", "Liisa.", "No"), ("Why?", "Because of the river and the town. " * 5, "Eh.")]
        store, reference, _ = self.reference(tmp_path, pairs, max_length=40, max_truncated=0.4)
        reason = models.attempt(store, reference).reason
        assert "1 of 2 rows (50%)" in reason
        assert "preflight.max_truncated=0.5" in reason


class TestLooking:
    """The check of the first batch sees what training will see and leaves no trace."""

    def test_sft(self, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """With NEFTune, whose noise is drawn from the generator that the check must leave alone."""
        found = []
        for looks in (True, False):
            if looks:
                monkeypatch.setattr(sft, "check_first_batch", watched(found))
            else:
                monkeypatch.setattr(sft, "check_first_batch", lambda *_args, **_kwargs: None)
            store = Store.open(tmp_path / str(looks), create=True)
            mix = models.mix_step(Source(reader="demo", language="en", rows=22, seed=2))
            step = models.sft_step(mix, base, neftune_alpha=5, micro_batch=2)
            models.finish(store, mix)
            models.finish(store, step)
            found.append((models.weights(store, step), models.history(store, step)))
        assert found[0] == "looked"
        assert found[1] == found[2]

    def test_dpo(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pairs = [(f"{number}?", "The river is wide. " * (1 + number % 3), "No." * number) for number in range(1, 11)]
        found = []
        for looks in (True, False):
            if looks:
                monkeypatch.setattr(dpo, "check_first_batch", watched(found))
            else:
                monkeypatch.setattr(dpo, "check_first_batch", lambda *_args, **_kwargs: None)
            folder = tmp_path / str(looks)
            folder.mkdir()
            store, reference, dpo_step = TestStages().reference(folder, pairs)
            step = dpo_step()
            models.finish(store, reference)
            models.finish(store, step)
            found.append((models.weights(store, step), models.history(store, step)))
        assert found[0] == "looked"
        assert found[1] == found[2]


def watched(found: list[Any]) -> Callable[..., None]:
    """The real check, with a look at all that it must not change."""

    def state(trainer: Any) -> tuple[Any, ...]:
        numpy_state = np.random.get_state()
        return (
            torch.get_rng_state().tolist(),
            random.getstate(),
            [list(map(float, part)) if isinstance(part, np.ndarray) else part for part in numpy_state],
            {name: list(values) for name, values in trainer._metrics["train"].items()},
            trainer.model.training,
            trainer.state.global_step,
        )

    def look(trainer: Any, *args: Any, **kwargs: Any) -> None:
        trainer.model.train()  # as packing's check leaves it
        before, weights = state(trainer), {name: value.clone() for name, value in trainer.model.state_dict().items()}
        check_first_batch(trainer, *args, **kwargs)
        assert state(trainer) == before
        assert models.same_tensors(trainer.model.state_dict(), weights)
        assert all(value.grad is None for value in trainer.model.parameters())
        found.append("looked")

    return look
