"""The clean stage: rows stay whole and in order, every dropped one is accounted for, nothing left is an error."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment.cleaning.funnel import DROPPED, EXAMPLES, FUNNEL, Funnel, make_funnel, read_funnel, write_funnel
from experiment.cleaning.rules import judge
from experiment.cleaning.settings import RULES, Clean
from experiment.errors import DataError, KirjoError
from experiment.plan import make_step
from experiment.sources.jsonl import read_jsonl
from experiment.stages import clean
from experiment.stages.pair import Pair, read_pairs
from experiment.task import Task
from experiment.translation.rows import Part, TranslatedRow
from tests.translated import EN_FI, ENGLISH, TEXTS, cleaned, conversation, pair, task

BAD = (
    (TEXTS[1][0], ""),
    (TEXTS[1][0], ENGLISH),
    (TEXTS[3][0], TEXTS[3][1].replace("print", "tulosta")),
    (TEXTS[1][0], "Valitettavasti en voi kääntää tätä."),
    (TEXTS[1][0], TEXTS[1][1] + "\nEND\n<|user|>"),  # is cut and stays
    (TEXTS[0][0], "END"),
)
TEXT = st.sampled_from([*TEXTS, *BAD])
CONVERSATIONS = st.lists(st.lists(TEXT, min_size=1, max_size=4), min_size=1, max_size=12).map(
    lambda rows: [conversation(f"id-{number}", texts) for number, texts in enumerate(rows)]
)
ALL_PAIRS = st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=12).map(
    lambda rows: [pair(f"id-{number}", *texts) for number, texts in enumerate(rows)]
)
ROWS = CONVERSATIONS.map(lambda rows: ("conversations", rows)) | ALL_PAIRS.map(lambda rows: ("pairs", rows))


def read(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in read_jsonl(path)]


def texts(row: dict[str, Any]) -> list[str]:
    turns = [turn["content"] for turn in row.get("messages", row.get("prompt"))]
    return turns + [row[reply] for reply in ("chosen", "rejected") if reply in row]


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_rows_stay_whole_and_in_order_and_all_are_accounted_for(made):
    kind, rows = made
    with tempfile.TemporaryDirectory() as folder:
        one = task(Path(folder), rows, kind=kind)
        if all(judge(Clean(), row, EN_FI).faults for row in rows):
            with pytest.raises(DataError, match="cleaning left no row"):
                clean.run(one)
            return
        summary = clean.run(one)
        funnel = read_funnel(one.work)
        left, dropped = read(one.work / f"{kind}.jsonl"), read(one.work / DROPPED)
    # Funnel.
    assert funnel.rows_in == len(rows) == funnel.rows_out + sum(count.dropped for count in funnel.rules)
    assert (summary["rows_in"], summary["rows_out"]) == (funnel.rows_in, funnel.rows_out)
    assert all(count.would_drop >= count.dropped for count in funnel.rules)
    assert all(len(count.examples) == min(EXAMPLES, count.dropped) for count in funnel.rules)
    assert all(sum(count.parts.values()) >= count.would_drop for count in funnel.rules)
    assert tuple(count.rule for count in funnel.rules) == RULES
    # Rows.
    order = [row.id for row in rows]
    assert [row["id"] for row in left] == [name for name in order if name in {row["id"] for row in left}]
    assert [row["id"] for row in dropped] == [name for name in order if name in {row["id"] for row in dropped}]
    assert sorted([row["id"] for row in left] + [row["id"] for row in dropped]) == sorted(order)
    by_id = {row.id: row for row in rows}
    for row in left:
        assert len(texts(row)) == len(by_id[row["id"]].parts)
        for text, part in zip(texts(row), by_id[row["id"]].parts, strict=True):
            assert text
            assert text == part.text or part.text.startswith(text + "\nEND")
    for row in dropped:
        assert [part["text"] for part in row["parts"]] == [part.text for part in by_id[row["id"]].parts]
        assert row["rule"] in row["rules"]
        assert row["role"] == row["parts"][row["part"]]["role"]


@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_cleaning_what_was_cleaned_changes_nothing(made):
    _, rows = made
    first = [judge(Clean(), row, EN_FI) for row in rows]
    kept = [found.cleaned for found in first if not found.faults]
    again = [judge(Clean(), row, EN_FI) for row in kept]
    assert not any(found.faults or found.cuts for found in again)
    assert [found.cleaned for found in again] == kept


@settings(max_examples=30, deadline=None)
@given(ROWS, st.permutations(RULES))
def test_the_order_decides_which_rule_is_named_and_never_what_is_left(made, order):
    kind, rows = made
    for rules in (Clean(), dataclasses.replace(Clean(), order=tuple(order))):
        judged = [judge(rules, row, EN_FI) for row in rows]
        funnel = make_funnel(rules, kind, EN_FI, judged)
        told = {count.rule: count.would_drop for count in funnel.rules}
        if rules.order == RULES:
            expected = (told, [found.cleaned for found in judged if not found.faults])
        assert (told, [found.cleaned for found in judged if not found.faults]) == expected


def test_the_same_rows_are_the_same_bytes(tmp_path):
    rows = [conversation("a", TEXTS[:2]), conversation("b", [TEXTS[0], BAD[1]])]
    one, other = (cleaned(tmp_path / name, rows) for name in ("one", "other"))
    for name in ("conversations.jsonl", DROPPED, FUNNEL):
        assert (one / name).read_bytes() == (other / name).read_bytes()


# What the authors' scripts got wrong.


def test_a_conversation_of_many_turns_stays_one_row_with_all_its_turns(tmp_path):
    (row,) = read(cleaned(tmp_path, [conversation("many", TEXTS)]) / "conversations.jsonl")
    assert row == {
        "id": "many",
        "language": "fi",
        "messages": [
            {"role": ("user", "assistant")[index % 2], "content": text} for index, (_, text) in enumerate(TEXTS)
        ],
    }


def test_blank_lines_stay_also_before_what_is_cut(tmp_path):
    source, text = TEXTS[1]
    rows = [conversation("a", [TEXTS[0], (source, text)]), conversation("b", [TEXTS[0], (source, f"{text}\nEND")])]
    for row in read(cleaned(tmp_path, rows) / "conversations.jsonl"):
        assert row["messages"][1]["content"] == text
        assert "\n\n" in text


@pytest.mark.parametrize("bad", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_bad_text_in_any_place_takes_the_whole_pair_also_in_the_rejected_reply(tmp_path, place, bad):
    parts = [TEXTS[0], TEXTS[1], TEXTS[7]]
    parts[place] = BAD[bad]
    folder = cleaned(tmp_path, [pair("bad", *parts), pair("good", TEXTS[0], TEXTS[1], TEXTS[7])], kind="pairs")
    assert [row["id"] for row in read(folder / "pairs.jsonl")] == ["good"]
    (dropped,) = read(folder / DROPPED)
    assert dropped["role"] == ("user", "chosen", "rejected")[place]


def test_a_rejected_reply_that_repeats_itself_takes_the_pair(tmp_path):
    loop = (TEXTS[1][0], "Ilma sirottaa valoa, " + "ja taivas on sininen " * 4)
    rows = [pair("loop", TEXTS[0], TEXTS[1], loop), pair("good", TEXTS[0], TEXTS[1], TEXTS[7])]
    only = dataclasses.replace(Clean(), **dict.fromkeys(set(RULES) - {"compression"}))
    folder = cleaned(tmp_path, rows, only, kind="pairs")
    assert [(row["id"], row["rule"], row["role"]) for row in read(folder / DROPPED)] == [
        ("loop", "compression", "rejected")
    ]


# Pairs


def test_pairs_are_read_as_the_pairs_of_the_next_stage(tmp_path):
    made = task(tmp_path, [pair("p", TEXTS[0], TEXTS[1], TEXTS[7])], kind="pairs")
    clean.run(made)
    folder = made.store.artifact("clean", made.step.fingerprint)
    folder.parent.mkdir(parents=True)
    made.work.rename(folder)
    reader = make_step("reference", settings={}, inputs={"pairs": made.step.key})
    (found,) = read_pairs(Task(reader, made.store, tmp_path, made.progress))
    assert isinstance(found, Pair)
    assert (found.id, found.prompt[0].role, found.prompt[0].content) == ("p", "user", TEXTS[0][1])
    assert (found.chosen, found.rejected) == (TEXTS[1][1], TEXTS[7][1])


def test_replies_that_became_the_same_by_translation_are_dropped(tmp_path):
    same = pair("same", TEXTS[0], ("That is quite right.", "Aivan oikein."), ("Quite right, yes.", "Aivan oikein."))
    folder = cleaned(tmp_path, [same, pair("good", TEXTS[0], TEXTS[1], TEXTS[7])], kind="pairs")
    assert [(row["id"], row["rule"]) for row in read(folder / DROPPED)] == [("same", "same_replies")]


@pytest.mark.parametrize(
    ("kind", "roles"),
    [
        ("pairs", ("user", "assistant")),
        ("pairs", ("user", "rejected", "chosen")),
        ("pairs", ("chosen", "rejected")),
        ("conversations", ("user", "chosen", "rejected")),
        ("conversations", ()),
    ],
)
def test_rows_of_another_form_are_refused(tmp_path, kind, roles):
    row = TranslatedRow("odd", tuple(Part(role, *TEXTS[0]) for role in roles))
    with pytest.raises(DataError, match="row 'odd' of the translation: expected turns"):
        cleaned(tmp_path, [row], kind=kind)


def test_lines_are_not_cleaned(tmp_path):
    with pytest.raises(KirjoError, match="conversations or pairs, not lines"):
        cleaned(tmp_path, [conversation("a", TEXTS[:1])], kind="lines")


# Messages


def test_nothing_left_says_what_took_it_and_what_to_loosen(tmp_path):
    rows = [conversation(str(number), [TEXTS[0], (TEXTS[1][0], ENGLISH)]) for number in range(3)]
    with pytest.raises(DataError) as caught:
        cleaned(tmp_path, rows)
    told = str(caught.value)
    assert "3 rows came" in told
    assert "language (>= 0.9) took 3, and would take 3 alone" in told
    assert "clean.language" in told
    assert "0 rows are left" in told


def test_no_rows_at_all_are_no_fault_of_a_rule(tmp_path):
    with pytest.raises(DataError, match="nothing came"):
        cleaned(tmp_path, [])


def test_a_rule_that_takes_more_than_half_is_warned_of(tmp_path):
    bad = [conversation(str(number), [TEXTS[0], (TEXTS[1][0], ENGLISH)]) for number in range(3)]
    summary = clean.run(task(tmp_path, [*bad, conversation("good", TEXTS[:2])]))
    assert summary["dropped"] == {"language": 3}
    assert [warning.split(" (")[0] for warning in summary["warnings"]] == ["language"]
    assert "took 3 of 4 rows" in summary["warnings"][0]


def test_recorded_settings_are_the_ones_that_are_used(tmp_path):
    row = conversation("english", [TEXTS[0], (TEXTS[1][0], ENGLISH)])
    off = {name: None for name in RULES if name != "language"}
    kept = cleaned(tmp_path / "kept", [row], {**off, "language": {"least": 0.0}})
    assert [row["id"] for row in read(kept / "conversations.jsonl")] == ["english"]
    with pytest.raises(DataError):
        cleaned(tmp_path / "dropped", [row], off)


def test_a_funnel_reads_back_as_it_was_written(tmp_path):
    rows = [conversation("a", TEXTS[:2]), conversation("b", [TEXTS[0], BAD[1]]), conversation("c", [BAD[4], BAD[4]])]
    judged = [judge(Clean(), row, EN_FI) for row in rows]
    funnel = make_funnel(Clean(), "conversations", EN_FI, judged)
    write_funnel(tmp_path, funnel)
    assert read_funnel(tmp_path) == funnel
    assert (funnel.cut, funnel.rows_out) == ({"rows": 1, "texts": 2}, 2)
    assert isinstance(funnel, Funnel)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"rules": [{}]}', '{"rules": []}'])
def test_a_damaged_funnel_says_so(tmp_path, content):
    (tmp_path / FUNNEL).write_text(content)
    with pytest.raises(DataError, match=FUNNEL):
        read_funnel(tmp_path)
