"""Translation pairs for pretraining: sentences of the demo world in two languages, in the form that Poro's had."""

from __future__ import annotations

import re
from collections.abc import Iterator

from experiment.errors import DataError
from experiment.sources.demo.lexicon import LANGUAGES, Language
from experiment.sources.demo.rows import MOST_ROWS, checked, exchanges

# By target language, as in arXiv 2404.01856.
INSTRUCTIONS: dict[Language, str] = {"fi": "Käännä suomeksi", "en": "Käännä englanniksi"}

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def translation_pairs(direction: str, rows: int, seed: int) -> list[str]:
    """The first distinct sentences of the conversations of a seed, each with its translation: ``en-fi``, ``fi-en``."""
    source, target = _languages(direction)
    pairs = _pairs(source, target, rows, seed)
    return [f"<|user|>{INSTRUCTIONS[target]}: {before} <|assistant|>{after}" for before, after in pairs]


def aligned_sentences(language: str, rows: int, seed: int) -> list[str]:
    """Distinct sentences in one language; those of the other are their translations, line by line."""
    known = checked(language, "texts", 0)
    place = LANGUAGES.index(known)
    return [pair[place] for pair in _pairs(LANGUAGES[0], LANGUAGES[1], rows, seed)]


def _pairs(source: Language, target: Language, rows: int, seed: int) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    conversations = 256
    while len(found) < rows:
        for before, after in _sentences(source, target, conversations, seed):
            found.setdefault(before, after)
        if conversations == MOST_ROWS["conversations"] and len(found) < rows:
            raise DataError(
                f"The demo can make {len(found)} distinct sentences of seed {seed}, not {rows}: ask for fewer."
            )
        conversations = min(2 * conversations, MOST_ROWS["conversations"])
    return list(found.items())[:rows]


def _languages(direction: str) -> tuple[Language, Language]:
    names = direction.split("-")
    if len(names) != 2 or names[0] == names[1]:
        raise DataError(f"The demo has no translation {direction!r}: name two of {', '.join(LANGUAGES)}, as en-fi.")
    source, target = (checked(name, "texts", 0) for name in names)
    return source, target


def _sentences(source: Language, target: Language, rows: int, seed: int) -> Iterator[tuple[str, str]]:
    for exchange in exchanges(rows, seed):
        for turn in exchange.turns:
            for text in (turn.user, turn.assistant):
                yield from _aligned(text(source), text(target))


def _aligned(before: str, after: str) -> Iterator[tuple[str, str]]:
    """The sentences of two texts, line by line, where both have as many: some answers say more in one language."""
    for one, other in zip(before.splitlines(), after.splitlines(), strict=False):
        left, right = _SENTENCE_END.split(one.strip()), _SENTENCE_END.split(other.strip())
        if len(left) == len(right):
            yield from ((a, b) for a, b in zip(left, right, strict=True) if any(letter.isalpha() for letter in a))
