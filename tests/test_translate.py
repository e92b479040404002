"""translate: every line once, all else byte for byte, whatever is interrupted; over a server that goes by a rule."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiment.data_steps import _identity
from experiment.engines.shards import PIECE, read_answers
from experiment.plan import Step, make_step
from experiment.sources.jsonl import read_jsonl, write_jsonl
from experiment.sources.source import Source
from experiment.stages.pair import ROWS as PAIRS
from experiment.store import Store
from experiment.sweep import expand
from experiment.translation.rows import TRANSLATED, TranslatedRow, read_translated
from experiment.translation.segments import code_blocks, pieces
from experiment.translation.settings import ShotSet, Translate
from tests import models
from tests.completion_server import Server
from tests.rule_server import MODEL, asked_for, line_of, serving, translated

SHARED = Path(os.environ.get("KIRJO_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
OASST = SHARED / "oasst1" / "validation.jsonl"
CODE = "```python\nprint('Hello')\n\n\n```"


@pytest.fixture
def server():
    with serving() as found:
        yield found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store", create=True)


def plain(**changes: Any) -> Translate:
    (point,) = expand([["translate=plain"]])
    whole = point.config.translate
    return replace(whole, **{"shots": {"all": replace(whole.shots["all"], count=0)}, "engine": "openai", **changes})


def step_of(
    server: Server,
    kind: str,
    source: Source | None = None,
    inputs: dict[str, str] | None = None,
    languages: tuple[str, str] = ("en", "fi"),
    how: dict[str, Any] | None = None,
    **changes: Any,
) -> Step:
    """A step of the served model, as `experiment.data_steps` makes it."""
    asked = plain(**changes)
    return make_step(
        "translate",
        settings={
            "served": MODEL,
            "translate": _identity(asked, languages),
            "kind": kind,
            "source_language": languages[0],
            "target_language": languages[1],
            **({"source": source.identity()} if source else {}),
        },
        inputs=inputs,
        execution={
            "translate": {"name": "plain", "engine": "openai", "batch_size": 8, "shard_rows": 16, **(how or {})},
            "engine": {"openai": {"url": server.url, "model": MODEL, "retries": 0, "concurrency": 4}},
            "sources": {"source": asdict(source)} if source else {},
        },
    )


def rows(store: Store, step: Step) -> list[TranslatedRow]:
    return list(read_translated(models.finish(store, step)))


def by_rule(text: str, keep_markers: bool = True) -> str:
    """What a text must become."""
    return "".join(piece.text if piece.keep else translated(piece.text) for piece in pieces(text, keep_markers))


def test_conversations_keep_turns_code_and_blank_lines(server, store, tmp_path):
    talk = models.conversation(
        "Hello there!\n\n  What is this?\r\n" + CODE,
        "- It is *good*.\n\n\n1. Two\n" + CODE + "\nEnd",
        system="Be brief.",
    )
    source = models.conversations_file(tmp_path / "talk.jsonl", [talk, models.conversation("Hello there!", "Bye.")])
    step = step_of(server, "conversations", source)
    found = rows(store, step)
    assert [row.id for row in found] == ["0", "1"]
    assert [part.role for part in found[0].parts] == ["system", "user", "assistant"]
    assert [part.source for part in found[0].parts] == [turn.content for turn in talk]
    assert [part.text for part in found[0].parts] == [by_rule(turn.content) for turn in talk]
    assert found[0].parts[1].text == "äolleHä ä!erehtä\n\n  ätahWä äsiä ä?sihtä\r\n" + CODE
    told = dict(models.summary(store, step))
    assert told.pop("sources")["source"]["rows"] == 2
    assert told | {"new_tokens": 0} == {
        "rows": 2,
        "texts": 5,
        "lines": 8,
        "distinct_lines": 7,
        "split_lines": 0,
        "distinct_pieces": 7,
        "empty": 0,
        "cut_off": 0,
        "new_tokens": 0,
    }
    assert all(count == 1 for count in asked_for(server).values())
    assert len(asked_for(server)) == 7


def test_pairs_are_translated_with_prompt_and_both_replies(server, store, tmp_path):
    pair = {
        "id": "p",
        "language": "en",
        "prompt": [
            {"role": "user", "content": "Q one"},
            {"role": "assistant", "content": "A"},
            {"role": "user", "content": "Q"},
        ],
        "chosen": "Good\nreply",
        "rejected": "Bad reply",
    }
    pairs = models.publish_rows(store, "pair", PAIRS, [pair], "pairs")
    (row,) = rows(store, step_of(server, "pairs", inputs={"pairs": pairs.key}))
    assert [(part.role, part.text) for part in row.parts] == [
        ("user", "äQä äenoä"),
        ("assistant", "äAä"),
        ("user", "äQä"),
        ("chosen", "ädooGä\näylperä"),
        ("rejected", "ädaBä äylperä"),
    ]


def test_back_again_begins_with_the_translation(server, store, tmp_path):
    source = models.conversations_file(tmp_path / "talk.jsonl", [models.conversation("One", "Two\n" + CODE)])
    forward = step_of(server, "conversations", source)
    there = rows(store, forward)
    back = step_of(server, "conversations", inputs={"translated": forward.key}, languages=("fi", "en"))
    (row,) = rows(store, back)
    assert [part.source for part in row.parts] == [part.text for part in there[0].parts]
    assert row.parts[0].text == translated(translated("One"))


def test_lines_that_come_back_empty_or_endless_are_counted_where_they_stand(store, tmp_path):
    answers = {"Two": "", "Three": "  \nmore"}
    with serving(answer=lambda prompt: answers.get(line_of(prompt), "x")) as server:
        source = models.conversations_file(tmp_path / "talk.jsonl", [models.conversation("One\nTwo", "Three\nTwo")])
        step = step_of(server, "conversations", source)
        (row,) = rows(store, step)
    assert [(part.text, part.empty, part.cut_off) for part in row.parts] == [("x\n", 1, 0), ("\n", 2, 0)]
    assert models.summary(store, step)["empty"] == 2
    assert "may not suit the model" in models.summary(store, step)["warnings"][0]


def test_a_line_longer_than_the_context_is_split_at_sentences(server, store, tmp_path):
    sentence = "This is a sentence of some words"
    line = ". ".join([sentence] * 12) + "."
    source = models.conversations_file(tmp_path / "talk.jsonl", [models.conversation("Short", line)])
    step = step_of(server, "conversations", source, context=400, max_new_tokens=300)
    (row,) = rows(store, step)
    assert row.parts[1].text == translated(line)
    assert models.summary(store, step)["split_lines"] == 1
    asked = [line_of(prompt) for prompt in asked_for(server)]
    assert all(part.endswith(".") for part in asked if part != "Short")
    assert max(map(len, asked)) < len(line) / 2


def test_examples_that_fill_the_context_are_told(server, store, tmp_path):
    source = models.conversations_file(tmp_path / "talk.jsonl", [models.conversation("One", "Two")])
    step = step_of(server, "conversations", source, context=40, max_new_tokens=39)
    outcome = models.attempt(store, step)
    assert outcome.state == "failed"
    assert "no line fits behind them into translate.context=40" in outcome.reason


def test_each_set_of_examples_must_leave_room(server, store, tmp_path):
    few, many = ({"en": "a", "fi": "b"},), tuple({"en": "word " * 40, "fi": "sana " * 40} for _ in range(9))
    sets = {
        "short": ShotSet(count=1, below_words=3, pairs=few),
        "all": ShotSet(count=9, pairs=many),
    }
    source = models.conversations_file(tmp_path / "talk.jsonl", [models.conversation("One", "Two " * 9)])
    outcome = models.attempt(store, step_of(server, "conversations", source, shots=sets, context=1000))
    assert outcome.state == "failed"
    assert "the examples of shots.all take" in outcome.reason


def test_half_a_surrogate_pair_is_no_end(server, store, tmp_path):
    source = models.conversations_file(tmp_path / "talk.jsonl", [models.conversation("One \ud83d two", "Three")])
    (row,) = rows(store, step_of(server, "conversations", source))
    assert row.parts[1].text == translated("Three")


def test_how_it_runs_is_no_part_of_the_step(server):
    source = Source(reader="demo", language="en", rows=3)
    one = step_of(server, "conversations", source)
    other = step_of(server, "conversations", source, how={"batch_size": 1, "shard_rows": 3})
    assert one.key == other.key != step_of(server, "conversations", source, keep_markers=False).key
    assert one.key != step_of(server, "conversations", source, languages=("en", "sv")).key


TALKS = st.lists(
    st.lists(st.sampled_from(["One", "Two three", "\n", "\n\n", CODE + "\n", "- x", "  "]), min_size=1, max_size=6)
    .map("".join)
    .filter(str.strip),
    min_size=2,
    max_size=8,
).filter(lambda turns: len(turns) % 2 == 0)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(talks=st.lists(TALKS, min_size=1, max_size=5), shard_rows=st.integers(1, 9))
def test_order_and_shards_do_not_show(server, tmp_path_factory, talks, shard_rows):
    folder = tmp_path_factory.mktemp("talks")
    store = Store.open(folder / "store", create=True)
    source = models.conversations_file(folder / "talk.jsonl", [models.conversation(*turns) for turns in talks])
    found = rows(store, step_of(server, "conversations", source, how={"shard_rows": shard_rows}))
    assert [[part.text for part in row.parts] for row in found] == [
        [by_rule(text) for text in turns] for turns in talks
    ]


class TestInterrupted:
    @pytest.fixture
    def talks(self, tmp_path: Path) -> Source:
        return models.conversations_file(
            tmp_path / "talk.jsonl",
            [
                models.conversation(f"Question {number}\nshared", f"Answer {number}\n\nshared too")
                for number in range(40)
            ],
        )

    def test_what_was_answered_is_not_asked_again(self, store, talks, tmp_path):
        with serving() as calm:
            undisturbed = Store.open(tmp_path / "calm", create=True)
            expected = (models.finish(undisturbed, step_of(calm, "conversations", talks)) / TRANSLATED).read_bytes()
        with serving() as server:
            step = step_of(server, "conversations", talks, how={"shard_rows": 8})

            def stop(done: int, _of: int) -> None:
                if done >= 50:
                    raise KeyError("stopped")

            assert models.attempt(store, step, stop).state == "failed"
            before = len(server.asked)
            assert (models.finish(store, step) / TRANSLATED).read_bytes() == expected
            twice = sum(count - 1 for count in asked_for(server).values())
        assert before >= 50
        assert twice <= 8

    def test_a_servers_answers_are_on_the_disk_before_their_shard_is_whole(self, store, talks):
        seen = []
        with serving() as server:
            step = step_of(server, "conversations", talks, how={"shard_rows": 512})

            def look(done: int, _of: int) -> None:
                answered = read_answers(store.work(step.stage, step.fingerprint))
                seen.append((done, len(answered)))

            assert models.attempt(store, step, look).state == "done"
        assert len(seen) > 60
        assert all(done - kept <= PIECE for done, kept in seen)

    def test_a_server_that_dies_loses_nothing(self, store, talks):
        failing = {"after": 30}

        def answer(prompt: str) -> str:
            failing["after"] -= 1
            if failing["after"] < 0:
                raise ConnectionAbortedError
            return translated(line_of(prompt))

        with serving(answer=answer) as server:
            step = step_of(server, "conversations", talks, how={"shard_rows": 8})
            outcome = models.attempt(store, step)
            assert outcome.state == "failed"
            assert "server" in outcome.reason
            failing["after"] = 10**6
            found = rows(store, step)
        assert len(found) == 40


@pytest.mark.slow
def test_every_real_row_has_the_form_of_its_source(store):
    if not OASST.exists():
        pytest.skip(f"no real data at {OASST} (KIRJO_SHARED_DATA)")
    source = Source(reader="oasst", language="en", path=str(OASST))
    pairs = models.finish(store, pairs_step := models.pair_step(source))
    with serving() as server:
        # One text is a single word of 6,000 letters: it would be split, and the rule goes by words.
        wide = {"how": {"shard_rows": 512}, "context": 10**6, "max_new_tokens": 10**5}
        talks = step_of(server, "conversations", source, **wide)
        both = [rows(store, talks), rows(store, step_of(server, "pairs", inputs={"pairs": pairs_step.key}, **wide))]
    assert [len(found) for found in both] == [188, sum(1 for _ in read_jsonl(pairs / PAIRS))]
    for row in (row for found in both for row in found):
        for part in row.parts:
            assert part.text == by_rule(part.source)
            assert code_blocks(part.text) == code_blocks(part.source)
            mine, theirs = part.text.splitlines(), part.source.splitlines()
            assert [bool(line.strip()) for line in mine] == [bool(line.strip()) for line in theirs]


def test_the_rows_read_back(tmp_path):
    row = {"id": "a", "parts": [{"role": "user", "source": "s", "text": "t", "empty": 1, "cut_off": 0}]}
    write_jsonl(tmp_path / TRANSLATED, [row])
    assert [json.loads(json.dumps(found.to_json())) for found in read_translated(tmp_path)] == [row]
