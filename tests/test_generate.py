"""Generation: greedy, the same whatever the batch, in the order of the prompts, and whole after an interruption."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from experiment.engines.in_process import InProcessEngine
from experiment.engines.shards import FILE
from experiment.plan import Step
from experiment.results import RESPONSES
from experiment.sources.jsonl import read_jsonl, write_jsonl
from experiment.sources.records import Message
from experiment.sources.source import Source
from experiment.store import Store
from experiment.training.chat import add_chat_format, encode_prompt
from tests import models, ranked

pytestmark = pytest.mark.usefixtures("alone")

QUESTIONS = (
    "Hi",
    "Who is Pekka, and what kind of animal does he have at home in Kuopio?",
    "Kuka?",
    "Tell me about the harbour. " * 6,
    "What is in the bucket of the fisher?",
    "Is it cold?",
    "Mitä Liisa tekee Tampereella joka päivä?",
    "Name three towns in Finland, and say which is the oldest of them.",
    "Ok",
    "Say hello to everyone at the bakery!",
)
NEW_TOKENS = 24
PARTIAL = FILE.format(0)


@pytest.fixture(scope="module", params=["bloom", "llama"])
def chat(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """(model, tokenizer): random, but likely to end a turn."""
    tokenizer = models.toy_tokenizer()
    model = {"bloom": models.toy_bloom, "llama": models.toy_llama}[request.param](tokenizer)
    add_chat_format(tokenizer, model)
    model.eval()
    raise_the_end(model, tokenizer)
    return model, tokenizer


def raise_the_end(model: Any, tokenizer: Any) -> None:
    """Let the end of the turn take the place of a token that stands in about half of the answers."""
    answers = [one_by_one((model, tokenizer), text)[0] for text in QUESTIONS]
    users = {token: sum(token in answer for answer in answers) for answer in answers for token in answer[1:]}
    token = min(users, key=lambda token: (abs(users[token] - len(QUESTIONS) / 2), token))
    head = model.get_output_embeddings().weight
    with torch.no_grad():
        head[tokenizer.eos_token_id] = 1.02 * head[token]


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Source:
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    # Keys out of order: answers must come in the order of the file.
    rows = (
        {"key": 100 - number, "prompt": text, "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
        for number, text in enumerate(QUESTIONS)
    )
    write_jsonl(path, rows)
    return Source(reader="ifeval", language="en", path=str(path))


def one_by_one(chat: tuple[Any, Any], text: str) -> tuple[list[int], bool]:
    """(tokens, ended): the most likely token after the other, no batch, no padding, no cache."""
    model, tokenizer = chat
    ids = encode_prompt(tokenizer, [Message("user", text)])
    answer: list[int] = []
    while len(answer) < NEW_TOKENS:
        with torch.no_grad():
            token = int(model(torch.tensor([ids + answer]), use_cache=False).logits[0, -1].argmax())
        if token == tokenizer.eos_token_id:
            return answer, True
        answer.append(token)
    return answer, False


def new_store(folder: Path, chat: tuple[Any, Any]) -> tuple[Store, Step]:
    store = Store.open(folder, create=True)
    return store, models.publish_model(store, *chat, "checkpoint")


def responses(store: Store, step: Step) -> list[dict[str, Any]]:
    return [row for _, row in read_jsonl(store.artifact("generate", step.fingerprint) / RESPONSES)]


def test_answers_are_those_of_one_prompt_at_a_time(chat: tuple[Any, Any], prompts: Source, tmp_path: Path) -> None:
    expected = [one_by_one(chat, text) for text in QUESTIONS]
    assert any(ended for _, ended in expected), "the toy model never ends a turn"
    assert not all(ended for _, ended in expected), "the toy model always ends its turn"
    assert len({str(tokens) for tokens, _ in expected}) > len(QUESTIONS) // 2, "the toy model answers all alike"
    tokenizer = chat[1]
    for size in (1, 3, 4, 32):
        store, model = new_store(tmp_path / str(size), chat)
        step = models.generate_step(model, prompts, batch_size=size, max_new_tokens=NEW_TOKENS)
        models.finish(store, step)
        rows = responses(store, step)
        assert [row["key"] for row in rows] == [100 - number for number in range(len(QUESTIONS))]
        for row, text, (tokens, ended) in zip(rows, QUESTIONS, expected, strict=True):
            assert row == {
                "key": row["key"],
                "prompt": text,
                "response": tokenizer.decode(tokens, skip_special_tokens=True),
                "tokens": len(tokens),
                "finished": ended,
            }
        assert models.summary(store, step) == {
            "prompts": len(QUESTIONS),
            "new_tokens": sum(len(tokens) for tokens, _ in expected),
            "cut_off": sum(not ended for _, ended in expected),
        }


def test_the_batch_size_is_no_part_of_the_step(prompts: Source) -> None:
    model = models.make_step("sft", settings={"toy": "any"})
    sizes = [models.generate_step(model, prompts, batch_size=size) for size in (1, 32)]
    assert sizes[0].key == sizes[1].key != models.generate_step(model, prompts, max_new_tokens=13).key


@pytest.mark.parametrize("limit", [1, 5])
def test_no_answer_is_longer_than_allowed(chat: tuple[Any, Any], prompts: Source, tmp_path: Path, limit: int) -> None:
    store, model = new_store(tmp_path, chat)
    step = models.generate_step(model, prompts, max_new_tokens=limit)
    models.finish(store, step)
    rows = responses(store, step)
    assert max(row["tokens"] for row in rows) == limit
    assert all(row["tokens"] == limit for row in rows if not row["finished"])
    assert models.summary(store, step)["cut_off"] == sum(not row["finished"] for row in rows) > 0


def test_a_models_own_generation_settings_do_not_count(chat: tuple[Any, Any], prompts: Source, tmp_path: Path) -> None:
    """A hub model may bring a repetition penalty, sampling, or another end token: greedy means greedy."""
    answers = []
    model, tokenizer = chat
    for name in ("plain", "opinionated"):
        if name == "opinionated":
            model.generation_config = GenerationConfig(
                repetition_penalty=3.0, do_sample=True, temperature=2.0, eos_token_id=5, max_length=9, min_new_tokens=7
            )
        store, made = new_store(tmp_path / name, (model, tokenizer))
        step = models.generate_step(made, prompts)
        models.finish(store, step)
        answers.append(responses(store, step))
    assert answers[0] == answers[1]


def test_ranks_share_out_the_prompts(chat: tuple[Any, Any], prompts: Source, tmp_path: Path) -> None:
    written = []
    for size in (1, 2):
        store, model = new_store(tmp_path / str(size), chat)
        step = models.generate_step(model, prompts, batch_size=2)
        step = replace(step, execution={**step.execution, "generate": {"batch_size": 2, "shard_rows": 3}})
        if size == 1:
            models.finish(store, step)
        else:
            outcomes = ranked.together(store, step, size)
            assert {outcome.state for outcome in outcomes} == {"done"}, outcomes
        written.append((store.artifact("generate", step.fingerprint) / RESPONSES).read_bytes())
        assert models.summary(store, step)["prompts"] == len(QUESTIONS)
    assert written[0] == written[1]


class TestInterrupted:
    @pytest.fixture
    def whole(self, chat: tuple[Any, Any], prompts: Source, tmp_path: Path) -> tuple[Step, bytes]:
        """(step, what an undisturbed run writes)."""
        store, model = new_store(tmp_path / "whole", chat)
        step = models.generate_step(model, prompts, batch_size=2)
        step = replace(step, execution={**step.execution, "generate": {"batch_size": 2, "shard_rows": 3}})
        return step, (models.finish(store, step) / RESPONSES).read_bytes()

    def interrupted(self, folder: Path, chat: tuple[Any, Any], step: Step) -> tuple[Store, Path]:
        """A store whose step was stopped in the third of four shards, and the file it left."""
        store, _ = new_store(folder, chat)

        def stop(done: int, _of: int) -> None:
            if done > 6:
                raise KeyError("stopped")

        assert models.attempt(store, step, stop).state == "failed"
        partial = store.work("generate", step.fingerprint) / PARTIAL
        assert [len(shard) for _, shard in read_jsonl(partial)] == [3, 3]
        return store, partial

    @pytest.mark.parametrize(
        "damage", ["none", "torn line", "torn character", "a shard less", "a shard less, torn", "the first less", "all"]
    )
    def test_it_ends_as_if_undisturbed(
        self, chat: tuple[Any, Any], whole: tuple[Step, bytes], tmp_path: Path, damage: str
    ) -> None:
        step, expected = whole
        store, partial = self.interrupted(tmp_path / "broken", chat, step)
        content = partial.read_bytes()
        lines = content.splitlines(keepends=True)
        partial.write_bytes(
            {
                "none": content,
                "torn line": content[:-9],
                "torn character": content + '{"93": {"text": "ä'.encode()[:-1],
                "a shard less": lines[0],
                "a shard less, torn": lines[0] + lines[1][:20],
                "the first less": lines[1],
                "all": b"",
            }[damage]
        )
        folder = models.finish(store, step)
        assert (folder / RESPONSES).read_bytes() == expected
        assert [path.name for path in folder.iterdir() if path.name not in ("manifest.json", RESPONSES)] == []
        assert models.summary(store, step)["prompts"] == len(QUESTIONS)

    @pytest.mark.parametrize("shard_rows", [3, 4, 100])
    def test_what_is_there_is_not_generated_again(
        self, chat: tuple[Any, Any], whole: tuple[Step, bytes], tmp_path: Path, shard_rows: int
    ) -> None:
        step, _ = whole
        store, partial = self.interrupted(tmp_path / "broken", chat, step)
        shards = [json.loads(line) for line in partial.read_text(encoding="utf-8").splitlines()]
        for shard in shards:
            for answer in shard.values():
                answer["text"] = "kept"
        write_jsonl(partial, shards)
        step = replace(step, execution={**step.execution, "generate": {"batch_size": 2, "shard_rows": shard_rows}})
        models.finish(store, step)
        kept = {int(key) for shard in shards for key in shard}
        assert {row["key"] for row in responses(store, step) if row["response"] == "kept"} == kept

    def test_a_kill_before_publishing_loses_no_answer(
        self, chat: tuple[Any, Any], whole: tuple[Step, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        step, expected = whole
        store, _ = new_store(tmp_path / "broken", chat)

        def killed(*_args: Any, **_kwargs: Any) -> None:
            raise KeyError("killed")

        with monkeypatch.context() as patch:
            patch.setattr(Store, "publish", killed)
            assert models.attempt(store, step).state == "failed"
        assert (store.work("generate", step.fingerprint) / RESPONSES).read_bytes() == expected
        for name in ("answer", "_load"):
            monkeypatch.setattr(InProcessEngine, name, killed)
        assert (models.finish(store, step) / RESPONSES).read_bytes() == expected
