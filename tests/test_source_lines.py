"""Plain text, a sentence a line, stays aligned whatever the lines hold; JSON arrays are read piece by piece."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiment.errors import DataError
from experiment.sources.json_array import read_array
from experiment.sources.parquet import read_rows
from experiment.sources.read import read_lines
from experiment.sources.source import Source
from tests.formats import write_rows
from tests.test_sources import shared


def lines(path: Path | str, language: str = "en", **more: object) -> list[str]:
    return read_lines(Source(reader="lines", language=language, path=str(path), **more))  # type: ignore[arg-type]


def test_real_lines_are_aligned():
    languages = {"eng": "en", "fin": "fi", "eus": "eu", "deu": "de", "isl": "is", "hau": "ha"}
    found = {name: lines(shared(f"flores101/devtest.{name}"), language) for name, language in languages.items()}
    assert {name: len(side) for name, side in found.items()} == dict.fromkeys(languages, 1012)
    assert all(text.strip() for side in found.values() for text in side)
    for year in (2017, 2018, 2019):
        en, fi = (lines(shared(f"wmt/newstest{year}/en-fi.{language}"), language) for language in ("en", "fi"))
        assert len(en) == len(fi) > 1000


SENTENCES = st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=8), min_size=1)


@given(SENTENCES, st.sampled_from(["\n", "\r\n"]), st.booleans(), st.sampled_from(["t.fin", "t.txt.gz"]))
def test_what_is_written_line_by_line_reads_back(tmp_path_factory, sentences, end, last_ends, name):
    """Blank lines stay, and nothing but a line end ends a line: U+2028 and form feeds are in real sentences."""
    sentences = [text.rstrip("\r") for text in sentences]
    if sentences[0].startswith("\ufeff"):
        sentences[0] = "a" + sentences[0]
    if not last_ends and not sentences[-1]:
        sentences[-1] = "the last"
    content = (end.join(sentences) + end * last_ends).encode()
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert lines(path) == sentences
    assert lines(path, rows=2) == sentences[:2]


@pytest.mark.parametrize("kind", ["rows.jsonl", "rows.parquet", "rows.json"])
def test_lines_may_be_a_column(tmp_path, kind):
    rows = [
        {"sentence_eng": "one", "text": "yksi"},
        {"sentence_eng": "", "text": ""},
        {"sentence_eng": "two", "text": "kaksi"},
    ]
    path = write_rows(tmp_path / kind, rows)
    assert lines(path, "fi") == ["yksi", "", "kaksi"]
    assert lines(path, columns={"text": "sentence_eng"}) == ["one", "", "two"]
    with pytest.raises(DataError, match=r"1: expected a text in column 'sentence'; .* did you mean columns.text=.*"):
        lines(path, columns={"text": "sentence"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "first\nyö\n".encode("latin-1"),
            r"line 2: not UTF-8 \(.* at byte 1 of the line\); convert the file: iconv -f WINDOWS",
        ),
        (
            "first\nyö\n".encode("utf-16"),
            r"line 1: not UTF-8 .*; convert the file: iconv -f UTF-16 -t UTF-8 OLD > NEW$",
        ),
        (b"", "no rows are left"),
    ],
)
def test_lines_that_cannot_be_read(tmp_path, content, message):
    path = tmp_path / "t.fin"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        lines(path)


def test_a_null_is_no_line(tmp_path):
    path = write_rows(tmp_path / "r.jsonl", [{"text": "a"}, {"text": None}])
    with pytest.raises(DataError, match="line 2: expected a text in column 'text_en' or 'text'; columns: text"):
        lines(path)


def test_only_the_lines_reader_reads_lines(tmp_path):
    with pytest.raises(DataError, match="the reader 'text' does not give lines; use one of: demo, lines"):
        read_lines(Source(reader="text", language="en", path=str(tmp_path)))


# JSON arrays

VALUES = st.recursive(st.none() | st.integers() | st.text(max_size=4), lambda inner: st.lists(inner, max_size=3))
ROWS = st.lists(st.dictionaries(st.text(max_size=4), VALUES, max_size=3), max_size=4)


@given(ROWS, st.sampled_from([None, 0, 2]), st.sampled_from(["a.json", "a.json.gz"]), st.booleans())
def test_an_array_gives_what_json_gives(tmp_path_factory, rows, indent, name, mark):
    text = f"\n {json.dumps(rows, indent=indent)} \n"
    content = text.encode("utf-8-sig" if mark else "utf-8")
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert [row for _, row in read_rows(path)] == rows
    assert [number for number, _ in read_rows(path)] == list(range(1, len(rows) + 1))


def test_a_file_named_json_may_be_json_lines(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text('{"a": 1}\n\n{"a": 2}\n')
    assert list(read_rows(path)) == [(1, {"a": 1}), (3, {"a": 2})]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"a": 1}, 3]', "row 2: expected a JSON object, got int"),
        (b'[{"a": 1},\n{"a": }]', "line 2: not JSON: .* at column 7"),
        (b'[{"a": 1}', "expected a comma or the end of the array after row 1"),
        (b'[{"a": 1} {"a": 2}]', "expected a comma or the end of the array after row 1"),
        (b'[{"a": "\xe4"}]', "not UTF-8 .* at byte 8"),
    ],
)
def test_a_broken_array_is_named(tmp_path, content, message):
    path = tmp_path / "rows.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"^{path}.*{message}"):
        list(read_array(path))


@pytest.mark.parametrize("name", ["missing.json", "folder.json", "short.json.gz"])
def test_an_array_that_cannot_be_read_is_named(tmp_path, name):
    path = tmp_path / name
    if name.startswith("folder"):
        path.mkdir()
    elif name.startswith("short"):
        packed = gzip.compress(json.dumps([{"a": n * 7919 % 1009} for n in range(3000)]).encode())
        path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match=f"cannot read the data file {path}"):
        list(read_rows(path))


def test_an_array_under_another_name_is_told(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("[\n{}\n]\n")
    with pytest.raises(DataError, match=r"line 1: not JSON: .*one JSON array is read under a name that ends in \.json"):
        list(read_rows(path))


def test_a_mark_of_utf_8_is_no_text(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes('{"a": 1}\n'.encode("utf-8-sig"))
    assert list(read_rows(path)) == [(1, {"a": 1})]
