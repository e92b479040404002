"""``analysis translation``: files from anywhere, scored as sacrebleu scores them, and told what is wrong with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from experiment.quality import spm
from tests.asked import ask
from tests.test_quality import folder, program, sacrebleu
from tests.test_render import golden
from tests.translations import noised, shared_file, some_sentences, spm_folder, write_lines

__all__ = ["folder"]  # the fixture


def files(tmp_path: Path, count: int = 40) -> tuple[list[str], list[str]]:
    """The options of references and two files of hypotheses, in files of short names."""
    references = some_sentences(count)
    names = ["references", "one", "two"]
    systems = [references, noised(references, 1, 0.1), noised(references, 2, 0.4)]
    paths = [str(write_lines(tmp_path / name, lines)) for name, lines in zip(names, systems, strict=True)]
    return ["--references", paths[0], "--hypotheses", paths[1]], ["--hypotheses", paths[2]]


def scored(capsys: Any, *arguments: str) -> dict[str, Any]:
    code, out, err = ask(capsys, "translation", *arguments, "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert isinstance(document, dict)
    return document


def test_one_document_with_every_metric(tmp_path, capsys, folder):
    spm_folder(folder)
    options, _ = files(tmp_path)
    document = scored(capsys, *options)
    reference, ours = options[1], options[3]
    chrf = ("-m", "chrf", "--chrf-word-order", "2")
    for name, more in (("bleu", ()), ("chrf", chrf), ("spbleu", ("-tok", "flores101"))):
        theirs = sacrebleu(reference, "-i", ours, *more, folder=folder)
        assert (round(document[name]["value"], 10), document[name]["signature"]) == (
            theirs["score"],
            theirs["signature"],
        )
        assert document[name]["low"] <= document[name]["value"] <= document[name]["high"]
    assert (document["sentences"], document["empty"]) == (40, 0)


def test_the_same_in_a_process_of_its_own_with_the_variable_of_sacrebleu(tmp_path):
    options, _ = files(tmp_path)
    command = [sys.executable, "-m", "analysis", "translation", *options, "--json"]
    for made in (False, True):
        place = tmp_path / "sacrebleu"
        if made:
            spm_folder(place)
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
            env={**os.environ, "SACREBLEU": str(place)},
        )
        document = json.loads(done.stdout)
        assert done.stderr == ""
        assert (document["spbleu"]["value"] is not None) is made
        assert document["bleu"]["value"] > 0
        assert document["chrf"]["value"] > 0
        if made:
            theirs = sacrebleu(options[1], "-i", options[3], "-tok", "flores101", folder=place)
            assert round(document["spbleu"]["value"], 10) == theirs["score"]
            assert document["spbleu"]["signature"] == theirs["signature"]


def test_without_spbleus_model_the_rest_is_there(tmp_path, capsys, folder):
    options, more = files(tmp_path)
    document = scored(capsys, *options)
    assert document["spbleu"]["value"] is None
    assert "sacrebleu_tokenizer_spm.model" in document["spbleu"]["reason"]
    assert "flores200sacrebleuspm" in scored(capsys, *options, "--tokenizer", "flores200")["spbleu"]["reason"]
    code, out, err = ask(capsys, "translation", *options, *more)
    assert (code, err) == (0, "")
    assert "spBLEU is missing: the SentencePiece model" in out


def test_real_files_in_both_directions(capsys, folder):
    for one, other in (("en", "fi"), ("fi", "en")):
        paths = [str(shared_file(f"wmt/newstest2019/en-fi.{language}")) for language in (one, other)]
        document = scored(capsys, "--references", paths[0], "--hypotheses", paths[1])
        assert document["sentences"] == 1997
        assert 0 < document["bleu"]["value"] < document["chrf"]["value"] < 30


def test_several_files_are_compared_with_the_first(tmp_path, capsys, folder):
    options, more = files(tmp_path)
    document = scored(capsys, *options, *more)
    first, second = document["systems"]
    assert (first["hypotheses"], second["hypotheses"]) == (options[3], more[1])
    assert [one["metric"] for one in document["comparisons"]] == ["bleu", "chrf"]
    for one in document["comparisons"]:
        assert one["difference"] == pytest.approx(second[one["metric"]]["value"] - first[one["metric"]]["value"])
        assert one["low"] < one["difference"] < one["high"] < 0
        assert one["p"] == one["p_holm"] < 0.001
    third = write_lines(tmp_path / "three", noised(some_sentences(40), 3, 0.4))
    three = scored(capsys, *options, *more, "--hypotheses", str(third))
    for one in three["comparisons"]:
        assert one["p"] <= one["p_holm"] <= 2 * one["p"]


def test_the_table_is_as_before(tmp_path, capsys, folder, monkeypatch):
    monkeypatch.setattr(spm, "find", lambda _name: spm.Model(Path("model"), "its model is not there: put it there"))
    monkeypatch.chdir(tmp_path)
    files(tmp_path)
    options = ["--references", "references", "--hypotheses", "one", "--hypotheses", "two"]
    code, out, err = ask(capsys, "translation", *options)
    assert (code, err) == (0, "")
    golden("translation.txt", out.replace(f"version:{version('sacrebleu')}", "version:VERSION"))
    code, out, _ = ask(capsys, "translation", *options[:4], "--format", "csv")
    assert code == 0
    assert [line.split(",")[4] for line in out.splitlines()[1:] if line] == ["measured", "interval"] * 2 + ["missing"]


def test_files_are_written_in_all_formats(tmp_path, capsys, folder):
    options, more = files(tmp_path)
    code, _, err = ask(capsys, "translation", *options, *more, "--out", str(tmp_path / "out"))
    assert code == 0
    assert len(err.splitlines()) == len(list((tmp_path / "out").iterdir())) == 5


def test_gzipped_files_and_files_of_other_systems(tmp_path, capsys, folder):
    options, _ = files(tmp_path)
    packed = write_lines(tmp_path / "one.gz", Path(options[3]).read_text().splitlines())
    plain = scored(capsys, *options)
    assert scored(capsys, *options[:2], "--hypotheses", str(packed))["bleu"] == plain["bleu"]
    text = Path(options[3]).read_bytes()
    Path(options[3]).write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"))
    assert scored(capsys, *options)["bleu"] == plain["bleu"]
    Path(options[3]).write_bytes(text.removesuffix(b"\n"))
    assert scored(capsys, *options)["bleu"] == plain["bleu"]


def test_blank_translations_are_counted_and_told(tmp_path, capsys, folder):
    options, _ = files(tmp_path)
    lines = Path(options[3]).read_text().splitlines()
    write_lines(Path(options[3]), ["", "  ", *lines[2:]])
    assert scored(capsys, *options)["empty"] == 2
    code, out, _ = ask(capsys, "translation", *options)
    assert code == 0
    assert "2 of 40 lines of" in out


def test_comet_when_it_is_asked_for(tmp_path, capsys, folder, monkeypatch):
    program(tmp_path, monkeypatch)
    options, more = files(tmp_path)
    document = scored(capsys, *options, "--sources", options[1], "--comet")
    assert 50 < document["comet"]["value"] < 90
    assert document["comet"]["signature"].startswith("model:wmt22-comet-da")
    code, out, _ = ask(capsys, "translation", *options, *more, "--sources", options[1], "--comet")
    assert code == 0
    assert "COMET" in out
    code, _, err = ask(capsys, "translation", *options, "--comet")
    assert (code, "--sources FILE" in err) == (2, True)
    monkeypatch.setenv("KIRJO_COMET", "/nowhere/comet-score")
    code, _, err = ask(capsys, "translation", *options, "--comet", "--sources", options[1])
    assert code == 2
    assert "COMET is not installed" in err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: write_lines(folder / "one", ["x"] * 39), "one has 39 lines and .*references has 40"),
        (lambda folder: write_lines(folder / "one", ["x"] * 40 + [""]), "41 lines .*; its last line is blank"),
        (lambda folder: (folder / "one").unlink(), "cannot read .*one: No such file"),
        (lambda folder: (folder / "one").write_bytes(b""), "one is empty"),
        (lambda folder: (folder / "one").write_bytes(b"x\n" * 5 + b"\xe4x\n" + b"x\n" * 34), "one, line 6: not UTF-8"),
        (lambda folder: write_lines(folder / "references", ["x", " ", "", *["x"] * 37]), "lines 2, 3 are blank"),
        (lambda folder: write_lines(folder / "references", ["x", "", *["x"] * 38]), "line 2 is blank"),
        (lambda folder: (folder / "references").unlink(), "cannot read .*references: No such file"),
    ],
)
def test_a_file_that_is_wrong_is_an_error_with_its_reason(tmp_path, capsys, folder, change, message):
    import re

    options, _ = files(tmp_path)
    change(tmp_path)
    code, out, err = ask(capsys, "translation", *options, "--json")
    assert (code, out) == (2, "")
    assert re.search(message, err)
    assert err.startswith("error: ")


def test_a_torn_archive_and_a_file_given_twice(tmp_path, capsys, folder):
    options, _ = files(tmp_path)
    packed = write_lines(tmp_path / "one.gz", ["x"] * 40)
    packed.write_bytes(packed.read_bytes()[:20])
    code, _, err = ask(capsys, "translation", *options[:2], "--hypotheses", str(packed))
    assert (code, "cannot read" in err) == (2, True)
    code, _, err = ask(capsys, "translation", *options, *options[2:])
    assert (code, "is given twice" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["translation", "--refrences", "x"], "unrecognized arguments: --refrences (did you mean --references?)"),
        (["translation", "--hypothesis=x"], "unrecognized arguments: --hypothesis (did you mean --hypotheses?)"),
        (["translation", "--zzz"], "unrecognized arguments: --zzz"),
        (["translation", "--references", "x"], "required: --hypotheses"),
        (["translation", "--references", "x", "--hypotheses", "x", "--tokenizer", "spm"], "invalid choice: 'spm'"),
        (["tranlsation"], "did you mean translation?"),
        (["qualty"], "did you mean quality?"),
        (["funel"], "did you mean funnel?"),
        (["table1", "funnel"], "funnel comes first and alone"),
        (["table1", "--stroe", "x"], "unrecognized arguments: --stroe (did you mean --store?)"),
    ],
)
def test_misspelt_requests_are_refused(capsys, arguments, message):
    code, _, err = ask(capsys, *arguments)
    assert code == 2
    assert message in err


def test_the_help_names_every_command(capsys):
    code, out, _ = ask(capsys, "--help")
    assert code == 0
    for name in ("translation", "quality", "funnel"):
        assert f"  {name} " in out
        code, told, _ = ask(capsys, name, "--help")
        assert code == 0
        assert "usage: python -m analysis" in told
