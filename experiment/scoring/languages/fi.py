"""Finnish. ``paper``: as the harness of arXiv 2503.09407 judged; ``finnish``: right for Finnish; then inflected too.

That harness, a fork of lm_eval, had Finnish constrained responses, but asked for English in ``change_case`` and split
sentences as English ones. It also had Finnish words ("Jakso" for sections, closing phrases). That these act only where
kwargs are missing, as in lm_eval, is our inference, not the paper's word; a missing kwarg is an error here, so they
decide nothing in ``paper``.
"""

from __future__ import annotations

from experiment.scoring.inflection import Lemmas, forbidden, frequency, keywords, paragraph_start, words
from experiment.scoring.punkt import sentences
from experiment.scoring.rules import (
    RuleSet,
    begins,
    counted,
    ends,
    letter_count,
    one_of,
    own_language,
    quoted,
    sections,
    translated,
)

ANSWERS = ("Vastaukseni on kyllä.", "Vastaukseni on ei.", "Vastaukseni on ehkä.")
ENGLISH_ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
CLOSINGS = ("Onko sinulla muita kysymyksiä?", "Voinko auttaa sinua jollakin muulla?")
ENGLISH_CLOSINGS = ("Any other questions?", "Is there anything else I can help with?")
# How a prompt says that something comes last: lopeta, päätä, lopuksi, viimeinen.
CLOSING = r"\b(?:lope|lopu|loppu|päätt?|päät|viimei)\w*"
SECTIONS = ("Jakso", "Osio", "Osa", "Luku", "Kappale", "Kohta")
# Finnish writes ”so” or »so», and " on a typewriter.
QUOTATION_MARKS = '"”“„»«'
# Those that NLTK's Finnish model does not know, or not all of; it splits sentences after them.
_ABBREVIATIONS = """
    alk ao ed ekr em ent esim huom ilm jaa jkr jne joht kand ks kts lyh läh maist mm mrd mts muk n nim nk ns nro nyk oik
    os p pj po prof pros puh puhj pvm rva s st synt t tav tms toht toim tri ts tuom v vars vas vrt vt yht ylim ym yms
"""
ABBREVIATIONS = frozenset(_ABBREVIATIONS.split())


def count_words(text: str) -> int:
    """Words as Finnish writes them: ``EU:n``, ``linja-auto``, ``1,5``, ``50 000`` and ``30.6.2024`` are one each."""
    return len(words(text))


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
    # Words in capitals are counted as lm_eval does: where a sentence ends makes no difference to their number.
    "right for Finnish: case rules, sentences, words, letters, stock phrases",
    extends="paper",
    punkt=("finnish",),
    composed=True,
    rules={
        "change_case:english_capital": own_language(str.isupper),
        "change_case:english_lowercase": own_language(str.islower),
        "length_constraints:number_sentences": counted(
            sentences("finnish", ABBREVIATIONS), "num_sentences", "relation"
        ),
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
                "P.S.": begins(r"(?:p\.?\s?s|j\.?\s?k)\b|jälkikirjoitus[*_ ]*(?:[.:–-]|$)"),
                "P.P.S": begins(r"p\.?\s?p\.?\s?s\b"),
            },
        ),
        "startend:end_checker": ends(dict.fromkeys(ENGLISH_CLOSINGS, CLOSINGS), QUOTATION_MARKS, CLOSING),
        "length_constraints:nth_paragraph_first_word": paragraph_start(words),
        "startend:quotation": quoted(QUOTATION_MARKS),
    },
)

_LEMMAS = Lemmas("fi")

_INFLECTED = RuleSet(
    "finnish_inflected",
    1,
    "as finnish, with keywords in any inflected form; forms that two words share (kuusi, kuusta; voi, voinut) "
    "count for either, so a forbidden word may refuse a right answer",
    extends="finnish",
    composed=True,
    packages=("simplemma",),
    load=lambda: _LEMMAS.of("talo"),
    rules={
        "keywords:existence": keywords(_LEMMAS),
        "keywords:frequency": frequency(_LEMMAS),
        "keywords:forbidden_words": forbidden(_LEMMAS),
        "length_constraints:nth_paragraph_first_word": paragraph_start(_LEMMAS.of),
    },
)

RULE_SETS = (_PAPER, _FINNISH, _INFLECTED)
