"""Prompts as the hub serves them: JSON lines or parquet, unused kwargs left out or null, are the same prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiment.errors import DataError
from experiment.scoring import punkt
from experiment.sources.jsonl import read_jsonl, write_jsonl
from experiment.sources.read import read_prompts
from experiment.sources.records import BenchmarkPrompt
from experiment.sources.source import Source

PROMPTS = [
    BenchmarkPrompt(
        1000,
        "Kirjoita.",
        ("punctuation:no_comma", "length_constraints:number_words"),
        ({}, {"num_words": 300, "relation": "at least"}),
    ),
    BenchmarkPrompt(2785, "Mainitse talo.", ("keywords:existence",), ({"keywords": ["talo", "äiti"]},)),
]


def rows(filled: bool) -> list[dict[str, Any]]:
    """As rows; ``filled`` as the hub has them, every kwarg of every instruction there, null where it is not used."""
    names = ("num_words", "relation", "keywords", "language") if filled else ()
    return [
        {
            "key": prompt.key,
            "prompt": prompt.prompt,
            "instruction_id_list": list(prompt.instruction_ids),
            "kwargs": [{**dict.fromkeys(names), **kwargs} for kwargs in prompt.kwargs],
        }
        for prompt in PROMPTS
    ]


def written(path: Path, content: list[dict[str, Any]]) -> Source:
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(content), path)
    else:
        write_jsonl(path, content)
    return Source(reader="ifeval", language="fi", path=str(path))


@pytest.mark.parametrize("filled", [True, False])
@pytest.mark.parametrize("name", ["prompts.jsonl", "prompts.jsonl.gz", "prompts.parquet"])
def test_the_same_prompts(tmp_path: Path, name: str, filled: bool) -> None:
    if name.endswith(".gz"):
        import gzip

        plain = tmp_path / "plain.jsonl"
        write_jsonl(plain, rows(filled))
        (tmp_path / name).write_bytes(gzip.compress(plain.read_bytes()))
        source = Source(reader="ifeval", language="fi", path=str(tmp_path / name))
    else:
        source = written(tmp_path / name, rows(filled))
    assert read_prompts(source, exclude=()) == PROMPTS


def test_the_hub_gives_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from experiment.sources import hub

    monkeypatch.setattr(hub, "hub_rows", lambda _source: iter(rows(filled=True)))
    assert read_prompts(Source(reader="ifeval", language="fi", hub="LumiOpen/ifeval_mt"), exclude=()) == PROMPTS


def test_kwargs_may_be_null(tmp_path: Path) -> None:
    [row, _] = rows(filled=False)
    row |= {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [None]}
    assert read_prompts(written(tmp_path / "one.jsonl", [row]), exclude=())[0].kwargs == ({},)


@pytest.mark.parametrize("name", ["prompts.jsonl", "prompts.parquet"])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"instruction_id_list": [], "kwargs": []}, "(line|row) 1: expected at least one instruction.*0 and 0"),
        ({"instruction_id_list": ["punctuation:no_comma"]}, "each with its kwargs; got 1 and 2"),
        ({"key": "a"}, "expected a whole number as key, got 'a'"),
        ({"key": 2785}, "key 2785 stands twice"),
        ({"prompt": None}, "expected key, prompt, instruction_id_list and kwargs"),
    ],
)
def test_faults_name_their_place(tmp_path: Path, name: str, change: dict[str, Any], says: str) -> None:
    first, second = rows(filled=True)
    content = [first | change] if change.get("key") == "a" else [first | change, second]
    with pytest.raises(DataError, match=says):
        read_prompts(written(tmp_path / name, content), exclude=())


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    path = tmp_path / "prompts.parquet"
    path.write_text("{}")
    with pytest.raises(DataError, match=f"cannot read the data file {path}"):
        read_prompts(Source(reader="ifeval", language="fi", path=str(path)), exclude=())


def test_what_needs_the_sentence_model_is_seen_in_parquet_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(punkt, "nltk_folders", lambda _folder: iter(()))
    content = rows(filled=True)
    assert punkt.unmet(written(tmp_path / "without.parquet", content), None) == []
    content[0]["instruction_id_list"][1] = "length_constraints:number_sentences"
    [message] = punkt.unmet(written(tmp_path / "with.parquet", content), None)
    assert "for english and finnish" in message


def test_half_a_surrogate_pair_is_escaped_and_reads_the_same(tmp_path: Path) -> None:
    content = [{"response": "ä \ud800 🙂"}, {"response": "ä 🙂"}]
    path = tmp_path / "responses.jsonl"
    assert write_jsonl(path, content) == 2
    assert [row for _, row in read_jsonl(path)] == content
    broken, whole = path.read_bytes().splitlines()
    assert broken.isascii()
    assert whole == '{"response": "ä 🙂"}'.encode()
