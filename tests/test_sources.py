from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiment.errors import DataError
from experiment.plan import make_step
from experiment.sources.jsonl import read_jsonl, write_jsonl
from experiment.sources.read import read_conversations, read_prompts, read_reply_groups, read_texts
from experiment.sources.records import Conversation, Message, Reply, ReplyGroup
from experiment.sources.source import Source, folder_digest
from experiment.stages.pair import make_pairs
from experiment.store import Store
from experiment.task import Task

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("KIRJO_SHARED_DATA") or ROOT.parent / "shared" / "data")


def shared(name: str) -> str:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is not there (KIRJO_SHARED_DATA names the folder of real data)")
    return str(path)


def write(path: Path, *rows: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[number % 2], "content": text} for number, text in enumerate(texts)]


# JSON lines

ROWS = st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text() | st.none(), max_size=3), max_size=5)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_rows_come_with_the_number_of_their_line(tmp_path, name):
    content = '{"a": 1}\n\n  \r\n{"a": "ä\u2028"}\n{"a": 3}'.encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert list(read_jsonl(path)) == [(1, {"a": 1}), (4, {"a": "ä\u2028"}), (5, {"a": 3})]


@given(rows=ROWS)
def test_what_is_written_reads_back(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "back.jsonl"
    usable = [row for row in rows if json.dumps(row).isascii()]
    assert write_jsonl(path, usable) == len(usable)
    assert [row for _, row in read_jsonl(path)] == usable


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (b'{"a": 1', "line 2: not JSON: "),
        (b"{'a': 1}", "line 2: not JSON: .* at column 2"),
        (b'{"a": "\xe4"}', "line 2: not UTF-8 .* at byte 7"),
        (b"[1, 2]", "line 2: expected a JSON object, got list"),
        (b"null", "line 2: expected a JSON object, got NoneType"),
    ],
)
def test_a_broken_line_is_named(tmp_path, second, message):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n' + second + b"\n")
    with pytest.raises(DataError, match=f"^{path}, {message}"):
        list(read_jsonl(path))


def broken(path: Path, kind: str) -> Path:
    packed = gzip.compress("".join(f'{{"a": {n * 7919 % 1009}}}\n' for n in range(2000)).encode())
    if kind == "missing":
        return path
    if kind == "a folder":
        path.mkdir()
    elif kind == "truncated":
        path.write_bytes(packed[: len(packed) // 2])
    elif kind == "not gzip":
        path.write_bytes(b'{"a": 1}\n')
    else:  # damaged in the middle
        path.write_bytes(packed[:200] + bytes(byte ^ 255 for byte in packed[200:300]) + packed[300:])
    return path


@pytest.mark.parametrize("kind", ["missing", "a folder", "truncated", "not gzip", "damaged"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, kind):
    path = broken(tmp_path / "rows.jsonl.gz", kind)
    with pytest.raises(DataError, match=f"{path}"):
        list(read_jsonl(path))


# OpenAssistant trees


def node(name: str, parent: str | None, role: str, rank: int | None = None, **more: Any) -> dict[str, Any]:
    texts = {"text_en": f"{name} in English", "text_fi": f"{name} suomeksi"}
    return {"message_id": name, "parent_id": parent, "role": role, "rank": rank, **texts, **more}


TREE = (
    node("r", None, "prompter"),
    node("a1", "r", "assistant", 1),
    node("a0", "r", "assistant", 0),
    node("a2", "r", "assistant", 2),
    node("p", "a0", "prompter"),
    node("q", "a0", "prompter"),
    node("b", "p", "assistant"),
    node("last", "b", "prompter"),
    node("alone", None, "prompter"),
)


@pytest.fixture
def trees(tmp_path) -> str:
    return write(tmp_path / "trees.jsonl", *TREE)


def branches(path: str, language: str) -> list[Conversation]:
    return read_conversations(Source(reader="oasst", language=language, path=path))


def groups_of(path: str, language: str) -> list[ReplyGroup]:
    return read_reply_groups(Source(reader="oasst", language=language, path=path))


def test_a_conversation_follows_the_best_ranked_reply(trees):
    (found,) = branches(trees, "en")
    assert found.id == "r"
    assert [message.content.split()[0] for message in found.messages] == ["r", "a0", "p", "b"]
    assert [message.role for message in found.messages] == ["user", "assistant"] * 2


def test_both_languages_have_the_same_structure(trees):
    en, fi = (branches(trees, language) for language in ("en", "fi"))
    assert [row.id for row in en] == [row.id for row in fi]
    assert fi[0].messages[1] == Message("assistant", "a0 suomeksi")


def test_a_ranked_reply_goes_before_an_unranked_one(tmp_path):
    rows = [node("r", None, "prompter"), node("x", "r", "assistant"), node("y", "r", "assistant", 5)]
    (found,) = branches(write(tmp_path / "t.jsonl", *rows), "en")
    assert found.messages[1].content == "y in English"
    (found,) = branches(write(tmp_path / "t.jsonl", *rows[:2], node("z", "r", "assistant")), "en")
    assert found.messages[1].content == "x in English"


def test_a_child_may_stand_before_its_parent(tmp_path):
    path = write(tmp_path / "t.jsonl", *reversed(TREE))
    assert [message.content.split()[0] for message in branches(path, "en")[0].messages][:2] == ["r", "a0"]


def test_a_reply_group_is_a_prompt_with_several_ranked_replies(trees):
    (found,) = groups_of(trees, "fi")
    assert found.id == "r"
    assert found.prompt == (Message("user", "r suomeksi"),)
    assert set(found.replies) == {Reply(f"a{rank} suomeksi", -float(rank)) for rank in range(3)}


def test_a_reply_group_deep_in_a_tree_knows_what_led_to_it(tmp_path):
    more = (node("c0", "last", "assistant", 0), node("c1", "last", "assistant", 1))
    groups = groups_of(write(tmp_path / "t.jsonl", *TREE, *more), "en")
    deep = next(group for group in groups if group.id == "last")
    assert [message.content.split()[0] for message in deep.prompt] == ["r", "a0", "p", "b", "last"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (node("r", None, "prompter"), "line 2: message_id r stands twice"),
        (
            node("x", "r", "assistant", text_en=" "),
            "line 2: no text in column 'text_en'; languages in this row: en, fi",
        ),
        (node("x", "r", "robot"), "line 2: expected message_id and a role"),
        (node("x", "r", "assistant", "first"), "line 2: expected rank as a whole number"),  # type: ignore[arg-type]
    ],
)
def test_a_broken_tree_is_named(tmp_path, row, message):
    path = write(tmp_path / "t.jsonl", node("r", None, "prompter"), row)
    with pytest.raises(DataError, match=message):
        branches(path, "en")


def test_a_message_whose_parent_is_not_there_is_passed_over_with_its_answers(tmp_path, trees):
    orphans = (node("x", "gone", "prompter"), node("y", "x", "assistant", 0), node("z", "x", "assistant", 1))
    path = write(tmp_path / "t.jsonl", *orphans, *TREE)
    assert branches(path, "en") == branches(trees, "en")
    assert groups_of(path, "en") == groups_of(trees, "en")
    dropped: Counter[str] = Counter()
    read_conversations(Source(reader="oasst", language="en", path=path), dropped)
    assert dropped == {"messages without the one they answer": 3}
    with pytest.raises(DataError, match="no rows are left"):
        read_conversations(Source(reader="oasst", language="en", path=write(tmp_path / "o.jsonl", *orphans)))


def test_a_language_that_the_trees_lack(trees):
    with pytest.raises(DataError, match="no text in column 'text_sv'; languages in this row: en, fi"):
        read_conversations(Source(reader="oasst", language="sv", path=trees))


def test_the_real_trees():
    path = shared("oasst1/validation.jsonl")
    en, fi = (read_conversations(Source(reader="oasst", language=language, path=path)) for language in ("en", "fi"))
    lengths = Counter(len(row.messages) // 2 for row in en)
    assert (len(en), lengths[1], lengths[2]) == (188, 102, 85)
    assert [(row.id, [message.role for message in row.messages]) for row in en] == [
        (row.id, [message.role for message in row.messages]) for row in fi
    ]
    assert all(one.messages != other.messages for one, other in zip(en, fi, strict=True))
    groups = [read_reply_groups(Source(reader="oasst", language=language, path=path)) for language in ("en", "fi")]
    assert len(groups[0]) == 418
    shape = [
        [(group.id, len(group.prompt), [reply.score for reply in group.replies]) for group in side] for side in groups
    ]
    assert shape[0] == shape[1]


# Conversations from a file


def conversations(path: Path, *rows: Any) -> Any:
    return read_conversations(Source(reader="conversations", language="fi", path=write(path, *rows)))


def test_conversations_with_and_without_a_system_turn(tmp_path):
    system = [{"role": "system", "content": "Be brief."}]
    found = conversations(
        tmp_path / "c.jsonl", {"messages": turns("a", "b")}, {"id": 7, "messages": system + turns("c", "d")}
    )
    assert found[0].messages == (Message("user", "a"), Message("assistant", "b"))
    assert [row.id for row in found] == ["1", "7"], "where the file lies is no part of it"
    assert found[1].messages[0].role == "system"


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        (turns("a", "b", "c"), "ends with the user; it must end with the assistant"),
        ([*turns("a", "b"), *turns("c", "d")[1:]], "does not alternate between user and assistant"),
        (turns("a", "b")[1:], "does not alternate"),
        ([*turns("a", "b"), {"role": "system", "content": "x"}], "does not alternate"),
        (turns("a", " \n"), r"turn 2 \(assistant\) is empty"),
        ([{"role": "system", "content": "x"}], "has no turns"),
        ([], "line 2: expected a list of turns in column 'messages'"),
        ("text", "line 2: expected a list of turns in column 'messages'; columns: messages; got 'text'"),
        (None, "line 2: expected a list of turns in column 'messages'; columns: messages; got null"),
        (
            [{"role": "robot", "content": "x"}],
            r"line 2, turn 1: expected turns with a role of system, user or assistant; got 'robot'; "
            r"say what it is with roles: \{robot: user\}",
        ),
        ([*turns("a", "b"), None], "line 2, turn 3: expected turns with a role of .*; got null"),
        ([{"role": None, "content": "x"}], "line 2, turn 1: expected turns with a role of .*; got null"),
        ([{"role": "user", "content": None}], r"line 2: turn 1 \(user\) is empty"),
        ([{"role": "user", "content": 3}], "line 2, turn 1: expected a text in column 'content'; .*; got int 3"),
        (
            [{"from": "user", "value": "x"}],
            r"line 2, turn 1: expected a role in column 'role'; columns: from, value; did you mean columns.role=from\?",
        ),
    ],
)
def test_a_conversation_that_no_template_should_render(tmp_path, messages, message):
    with pytest.raises(DataError, match=message):
        conversations(tmp_path / "c.jsonl", {"messages": turns("a", "b")}, {"messages": messages})


def test_a_file_without_rows_is_refused(tmp_path):
    with pytest.raises(DataError, match="no rows are left"):
        conversations(tmp_path / "c.jsonl")


def test_a_reader_gives_its_own_kind_of_rows_only(tmp_path):
    source = Source(reader="ifeval", language="en", path=write(tmp_path / "x.jsonl"))
    for read in (read_conversations, read_reply_groups):
        with pytest.raises(DataError, match=r"the reader 'ifeval' does not give .*; use one of: demo, oasst, "):
            read(source)
    with pytest.raises(DataError, match=r"the reader 'oasst' does not give benchmark prompts"):
        read_prompts(Source(reader="oasst", language="en"), exclude=())


# Scored pairs (HelpSteer2's schema)


def scored(prompt: str, response: str, score: Any) -> dict[str, Any]:
    return {"prompt": prompt, "response": response, "helpfulness": score, "verbosity": 2}


def pairs(path: Path, *rows: Any) -> Any:
    return read_reply_groups(Source(reader="scored_pairs", language="en", path=write(path, *rows)))


def test_replies_of_a_prompt_stand_together_and_a_tie_makes_no_pair(tmp_path):
    rows = [
        scored("p", "good", 4),
        scored("q", "so", 3),
        scored("p", "bad", 1),
        scored("q", "la", 3),
        scored("r", "one", 4),
    ]
    groups = pairs(tmp_path / "h.jsonl", *rows)
    assert [group.prompt for group in groups] == [(Message("user", "p"),), (Message("user", "q"),)]
    made = [pair for group in groups for pair in make_pairs(group, "best_worst")]
    assert [(pair.chosen, pair.rejected) for pair in made] == [("good", "bad")]


@pytest.mark.parametrize("score", [None, "4", float("nan"), float("inf"), True])
def test_a_score_that_is_no_number_is_named(tmp_path, score):
    with pytest.raises(DataError, match=r"h.jsonl, line 2: expected a finite number in column 'helpfulness'"):
        pairs(tmp_path / "h.jsonl", scored("p", "a", 4), scored("p", "b", score))


def test_an_empty_prompt_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"turn 1 .user. is empty"):
        pairs(tmp_path / "h.jsonl", scored(" ", "a", 4), scored(" ", "b", 3))


# Benchmark prompts


def prompt(key: Any, *ids: Any, kwargs: Any = None) -> dict[str, Any]:
    given_kwargs = [{} for _ in ids] if kwargs is None else kwargs
    return {"key": key, "prompt": f"prompt {key}", "instruction_id_list": list(ids), "kwargs": given_kwargs}


def prompts(path: Path, *rows: Any, exclude: tuple[str, ...] = ()) -> Any:
    return read_prompts(Source(reader="ifeval", language="en", path=write(path, *rows)), exclude=exclude)


def test_a_prompt_with_an_excluded_instruction_goes_as_a_whole(tmp_path):
    rows = [prompt(1, "a"), prompt(2, "a", "b"), prompt(3, "b")]
    assert [row.key for row in prompts(tmp_path / "p.jsonl", *rows, exclude=("b",))] == [1]
    with pytest.raises(DataError, match="no rows are left"):
        prompts(tmp_path / "p.jsonl", *rows, exclude=("a", "b"))


def test_kwargs_that_are_null_are_not_given(tmp_path):
    (row,) = prompts(tmp_path / "p.jsonl", prompt(1, "a", "b", kwargs=[{"n": 3, "word": None}, None]))
    assert row.kwargs == ({"n": 3}, {})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (prompt(1, "a"), "key 1 stands twice"),
        (prompt("2", "a"), "line 2: expected a whole number as key"),
        (prompt(2), "line 2: expected at least one instruction"),
        (
            prompt(2, "a", kwargs=[{}, {}]),
            "line 2: expected at least one instruction, each with its kwargs; got 1 and 2",
        ),
        (prompt(2, ["a"]), "line 2: expected texts in instruction_id_list"),
        (prompt(2, "a", kwargs=["n=3"]), "line 2: expected texts in instruction_id_list and mappings"),
        ({"key": 2}, "line 2: expected key, prompt, instruction_id_list and kwargs; columns: key"),
    ],
)
def test_a_broken_prompt_is_named(tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        prompts(tmp_path / "p.jsonl", prompt(1, "a"), row)


def test_the_real_ifeval():
    source = Source(reader="ifeval", language="en", path=shared("ifeval/en.jsonl"))
    everything = read_prompts(source, exclude=())
    assert (len(everything), sum(len(row.instruction_ids) for row in everything)) == (541, 834)
    kept = read_prompts(source, exclude=("language:response_language",))
    names = [name for row in kept for name in row.instruction_ids]
    assert (len(kept), len(names)) == (510, 783)
    assert Counter(name.split(":")[0] for name in names) == {
        "change_case": 89,
        "combination": 61,
        "detectable_content": 51,
        "detectable_format": 155,
        "keywords": 160,
        "length_constraints": 142,
        "punctuation": 60,
        "startend": 65,
    }


# Text, and sources as such


def test_texts_prefer_the_column_of_the_language_and_stop_at_rows(tmp_path):
    path = write(tmp_path / "t.jsonl", {"text_fi": "yksi", "text": "one"}, {"text": "kaksi"}, {"text": "kolme"})
    assert list(read_texts(Source(reader="text", language="fi", path=path, rows=2))) == ["yksi", "kaksi"]
    with pytest.raises(DataError, match="line 1: expected a text in column 'text_sv' or 'text'; columns: text_xx"):
        list(read_texts(Source(reader="text", language="sv", path=write(tmp_path / "u.jsonl", {"text_xx": "a"}))))


def test_a_source_is_its_content(tmp_path):
    one, two = (Source(reader="oasst", language="en", path=write(tmp_path / name, {"a": 1})) for name in "ab")
    assert one.identity() == two.identity()
    assert one.identity() != Source(reader="oasst", language="fi", path=one.path).identity()
    Path(one.path).write_text("changed, and longer\n")
    assert one.identity() != two.identity()
    hub = Source(reader="conversations", language="en", hub="a/b", revision="1", split="train")
    assert (
        hub.identity()
        != Source(reader="conversations", language="en", hub="a/b", revision="2", split="train").identity()
    )


@pytest.mark.parametrize("place", ["missing.jsonl", "."])
def test_a_source_whose_file_is_not_there(tmp_path, place):
    with pytest.raises(DataError, match=str(tmp_path)):
        Source(reader="text", language="en", path=str(tmp_path / place)).identity()


def test_a_model_folder_is_its_names_and_contents(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "model.bin").write_text("weights")
    assert folder_digest(str(tmp_path / "a")) == folder_digest(str(tmp_path / "b"))
    (tmp_path / "b" / "sub" / "model.bin").rename(tmp_path / "b" / "sub" / "other.bin")
    assert folder_digest(str(tmp_path / "a")) != folder_digest(str(tmp_path / "b"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is empty"):
        folder_digest(str(tmp_path / "empty"))


def test_a_file_that_changed_since_it_was_planned_is_refused(tmp_path):
    source = Source(
        reader="conversations", language="fi", path=write(tmp_path / "c.jsonl", {"messages": turns("a", "b")})
    )
    sources = {"source": {"reader": "conversations", "language": "fi", "path": source.path}}
    step = make_step("mix", settings={"source": source.identity()}, execution={"sources": sources})
    task = Task(step, Store(tmp_path), tmp_path / "work", lambda done, total: None)
    assert task.source("source", step.settings["source"]) == source
    write(tmp_path / "c.jsonl", {"messages": turns("a", "c, and more")})
    with pytest.raises(DataError, match=r"c.jsonl has changed since this step was planned; give the command again"):
        task.source("source", step.settings["source"])
