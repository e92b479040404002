"""Keywords in any inflected form: two words are the same if they have the same lemma.

Lemmas are simplemma's (a word list with fallbacks). Of 62 common Finnish forms (kaupan, käden, lapsia, juoksin) 56 have
the lemma of their word; NLTK's Snowball stemmer, which leaves consonant gradation as it is, makes 20 of them one with
it (``python -m benchmarks.inflection``; of 10 pairs of like words neither makes one). Limits: a form that belongs to
two words has the lemma of one of them, and words that no list has (names, new compounds) are the same only in the same
form.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from experiment.scoring.rules import Asked, Rule, compare
from experiment.scoring.text import Check

# Letters and digits, with what Finnish (and Swedish) puts inside a word: EU:n, linja-auto, vaa'an (U+2011 is a hyphen
# that does not break), and inside a number: 1,5 and 12.30 and 30.6.2024 and 50 000.
WORD = re.compile(
    r"(?<!\w)\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?!\d)(?:[:,-]\w+)*"
    r"|\w+(?:(?:[:'’´\u2011-]|(?<=\d)[.,](?=\d))\w+)*"
)
_HYPHENS = str.maketrans({"\u2011": "-", "´": "'", "’": "'"})


def words(text: str) -> list[str]:
    """The words of a text in lower case, as they stand."""
    return WORD.findall(unicodedata.normalize("NFC", text).lower().translate(_HYPHENS))


@dataclass(frozen=True)
class Lemmas:
    """The lemmas of words in a language (ISO 639-1)."""

    language: str

    def of(self, text: str) -> list[str]:
        """The lemma of each word of a text, in order."""
        return [_lemma(word, self.language) for word in words(text)]


@functools.lru_cache(maxsize=1 << 16)
def _lemma(word: str, language: str) -> str:
    from simplemma import lemmatize

    return str(lemmatize(word, lang=language)).lower()


def occurrences(text: Sequence[str], phrase: Sequence[str]) -> int:
    """How often the words of a phrase stand in a text one after another."""
    size = len(phrase)
    if not size:
        return 0
    first = phrase[0]
    return sum(word == first and list(text[place : place + size]) == list(phrase) for place, word in enumerate(text))


def keywords(lemmas: Lemmas) -> Rule:
    """Every keyword is there, as it is or inflected."""

    def rule(asked: Asked) -> Check:
        wanted: list[str] = list(asked.kwargs["keywords"])
        phrases = [lemmas.of(word) for word in wanted]
        plain = [re.compile(word, re.IGNORECASE) for word in wanted]

        def check(text: str) -> bool:
            missing = [phrase for phrase, pattern in zip(phrases, plain, strict=True) if not pattern.search(text)]
            if not missing:
                return True
            there = lemmas.of(text)
            return all(occurrences(there, phrase) for phrase in missing)

        return lambda text: check(text.text)

    return rule


def frequency(lemmas: Lemmas) -> Rule:
    """The keyword is there as often as asked for, its inflected forms counted."""

    def rule(asked: Asked) -> Check:
        word = str(asked.kwargs["keyword"]).strip()
        phrase, plain = lemmas.of(word), re.compile(word, re.IGNORECASE)

        def check(text: str) -> bool:
            # lm_eval counts the keyword inside longer words too, and that stays counted.
            found = max(occurrences(lemmas.of(text), phrase), len(plain.findall(text)))
            return compare(asked.kwargs["relation"], found, asked.kwargs["frequency"])

        return lambda text: check(text.text)

    return rule


def forbidden(lemmas: Lemmas) -> Rule:
    """No forbidden word is there, in any form."""

    def rule(asked: Asked) -> Check:
        phrases = [lemmas.of(word) for word in asked.kwargs["forbidden_words"]]

        def check(text: str) -> bool:
            there = lemmas.of(text)
            return not any(occurrences(there, phrase) for phrase in phrases)

        return lambda text: asked.check(text) and check(text.text)

    return rule


def paragraph_start(read: Callable[[str], list[str]]) -> Rule:
    """The paragraph begins with the word, marks around it aside; ``read`` gives words in the form to compare."""

    def rule(asked: Asked) -> Check:
        wanted = read(str(asked.kwargs["first_word"]))
        nth, number = asked.kwargs["nth_paragraph"], asked.kwargs["num_paragraphs"]

        def check(text: str) -> bool:
            paragraphs = text.split("\n\n")
            if not 0 < nth <= len(paragraphs) or sum(bool(part.strip()) for part in paragraphs) != number:
                return False
            return bool(wanted) and read(" ".join(paragraphs[nth - 1].split()[:1])) == wanted

        return lambda text: asked.check(text) or check(text.text)

    return rule
