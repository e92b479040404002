"""lm_eval's verdicts by other means, for checkers that take long: some as long as the square of the text's length.

Each function takes lm_eval's own checker, built, and gives a check with the same verdict; the tests compare the two on
all kinds of texts. The expressions named in the docstrings are lm_eval's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from experiment.scoring import punkt
from experiment.scoring.rules import compare
from experiment.scoring.text import Check, Text

_NOT_SPACE = re.compile(r"\S")


def placeholders(instruction: Any) -> Check:
    r"""``\[.*?\]``: every opening bracket looks for a closing one to the end of its line."""
    wanted: int = instruction._num_placeholders
    return lambda text: sum(map(_bracketed, text.text.split("\n"))) >= wanted


def _bracketed(line: str) -> int:
    count, start = 0, line.find("[")
    while start >= 0:
        end = line.find("]", start + 1)
        if end < 0:
            break
        count += 1
        start = line.find("[", end + 1)
    return count


def bullets(instruction: Any) -> Check:
    r"""``^\s*\*[^\*].*$`` and ``^\s*-.*$``: every empty line looks for the bullet behind all that follow."""
    wanted: int = instruction._num_bullets
    return lambda text: _bulleted(text.text, "*") + _bulleted(text.text, "-") == wanted


def _bulleted(text: str, mark: str) -> int:
    count = start = 0
    while True:
        found = _NOT_SPACE.search(text, start)
        if found is None:
            return count
        rest = found.start()
        if text[rest] == mark and (mark == "-" or text[rest + 1 : rest + 2] not in ("", "*")):
            count += 1
            # "*" takes one more character, which may be the line break: then the next line belongs to it.
            rest += 1 if mark == "-" else 2
        end = text.find("\n", rest)
        if end < 0:
            return count
        start = end + 1


def title(_instruction: Any) -> Check:
    r"""``<<[^\n]+>>``: every opening looks for a closing to the end of its line."""
    return lambda text: any(map(_titled, text.text.split("\n")))


def _titled(line: str) -> bool:
    start, end = line.find("<<"), line.rfind(">>")
    return 0 <= start <= end - 3 and bool(line[start : end + 2].lstrip("<").rstrip(">").strip())


def postscript(instruction: Any) -> Check:
    r"""``\s*`` and a marker: whether blanks stand before the marker makes no difference, but looking does."""
    marker: str = instruction._postscript_marker
    if marker == "P.P.S":
        pattern = re.compile(r"p\.\s?p\.\s?s")
    elif marker == "P.S.":
        pattern = re.compile(r"p\.\s?s\.")
    elif marker[:1].isalnum():
        pattern = re.compile(marker.lower() + ".*$", re.MULTILINE)
    else:  # might not be the same without the blanks before it
        pattern = re.compile(r"\s*" + marker.lower() + ".*$", re.MULTILINE)
    return lambda text: pattern.search(text.text.lower()) is not None


def json_format(instruction: Any) -> Check:
    """Nesting so deep that Python's parser gives up, where lm_eval ends in an error, is not JSON."""

    def check(text: Text) -> bool:
        try:
            return bool(instruction.check_following(text.text))
        except RecursionError:
            return False

    return check


def response_language(instruction: Any) -> Check:
    """langdetect, seeded and asked once a text; a text without features counts as followed."""
    wanted: str = instruction._language
    return lambda text: text.language in (wanted, None)


def english_capital(_instruction: Any) -> Check:
    """All capitals, and English or without features."""
    return lambda text: text.text.isupper() and text.language in ("en", None)


def english_lowercase(_instruction: Any) -> Check:
    """No capitals, and English or without features."""
    return lambda text: text.text.islower() and text.language in ("en", None)


def capital_words(instruction: Any) -> Check:
    """Words by NLTK, but a sentence that several readings have is split once, and none without capitals."""
    count, wanted, relation = punkt.capital_words("english"), instruction._frequency, instruction._comparison_relation
    return lambda text: compare(relation, count(text.text), wanted)


LINEAR: dict[str, Callable[[Any], Check]] = {
    "detectable_content:number_placeholders": placeholders,
    "detectable_content:postscript": postscript,
    "detectable_format:number_bullet_lists": bullets,
    "detectable_format:title": title,
    "detectable_format:json_format": json_format,
    "language:response_language": response_language,
    "change_case:capital_word_frequency": capital_words,
    "change_case:english_capital": english_capital,
    "change_case:english_lowercase": english_lowercase,
}
