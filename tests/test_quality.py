"""Metrics of translations: sacrebleu's own values, signatures, intervals and tests; spBLEU without its model; COMET."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiment.errors import DataError, KirjoError
from experiment.quality import comet, formulas, metrics, resampling, sentences, spm, versions
from experiment.quality.metrics import Absent, Measured
from experiment.quality.names import OFFLINE, TOKENIZERS
from tests.translations import lines_of, noised, shared_file, some_sentences, spm_folder, write_lines

WORDS = st.lists(st.sampled_from(["kissa", "koira", "on", "the", "a", "cat", ".", "!", "ä-ö", "12,5"]), max_size=12)
TEXTS = WORDS.map(" ".join)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS.filter(str.strip)), min_size=1, max_size=6)


def sacrebleu(*arguments: str, folder: Path | None = None) -> Any:
    """What sacrebleu's own command line says."""
    env = {**os.environ, **({} if folder is None else {"SACREBLEU": str(folder)})}
    command = [sys.executable, "-m", "sacrebleu", *arguments, "-w", "10", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env, timeout=300)
    return json.loads(done.stdout)


def measured(name: str, hypotheses: list[str], references: list[str], **options: Any) -> Measured:
    found = metrics.measure(name, hypotheses, references, **options)
    assert isinstance(found, Measured)
    return found


def same_as_command_line(tmp_path: Path, references: Path, hypotheses: list[str]) -> None:
    ours = write_lines(tmp_path / "hypotheses", hypotheses)
    by_name = {
        {"BLEU": "bleu", "chrF2++": "chrf"}[one["name"]]: one
        for one in sacrebleu(str(references), "-i", str(ours), "-m", "bleu", "chrf", "--chrf-word-order", "2")
    }
    read = sentences.read_sentences(ours), sentences.read_sentences(references)
    for name, theirs in by_name.items():
        found = metrics.measure(name, *read)
        assert isinstance(found, Measured)
        assert (round(found.value, 10), found.signature) == (theirs["score"], theirs["signature"])
    assert set(by_name) == {"bleu", "chrf"}


# Equal to sacrebleu

FLORES = [("flores101/devtest.eng", "flores101/devtest.fin"), ("flores101/devtest.fin", "flores101/devtest.eng")]
WMT = [
    (f"wmt/newstest20{year}/{pair}.{source}", f"wmt/newstest20{year}/{pair}.{target}")
    for year in (17, 18, 19)
    for pair in ("en-fi", "de-en")
    for source, target in (pair.split("-"), reversed(pair.split("-")))
]


@pytest.mark.parametrize(("source", "target"), [*FLORES, *WMT[8:10]])
def test_values_and_signatures_are_those_of_sacrebleus_command_line(tmp_path, source, target):
    shared_file(source)
    references = shared_file(target)
    same_as_command_line(tmp_path, references, noised(lines_of(references)))


@pytest.mark.slow
@pytest.mark.parametrize(("source", "target"), [*FLORES, *WMT])
def test_values_are_the_same_on_all_files_for_copies_and_for_poor_translations(tmp_path, source, target):
    references = shared_file(target)
    same_as_command_line(tmp_path, references, lines_of(shared_file(source)))
    same_as_command_line(tmp_path, references, noised(lines_of(references), seed=3, loss=0.3))


def test_files_are_read_as_sacrebleu_reads_them(tmp_path):
    references = ["yksi kissa istuu\u2028tässä nyt", "kaksi koiraa\x0b juoksee tuolla", "kolme hevosta seisoo pihalla"]
    same_as_command_line(
        tmp_path, write_lines(tmp_path / "references.gz", references), [f"{references[0]} \r", "", "x"]
    )


def test_intervals_are_sacrebleus_own(tmp_path):
    references = some_sentences(300)
    hypotheses = noised(references)
    files = [str(write_lines(tmp_path / name, lines)) for name, lines in (("r", references), ("h", hypotheses))]
    theirs = sacrebleu(files[0], "-i", files[1], "-m", "bleu", "chrf", "--chrf-word-order", "2", "--confidence")
    for name, one in zip(("bleu", "chrf"), theirs, strict=True):
        found = measured(name, hypotheses, references).to_json()
        assert (found["high"] - found["low"]) / 2 == pytest.approx(one["confidence_var"], abs=1e-4)
        assert found["low"] < found["value"] < found["high"]


def test_p_values_are_sacrebleus_own(tmp_path):
    references = some_sentences(301)  # a number that 32 does not divide
    systems = [noised(references, seed=seed, loss=0.15 + seed / 50) for seed in (1, 2)]
    files = [str(write_lines(tmp_path / f"h{place}", lines)) for place, lines in enumerate(systems)]
    reference = str(write_lines(tmp_path / "r", references))
    theirs = sacrebleu(reference, "-i", *files, "-m", "bleu", "chrf", "--chrf-word-order", "2", "--paired-ar")
    for name, title in (("bleu", "BLEU"), ("chrf", "chrF2++")):
        one, other = (measured(name, system, references) for system in systems)
        found = resampling.compare(other.counts, one.counts, one.score)
        assert found.p == pytest.approx(theirs[1][title]["p_value"], abs=2e-4)
        assert found.difference == pytest.approx(theirs[1][title]["score"] - theirs[0][title]["score"])
        assert found.low < found.difference < found.high


@given(PAIRS)
def test_the_formulas_give_what_sacrebleu_gives_of_the_same_counts(pairs):
    hypotheses, references = [one for one, _ in pairs], [other for _, other in pairs]
    for name in ("bleu", "chrf"):
        found = measured(name, hypotheses, references)
        assert found.score(found.counts.sum(axis=0)[None])[0] == pytest.approx(found.value, abs=1e-9)
    from sacrebleu.metrics.chrf import CHRF

    each = [CHRF(word_order=2).sentence_score(*pair_of(pair)).score for pair in pairs]
    assert found.each() == pytest.approx(each, abs=1e-9)


def pair_of(pair: tuple[str, str]) -> tuple[str, list[str]]:
    return pair[0], [pair[1]]


def test_draws_in_portions_are_the_draws_of_one(monkeypatch):
    references = some_sentences(70)
    one, other = (measured("bleu", noised(references, seed=seed), references) for seed in (1, 2))
    whole = resampling.compare(one.counts, other.counts, one.score)
    monkeypatch.setattr(resampling, "_AT_ONCE", 1)
    assert resampling.compare(one.counts, other.counts, one.score) == whole


# Comparisons


def test_systems_that_differ_in_one_sentence_are_not_told_apart():
    references = some_sentences(50)
    worse = ["jotain aivan muuta", *references[1:]]
    one, other = (measured("bleu", system, references) for system in (references, worse))
    found = resampling.compare(one.counts, other.counts, one.score)
    assert found.difference > 0
    assert found.p == 1.0
    assert resampling.compare(one.counts, one.counts, one.score).p == 1.0


def test_a_system_that_is_better_everywhere_is_told_apart():
    references = some_sentences(80)
    one, other = (measured("chrf", noised(references, 1, loss), references) for loss in (0.05, 0.5))
    found = resampling.compare(one.counts, other.counts, one.score)
    assert found.p < 0.001
    assert found.low > 0


def test_texts_of_one_unit_are_drawn_together():
    references = some_sentences(40)
    single = measured("chrf", noised(references), references)
    together = single.by_unit([place // 4 for place in range(40)])
    assert together.counts.shape[0] == 10
    assert together.counts.sum(axis=0).tolist() == single.counts.sum(axis=0).tolist()
    assert together.value == single.value
    widths = [high - low for low, high in (resampling.interval(one.counts, one.score) for one in (single, together))]
    assert widths[0] != widths[1]


def test_translations_without_a_word_have_a_score():
    references = some_sentences(5)
    for name in ("bleu", "chrf"):
        found = measured(name, [""] * 5, references)
        assert found.to_json() == {"value": 0.0, "signature": found.signature, "low": 0.0, "high": 0.0}
        assert found.each() == [0.0] * 5


# spBLEU's model


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """sacrebleu's folder for this process, empty; and no network."""

    def refuse(_socket: Any, address: Any) -> None:
        raise AssertionError(f"tried to connect to {address}")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("sacrebleu.utils.SACREBLEU_DIR", str(tmp_path))
    monkeypatch.setattr("sacrebleu.tokenizers.tokenizer_spm.SACREBLEU_DIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_without_its_model_spbleu_is_null_and_says_what_to_do(folder, tokenizer):
    found = metrics.measure("spbleu", ["a"], ["a"], tokenizer)
    assert isinstance(found, Absent)
    document = found.to_json()
    assert (document["value"], document["low"]) == (None, None)
    assert f"tok:{tokenizer}|" in document["signature"]
    model = spm.find(tokenizer)
    assert model.path.parent == folder / "models"
    assert str(model.path) in document["reason"]
    assert "curl -L --create-dirs" in document["reason"]
    assert "SACREBLEU" in document["reason"]
    assert not list(folder.iterdir())


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\x00" * 100])
def test_what_an_interrupted_download_left_is_told(folder, content):
    path = folder / "models" / "sacrebleu_tokenizer_spm.model"
    path.parent.mkdir()
    path.write_bytes(content)
    found = metrics.measure("spbleu", ["a"], ["a"])
    assert isinstance(found, Absent)
    assert "is no SentencePiece model, or only a part of one" in found.reason


def test_a_missing_package_is_told(folder, monkeypatch):
    monkeypatch.setattr(spm, "find_spec", lambda _name: None)
    found = metrics.measure("spbleu", ["a"], ["a"])
    assert isinstance(found, Absent)
    assert "pip install sentencepiece" in found.reason
    assert "curl" not in found.reason


@pytest.mark.parametrize(
    ("tokenizer", "file"), [("flores101", "sacrebleu_tokenizer_spm.model"), ("flores200", "flores200sacrebleuspm")]
)
def test_with_a_model_spbleu_is_sacrebleus_own(folder, tmp_path, tokenizer, file):
    spm_folder(folder, file)
    references = some_sentences(100)
    hypotheses = noised(references)
    files = [str(write_lines(tmp_path / name, lines)) for name, lines in (("r", references), ("h", hypotheses))]
    theirs = sacrebleu(files[0], "-i", files[1], "-tok", tokenizer, folder=folder)
    found = measured("spbleu", hypotheses, references, tokenizer=tokenizer)
    assert (round(found.value, 10), found.signature) == (theirs["score"], theirs["signature"])
    assert f"tok:{tokenizer}|" in found.signature
    assert found.value != measured("bleu", hypotheses, references).value


# COMET

PROGRAM = """#!{python}
import json, sys
given = dict(zip(sys.argv[1:], sys.argv[2:]))
files = [open(given[name], encoding="utf-8").read().split("\\n")[:-1] for name in ("-s", "-t", "-r")]
if given["--model"] == "nowhere":
    sys.exit("KeyError: \\"Model 'nowhere' not supported by COMET.\\"")
rows = [{{"src": s, "mt": t, "ref": r, "COMET": 0.9 if t == r else 0.5}} for s, t, r in zip(*files)]
json.dump({{given["-t"]: rows[: {keep}]}}, open(given["--to_json"], "w"))
"""


def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str = "") -> None:
    """A stand-in for comet-score that takes the same options and leaves the same file."""
    path = tmp_path / "comet-score"
    path.write_text(PROGRAM.format(python=sys.executable, keep=keep or "None"))
    path.chmod(0o755)
    monkeypatch.setenv(comet.VARIABLE, str(path))


def test_without_comet_the_error_says_how_to_have_it(monkeypatch):
    monkeypatch.delenv(comet.VARIABLE, raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(KirjoError, match=r"(?s)COMET is not installed.*pip install 'unbabel-comet"):
        comet.measure(["a"], ["a"], ["b"])


def test_comets_scores_are_read_in_percent(tmp_path, monkeypatch):
    program(tmp_path, monkeypatch)
    found = comet.measure(["sama", "eri\nrivi"], ["sama", "toinen"], ["same", "other"])
    assert found.value == pytest.approx(70.0)
    assert found.each() == [90.0, 50.0]
    assert found.signature == "model:wmt22-comet-da|program:comet-score"
    assert found.to_json()["low"] == 50.0


def test_what_comets_program_says_is_passed_on(tmp_path, monkeypatch):
    program(tmp_path, monkeypatch)
    with pytest.raises(KirjoError, match=r"Model 'nowhere' not supported by COMET.*cache"):
        comet.measure(["a"], ["a"], ["b"], model="nowhere")
    program(tmp_path, monkeypatch, keep="1")
    with pytest.raises(KirjoError, match="left 1 scores of 2 sentences"):
        comet.measure(["a", "b"], ["a", "b"], ["c", "d"])
    monkeypatch.setenv(comet.VARIABLE, "true")
    with pytest.raises(KirjoError, match="left no scores that can be read"):
        comet.measure(["a"], ["a"], ["b"])


# The rest


def test_the_version_is_part_of_a_steps_identity():
    import sacrebleu as package

    assert versions.identity() == {"sacrebleu": package.__version__}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: expected sentences, one a line"),
        (b"hyv\xe4 on\n", r"line 1: not UTF-8 \(invalid continuation byte at byte 3\)"),
        (b"a\nb\n\xff\n", "line 3: not UTF-8"),
    ],
)
def test_files_that_are_no_sentences_are_refused(tmp_path, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        sentences.read_sentences(path)
    with pytest.raises(DataError, match=r"cannot read .*: Is a directory"):
        sentences.read_sentences(tmp_path)


@given(st.lists(st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"])), min_size=1))
def test_any_lines_come_back_without_the_blanks_at_their_ends(tmp_path_factory, lines):
    path = write_lines(tmp_path_factory.mktemp("lines") / "file", lines)
    found = sentences.read_sentences(path)
    assert found == [line.rstrip() for line in [lines[0].removeprefix("\ufeff"), *lines[1:]]]


def test_the_mean_of_counts_is_the_mean():
    sums = np.array([[150.0, 2.0], [90.0, 1.0]])
    assert formulas.mean(sums).tolist() == [75.0, 90.0]
    assert set(OFFLINE) == {"bleu", "chrf", "spbleu"}
