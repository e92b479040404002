"""Finnish. ``paper``: as the harness of arXiv 2503.09407 judged; ``finnish``: right for Finnish; then inflected too.

That harness, a fork of lm_eval, had Finnish constrained responses, but asked for English in ``change_case`` and split
sentences as English ones. It also had Finnish words where kwargs are missing ("Jakso" for sections, closing phrases);
a missing kwarg is an error here, so these decide nothing in ``paper``.
"""

from __future__ import annotations

from experiment.scoring.inflection import WORD, Lemmas, forbidden, frequency, keywords, paragraph_start
from experiment.scoring.punkt import capital_words, sentences
from experiment.scoring.rules import (
    RuleSet,
    counted,
    ends,
    letter_count,
    matches,
    one_of,
    own_language,
    quoted,
    sections,
    translated,
)

ANSWERS = ("Vastaukseni on kyllä.", "Vastaukseni on ei.", "Vastaukseni on ehkä.")
ENGLISH_ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
CLOSINGS = ("Onko sinulla muita kysymyksiä?", "Voinko auttaa sinua jollakin muulla?")
SECTIONS = ("Jakso", "Osio", "Osa", "Luku", "Kappale", "Kohta")
# Finnish writes ”so” or »so», and " on a typewriter.
QUOTATION_MARKS = '"”“„»«'


def count_words(text: str) -> int:
    """Words as Finnish writes them: ``EU:n`` and ``linja-auto`` are one each."""
    return sum(1 for _ in WORD.finditer(text))


_PAPER = RuleSet(
    "paper",
    1,
    "lm_eval's rules with Finnish constrained responses, as in arXiv 2503.09407",
    rules={"detectable_format:constrained_response": one_of(ANSWERS, ())},
)

_SECTIONS = sections(SECTIONS)

_FINNISH = RuleSet(
    "finnish",
    1,
    "right for Finnish: case rules, sentences, words, letters, stock phrases",
    extends="paper",
    punkt=("finnish",),
    rules={
        "change_case:english_capital": own_language(str.isupper),
        "change_case:english_lowercase": own_language(str.islower),
        "change_case:capital_word_frequency": counted(
            capital_words("finnish"), "capital_frequency", "capital_relation"
        ),
        "length_constraints:number_sentences": counted(sentences("finnish"), "num_sentences", "relation"),
        "length_constraints:number_words": counted(count_words, "num_words", "relation"),
        "keywords:letter_frequency": letter_count,
        "detectable_format:constrained_response": one_of(ANSWERS, ENGLISH_ANSWERS),
        "detectable_format:multiple_sections": translated(
            "section_spliter",
            {
                "Section": _SECTIONS,
                "SECTION": _SECTIONS,
                "PARAGRAPH": sections(["Kappale"]),
                "Day": sections(["Päivä"]),
                "Audience": sections(["Yleisö"]),
            },
        ),
        "detectable_content:postscript": translated(
            "postscript_marker",
            {
                "P.S.": matches(r"\b(?:p\.?\s?s|jk)\b[.:]|\bjälkikirjoitus\b"),
                "P.P.S": matches(r"\bp\.?\s?p\.?\s?s\b"),
            },
        ),
        "startend:end_checker": translated(
            "end_phrase",
            {"Any other questions?": ends(CLOSINGS), "Is there anything else I can help with?": ends(CLOSINGS)},
        ),
        "startend:quotation": quoted(QUOTATION_MARKS),
    },
)

_LEMMAS = Lemmas("fi")

_INFLECTED = RuleSet(
    "finnish_inflected",
    1,
    "the rules of finnish, with keywords in any inflected form",
    extends="finnish",
    packages=("simplemma",),
    load=lambda: _LEMMAS.of("talo"),
    rules={
        "keywords:existence": keywords(_LEMMAS),
        "keywords:frequency": frequency(_LEMMAS),
        "keywords:forbidden_words": forbidden(_LEMMAS),
        "length_constraints:nth_paragraph_first_word": paragraph_start(_LEMMAS),
    },
)

RULE_SETS = (_PAPER, _FINNISH, _INFLECTED)
