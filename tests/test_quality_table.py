"""``analysis quality``: the quality steps of a store, each once, beside what was published."""

from __future__ import annotations

import json

import pytest

from analysis import published
from analysis.quality import quality_table
from analysis.selection import newest
from analysis.table import Cell, Table
from experiment.errors import KirjoError, StoreError
from experiment.quality.result import QUALITY
from experiment.results import load_results
from experiment.store import Store
from tests.asked import ask
from tests.stores import plan, record
from tests.test_quality import folder
from tests.translations import noised, publish_quality, some_sentences, spm_folder

__all__ = ["folder"]  # the fixture

FLORES = ("quality=flores", "translate=paper", "data_mix.target=translate")
ALL = ("bleu", "chrf", "spbleu")


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(tmp_path / "store", create=True)


def made(store: Store) -> Table:
    return quality_table(newest(load_results(store)), "store")


def row(table: Table, panel: int, place: int) -> dict[str, Cell]:
    return dict(zip(table.headings, table.panels[panel].rows[place], strict=True))


def test_a_row_for_each_step_whoever_shares_it(store, folder):
    spm_folder(folder)
    runs = [plan(*FLORES, "method=data"), plan(*FLORES, "mix=10"), plan(*FLORES, "mix=20")]
    references = some_sentences(30)
    for run in runs:
        record(store, run)
    for shots in (0, 8):
        hypotheses = noised(references, shots, 0.4 - shots / 40)
        publish_quality(store, runs[0], f"quality.flores.en-fi.{shots}shot", hypotheses, references, ALL)
    table = made(store)
    (panel,) = table.panels
    assert panel.title == "Against references"
    assert len(panel.rows) == 4  # two directions, of which one is not there yet
    first, second = row(table, 0, 0), row(table, 0, 1)
    assert [first[name].text for name in ("test set", "direction", "examples", "sentences")] == [
        "flores",
        "en-fi",
        "0",
        "30",
    ]
    assert second["examples"].text == "8"
    for name in ("BLEU", "chrF++", "spBLEU"):
        numbers = first[name].numbers
        assert numbers["low"] < numbers["value"] < numbers["high"]
        assert first[name].text == "{value:.2f} [{low:.2f}, {high:.2f}]".format_map(numbers)
        assert first[name].runs == (load_results(store)[0].id,)
    assert first["published spBLEU"].kind == "empty"  # published with eight examples
    assert second["published spBLEU"].text == "37.6 (Poro 34B)"
    assert second["published spBLEU"].numbers == {"Poro 34B": 37.6, "OPUS-MT": 37.2, "GPT-4": 35.3}
    missing = row(table, 0, 2)
    assert (missing["direction"].text, missing["BLEU"].kind) == ("fi-en", "missing")
    assert row(table, 0, 3)["published spBLEU"].text == "39.8 (Poro 34B)"
    assert "4 of 4 rows are steps that several runs share." in table.notes
    assert any(note.startswith("  python -m experiment quality=flores") for note in table.notes)
    assert len(table.origins) == 1


def test_steps_made_otherwise_are_told_apart(store, folder):
    references = some_sentences(12)
    for size in (256, 128):
        run = plan(*FLORES, "method=data", f"quality.template.max_new_tokens={size}")
        record(store, run)
        publish_quality(store, run, "quality.flores.en-fi.0shot", noised(references, size), references, ["bleu"])
    labels = {row[0].text for row in made(store).panels[0].rows}
    assert labels == {"flores (quality.template.max_new_tokens=256)", "flores (quality.template.max_new_tokens=128)"}


def test_round_trips_stand_by_themselves(store, folder):
    run = plan("method=data", "data_mix.target=translate", "translate.round_trip=true")
    record(store, run)
    references = some_sentences(12, "en")
    publish_quality(store, run, "quality.sft.round_trip", noised(references), references, ["chrf"])
    table = made(store)
    (panel,) = table.panels
    assert panel.title.startswith("Round trips")
    first, second = row(table, 0, 0), row(table, 0, 1)
    assert (first["test set"].text, first["direction"].text) == ("sft", "en-fi-en")
    assert first["chrF++"].kind == "measured"
    assert (first["BLEU"].kind, first["published spBLEU"].kind) == ("empty", "empty")
    assert (second["test set"].text, second["chrF++"].kind, second["BLEU"].kind) == ("preference", "missing", "empty")
    assert any("a model that copies comes back whole" in note for note in table.notes)


def test_spbleu_is_measured_as_soon_as_its_model_is_there(store, folder):
    run = plan(*FLORES, "method=data")
    record(store, run)
    references = some_sentences(20)
    publish_quality(store, run, "quality.flores.en-fi.0shot", noised(references), references, ALL)
    table = made(store)
    assert row(table, 0, 0)["spBLEU"].kind == "missing"
    assert any(note.startswith("Missing: the SentencePiece model") for note in table.notes)
    spm_folder(folder)
    table = made(store)
    assert row(table, 0, 0)["spBLEU"].kind == "measured"
    assert not any(note.startswith("Missing: ") for note in table.notes)


def test_what_the_command_says(store, folder, capsys):
    code, _, err = ask(capsys, "quality", "--store", str(store.root))
    assert code == 2
    assert "it holds no runs yet" in err
    assert "python -m experiment quality=flores" in err
    record(store, plan("method=sft"))
    code, _, err = ask(capsys, "quality", "--store", str(store.root))
    assert (code, "none of its 1 runs has such a step" in err) == (2, True)
    run = plan(*FLORES, "method=data")
    record(store, run)
    publish_quality(store, run, "quality.flores.en-fi.0shot", ["kissa istuu"] * 3, ["kissa istuu"] * 3, ["chrf"])
    for form in ("terminal", "markdown", "latex", "csv", "html"):
        code, out, err = ask(capsys, "quality", "--store", str(store.root), "--format", form, "--provenance")
        assert (code, err) == (0, "")
        assert "100.00 [100.00, 100.00]" in out
        assert "translate.max\\_new\\_tokens" in out or "translate.max_new_tokens" in out
    code, out, _ = ask(capsys, "quality", "--store", str(store.root), "--where", "method=data")
    assert code == 0
    assert "37.6 (Poro 34B)" in out


def test_a_damaged_result_names_the_command_that_makes_it_again(store, folder):
    run = plan(*FLORES, "method=data")
    record(store, run)
    artifact = publish_quality(store, run, "quality.flores.en-fi.0shot", ["a"], ["a"], ["chrf"])
    (artifact / QUALITY).write_text(json.dumps({"kind": "references"}))
    with pytest.raises(StoreError, match=r"(?s)quality.json.*makes it again.*quality=flores"):
        made(store)


def test_the_published_values_are_those_of_the_paper():
    values = {(one.system, one.test, one.direction): one.value for one in published.translation()}
    assert len(values) == 10
    assert values["Poro 34B", "tatoeba", "fi-en"] == 60.5
    assert values["OPUS-MT", "flores101", "fi-en"] == 35.6
    assert "arXiv 2404.01856" in published.translation_source()
    cleaning = published.cleaning()
    assert (cleaning["conversations"].rows_in, cleaning["conversations"].rows_out) == (4692, 4399)
    assert (cleaning["pairs"].rows_in, cleaning["pairs"].rows_out) == (7221, 6037)


def test_no_table_of_nothing(store):
    with pytest.raises(KirjoError, match="has no measured translations"):
        made(store)
