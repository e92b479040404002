"""What the config says of a set's columns, and what a reader says of a set that is not as it should be."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from experiment.errors import DataError, KirjoError
from experiment.sources.columns import FIELDS
from experiment.sources.read import read_conversations, read_reply_groups, read_texts
from experiment.sources.records import Conversation, Message
from experiment.sources.source import Source
from tests.formats import write_rows
from tests.test_config import compose
from tests.test_sources import turns


def source(path: Path, *rows: Any, reader: str = "conversations", **more: Any) -> Source:
    return Source(reader=reader, language="en", path=write_rows(path, rows), **more)  # type: ignore[arg-type]


@pytest.fixture
def rows_path(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


# Mapping


def test_share_gpt(rows_path):
    row = {
        "conversations": [
            {"from": "system", "value": "s"},
            {"from": "human", "value": "a"},
            {"from": "gpt", "value": "b"},
        ]
    }
    named = {"messages": "conversations", "role": "from", "content": "value"}
    (found,) = read_conversations(source(rows_path, row, columns=named, roles={"human": "user", "gpt": "assistant"}))
    assert found.messages == (Message("system", "s"), Message("user", "a"), Message("assistant", "b"))
    with pytest.raises(DataError, match=r"turn 2: .*; got 'human'; say what it is with roles: \{human: user\}"):
        read_conversations(source(rows_path, row, columns=named))


@pytest.mark.parametrize(("given_input", "asked"), [("more", "do\n\nmore"), ("", "do"), (None, "do"), (" ", "do")])
def test_alpaca(rows_path, given_input, asked):
    row = {"instruction": "do", "input": given_input, "output": "done"}
    named = {"prompt": "instruction", "input": "input", "response": "output"}
    (found,) = read_conversations(source(rows_path, row, columns=named))
    assert found.messages == (Message("user", asked), Message("assistant", "done"))


@pytest.mark.parametrize("system", ["Be brief.", "", None])
def test_a_system_text_of_the_row(rows_path, system):
    row = {"system_prompt": system, "question": "q", "response": "r", "messages": turns("q", "r")}
    expected = (*([Message("system", system)] if system else []), Message("user", "q"), Message("assistant", "r"))
    for named in ({"prompt": "question", "system": "system_prompt"}, {"system": "system_prompt"}):
        assert read_conversations(source(rows_path, row, columns=named))[0].messages == expected


def test_two_system_texts(rows_path):
    row = {"s": "x", "messages": [{"role": "system", "content": "y"}, *turns("a", "b")]}
    with pytest.raises(DataError, match="a system text stands in column 's' and among the turns"):
        read_conversations(source(rows_path, row, columns={"system": "s"}))


def test_names_may_lead_into_what_is_nested(rows_path):
    row = {"data": {"in": {"text": "q"}}, "out": [{"text": "r"}], "a.b": "s"}
    named = {"prompt": "data.in.text", "response": "out.0.text", "system": "a.b"}
    (found,) = read_conversations(source(rows_path, row, columns=named))
    assert [message.content for message in found.messages] == ["s", "q", "r"]
    with pytest.raises(DataError, match=r"did you mean columns.prompt=data.in "):
        read_conversations(source(rows_path, row, columns={**named, "prompt": "data.on"}))


def test_scores_by_another_name(rows_path):
    rows = [{"instruction": "q", "output": text, "meta": {"overall": score}} for text, score in (("x", 1), ("y", 2.5))]
    named = {"prompt": "instruction", "response": "output", "helpfulness": "meta.overall"}
    (group,) = read_reply_groups(source(rows_path, *rows, reader="scored_pairs", columns=named))
    assert [(reply.content, reply.score) for reply in group.replies] == [("x", 1.0), ("y", 2.5)]


def test_documents_by_another_name(rows_path):
    assert list(read_texts(source(rows_path, {"content": "a"}, reader="text", columns={"text": "content"}))) == ["a"]
    with pytest.raises(DataError, match=r"in column 'text_en' or 'text'; .*did you mean columns.text=content\?"):
        list(read_texts(source(rows_path, {"content": "a"}, reader="text")))


NAMES = st.text(st.characters(exclude_characters=".", exclude_categories=["Cs"]), min_size=1, max_size=6)


@given(st.lists(NAMES, min_size=3, max_size=3, unique=True), st.lists(NAMES, min_size=2, max_size=2, unique=True))
def test_any_names_do(tmp_path_factory, columns, roles):
    messages, role, content = columns
    plain = {"messages": turns("a", "b", "c", "d")}
    said = dict(zip(("user", "assistant"), roles, strict=True))
    assume(not {"user", "assistant", "system"} & set(roles))
    row = {messages: [{role: said[turn["role"]], content: turn["content"]} for turn in plain["messages"]]}
    path = tmp_path_factory.getbasetemp() / "names.jsonl"
    named = {"messages": messages, "role": role, "content": content, "id": ""}
    found = read_conversations(source(path, row, columns=named, roles={name: one for one, name in said.items()}))
    assert found == read_conversations(source(path, plain))


# What the door refuses, and what is hashed


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"columns": {"mesages": "x"}}, r"looks for no 'mesages'; did you mean messages\? \(it takes id, messages, "),
        ({"columns": {"messages": "x", "prompt": "y"}}, r"a list of messages or one exchange \(prompt\), not both"),
        ({"roles": {"human": "person"}}, "'human' must be system, user or assistant"),
        (
            {"reader": "ifeval", "columns": {"prompt": "x"}},
            r"the ifeval reader looks for no 'prompt' \(it takes none\)",
        ),
        ({"reader": "text", "roles": {"human": "user"}}, "the text reader reads no turns with roles"),
        ({"reader": "lines", "on_empty": "drop"}, "the lines reader leaves no row out"),
        ({"on_empty": "keep"}, "refuse"),
        ({"reader": "ifeval", "rows": 3}, "the ifeval reader reads all rows; only demo, oasst, conversations"),
    ],
)
def test_a_mapping_that_no_reader_would_follow(wrong, message):
    with pytest.raises(ValueError, match=message):
        Source(**{"reader": "conversations", "language": "en", "path": "x", **wrong})


def test_a_mapping_decides_the_rows_and_none_decides_nothing(rows_path):
    plain = source(rows_path, {"messages": turns("a", "b")})
    assert set(plain.identity()) == {"reader", "language", "sha256"}
    assert (
        source(rows_path, {"messages": turns("a", "b")}, licence="CC0", expected_rows=4).identity() == plain.identity()
    )
    changed = [
        {"columns": {"messages": "messages"}},
        {"roles": {"human": "user"}},
        {"on_empty": "drop"},
        {"rows": 1},
    ]
    found = [Source(**{"reader": "conversations", "language": "en", "path": plain.path, **more}) for more in changed]
    identities = [one.identity() for one in (plain, *found)]
    assert all(one != other for number, one in enumerate(identities) for other in identities[:number])


def test_a_new_version_of_a_reader_changes_what_is_read_and_not_what_is_still_unset(rows_path):
    read = source(rows_path, {"prompt": "p", "response": "r", "helpfulness": 1}, reader="scored_pairs")
    assert read.identity()["reader_version"] == 2
    unset = Source(reader="scored_pairs", language="en")
    assert unset.identity() == {"reader": "scored_pairs", "language": "en", "unset": True}


def test_the_command_line_may_map_the_columns_of_a_local_file(rows_path):
    row = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
    path = write_rows(rows_path, [row])
    mapping = (
        "data_mix.sft.en.columns={messages: conversations, role: from, content: value}",
        "data_mix.sft.en.roles={human: user, gpt: assistant}",
    )
    config = compose("data_mix=local", "mix=0", f"data_mix.sft.en.path={path}", *mapping)
    (found,) = read_conversations(config.data_mix.sft["en"])
    assert found.messages == (Message("user", "a"), Message("assistant", "b"))
    assert config.data_mix.preference["en"].columns == {}
    with pytest.raises(KirjoError, match=r"data_mix.sft.en: columns: .* looks for no 'mesages'; did you mean messages"):
        compose("data_mix=local", "data_mix.sft.en.columns={mesages: x}")


def test_a_source_goes_through_json_and_can_be_a_key():
    one = Source(reader="pairs", language="en", path="x", columns={"id": "prompt_id"}, roles={"human": "user"})
    adapter = TypeAdapter(Source)
    assert adapter.validate_json(adapter.dump_json(one)) == one
    assert {one: 1}[one] == 1


def test_every_reader_with_columns_is_a_reader():
    for reader, fields in FIELDS.items():
        for name in fields:
            Source(reader=reader, language="en", columns={name: "x"})  # type: ignore[arg-type]


# A set that is not as it should be


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"conversations": []},
            r"column 'messages'; columns: conversations; did you mean columns.messages=conversations\?",
        ),
        (
            {"instruction": "a", "output": "b"},
            r"rows of one exchange name both: columns.prompt=instruction columns.response=output",
        ),
        ({"text": "a"}, "expected a list of turns in column 'messages'; columns: text$"),
        (
            {"messages": [{"role": "user", "content": ["a"]}]},
            "turn 1: expected a text in column 'content'; .*; got list",
        ),
        (
            {"id": 1.5, "messages": turns("a", "b")},
            "expected a text or a whole number in column 'id'; .*; got float 1.5",
        ),
    ],
)
def test_a_row_of_another_schema(rows_path, row, message):
    with pytest.raises(DataError, match=f"^{rows_path}, line 1.*{message}"):
        read_conversations(source(rows_path, row))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"prompt": "a", "chosen": "b"},
            "expected a text or a list of turns in column 'rejected'; columns: chosen, prompt",
        ),
        (
            {"prompt": 3, "chosen": "b", "rejected": "c"},
            "expected a text or a list of turns in column 'prompt'; .*; got int 3",
        ),
        ({"chosen": "b", "rejected": "c"}, "expected a text or a list of turns in column 'prompt'"),
        (
            {"prompt": "a", "chosen": turns("a", "b"), "rejected": "c"},
            "a list of turns in column 'rejected'; .*; got 'c'",
        ),
        (
            {"chosen": turns("a", "b", "c", "d"), "rejected": turns("a", "x", "c", "y")},
            "one reply by the assistant in column 'chosen', after the 1 turns .*; got 3 turns",
        ),
        (
            {"chosen": turns("a", "b", "c"), "rejected": turns("a", "b", "d")},
            "one reply by the assistant in column 'chosen'",
        ),
        (
            {"prompt": turns("a", "b"), "chosen": "c", "rejected": "d"},
            "ends with the assistant; it must end with the user",
        ),
    ],
)
def test_a_pair_of_another_schema(rows_path, row, message):
    with pytest.raises(DataError, match=f"^{rows_path}, line 1.*{message}"):
        read_reply_groups(source(rows_path, row, reader="pairs"))


def test_an_id_stands_once(rows_path):
    rows = [{"id": name, "messages": turns("a", "b")} for name in ("x", "y", "x")]
    with pytest.raises(DataError, match=r"line 3: the id 'x' stands twice, first in row 1; .*columns={id: ''}"):
        read_conversations(source(rows_path, *rows))
    numbered = read_conversations(source(rows_path, *rows, columns={"id": ""}))
    assert [row.id for row in numbered] == ["1", "2", "3"]
    with pytest.raises(DataError, match="expected an id in column 'key'; columns: id, messages"):
        read_conversations(source(rows_path, *rows, columns={"id": "key"}))


# Rows without a text


EMPTY = [
    ("conversations", {"messages": turns("a", "b")}, [{"messages": turns("a", " ")}, {"messages": turns("", "b")}]),
    (
        "scored_pairs",
        {"prompt": "p", "response": "r", "helpfulness": 1},
        [{"prompt": "p", "response": None, "helpfulness": 1}, {"prompt": "\n", "response": "r", "helpfulness": 1}],
    ),
    (
        "pairs",
        {"prompt": "p", "chosen": "c", "rejected": "r"},
        [{"prompt": "p", "chosen": "", "rejected": "r"}, {"prompt": None, "chosen": "c", "rejected": "r"}],
    ),
]


@pytest.mark.parametrize(("reader", "good", "empty"), EMPTY)
def test_rows_without_a_text_are_refused_together_or_left_out(rows_path, reader, good, empty):
    read = read_conversations if reader == "conversations" else read_reply_groups
    rows = [good, empty[0], good, empty[1]]
    with pytest.raises(DataError, match=r"line 2: .* is empty \(the first of 2 rows without a text\); .*on_empty=drop"):
        read(source(rows_path, *rows, reader=reader))
    dropped: Counter[str] = Counter()
    found = read(source(rows_path, *rows, reader=reader, on_empty="drop"), dropped)
    assert len(found) == (1 if reader == "scored_pairs" else 2)
    assert dropped == {"rows without a text": 2}
    ids = [row.id for row in found]
    assert ids == ids[:1] if reader == "scored_pairs" else ids == ["1", "3"]


def test_a_message_without_a_text_takes_along_what_answers_it(rows_path):
    rows = [
        {"message_id": name, "parent_id": parent, "role": role, "rank": None, "text_en": text}
        for name, parent, role, text in [
            ("r", None, "prompter", "a"),
            ("x", "r", "assistant", "b"),
            ("y", "x", "prompter", ""),
            ("z", "y", "assistant", "c"),
        ]
    ]
    with pytest.raises(DataError, match="line 3: no text in column 'text_en'; languages in this row: en; mend it"):
        read_conversations(source(rows_path, *rows, reader="oasst"))
    dropped: Counter[str] = Counter()
    (found,) = read_conversations(source(rows_path, *rows, reader="oasst", on_empty="drop"), dropped)
    assert len(found.messages) == 2
    assert dropped == {"rows without a text": 1, "messages without the one they answer": 1}


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.integers(1, 8))
def test_the_first_rows_are_the_first_that_are_left(tmp_path_factory, good, count):
    rows = [{"messages": turns("a", "b" if one else "")} for one in good]
    path = tmp_path_factory.getbasetemp() / "first.jsonl"
    expected = [str(number) for number, one in enumerate(good, start=1) if one][:count]
    asked = source(path, *rows, on_empty="drop", rows=count)
    if not expected:
        with pytest.raises(DataError, match="no rows are left"):
            read_conversations(asked)
        return
    assert [row.id for row in read_conversations(asked)] == expected


def test_what_stands_behind_the_first_rows_is_not_looked_at(rows_path):
    rows: list[dict[str, Any]] = [{"messages": turns("a", "b")}, {"nothing": 1}]
    found: list[Conversation] = read_conversations(source(rows_path, *rows, rows=1))
    assert len(found) == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"message_id": "x", "role": "prompter", "text": "a"},
            "expected the language of the message in 'lang', got null",
        ),
        (
            {"message_id": "x", "role": "prompter", "text": "a", "lang": "es"},
            r"no messages in 'en'; there are .*: es \(1\)",
        ),
        ({"message_id": "x", "role": "prompter", "text": 3, "lang": "en"}, "expected a text in 'text', got int 3"),
        ({"prompt": {"message_id": "x", "role": "prompter", "text": "a", "lang": "en", "replies": [3]}}, "got int 3"),
        ({"something": "else"}, "no text in column 'text'; columns: something"),
    ],
)
def test_messages_of_another_schema(rows_path, row, message):
    with pytest.raises(KirjoError, match=f"^{rows_path}.*{message}"):
        read_conversations(source(rows_path, row, reader="oasst"))
