"""The prompts of translation: the templates of the papers to the letter, examples, limits."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from experiment.errors import DataError, KirjoError
from experiment.sources.source import Source
from experiment.sweep import expand
from experiment.translation.prompts import SPARE, Prompter, clean_answer, read_shots
from experiment.translation.settings import ShotSet, Translate, fill

SHOTS = (("One.", "Yksi."), ("Two.", "Kaksi."))


@functools.cache
def settings(name: str) -> Translate:
    (point,) = expand([[f"translate={name}"]])
    return point.config.translate


def prompter(name: str, languages: tuple[str, str] = ("en", "fi"), **shots) -> Prompter:
    of = settings(name)
    return Prompter(of, *languages, {one: shots.get(one, ()) for one in of.shots})


def test_the_papers_template_to_the_letter():
    found = prompter("paper", short=SHOTS, long=SHOTS[::-1])
    assert found.prompt("Three.") == (
        "<|user|>One.\n<|assistant|>Yksi.\nEND\n\n<|user|>Two.\n<|assistant|>Kaksi.\nEND\n\n<|user|>Three.\n<|assistant|>"
    )
    long = " ".join(["word"] * 20)
    assert found.prompt(long).startswith("<|user|>Two.\n")
    assert found.set_of(" ".join(["word"] * 19)) == "short"
    assert found.request("x", "Three.", 9).stop == ("\n", "END")


def test_poros_template_to_the_letter():
    assert prompter("poro").prompt("One.") == "<|user|>Käännä suomeksi: One. <|assistant|>"
    assert prompter("poro", ("fi", "en")).prompt("Yksi.") == "<|user|>Käännä englanniksi: Yksi. <|assistant|>"


def test_the_plain_template_to_the_letter():
    assert prompter("plain", all=SHOTS).prompt("Three.") == "One.=Yksi.\nTwo.=Kaksi.\nThree.="


@given(st.text(), st.text())
def test_what_is_filled_in_is_text(line, translation):
    assert fill("<{src}|{trg}>{other}", {"src": line, "trg": translation}) == f"<{line}|{translation}>{{other}}"


def test_a_line_may_look_like_a_placeholder():
    found = prompter("plain", all=(("{trg}", "{src}"),))
    assert found.prompt("{instruction} {x}") == "{trg}={src}\n{instruction} {x}="


def test_a_chat_model_is_spoken_to():
    chat = dataclasses.replace(settings("poro"), chat=True)
    request = Prompter(chat, "en", "fi", {"all": ()}).request("x", "One.", 5)
    assert (request.prompt, [turn.role for turn in request.messages]) == ("", ["user"])
    assert request.messages[0].content.startswith("<|user|>Käännä suomeksi: One.")


def test_limits_grow_with_the_line():
    found = prompter("poro")  # growth 3, at most 512 of 2048
    assert found.new_tokens(10) == 30 + SPARE
    assert found.new_tokens(1000) == 512
    assert found.fits(341, 400)
    assert not found.fits(342, 400)  # its translation may well take more than 512
    assert found.fits(100, 2048 - 332)
    assert not found.fits(100, 2048 - 331)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yksi.", "Yksi."),
        ("  Yksi. \nKaksi.", "Yksi."),
        ("Yksi\u2028ja\x0ckaksi.\r\n", "Yksi\u2028ja\x0ckaksi."),
        ("\n\nYksi.", "Yksi."),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_the_translation_is_the_first_line_of_the_answer(text, expected):
    assert clean_answer(text) == expected


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"shot": "{src}"}, "shot must hold {trg}"),
        ({"query": "x"}, "query must hold {src}"),
        ({"query": "{src}{trg}"}, "query holds {trg}; it may hold: {src}"),
        ({"shot": "{src}{trg}{word}"}, "shot holds {word}"),
        ({"max_new_tokens": 4000}, "leaves no room for a prompt"),
        ({"shots": {}}, "one has null: it is for all lines that are left"),
        ({"shots": {"a": ShotSet(count=0), "b": ShotSet(count=0)}}, "each set has another below_words"),
        ({"stop": ("",)}, "at least 1 character"),
    ],
)
def test_templates_that_nothing_could_be_made_of(change, told):
    with pytest.raises(ValidationError, match=told):
        dataclasses.replace(settings("poro"), **change)


@pytest.mark.parametrize(
    ("given_", "told"),
    [
        ({"count": 2}, "neither pairs nor examples"),
        ({"count": 2, "pairs": ({"en": "a", "fi": "b"},)}, "2 examples are asked for .count., 1 are given"),
        ({"count": 2, "rows": (1,), "examples": {"en": {"reader": "lines", "language": "en"}}}, "1 are named"),
    ],
)
def test_fewer_examples_than_asked_for(given_, told):
    with pytest.raises(ValidationError, match=told):
        ShotSet(**given_)


def test_languages_the_template_has_no_word_for():
    with pytest.raises(
        KirjoError, match=r"poro needs a word for 'xx': \+translate.instructions.xx=WORD; there are: de, en"
    ):
        expand([["data_mix.target=translate", "data_mix.target_language=xx", "mix=100", "method=sft"]])


class TestExamples:
    @pytest.fixture
    def files(self, tmp_path: Path) -> dict[str, Source]:
        for language, words in (("en", "zero one two three"), ("fi", "nolla yksi kaksi kolme")):
            (tmp_path / language).write_text("\n".join(words.split()) + "\n")
        return {
            language: Source(reader="lines", language=language, path=str(tmp_path / language))
            for language in ("en", "fi")
        }

    def test_rows_are_counted_from_0_and_keep_their_order(self, files):
        assert read_shots(ShotSet(count=2, rows=(3, 0, 1), examples=files), "en", "fi") == (
            ("three", "kolme"),
            ("zero", "nolla"),
        )
        assert read_shots(ShotSet(count=1, examples=files), "fi", "en") == (("nolla", "zero"),)

    def test_written_out(self, files):
        pairs = ({"en": "a", "fi": "b"},)
        assert read_shots(ShotSet(count=1, pairs=pairs, examples=files), "en", "fi") == (("a", "b"),)
        pairs = ({"en": "a", "fi": "b", "eu": "c"},)
        assert read_shots(ShotSet(count=1, pairs=pairs), "eu", "en") == (("c", "a"),)
        with pytest.raises(DataError, match="has no 'sv'; it has: en, eu, fi"):
            read_shots(ShotSet(count=1, pairs=pairs), "en", "sv")

    def test_faults_are_told(self, files, tmp_path):
        with pytest.raises(DataError, match=r"has 4 lines; the examples ask for line 7"):
            read_shots(ShotSet(count=1, rows=(7,), examples=files), "en", "fi")
        with pytest.raises(DataError, match="no examples in 'sv'; it has: en, fi"):
            read_shots(ShotSet(count=1, examples=files), "en", "sv")
        (tmp_path / "fi").write_text("nolla\n")
        with pytest.raises(DataError, match=r"not aligned: .* has 4 lines, .* has 1"):
            read_shots(ShotSet(count=1, examples=files), "en", "fi")
