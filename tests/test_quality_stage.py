"""quality: what a step leaves of translations with references, and of round trips."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from experiment.claims import Observer
from experiment.errors import DataError
from experiment.execute import Outcome, execute
from experiment.plan import Step, make_step
from experiment.quality import metrics, versions
from experiment.quality.result import QUALITY, ROWS, SENTENCES, read_quality
from experiment.sources.jsonl import read_jsonl
from experiment.sources.source import Source
from experiment.store import Store
from experiment.translation.rows import TRANSLATED, Part, TranslatedRow
from tests.stores import publish
from tests.test_quality import folder, program
from tests.translations import noised, some_sentences, spm_folder, write_lines

__all__ = ["folder"]  # the fixture


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(tmp_path / "store", create=True)


def translated(store: Store, rows: Sequence[TranslatedRow], name: str = "") -> Step:
    """A translate artifact put into the store as if a step had made it."""
    step = make_step("translate", settings={"toy": name})
    publish(store, step.key, TRANSLATED, [row.to_json() for row in rows])
    return step


def lines(sources: Sequence[str], texts: Sequence[str]) -> list[TranslatedRow]:
    pairs = zip(sources, texts, strict=True)
    return [TranslatedRow(str(number), (Part("line", source, text),)) for number, (source, text) in enumerate(pairs)]


def with_references(translation: Step, path: Path, **settings: Any) -> Step:
    source = Source(reader="lines", language="fi", path=str(path))
    shared: dict[str, Any] = {
        "metrics": ["bleu", "chrf", "spbleu"],
        "spbleu_tokenizer": "flores101",
        "source_language": "en",
        "target_language": "fi",
        "references": source.identity(),
        "scorers": versions.identity(),
    }
    return make_step(
        "quality",
        settings={**shared, **settings},
        inputs={"translated": translation.key},
        execution={"sources": {"references": asdict(source)}},
    )


def round_trip(way_back: Step, way_out: Step) -> Step:
    settings = {"metrics": ["chrf"], "source_language": "fi", "target_language": "en"}
    return make_step("quality", settings=settings, inputs={"translated": way_back.key, "original": way_out.key})


def attempt(store: Store, step: Step) -> Outcome:
    return execute(step, store, lambda _done, _of: None, 1, Observer())


def finish(store: Store, step: Step) -> tuple[Path, Mapping[str, Any]]:
    """The artifact and the summary of a step that must succeed."""
    outcome = attempt(store, step)
    assert outcome.state == "done", outcome.reason
    manifest = store.read_manifest(step.stage, step.fingerprint)
    assert manifest is not None
    return store.artifact(step.stage, step.fingerprint), manifest.summary


def test_translations_against_references(store, tmp_path, folder):
    spm_folder(folder)
    sources, references = some_sentences(40, "en"), some_sentences(40)
    hypotheses = ["", *noised(references)[1:]]
    step = with_references(translated(store, lines(sources, hypotheses)), write_lines(tmp_path / "fi", references))
    artifact, summary = finish(store, step)
    found = read_quality(artifact)
    assert (found.kind, found.sentences, found.rows, found.empty) == ("references", 40, 40, hypotheses.count(""))
    for name in ("bleu", "chrf", "spbleu"):
        assert found.metrics[name] == metrics.measure(name, hypotheses, references).to_json()
        assert summary[name] == found.metrics[name]["value"]
    assert summary["warnings"] == []
    rows = [row for _, row in read_jsonl(artifact / SENTENCES)]
    assert [row["hypothesis"] for row in rows] == hypotheses
    assert (rows[0]["id"], rows[0]["source"], rows[0]["reference"], rows[0]["chrf"]) == (
        "0",
        sources[0],
        references[0],
        0.0,
    )
    assert not (artifact / ROWS).exists()
    again = make_step("quality", settings=step.settings, inputs=step.inputs, execution=step.execution)
    assert again.fingerprint == step.fingerprint


def test_without_spbleus_model_the_step_is_done_with_a_warning(store, tmp_path, folder):
    references = some_sentences(10)
    step = with_references(translated(store, lines(references, references)), write_lines(tmp_path / "fi", references))
    artifact, summary = finish(store, step)
    found = read_quality(artifact).metrics
    assert found["spbleu"]["value"] is None
    assert "sacrebleu_tokenizer_spm.model" in found["spbleu"]["reason"]
    assert found["chrf"]["value"] == 100.0
    (warning,) = summary["warnings"]
    assert warning.startswith("spBLEU is not measured: the SentencePiece model")
    assert attempt(store, step).state == "there"


def test_comet_is_measured_as_soon_as_it_is_there(store, tmp_path, folder, monkeypatch):
    references = some_sentences(6)
    translation = translated(store, lines(references, references))
    file = write_lines(tmp_path / "fi", references)
    monkeypatch.setenv("KIRJO_COMET", "/nowhere/comet-score")
    step = with_references(translation, file, metrics=["comet", "chrf"])
    outcome = attempt(store, step)
    assert outcome.state == "failed"
    assert "COMET is not installed" in outcome.reason
    program(tmp_path, monkeypatch)
    artifact, summary = finish(store, step)
    assert summary["comet"] == pytest.approx(90.0)
    assert read_quality(artifact).metrics["comet"]["signature"].startswith("model:wmt22-comet-da")


OUT = [
    TranslatedRow(
        "a",
        (Part("user", "Hello there, my friend.", "Hei, ystäväni."), Part("assistant", "Yes\nand no.", "Kyllä\nja ei.")),
    ),
    TranslatedRow("b", (Part("user", "What is a sauna?", "Mikä on sauna?"), Part("assistant", " ", " "))),
]
BACK = [
    TranslatedRow(
        "a", (Part("user", "Hei, ystäväni.", "Hello, my friend."), Part("assistant", "Kyllä\nja ei.", "Yes\nand no."))
    ),
    TranslatedRow("b", (Part("user", "Mikä on sauna?", ""), Part("assistant", " ", " "))),
]


def test_a_round_trip_is_compared_with_where_it_began_row_by_row(store):
    step = round_trip(translated(store, BACK, "back"), translated(store, OUT, "out"))
    artifact, summary = finish(store, step)
    found = read_quality(artifact)
    assert (found.kind, found.sentences, found.rows, found.empty) == ("round_trip", 3, 2, 1)
    assert list(found.metrics) == ["chrf"]
    rows = [row for _, row in read_jsonl(artifact / SENTENCES)]
    assert [(row["id"], row["part"], row["role"]) for row in rows] == [
        ("a", 0, "user"),
        ("a", 1, "assistant"),
        ("b", 0, "user"),
    ]
    first, second, third = rows
    assert (first["reference"], first["hypothesis"], first["source"]) == (
        "Hello there, my friend.",
        "Hello, my friend.",
        "Hei, ystäväni.",
    )
    assert 0 < first["chrf"] < second["chrf"] == 100.0
    assert third["chrf"] == 0.0
    per_row = {row["id"]: row for _, row in read_jsonl(artifact / ROWS)}
    assert first["chrf"] < per_row["a"]["chrf"] < 100.0
    assert (per_row["a"]["parts"], per_row["b"]["chrf"]) == (2, 0.0)
    whole = metrics.measure("chrf", [row["hypothesis"] for row in rows], [row["reference"] for row in rows])
    assert summary["chrf"] == whole.to_json()["value"]


def test_rows_may_be_missing_and_stand_in_any_order_on_the_way_back(store):
    artifact, summary = finish(
        store, round_trip(translated(store, BACK[:1], "back"), translated(store, OUT[::-1], "out"))
    )
    assert summary["sentences"] == 2
    assert read_quality(artifact).rows == 1


@pytest.mark.parametrize(
    ("back", "message"),
    [
        ([TranslatedRow("c", BACK[0].parts)], "row c of the way back .*no such row"),
        ([TranslatedRow("a", BACK[0].parts[:1])], "row a of the way back .*parts user, assistant"),
        ([], "there is nothing to compare"),
    ],
)
def test_a_way_back_of_something_else_is_refused(store, back, message):
    outcome = attempt(store, round_trip(translated(store, back, "back"), translated(store, OUT, "out")))
    assert outcome.state == "failed"
    assert re.search(message, outcome.reason)


def test_references_that_do_not_fit_are_refused(store, tmp_path, folder):
    references = some_sentences(4)
    translation = translated(store, lines(references, references))
    for content, message in (
        (references[:3], "holds 3 references, but 4 texts were translated"),
        ([*references[:3], ""], "line 4 is blank"),
    ):
        outcome = attempt(store, with_references(translation, write_lines(tmp_path / "fi", content)))
        assert outcome.state == "failed"
        assert message in outcome.reason


def test_lines_that_are_blank_on_both_sides_only_keep_the_files_aligned(store, tmp_path, folder):
    sources = ["one", "", "three"]
    step = with_references(
        translated(store, lines(sources, ["yksi", "", "kolme"])), write_lines(tmp_path / "fi", ["yksi", "", "kolme"])
    )
    _, summary = finish(store, step)
    assert (summary["sentences"], summary["empty"]) == (2, 0)
    assert summary["chrf"] == 100.0


def test_another_sacrebleu_than_planned_is_refused(store, tmp_path, folder):
    references = some_sentences(3)
    file = write_lines(tmp_path / "fi", references)
    step = with_references(translated(store, lines(references, references)), file, scorers={"sacrebleu": "1.0.0"})
    outcome = attempt(store, step)
    assert outcome.state == "failed"
    assert "planned was 1.0.0" in outcome.reason


@pytest.mark.parametrize("content", ["", "[]", '{"kind": "references"}', "{"])
def test_a_result_that_is_none_is_told(tmp_path, content):
    (tmp_path / QUALITY).write_text(content)
    with pytest.raises(DataError, match="not the result of a quality step"):
        read_quality(tmp_path)
