"""Rule sets: what the papers' harness said of Finnish answers, what is right for Finnish, what a language needs."""

from __future__ import annotations

import os
import sys
import types
from typing import Any

import pytest

from experiment.scoring import punkt, rules, versions
from experiment.scoring.inflection import Lemmas
from experiment.scoring.rules import RuleSet, has_own_rules, own_language, rule_sets
from experiment.scoring.score import score
from experiment.sources.records import BenchmarkPrompt
from tests.answers import ENGLISH, FINNISH, NLTK_DATA, needs_shared_data

PAPER, RIGHT, INFLECTED = "paper", "finnish", "finnish_inflected"
AT_LEAST_2 = {"frequency": 2, "relation": "at least"}


@pytest.fixture(autouse=True)
def _nltk_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLTK_DATA", os.environ.get("NLTK_DATA", ""))
    punkt.use_nltk_data(str(NLTK_DATA))


def judged(
    instruction_id: str, kwargs: dict[str, Any], response: str, prompt: str = "Tee se.", language: str = "fi"
) -> dict[str, bool]:
    """The strict verdicts by rule set."""
    [verdict] = score(BenchmarkPrompt(1, prompt, (instruction_id,), (kwargs,)), response, language)
    return verdict.strict


def by(paper: bool, finnish: bool, inflected: bool | None = None) -> dict[str, bool]:
    return {PAPER: paper, RIGHT: finnish, INFLECTED: finnish if inflected is None else inflected}


END = {"end_phrase": "Is there anything else I can help with?"}
SECTIONS = {"section_spliter": "SECTION", "num_sections": 2}


@pytest.mark.parametrize(
    ("instruction_id", "kwargs", "prompt", "response", "expected"),
    [
        ("change_case:english_capital", {}, "", FINNISH.upper(), by(False, True)),
        ("change_case:english_capital", {}, "", FINNISH, by(False, False)),
        ("change_case:english_capital", {}, "", ENGLISH.upper() * 4, by(True, False)),
        ("change_case:english_lowercase", {}, "", FINNISH.lower(), by(False, True)),
        ("change_case:english_lowercase", {}, "", FINNISH, by(False, False)),
        ("change_case:english_lowercase", {}, "", ENGLISH.lower(), by(True, False)),
        ("detectable_format:constrained_response", {}, "", "Vastaukseni on ehkä.", by(True, True)),
        ("detectable_format:constrained_response", {}, "", "My answer is maybe.", by(False, False)),
        (
            "detectable_format:constrained_response",
            {},
            "Sano 'My answer is maybe.'",
            "My answer is maybe.",
            by(False, True),
        ),
        ("detectable_format:constrained_response", {}, "", "Ehkä.", by(False, False)),
        ("detectable_format:multiple_sections", SECTIONS, "Käytä jaksoja.", "Jakso 1\na\nJakso 2\nb", by(False, True)),
        ("detectable_format:multiple_sections", SECTIONS, "Käytä jaksoja.", "Osio 1\na", by(False, False)),
        ("detectable_format:multiple_sections", SECTIONS, "Käytä jaksoja.", "SECTION 1\na\nSECTION 2", by(True, True)),
        (
            "detectable_format:multiple_sections",
            SECTIONS,
            "Aloita: SECTION X.",
            "Jakso 1\na\nJakso 2\nb",
            by(False, False),
        ),
        (
            "startend:end_checker",
            END,
            "Lopuksi tarjoa apua.",
            "Hei. Voinko auttaa sinua jollakin muulla?",
            by(False, True),
        ),
        (
            "startend:end_checker",
            END,
            "Lopuksi tarjoa apua.",
            "Voinko auttaa sinua jollakin muulla? Hei.",
            by(False, False),
        ),
        ("startend:end_checker", {"end_phrase": "Rauhaa!"}, "", "Onko sinulla muita kysymyksiä?", by(False, False)),
        (
            "detectable_content:postscript",
            {"postscript_marker": "P.S."},
            "Lisää jälkikirjoitus.",
            "Moi.\nPS: hei",
            by(False, True),
        ),
        (
            "detectable_content:postscript",
            {"postscript_marker": "P.S."},
            "Lisää P.S.",
            "Moi.\nPS: hei",
            by(False, False),
        ),
        ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "", "Moi.\nPPS hei", by(False, True)),
        ("startend:quotation", {}, "", "”Näin on.”", by(False, True)),
        ("startend:quotation", {}, "", '"Näin on."', by(True, True)),
        ("startend:quotation", {}, "", "Näin on.”", by(False, False)),
        (
            "length_constraints:number_words",
            {"num_words": 4, "relation": "less than"},
            "",
            "EU:n linja-auto lähti.",
            by(False, True),
        ),
        (
            "length_constraints:number_words",
            {"num_words": 4, "relation": "at least"},
            "",
            "EU:n linja-auto lähti.",
            by(True, False),
        ),
        (
            "keywords:letter_frequency",
            {"letter": "ä", "let_frequency": 3, "let_relation": "at least"},
            "",
            "ÄÄäppp",
            by(False, True),
        ),
        (
            "keywords:letter_frequency",
            {"letter": "ä", "let_frequency": 5, "let_relation": "at least"},
            "",
            "ÄÄäp",
            by(False, False),
        ),
        (
            "keywords:existence",
            {"keywords": ["kauppa", "lapsi"]},
            "",
            "Lapset kävivät kaupassa.",
            by(False, False, True),
        ),
        ("keywords:existence", {"keywords": ["kauppa", "lapsi"]}, "", "Lapset kävivät kylässä.", by(False, False)),
        ("keywords:existence", {"keywords": ["talo"]}, "", "Talossa on väkeä.", by(True, True)),
        ("keywords:frequency", {"keyword": "käsi", **AT_LEAST_2}, "", "Käden ja kädet.", by(False, False, True)),
        ("keywords:frequency", {"keyword": "käsi", **AT_LEAST_2}, "", "Käden.", by(False, False)),
        ("keywords:forbidden_words", {"forbidden_words": ["vesi"]}, "", "Juon vettä.", by(True, True, False)),
        ("keywords:forbidden_words", {"forbidden_words": ["vesi"]}, "", "Juon maitoa.", by(True, True)),
        ("keywords:forbidden_words", {"forbidden_words": ["vesi"]}, "", "Vesi on hyvää.", by(False, False)),
        (
            "length_constraints:nth_paragraph_first_word",
            {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "lapsi"},
            "",
            "Hei.\n\nLapset tulivat.",
            by(False, False, True),
        ),
    ],
)
def test_a_finnish_answer(
    instruction_id: str, kwargs: dict[str, Any], prompt: str, response: str, expected: dict[str, bool]
) -> None:
    assert judged(instruction_id, kwargs, response, prompt) == expected


@needs_shared_data
class TestSentences:
    # English sentences do not end in "esim." or in an ordinal, so the English model takes these for their ends.
    TEXT = "Tulen n. klo 12. Tapaamme esim. Turussa tai mm. Tampereella."

    def test_the_finnish_model_knows_finnish_abbreviations(self) -> None:
        english, finnish = punkt.sentences("english")(self.TEXT), punkt.sentences("finnish")(self.TEXT)
        assert finnish < english
        kwargs = {"num_sentences": english, "relation": "at least"}
        assert judged("length_constraints:number_sentences", kwargs, self.TEXT) == by(True, False)

    def test_words_in_capitals(self) -> None:
        kwargs = {"capital_frequency": 2, "capital_relation": "at least"}
        assert judged("change_case:capital_word_frequency", kwargs, "Tämä on HYVÄ ja ÄLYKÄS.") == by(True, True)
        assert judged("change_case:capital_word_frequency", kwargs, "Tämä on HYVÄ.") == by(False, False)


class TestLanguages:
    def test_every_language_has_paper_first(self) -> None:
        assert list(rule_sets("fi")) == [PAPER, RIGHT, INFLECTED]
        for language in ("en", "sv", "eu"):
            assert list(rule_sets(language)) == [PAPER]

    def test_a_language_without_rules_is_judged_by_lm_evals_english_ones_and_says_so(self) -> None:
        assert has_own_rules("fi")
        assert not any(map(has_own_rules, ("sv", "eu", "__init__", "../x", "FI", "")))
        assert "made for English" in rule_sets("sv")[PAPER].description
        assert judged("change_case:english_capital", {}, ENGLISH.upper() * 4, language="sv") == {PAPER: True}

    def test_a_rule_set_extends_one_that_stands_before_it(self) -> None:
        seen: set[str] = set()
        for item in rule_sets("fi").values():
            assert item.extends is None or item.extends in seen
            seen.add(item.name)

    def test_one_more_file_is_one_more_language(self, monkeypatch: pytest.MonkeyPatch) -> None:
        module = types.ModuleType("experiment.scoring.languages.sv")
        module.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]  # there, which is all that is asked
        module.RULE_SETS = (  # type: ignore[attr-defined]
            RuleSet(PAPER, 1, "lm_eval's rules"),
            RuleSet(
                "swedish", 3, "right for Swedish", PAPER, {"change_case:english_capital": own_language(str.isupper)}
            ),
        )
        monkeypatch.setitem(sys.modules, module.__name__, module)
        rules._rule_sets.cache_clear()
        try:
            text = "LIISA BYGGER HUS I BYN VARJE DAG, OCH HON TYCKER MYCKET OM SITT ARBETE."
            assert judged("change_case:english_capital", {}, text, language="sv") == {PAPER: False, "swedish": True}
            assert versions.identity("sv")["rules"] == {PAPER: 1, "swedish": 3}
        finally:
            rules._rule_sets.cache_clear()

    def test_the_rules_of_one_language_leave_the_others_alone(self) -> None:
        text = "My answer is yes."
        for language in ("en", "fi", "en"):
            expected = language == "en"
            assert judged("detectable_format:constrained_response", {}, text, language=language)[PAPER] is expected


class TestLemmas:
    @pytest.mark.parametrize(
        ("form", "lemma"),
        [
            *((form, "kauppa") for form in ("kaupan", "kaupassa", "kauppoja", "KAUPAT")),
            *((form, "käsi") for form in ("käden", "kädet", "käsiä")),
            *((form, "lapsi") for form in ("lapsen", "lapset", "lapsia")),
            *((form, "ihminen") for form in ("ihmisen", "ihmisiä")),
            *((form, "juosta") for form in ("juoksee", "juoksin", "juossut")),
        ],
    )
    def test_inflected_forms(self, form: str, lemma: str) -> None:
        assert Lemmas("fi").of(form) == Lemmas("fi").of(lemma)

    @pytest.mark.parametrize(
        ("one", "other"), [("kirja", "kirje"), ("kirja", "kirjain"), ("vesi", "veto"), ("kaupunki", "kauppa")]
    )
    def test_like_words_stay_apart(self, one: str, other: str) -> None:
        assert Lemmas("fi").of(one) != Lemmas("fi").of(other)
