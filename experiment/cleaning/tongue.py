"""Rules on the language of a translation: identified, or left as it was in the source."""

from __future__ import annotations

import functools
import re
from typing import Any

from experiment.cleaning.finding import Finding, Languages, share
from experiment.cleaning.prose import WORD, letters, prose
from experiment.cleaning.settings import Copy, Language
from experiment.errors import DataError
from experiment.translation.rows import Part

_CERTAIN = 0.9  # as for the target language in the papers
_DIGITS = re.compile(r"\d+")


def language(rule: Language, part: Part, languages: Languages) -> Finding | None:
    """The identifier's probability of the target language, of what is prose."""
    text = _DIGITS.sub(" ", prose(part.text))
    if letters(text) < rule.letters:
        return None
    ranked = identify(text, rule.among)
    found = dict(ranked).get(languages.target, 0.0)
    best, probability = ranked[0]
    if found >= rule.least:
        return None
    return Finding(round(found, 4), f"{best} {probability:.2f}")


def copy(rule: Copy, part: Part, languages: Languages) -> Finding | None:
    """The share of the source's word groups that stand in the translation, and the longest passage of them."""
    groups = _groups(part.source, rule.group)
    judged = [not names for _, names in groups]
    if not any(judged):
        return None
    there = {words for words, _ in _groups(part.text, rule.group)}
    copied = [words in there for words, _ in groups]
    found = share(sum(c and j for c, j in zip(copied, judged, strict=True)), sum(judged))
    if found > rule.most:
        return Finding(found, "left as it was")
    start, length = _longest([c and j for c, j in zip(copied, judged, strict=True)])
    if length > rule.run:
        words = [group[0] for group, _ in groups[start : start + length]] + list(groups[start + length - 1][0][1:])
        if _is_in(languages.source, " ".join(words)):
            return Finding(found, f"{len(words)} words in a row left as they were")
    return None


def identify(text: str, among: tuple[str, ...]) -> list[tuple[str, float]]:
    """Languages (ISO 639-1) by probability, the likeliest first."""
    # What is no character (half a surrogate pair) cannot be encoded.
    ranked = _identifier(among).rank(text.encode("utf-8", "replace").decode())
    return [(str(name), float(probability)) for name, probability in ranked]


def check_known(rule: Language, target: str) -> None:
    """Refuse a language that the identifier cannot find.

    Raises:
        DataError: says which option to set.
    """
    known = _identifier(()).labels
    if unknown := {target, *rule.among} - set(known):
        raise DataError(
            f"the identifier (py3langid) does not know {', '.join(sorted(unknown))}: no text would be found to be in "
            "it; switch the rule off with clean.language=null"
        )
    if rule.among and target not in rule.among:
        raise DataError(f"clean.language.among leaves out the target language '{target}'; name it, or leave it empty")


@functools.lru_cache(maxsize=4)
def _identifier(among: tuple[str, ...]) -> Any:
    """py3langid with probabilities, an instance of our own: restricting one to some languages changes it."""
    from py3langid import langid

    made = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    if among:
        made.set_languages(list(among))
    return made


def _groups(text: str, size: int) -> list[tuple[tuple[str, ...], bool]]:
    """All runs of ``size`` words of what is prose, in small letters, and whether most of them are names."""
    words = WORD.findall(prose(text))
    small = [word.casefold() for word in words]
    capital = [not word[0].islower() for word in words]
    return [
        (tuple(small[start : start + size]), sum(capital[start : start + size]) * 2 >= size)
        for start in range(len(words) - size + 1)
    ]


def _longest(flags: list[bool]) -> tuple[int, int]:
    """Where the longest run of true begins, and how long it is."""
    longest = (0, 0)
    run = 0
    for index, flag in enumerate(flags):
        run = run + 1 if flag else 0
        if run > longest[1]:
            longest = (index - run + 1, run)
    return longest


def _is_in(source_language: str, passage: str) -> bool:
    """Whether a passage is in the source language; of one that the identifier does not know it is believed."""
    if source_language not in _identifier(()).labels:
        return True
    best, probability = identify(passage, ())[0]
    return best == source_language and probability >= _CERTAIN
