"""The rules of cleaning, one by one, and what their settings take."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from experiment.cleaning.finding import Languages
from experiment.cleaning.rules import PART_RULES, judge
from experiment.cleaning.settings import RULES, Clean, Leftovers, Numbers, Refusal
from experiment.cleaning.tongue import check_known
from experiment.config import identity
from experiment.errors import DataError, KirjoError
from experiment.sweep import expand
from experiment.translation.rows import Part, TranslatedRow
from tests.translated import CODE, EN_FI, ENGLISH, TEXTS, conversation

CLEAN = Clean()
LONG = TEXTS[1]
LOOP = "Ilma sirottaa sinistä valoa " + "ja taivas on sininen " * 12
CONF = Path(__file__).parent.parent / "conf" / "clean"


def broken(source: str, text: str, settings: Clean = CLEAN, languages: Languages = EN_FI, **counts: int) -> list[str]:
    """The names of the rules that a translation breaks."""
    row = TranslatedRow("r", (Part("assistant", source, text, **counts),))
    return list(dict.fromkeys(fault.rule for fault in judge(settings, row, languages).faults))


@pytest.mark.parametrize(("source", "text"), TEXTS)
def test_good_translations_break_no_rule(source, text):
    assert broken(source, text) == []


@pytest.mark.parametrize(
    ("rule", "source", "text"),
    [
        ("empty", LONG[0], ""),
        ("empty", LONG[0], " \n"),
        ("empty", "", "Jotain aivan muuta."),
        ("refusal", LONG[0], "Olen pahoillani, mutta en voi auttaa tässä asiassa."),
        ("refusal", LONG[0], "As an AI language model, I cannot do that."),
        ("refusal", LONG[0], f"Tässä on käännös:\n{LONG[1]}"),
        ("copy", ENGLISH, ENGLISH),
        ("copy", "How do you do this?", "how do you do this"),
        (
            "language",
            LONG[0],
            "Luften sprider blått ljus mer än rött, så att himlen ser blå ut.\n\nPå kvällen blir den röd.",
        ),
        ("length_ratio", TEXTS[0][0], LONG[1]),
        ("length_ratio", LONG[0], "Ilma sirottaa sinistä valoa."),
        ("compression", LONG[0], LOOP * 2),
        ("compression", LONG[0], LOOP[: len(LONG[0])]),
        ("alphanumeric", LONG[0], "Ilma #@ & % *** --- <> si/n/i/s/t/ä ++ == !! ?? ~~ punaista"),
        ("code", TEXTS[3][0], TEXTS[3][1].replace("print", "tulosta")),
        ("code", TEXTS[3][0], TEXTS[3][1].replace("    print", "  print")),
        ("code", TEXTS[3][0], TEXTS[3][1].replace(CODE, "")),
        ("placeholders", "Dear {name}, write to me@example.org.", "Hyvä {nimi}, kirjoita: me@example.org."),
        ("placeholders", "Dear {name}, write to me@example.org.", "Hyvä {name}, kirjoita minulle."),
        ("placeholders", "It took %d seconds in <b>all</b>.", "Se kesti yhteensä %d sekuntia."),
        ("placeholders", TEXTS[3][0], TEXTS[3][1].replace("https://docs.python.org/3", "sivulta")),
        ("alignment", "One.\nTwo.\nThree.\nFour.", "Yksi.\nKaksi.\nKolme."),
        ("alignment", "Where is the nearest station?", "Lähin asema on täällä."),
        ("alignment", "The nearest station is here.", "Missä on lähin asema?"),
        ("alignment", LONG[0], LONG[1][:-20]),
        (
            "alignment",
            "We met Anna, Liisa, Kalle, Pekka, Maija and Tuula there in 2023.",
            "Siellä oli aurinkoista ja lämmintä, ja me uimme joka päivä järvessä.",
        ),
    ],
)
def test_what_each_rule_is_for(rule, source, text):
    assert rule in broken(source, text)


def test_lines_that_the_translator_lost_or_did_not_end_are_known_from_itself():
    assert broken(*LONG, empty=1) == ["empty"]
    assert broken(*LONG, cut_off=1) == ["unfinished"]
    assert broken(*LONG, dataclasses.replace(CLEAN, unfinished=None), cut_off=1) == []


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("Ok", "Ok"),
        ("Barack Obama, Angela Merkel, Sauli Niinistö", "Barack Obama, Angela Merkel, Sauli Niinistö"),
        ("1675800000", "1675800000"),
        (CODE, CODE),
        ("`ls -la /home`", "`ls -la /home`"),
        ("https://example.org/a/b?c=d", "https://example.org/a/b?c=d"),
        ("| a | b |\n| --- | --- |\n| 1 | 2 |", "| a | b |\n| --- | --- |\n| 1 | 2 |"),
        ("", ""),
        ("\ud800 lone surrogate here", "\ud800 yksinäinen sijaismerkki"),
    ],
)
def test_what_need_not_be_translated_passes(source, text):
    assert broken(source, text) == []


def test_what_the_source_has_too_is_no_fault():
    assert broken("I'm sorry, but I can't do that.", "Olen pahoillani, mutta en voi tehdä sitä.") == []
    art = "==--==--==--==--==--==--==--== \\o/ ==--==--==--=="
    assert broken(f"Look: {art}", f"Katso: {art}") == []
    chant = "la la la la la " * 30
    assert "compression" not in broken(f"Sing: {chant}", f"Laula: {chant}")


def test_a_line_left_in_among_others_is_found_and_a_title_in_english_is_not():
    source = f"{LONG[0]}\n{ENGLISH}\n{LONG[0]}"
    assert broken(source, f"{LONG[1]}\n{ENGLISH}\n{LONG[1]}") == ["copy"]
    song = 'The song "The long and winding road" is often sung in the evening by people who have been friends for long.'
    text = 'Laulua "The long and winding road" laulavat iltaisin usein ihmiset, jotka ovat olleet pitkään ystäviä.'
    assert broken(song, text) == []


@pytest.mark.parametrize("mark", ["END", "<|user|>", "<|assistant|>"])
def test_leftovers_are_cut_or_dropped_and_the_source_s_own_stay(mark):
    row = conversation("r", [(LONG[0], f"{LONG[1]}\n{mark}\nmore of it")])
    found = judge(CLEAN, row, EN_FI)
    assert (found.faults, found.cuts) == ((), 1)
    assert found.cleaned.parts[0].text == LONG[1]
    dropping = dataclasses.replace(CLEAN, leftovers=Leftovers(action="drop"))
    assert judge(dropping, row, EN_FI).faults[0].rule == "leftovers"
    own = judge(CLEAN, conversation("r", [(f"Write {mark} at the end.", f"Kirjoita loppuun {mark}.")]), EN_FI)
    assert (own.faults, own.cuts) == ((), 0)
    once_more = judge(CLEAN, conversation("r", [(f"Write {mark} here.", f"Kirjoita {mark} tähän. {mark}")]), EN_FI)
    assert once_more.cleaned.parts[0].text == f"Kirjoita {mark} tähän."


def test_words_that_only_begin_like_a_mark_stay():
    assert judge(CLEAN, conversation("r", [("The ENDING.", "Se ENDING.")]), EN_FI).cuts == 0


def test_nothing_but_leftovers_is_dropped_by_the_rule_of_leftovers():
    found = judge(CLEAN, conversation("r", [(LONG[0], "END\n<|user|>")]), EN_FI)
    assert [fault.rule for fault in found.faults[:2]] == ["leftovers", "empty"]


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule in PART_RULES])
def test_every_rule_is_asked_of_every_part_whatever_its_role(rule):
    bad = {
        "leftovers": "END",
        "empty": "",
        "copy": LONG[0],
        "refusal": "Valitettavasti en voi",
        "compression": LOOP * 3,
        "alphanumeric": "#" * 90,
    }.get(rule, ENGLISH if rule == "language" else "Ilma?")
    source = LONG[0] if rule not in ("code", "placeholders") else TEXTS[3][0]
    source = "Write at least 20 words, please." if rule == "numbers" else source
    counts = {"cut_off": 1} if rule == "unfinished" else {}
    for role in ("system", "user", "assistant", "chosen", "rejected"):
        row = TranslatedRow("r", (Part("user", *TEXTS[0]), Part(role, source, bad, **counts)))
        assert (rule, 1) in {(fault.rule, fault.part) for fault in judge(CLEAN, row, EN_FI).faults}
        off = dataclasses.replace(CLEAN, **{rule: None})
        assert rule not in {fault.rule for fault in judge(off, row, EN_FI).faults}


@given(st.text(max_size=300), st.text(max_size=300))
def test_any_text_can_be_judged_and_is_judged_alike_twice(source, text):
    row = conversation("r", [(source, text)])
    assert judge(CLEAN, row, EN_FI) == judge(CLEAN, row, EN_FI)


@given(st.lists(st.sampled_from(["END", "<|user|>", "sana", "\n", " ", "<|assistant|>", "toinen"]), max_size=12))
def test_what_was_cut_has_nothing_left_to_cut(words):
    first = judge(CLEAN, conversation("r", [("END of it", " ".join(words))]), EN_FI)
    second = judge(CLEAN, first.cleaned, EN_FI)
    assert (second.cuts, second.cleaned) == (0, first.cleaned)


def test_other_languages_have_no_refusals_until_they_are_given_some():
    german = Languages("en", "de")
    text = "Es tut mir leid, aber ich kann das nicht."
    assert "refusal" not in broken(LONG[0], text, languages=german)
    told = dataclasses.replace(CLEAN, refusal=Refusal(phrases={"de": ("es tut mir leid, aber ich",)}))
    assert "refusal" in broken(LONG[0], text, told, german)


def test_a_language_that_the_identifier_does_not_know_is_refused():
    assert CLEAN.language
    check_known(CLEAN.language, "fi")
    with pytest.raises(DataError, match=r"does not know tlh: .* clean\.language=null"):
        check_known(CLEAN.language, "tlh")
    with pytest.raises(DataError, match="leaves out the target language 'fi'"):
        check_known(dataclasses.replace(CLEAN.language, among=("en", "sv")), "fi")


def test_among_some_languages_a_short_text_is_told_better():
    short = "Olet aika fiksu!"
    everywhere = dataclasses.replace(CLEAN, language=dataclasses.replace(CLEAN.language, letters=1))
    two = dataclasses.replace(everywhere, language=dataclasses.replace(everywhere.language, among=("en", "fi")))
    assert broken("You are quite clever!", short, everywhere) == ["language"]
    assert broken("You are quite clever!", short, two) == []


# Settings


def test_the_file_of_the_paper_says_what_the_defaults_are():
    document = yaml.safe_load((CONF / "paper.yaml").read_text())
    assert TypeAdapter(Clean).validate_python(document) == Clean()
    assert identity(Clean()) == {}


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_what_is_recorded_of_any_file_gives_the_same_rules_again(path):
    document = yaml.safe_load(path.read_text())
    document.pop("defaults", None)
    made = TypeAdapter(Clean).validate_python(document)
    again = TypeAdapter(Clean).validate_python(identity(made))
    assert dataclasses.replace(again, name=made.name) == made
    assert made.name == path.stem


def test_thresholds_are_options():
    (point,) = expand([["clean.language.least=0.8", "clean.length_ratio=null", "clean.leftovers.action=drop"]])
    assert identity(point.config.clean) == {
        "language": {"least": 0.8},
        "length_ratio": None,
        "leftovers": {"action": "drop"},
    }


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("clean.language.least=1.5", "less than or equal to 1"),
        ("+clean.language.most=0.5", "no such option"),
        ("clean.length_ratio.least=2", "must be below length_ratio.most"),
        ("clean.compression.least=0", "greater than 0"),
        ("clean.alignment.lines=0.5", "greater than or equal to 1"),
        ("clean.leftovers.marks=['']", "words of the prompt"),
        ("clean.order=[empty]", "each rule once"),
        ("clean.placeholders.kinds=[brackets]", "bracket"),
    ],
)
def test_wrong_settings_are_refused_at_the_door(option, said):
    with pytest.raises(KirjoError, match=said):
        expand([[option]])


def test_a_section_of_a_rule_is_frozen():
    with pytest.raises((ValidationError, dataclasses.FrozenInstanceError)):
        CLEAN.language.least = 0.1  # type: ignore[misc, union-attr]


@pytest.mark.parametrize(
    ("source", "text", "found"),
    [
        ("Write at least 20 words.", "Kirjoita vähintään 20 sanaa.", None),
        ("Write at least 20 words.", "Kirjoita vähintään 24 sanaa.", 1.0),
        ("It has 1,000 parts and 3.5 litres.", "Siinä on 1 000 osaa ja 3,5 litraa.", None),
        ("Cook for 2 of the 12.", "Keitä kahdelle 12:sta.", None),
        ("From 2 to 12.", "Kahdesta kahteentoista.", 1.0),
        ("No number", "Ei lukua 7", None),
        ("```\nx = 7\n```\nDone", "```\nx = 8\n```\nValmis", None),
    ],
)
def test_numbers_stay_what_they_are(source, text, found):
    finding = PART_RULES["numbers"](Numbers(), Part("user", source, text), EN_FI)
    assert (finding and finding.value) == found
