"""The same rows come out of every form in which they are published, on real data and on made-up rows."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiment.errors import DataError
from experiment.sources.preferences import split_turns
from experiment.sources.read import read_conversations, read_reply_groups
from experiment.sources.records import Conversation, Message, Reply, ReplyGroup
from experiment.sources.source import Source
from experiment.stages.pair import make_pairs
from tests import formats
from tests.formats import write_rows
from tests.test_sources import shared

KINDS = ("rows.jsonl", "rows.jsonl.gz", "rows.json", "rows.parquet")


def read(path: str, reader: str = "conversations", language: str = "en", **more: Any) -> list[Conversation]:
    return read_conversations(Source(reader=reader, language=language, path=path, **more))  # type: ignore[arg-type]


def groups(path: str, reader: str, language: str = "en", **more: Any) -> list[ReplyGroup]:
    return read_reply_groups(Source(reader=reader, language=language, path=path, **more))  # type: ignore[arg-type]


# Real data: OpenAssistant's validation split


@pytest.fixture(scope="module")
def messages() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(shared("oasst1/validation.jsonl")).read_text().splitlines()]


@pytest.fixture(scope="module")
def real() -> tuple[list[Conversation], list[ReplyGroup]]:
    path = shared("oasst1/validation.jsonl")
    found = read(path, "oasst"), groups(path, "oasst")
    assert (len(found[0]), len(found[1])) == (188, 418)
    assert Counter(len(row.messages) // 2 for row in found[0]) == {1: 102, 2: 85, 3: 1}
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_real_trees_as_rows_of_the_hub(tmp_path, messages, real, kind):
    both = [
        row
        for en, fi in zip(
            formats.hub_messages(messages, "en"), formats.hub_messages(messages, "fi", mark="-fi"), strict=True
        )
        for row in (en, fi)
    ]
    path = write_rows(tmp_path / kind, both)
    assert read(path, "oasst") == real[0]
    assert groups(path, "oasst") == real[1]
    finnish = read(shared("oasst1/validation.jsonl"), "oasst", "fi")
    assert [row.messages for row in read(path, "oasst", "fi")] == [row.messages for row in finnish]
    dropped: Counter[str] = Counter()
    read_conversations(Source(reader="oasst", language="en", path=path), dropped)
    assert dropped["messages in another language"] == len(messages)


@pytest.mark.parametrize("kind", ["trees.jsonl", "trees.jsonl.gz"])
def test_real_trees_nested(tmp_path, messages, real, kind):
    path = write_rows(tmp_path / kind, formats.nested(formats.hub_messages(messages, "en")))
    assert (read(path, "oasst"), groups(path, "oasst")) == real


@pytest.mark.parametrize("kind", KINDS)
def test_real_conversations_as_messages_and_as_share_gpt(tmp_path, real, kind):
    assert read(write_rows(tmp_path / kind, formats.chats(real[0]))) == real[0]
    named = {
        "columns": {"messages": "conversations", "role": "from", "content": "value"},
        "roles": {"human": "user", "gpt": "assistant"},
    }
    assert read(write_rows(tmp_path / f"s{kind}", formats.share_gpt(real[0])), **named) == real[0]


@pytest.mark.parametrize("kind", KINDS)
def test_real_single_exchanges_as_instructions(tmp_path, real, kind):
    single = [row for row in real[0] if len(row.messages) == 2]
    rows = [
        {"key": row.id, "meta": {"asked": row.messages[0].content}, "output": row.messages[1].content} for row in single
    ]
    path = write_rows(tmp_path / kind, rows)
    assert read(path, columns={"id": "key", "prompt": "meta.asked", "response": "output"}) == single
    assert len(single) == 102


@pytest.mark.parametrize("kind", KINDS)
def test_real_preferences_as_help_steer(tmp_path, real, kind):
    found = groups(write_rows(tmp_path / kind, formats.help_steer(real[1])), "scored_pairs")
    assert [(group.prompt, group.replies) for group in found] == [(group.prompt, group.replies) for group in real[1]]
    assert len({group.id for group in found}) == 418


@pytest.mark.parametrize("kind", KINDS)
def test_real_preferences_as_ultra_feedback(tmp_path, real, kind):
    path = write_rows(tmp_path / kind, formats.ultra_feedback(real[1]))
    found = groups(path, "pairs", columns={"id": "prompt_id"})
    made = [pair for group in found for pair in make_pairs(group, "best_worst")]
    expected = [pair for group in real[1] for pair in make_pairs(group, "best_worst")]
    # One prompt has the same answer as its best and its worst: nothing can be learnt from that.
    assert made == [pair for pair in expected if pair.chosen != pair.rejected]
    assert (len(expected), len(made)) == (418, 417)
    assert [group.id for group in groups(path, "pairs")] == [str(number) for number in range(1, 419)]


def test_what_the_stages_write_reads_back(tmp_path, real):
    one = real[1][0]
    rows = [
        {
            "id": pair.id,
            "language": "en",
            "prompt": formats.turns(pair.prompt),
            "chosen": pair.chosen,
            "rejected": pair.rejected,
        }
        for pair in make_pairs(one, "all")
    ]
    back = groups(write_rows(tmp_path / "pairs.jsonl", rows), "pairs")
    assert [next(make_pairs(group, "best_worst")) for group in back] == list(make_pairs(one, "all"))


# Trees


def message(name: str, parent: str | None, role: str, rank: int | None = None, **more: Any) -> dict[str, Any]:
    given = {"message_id": name, "parent_id": parent, "role": role, "rank": rank, "text": f"text of {name}"}
    return {**given, "lang": "en", "deleted": False, "review_result": None, "message_tree_id": "r", **more}


TREE = [
    message("r", None, "prompter"),
    message("a", "r", "assistant", 0),
    message("b", "r", "assistant", 1),
    message("p", "a", "prompter"),
    message("c", "p", "assistant"),
]


@pytest.mark.parametrize("shape", [list, formats.nested])
@pytest.mark.parametrize(
    ("changed", "left"),
    [
        ({}, ["r", "a", "p", "c"]),
        ({"a": {"deleted": True}}, ["r", "b"]),
        ({"a": {"review_result": False}}, ["r", "b"]),
        ({"p": {"lang": "es"}}, ["r", "a"]),
        ({"c": {"deleted": True}}, ["r", "a"]),
    ],
)
def test_what_is_passed_over_takes_along_what_answers_it(tmp_path, shape, changed, left):
    rows = [{**row, **changed.get(row["message_id"], {})} for row in TREE]
    (found,) = read(write_rows(tmp_path / "t.jsonl", shape(rows)), "oasst")
    assert [turn.content.split()[-1] for turn in found.messages] == left


def test_a_language_may_name_its_region(tmp_path):
    path = write_rows(tmp_path / "t.jsonl", [{**row, "lang": "pt-BR"} for row in TREE])
    assert read(path, "oasst", "pt") == read(path, "oasst", "pt-BR")


def test_first_rows_of_trees(tmp_path, real, messages):
    path = write_rows(tmp_path / "t.jsonl", formats.hub_messages(messages, "en"))
    assert read(path, "oasst", rows=10) == real[0][:10]
    assert groups(path, "oasst", rows=10) == real[1][:10]
    assert groups(path, "oasst", rows=1000) == real[1]


# HelpSteer2's pairing

PROMPTS = st.sampled_from("pqrs")
SCORED = st.lists(st.tuples(PROMPTS, st.integers(0, 4)), min_size=1, max_size=12)


def paired(rows: list[tuple[str, str, int]]) -> list[tuple[str, str, str]]:
    """The rule in plain words: (prompt, chosen, rejected) of every prompt whose best and worst score differ."""
    found = []
    for prompt in dict.fromkeys(row[0] for row in rows):
        replies = [(score, text) for asked, text, score in rows if asked == prompt]
        best, worst = max(score for score, _ in replies), min(score for score, _ in replies)
        if best > worst:
            chosen = next(text for score, text in replies if score == best)
            rejected = [text for score, text in replies if score == worst][-1]
            found.append((prompt, chosen, rejected))
    return found


def pairs_of(path: Path, rows: list[tuple[str, str, int]]) -> dict[str, tuple[str, str, str]]:
    names = ("prompt", "response", "helpfulness")
    # A prompt with two replies, so that there is always something to read.
    whole = [*rows, ("always", "one", 1), ("always", "other", 1)]
    found = groups(write_rows(path, [dict(zip(names, row, strict=True)) for row in whole]), "scored_pairs")
    made = [pair for group in found for pair in make_pairs(group, "best_worst")]
    return {pair.id: (pair.prompt[0].content, pair.chosen, pair.rejected) for pair in made}


@given(SCORED)
def test_a_pair_is_the_best_and_the_worst_of_all_replies_to_a_prompt(tmp_path_factory, scored):
    rows = [(prompt, f"reply {number}", score) for number, (prompt, score) in enumerate(scored)]
    path = tmp_path_factory.getbasetemp() / "scored.jsonl"
    assert list(pairs_of(path, rows).values()) == paired(rows)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=8))
def test_two_rows_a_prompt_give_a_pair_for_every_two_scores_that_differ(tmp_path_factory, scores):
    """The counting rule for HelpSteer2: 20,324 rows are 10,162 prompts, of which those with a tie fall away."""
    rows = [
        (f"prompt {number}", f"reply {number}.{side}", score)
        for number, both in enumerate(scores)
        for side, score in enumerate(both)
    ]
    found = pairs_of(tmp_path_factory.getbasetemp() / "twos.jsonl", rows)
    assert len(found) == sum(one != other for one, other in scores)
    assert all(chosen.split(".")[0] == rejected.split(".")[0] for _, chosen, rejected in found.values())


@given(SCORED, st.randoms())
def test_pairs_and_their_ids_do_not_depend_on_the_order_of_the_rows(tmp_path_factory, scored, random):
    # One reply for each score of a prompt: of two that score the same the order decides which is taken.
    rows = [(prompt, f"{prompt}{score}", score) for prompt, score in dict.fromkeys(scored)]
    path = tmp_path_factory.getbasetemp() / "order.jsonl"
    before = pairs_of(path, rows)
    random.shuffle(rows)
    assert pairs_of(path, rows) == before


# As in real texts: lines, blanks, and words that are like the marks.
WORDS = st.lists(st.sampled_from(["a", "\n", " ", "User", "<extra_id_1>", "ä", "\nUser\n", "Assistant"]), max_size=5)
TEXTS = WORDS.map("".join).filter(lambda text: "<extra_id_1>User" not in text and "<extra_id_1>Assistant" not in text)


@given(TEXTS, st.lists(st.tuples(TEXTS, TEXTS), max_size=3))
def test_the_turns_of_a_prompt_are_told_apart(first, more):
    roles = ("assistant", "user")
    turns = (
        Message("user", first),
        *(Message(role, text) for both in more for role, text in zip(roles, both, strict=True)),
    )  # type: ignore[arg-type]
    assert split_turns(formats.in_one_text(turns)) == turns


# Chosen and rejected


def test_the_turns_in_common_are_the_prompt(tmp_path):
    def turn(role: str, content: str) -> dict[str, str]:
        return {"role": role, "content": content}

    begun = [turn("system", "Be kind."), turn("user", "a"), turn("assistant", "b"), turn("user", "c")]
    good, bad = turn("assistant", "good"), turn("assistant", "bad")
    prompt = tuple(Message(**one) for one in begun)  # type: ignore[arg-type]
    expected = ReplyGroup("1", prompt, (Reply("good", 1.0), Reply("bad", 0.0)))
    for row in (
        {"chosen": [*begun, good], "rejected": [*begun, bad]},
        {"prompt": "a", "chosen": [*begun, good], "rejected": [*begun, bad]},
        {"prompt": begun, "chosen": [good], "rejected": [bad]},
        {"prompt": begun, "chosen": "good", "rejected": "bad"},
    ):
        assert groups(write_rows(tmp_path / "p.jsonl", [row]), "pairs") == [expected]


def test_the_same_reply_twice_is_a_tie(tmp_path):
    rows = [
        {
            "prompt": "a",
            "chosen": [{"role": "assistant", "content": "x"}],
            "rejected": [{"role": "assistant", "content": "x"}],
        }
    ]
    (group,) = groups(write_rows(tmp_path / "p.jsonl", rows), "pairs")
    assert list(make_pairs(group, "best_worst")) == []
    assert len({reply.score for reply in group.replies}) == 1


@pytest.mark.parametrize(
    ("name", "told"), [("deep.jsonl", "line 1: nested too deeply"), ("deep.json", "row 1: nested")]
)
def test_nesting_without_end_is_told(tmp_path, name, told):
    deep = '{"messages": ' + "[" * 200_000 + "]" * 200_000 + "}"
    (tmp_path / name).write_text(deep if name.endswith("l") else f"[{deep}]")
    with pytest.raises(DataError, match=told):
        read(str(tmp_path / name))
