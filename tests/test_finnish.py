"""The rules for Finnish, a row for each thing that they know: a constant that is lost fails a test here."""

from __future__ import annotations

import os
import unicodedata
from typing import Any

import pytest

from experiment.scoring import identify, punkt
from experiment.scoring.inflection import words
from experiment.scoring.languages import fi
from experiment.scoring.rules import rule_sets
from experiment.scoring.score import score
from experiment.scoring.spoken import asked_for
from experiment.sources.records import BenchmarkPrompt
from tests.answers import ENGLISH, FINNISH, NLTK_DATA, needs_shared_data


@pytest.fixture(autouse=True)
def _nltk_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLTK_DATA", os.environ.get("NLTK_DATA", ""))
    punkt.use_nltk_data(str(NLTK_DATA))


def finnish(
    instruction_id: str, kwargs: dict[str, Any], response: str, prompt: str = "Tee se.", rules: str = "finnish"
) -> bool:
    """The strict verdict of one rule set."""
    [verdict] = score(BenchmarkPrompt(1, prompt, (instruction_id,), (kwargs,)), response, "fi", identify=False)
    return verdict.strict[rules]


class TestSections:
    def judged(self, response: str, prompt: str = "Tee se.", word: str = "SECTION") -> bool:
        kwargs = {"section_spliter": word, "num_sections": 2}
        return finnish("detectable_format:multiple_sections", kwargs, response, prompt)

    @pytest.mark.parametrize("word", ["Jakso", "Osio", "Osa", "Luku", "Kappale", "Kohta"])
    def test_every_word(self, word: str) -> None:
        for stock in ("Section", "SECTION"):
            assert self.judged(f"{word} 1\na\n{word} 2\nb", word=stock)
            assert not self.judged(f"{word} 1\na", word=stock)

    @pytest.mark.parametrize(
        ("stock", "word"), [("PARAGRAPH", "Kappale"), ("Day", "Päivä"), ("Audience", "Yleisö"), ("Day", "PÄIVÄ")]
    )
    def test_every_stock_value(self, stock: str, word: str) -> None:
        assert self.judged(f"{word} 1\na\n{word} 2", word=stock)
        assert not self.judged("Jakso 1\na\nJakso 2", word=stock)

    @pytest.mark.parametrize(
        "response",
        [
            "1. jakso\na\n2. jakso\nb",
            "Jakso: 1\na\nJakso: 2\nb",
            "Jakso I\na\nJakso II\nb",
            "Jakso IX\na\nJakso XI\nb",
            "**Jakso 1:** a\n\n**JAKSO 2:** b",
            "## Jakso 1\n## Jakso 2",
            "> - Jakso 1\n> - Jakso 2",
            "Jakso1\nJakso2",
        ],
    )
    def test_as_sections_are_written(self, response: str) -> None:
        assert self.judged(response)

    @pytest.mark.parametrize(
        "response",
        [
            "Ensin luku 3 ja sitten luku 7.",
            "Tämä on osa 1/2, ja se on osa 2/2.",
            "Jakso 1\na\nJakso 1\nb",
            "Jakso 1\na\nJakso I\nb",
            "JAKSOI JA\nJAKSOIV JA",
            "Jakso IX\na\nJakso 9",
            "1. jaksossa\n2. jaksossa",
            "Jakso\nJakso",
            "Jakso " + "9" * 5000,
        ],
    )
    def test_what_is_no_heading(self, response: str) -> None:
        assert not self.judged(response)

    @pytest.mark.parametrize("prompt", ["Merkitse: Vaihe X.", "Aloita osat: Vaihe 1, Vaihe 2."])
    def test_a_word_that_the_prompt_shows(self, prompt: str) -> None:
        assert self.judged("Vaihe 1\na\nVaihe 2\nb", prompt)
        assert not self.judged("Vaihe 1\na\nVaihe 2\nb", "Tee siitä vaihe 1.")


class TestPostscript:
    @pytest.mark.parametrize(
        ("response", "follows"),
        [
            ("Moi.\nPS: hei", True),
            ("Moi.\nPS moi", True),
            ("Moi.\nP.S moi", True),
            ("Moi.\nP. S. moi", True),
            ("Moi.\nJK: hei", True),
            ("Moi.\njk. hei", True),
            ("Moi.\nj.k. hei", True),
            ("Moi.\n**Jälkikirjoitus:** hei", True),
            ("Moi.\nJälkikirjoitus\nhei", True),
            ("Tässä ei ole jälkikirjoitus lainkaan.", False),
            ("Jälkikirjoitus puuttuu.", False),
            ("Moi. PS: hei", False),
            ("Pskov on kaupunki.\nJkl", False),
        ],
    )
    def test_ps(self, response: str, follows: bool) -> None:
        assert finnish("detectable_content:postscript", {"postscript_marker": "P.S."}, response) is follows

    @pytest.mark.parametrize(
        ("response", "follows"), [("Moi.\nPPS moi", True), ("Moi.\np.p.s. moi", True), ("Moi. PPS", False)]
    )
    def test_pps(self, response: str, follows: bool) -> None:
        assert finnish("detectable_content:postscript", {"postscript_marker": "P.P.S"}, response) is follows


class TestEnds:
    ENGLISH = ("Any other questions?", "Is there anything else I can help with?")

    @pytest.mark.parametrize("closing", ["Onko sinulla muita kysymyksiä?", "Voinko auttaa sinua jollakin muulla?"])
    @pytest.mark.parametrize("marks", ["", '""', "””", "“”", "„“", "»»", "»«", "«»"])
    def test_every_closing_in_all_marks(self, closing: str, marks: str) -> None:
        for stock in self.ENGLISH:
            assert self.judged(stock, f"Hei. {marks[:1]}{closing.upper()}{marks[1:]}")
            assert not self.judged(stock, f"{closing} Hei.")

    @pytest.mark.parametrize(
        ("prompt", "response", "follows"),
        [
            ("Lopeta sanoihin ”Siinä kaikki.”", "Hei. Siinä kaikki.", True),
            ("Lopeta sanoihin 'Siinä kaikki.'", "Hei. ”Siinä kaikki.”", True),
            ("Sano ”Siinä kaikki.” lopuksi.", "Hei. Siinä kaikki.", True),
            ('Mainitse "kissa". Päätä sanoihin "Siinä kaikki."', "Hei, kissa", False),
            ('Mainitse "kissa".', "Hei, kissa", False),
            ("Lopeta sanoihin ”Siinä kaikki.”", "Siinä kaikki. Hei.", False),
        ],
    )
    def test_a_phrase_that_the_prompt_gives(self, prompt: str, response: str, follows: bool) -> None:
        assert self.judged("Peace!", response, prompt) is follows

    def test_a_phrase_that_both_have(self) -> None:
        prompt = 'Lopeta sanoihin "Siinä kaikki." eikä "Hei sitten."'
        assert self.judged("Siinä kaikki.", "Hei. ”Siinä kaikki.”", prompt)
        assert not self.judged("Siinä kaikki.", "Hei sitten.", prompt)

    def judged(self, phrase: str, response: str, prompt: str = "Tee se.") -> bool:
        return finnish("startend:end_checker", {"end_phrase": phrase}, response, prompt)


class TestQuotation:
    @pytest.mark.parametrize("mark", ['"', "”", "“", "„", "»", "«"])
    def test_every_mark(self, mark: str) -> None:
        assert mark in fi.QUOTATION_MARKS
        assert finnish("startend:quotation", {}, f"{mark}Näin on.”")
        assert finnish("startend:quotation", {}, f"”Näin on.{mark}")
        for nothing in (mark, mark * 2, f"{mark} {mark}"):
            assert not finnish("startend:quotation", {}, nothing)

    @pytest.mark.parametrize("mark", ['"', "”", "“", "„", "»", "«", "**"])
    def test_a_first_word_in_marks(self, mark: str) -> None:
        kwargs = {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "lapsi"}
        instruction_id = "length_constraints:nth_paragraph_first_word"
        assert finnish(instruction_id, kwargs, f"Hei.\n\n{mark}Lapsi{mark} tuli.")
        assert not finnish(instruction_id, kwargs, f"Hei.\n\n{mark}Lapset{mark} tulivat.")
        assert finnish(instruction_id, kwargs, f"Hei.\n\n{mark}Lapset{mark} tulivat.", rules="finnish_inflected")


class TestParagraphs:
    @pytest.mark.parametrize("rules", ["finnish", "finnish_inflected"])
    @pytest.mark.parametrize(
        ("response", "follows"),
        [
            ("Hei.\n\n”Lapsi” tuli.", True),
            ("Hei.\n\n”Lapsi” tuli.\n\nHei.", False),
            ("”Lapsi” tuli.", False),
            ("”Lapsi” tuli.\n\nHei.", False),
            ("Hei.\n\n”Hyvä” lapsi tuli.", False),
        ],
    )
    def test_their_number_counts(self, response: str, follows: bool, rules: str) -> None:
        kwargs = {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "lapsi"}
        assert finnish("length_constraints:nth_paragraph_first_word", kwargs, response, rules=rules) is follows


class TestInflected:
    @pytest.mark.parametrize(
        ("instruction_id", "kwargs", "response", "follows"),
        [
            # lm_eval counts the word within longer ones: talo, talonpoika, taloyhtiö.
            (
                "keywords:frequency",
                {"keyword": "talo", "frequency": 3, "relation": "at least"},
                "Talo, talonpoika ja taloyhtiö.",
                True,
            ),
            (
                "keywords:frequency",
                {"keyword": "käsi", "frequency": 2, "relation": "less than"},
                "Käden ja kädet.",
                False,
            ),
            ("keywords:frequency", {"keyword": "käsi", "frequency": 2, "relation": "less than"}, "Käden.", True),
            ("keywords:existence", {"keywords": ["iso talo"]}, "Isossa talossa.", True),
            ("keywords:existence", {"keywords": ["iso talo"]}, "Isossa kylässä.", False),
            ("keywords:existence", {"keywords": ["iso talo"]}, "Talossa isossa.", False),
            # By its lemma 'taloja' is no 'taloj.', but lm_eval's expression finds it.
            ("keywords:forbidden_words", {"forbidden_words": ["taloj."]}, "Näen taloja.", False),
            ("keywords:forbidden_words", {"forbidden_words": ["iso talo"]}, "Isossa kylässä.", True),
            ("keywords:forbidden_words", {"forbidden_words": ["iso talo"]}, "Isossa talossa.", False),
        ],
    )
    def test_a_row(self, instruction_id: str, kwargs: dict[str, Any], response: str, follows: bool) -> None:
        assert finnish(instruction_id, kwargs, response, rules="finnish_inflected") is follows

    def test_its_description_says_that_words_of_one_form_are_one(self) -> None:
        told = rule_sets("fi")["finnish_inflected"].description
        assert "kuusi, kuusta" in told
        assert not finnish(
            "keywords:forbidden_words", {"forbidden_words": ["voi"]}, "En voinut.", rules="finnish_inflected"
        )


class TestLanguageAskedFor:
    CAPITAL = "change_case:english_capital"

    def test_english_where_the_prompt_itself_asks_for_it(self) -> None:
        prompt = "Vastaa englanniksi ja kokonaan isoilla kirjaimilla."
        assert finnish(self.CAPITAL, {}, ENGLISH.upper() * 4, prompt)
        assert not finnish(self.CAPITAL, {}, FINNISH.upper(), prompt)
        assert finnish(self.CAPITAL, {}, FINNISH.upper(), "Kerro Englannista isoilla kirjaimilla.")

    def test_an_instruction_says_more_than_the_prompt(self) -> None:
        ids, kwargs = (self.CAPITAL, "language:response_language"), ({}, {"language": "fi"})
        prompt = BenchmarkPrompt(1, "Käännä englanniksi.", ids, kwargs)
        assert score(prompt, FINNISH.upper(), "fi")[0].strict["finnish"]

    def test_a_text_without_features_follows(self) -> None:
        assert identify.langdetect_or_none("ⅻ ⅿ") is None
        assert finnish(self.CAPITAL, {}, "Ⅻ Ⅿ")

    @pytest.mark.parametrize(
        ("prompt", "language"),
        [
            ("Vastaa englanniksi.", "en"),
            ("Kirjoita englannin kielellä.", "en"),
            ("Vastaa englanninkielisesti.", "en"),
            ("Käytä vain englantia.", "en"),
            ("Käytä englannin kieltä.", "en"),
            ("Write it in English.", "en"),
            ("Käännä suomesta englanniksi.", "en"),
            ("Kirjoita ruotsiksi.", "sv"),
            ("Käännä runo englannista suomeksi.", "fi"),
            ("Kerro Englannin historiasta.", None),
            ("Englannin kielen historia.", None),
            ("Puhu englantilaiseksi.", None),
            ("Suomeksi ja englanniksi.", None),
            ("Tee se.", None),
        ],
    )
    def test_words_that_ask(self, prompt: str, language: str | None) -> None:
        assert asked_for(prompt, "fi") == language
        assert asked_for(prompt, "sv") is None


class TestWords:
    @pytest.mark.parametrize(
        ("text", "count"),
        [
            ("EU:n linja-auto", 2),
            ("linja\u2011auto", 1),
            ("vaa'an vaa’an vaa´an", 3),
            ("Se maksaa 1,5 euroa.", 4),
            ("klo 12.30", 2),
            ("50 000 ihmistä", 2),
            ("1\u00a0234\u202f567,50 euroa", 2),
            ("30.6.2024", 1),
            ("vuonna 2020 300 ihmistä", 4),
            ("yksi,kaksi.kolme", 3),
            ("1, 2, 3", 3),
            (unicodedata.normalize("NFD", "pöytä, äiti"), 2),
        ],
    )
    def test_numbers(self, text: str, count: int) -> None:
        assert len(words(text)) == count
        kwargs = {"num_words": count, "relation": "at least"}
        assert finnish("length_constraints:number_words", kwargs, text)
        assert not finnish("length_constraints:number_words", {**kwargs, "num_words": count + 1}, text)

    @pytest.mark.parametrize("rules", ["finnish", "finnish_inflected"])
    def test_letters_with_marks_of_their_own(self, rules: str) -> None:
        """macOS writes 'ä' as two characters in names of files, and so do texts that come from it."""
        rows: list[tuple[str, dict[str, Any], str]] = [
            ("keywords:existence", {"keywords": ["pöytä"]}, "Tämä pöytä on iso."),
            ("keywords:frequency", {"keyword": "pöytä", "frequency": 1, "relation": "at least"}, "Tämä pöytä."),
            ("detectable_format:constrained_response", {}, "Vastaukseni on ehkä."),
        ]
        for instruction_id, kwargs, text in rows:
            apart = unicodedata.normalize("NFD", text)
            assert finnish(instruction_id, kwargs, text, rules=rules)
            assert finnish(instruction_id, kwargs, apart, rules=rules)
            assert not finnish(instruction_id, kwargs, apart, rules="paper")
        kwargs = {"keywords": [unicodedata.normalize("NFD", "pöytä")]}
        assert finnish("keywords:existence", kwargs, "Tämä pöytä on iso.", rules=rules)
        assert not finnish("keywords:existence", kwargs, "Tämä pöytä on iso.", rules="paper")


@needs_shared_data
class TestSentences:
    @pytest.mark.parametrize(
        ("text", "count"),
        [
            ("Otan esim. Kissan mukaan. Hei.", 2),
            ("Se on ts. Hyvä asia. Niin.", 2),
            ("Tulen klo 12.30 kotiin. Hei.", 2),
            ("Se maksaa 1,5 euroa. Hei.", 2),
            ("Asia on selvä (ks. Liite 3). Hei.", 2),
            ("Sama on muualla, vrt. Suomi. Hei.", 2),
            ("Prof. Laine tuli. Hän lähti.", 2),
            ("Se oli v. 1594 Turussa. Hei.", 2),
            ("Vuonna 44 eKr. Caesar kuoli. Hei.", 2),
            ("Soita puh. 123 tai Laineelle. Hei.", 2),
            ("Asuu mm. Tampereella. Hei.", 2),
            ("1. Osta maitoa.\n2. Osta leipää.", 2),
            ("  10. Osta maitoa. Mene kotiin.", 2),
            ("Se oli vuonna\n1594. Sitten tuli rauha.", 2),
        ],
    )
    def test_abbreviations_and_lists(self, text: str, count: int) -> None:
        assert punkt.sentences("finnish", fi.ABBREVIATIONS)(text) == count
        kwargs = {"num_sentences": count, "relation": "at least"}
        assert finnish("length_constraints:number_sentences", kwargs, text)
        more = {**kwargs, "num_sentences": count + 1}
        assert not finnish("length_constraints:number_sentences", more, text)

    def test_nltks_own_model_stays_as_it_is(self) -> None:
        punkt.sentences("finnish", fi.ABBREVIATIONS)("Hei.")
        assert punkt.sentences("finnish")("Prof. Laine tuli.") == 2

    @pytest.mark.parametrize("text", ["Otan mm. OSAN, ks. KUVA 12. JNE.", "Tri. NIEMI (puh. 12) on I. N. HYVÄ. Se on."])
    def test_words_in_capitals_are_as_many_by_either_model(self, text: str) -> None:
        """So ``finnish`` has no rule of its own for them."""
        assert punkt.capital_words("finnish")(text) == punkt.capital_words("english")(text) > 2
