"""Which language a response is in: the same in every order and process."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from experiment.metrics import Scored, tally
from experiment.scoring import identify
from experiment.scoring.score import score
from experiment.sources.records import BenchmarkPrompt
from tests.answers import (
    FINNISH,
)
from tests.fresh import run_python

LANGUAGES = [
    ("Liisa rakentaa taloja kylässä joka päivä, ja hän pitää työstään kovasti.", "fi", "fi"),
    ("Liisa builds houses in the village every day, and she likes her work.", "en", "en"),
    ("Liisa bygger hus i byn varje dag, och hon tycker mycket om sitt arbete.", "sv", "sv"),
    ("12 34, 56!", "unknown", "unknown"),
    ("", "unknown", "unknown"),
    ("🙂🙂", "unknown", "unknown"),
    ("\x00\u200b", "unknown", "unknown"),
    ("Liisa rakentaa taloja \ud800 kylässä joka päivä.", "fi", "fi"),
    ("\ud800\udfff", "unknown", "unknown"),
]


# Too short to be sure of: without a seed langdetect calls each by several names.
UNSURE = ["OF TO SON", "DE MAN TALO RED", "OIL OF", "NO VAN DER", "THE ME DER", "TO AND", "THE AND", "SE MAN PEN"]


@pytest.fixture
def any_seed() -> Iterator[None]:
    """langdetect as a fresh process has it: without a seed."""
    import langdetect

    seed = langdetect.DetectorFactory.seed
    langdetect.DetectorFactory.seed = None
    yield
    langdetect.DetectorFactory.seed = seed


class TestLanguage:
    @pytest.mark.parametrize(("text", "langdetect", "py3langid"), LANGUAGES)
    def test_known_texts(self, text: str, langdetect: str, py3langid: str) -> None:
        assert identify.by_langdetect(text) == langdetect
        assert identify.by_py3langid(text) == py3langid

    def test_a_verdict_carries_the_language_of_the_response(self) -> None:
        prompt = BenchmarkPrompt(1, "Ei pilkkuja.", ("punctuation:no_comma", "startend:quotation"), ({}, {}))
        found = score(prompt, "Liisa rakentaa taloja kylässä joka päivä", "fi")
        both = {"langdetect": "fi", "py3langid": "fi"}
        assert [(verdict.strict["paper"], verdict.language) for verdict in found] == [(True, both), (False, both)]
        assert tally(Scored.of(found), "response_language").count.correct == 1
        assert tally(Scored.of(score(prompt, FINNISH, "en")), "response_language").count.correct == 0

    def test_the_texts_are_unsure(self, any_seed: None) -> None:
        """The tests below can only fail where langdetect, left alone, changes its mind."""
        import langdetect

        assert sum(len({langdetect.detect(text) for _ in range(30)}) > 1 for text in UNSURE) > 2

    def test_it_is_the_same_in_any_order(self, any_seed: None) -> None:
        forwards = {text: identify.by_langdetect(text) for text in UNSURE}
        backwards = {text: identify.by_langdetect(text) for text in reversed(UNSURE)}
        assert forwards == backwards
        for text in UNSURE:
            identify.by_langdetect("Something else entirely, in between.")
            assert identify.by_langdetect(text) == forwards[text]

    def test_it_is_the_same_in_another_process(self) -> None:
        program = (
            "from experiment.scoring import identify\n"
            "texts = json.loads(sys.argv[2])\n"
            "print(json.dumps({text: identify.by_langdetect(text) for text in texts}))\n"
        )
        elsewhere = run_python(program, "", json.dumps(UNSURE[::-1]))
        assert elsewhere == {text: identify.by_langdetect(text) for text in UNSURE}

    def test_checkers_that_ask_for_the_language_are_seeded_from_the_first_response_on(self) -> None:
        """The verdict of ``english_capital`` hangs on langdetect too, and it comes before the response's language."""
        import langdetect

        prompt = BenchmarkPrompt(1, "Shout.", ("change_case:english_capital",), ({},))
        text = unsure_english()
        found = set()
        for _ in range(20):
            langdetect.DetectorFactory.seed = None  # as other code might leave it
            found.add(score(prompt, text, "en")[0].strict["paper"])
        assert len(found) == 1


def unsure_english() -> str:
    """A text in capitals that langdetect, left alone, calls English only now and then."""
    import langdetect

    seed, langdetect.DetectorFactory.seed = langdetect.DetectorFactory.seed, None
    try:
        for text in UNSURE:
            english = sum(langdetect.detect(text) == "en" for _ in range(40))
            if 8 <= english <= 32:
                return text
    finally:
        langdetect.DetectorFactory.seed = seed
    raise AssertionError("no text that langdetect is unsure of")
