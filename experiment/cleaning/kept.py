"""Rules on what stands in the source and must stand in the translation: code, placeholders, numbers, names, lines."""

from __future__ import annotations

import re

from experiment.cleaning.finding import Finding, Languages, share
from experiment.cleaning.prose import lines, prose
from experiment.cleaning.settings import Alignment, Code, Numbers, PlaceholderKind, Placeholders
from experiment.translation.rows import Part
from experiment.translation.segments import code_blocks

_PLACEHOLDERS: dict[PlaceholderKind, re.Pattern[str]] = {
    "bracket": re.compile(r"\[[^\[\]\n]{1,40}\](?!\()"),
    "brace": re.compile(r"\{\{?\w[\w.]*\}\}?"),
    "percent": re.compile(r"%(?:\(\w+\))?[sdif]\b"),
    # A tag by its name: what an attribute says may be translated.
    "tag": re.compile(r"(?<!<)</?[a-zA-Z][\w-]*(?=>|/>|\s[^<>\n]*=[^<>\n]*>)"),
    "url": re.compile(r"(?:https?://|www\.)[\w./?=&%#~:+,;@!-]*[\w/]"),
    "email": re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+\.\w[\w.-]*\w"),
}
_NUMBER = re.compile(r"\d{2,}")
# Digits with what sets them apart within a number: 1,000 is 1 000 in Finnish, and 3.5 is 3,5.
_GROUPED = re.compile(r"\d[\d.,:'\u00a0\u202f]*")
_NO_DIGIT = re.compile(r"\D+")
_MAY_BE_SPACED = 4  # digits: from so many on blanks may stand within a number
_WORD = re.compile(r"[^\W_]+")
_QUESTION = re.compile("[?？؟\u037e]")
_SENTENCE_ENDS = frozenset(".!?。！।")
_CLOSING = "\"'”’»›)]}*_` \t\r\n"
_STEM = 4  # letters of a name that inflection leaves alone


def code(rule: Code, part: Part, _languages: Languages) -> Finding | None:
    """Code blocks of the source that the translation has not."""
    blocks = [block.strip("\r\n") for block in code_blocks(part.source)]
    lost = [block for block in blocks if block not in part.text]
    if not lost:
        return None
    rows = [row.strip() for block in blocks for row in block.splitlines() if row.strip()]
    there = {row.strip() for row in part.text.splitlines()}
    kept = share(sum(row in there for row in rows), len(rows))
    if rule.least < 1 and kept >= rule.least:
        return None
    return Finding(kept, f"{len(lost)} of {len(blocks)} code blocks changed or lost")


def placeholders(rule: Placeholders, part: Part, _languages: Languages) -> Finding | None:
    """Placeholders of the source, code left out, that the translation has not."""
    text = part.source
    for block in code_blocks(text):
        text = text.replace(block, "\n")
    wanted = {found for kind in rule.kinds for found in _PLACEHOLDERS[kind].findall(text)}
    lost = sorted(found for found in wanted if found not in part.text)
    if not lost or share(len(lost), len(wanted)) <= rule.most_lost:
        return None
    return Finding(share(len(lost), len(wanted)), f"lost: {' '.join(lost[:3])}")


def numbers(rule: Numbers, part: Part, _languages: Languages) -> Finding | None:
    """Numbers of the source's prose that the translation has not, however their digits are set apart."""
    wanted, there = _digits(prose(part.source)), set(_digits(part.text))
    spaced = _NO_DIGIT.sub("", part.text)
    lost = [one for one in wanted if one not in there and not (len(one) >= _MAY_BE_SPACED and one in spaced)]
    if not lost or share(len(lost), len(wanted)) <= rule.most_lost:
        return None
    return Finding(share(len(lost), len(wanted)), f"lost: {' '.join(lost[:3])}")


def _digits(text: str) -> list[str]:
    """The numbers of a text, each by its digits alone."""
    return [_NO_DIGIT.sub("", found) for found in _GROUPED.findall(text)]


def alignment(rule: Alignment, part: Part, _languages: Languages) -> Finding | None:
    """Lines that one side has and the other has not; numbers and names that are not found again."""
    if not part.source.strip() or not part.text.strip():
        return None
    source, text = lines(part.source), lines(part.text)
    if max(source, text) > rule.lines * min(source, text):
        return Finding(share(text, source), f"{text} lines for {source}")
    if rule.marks and (why := _marks_differ(part)):
        return Finding(share(len(part.text), len(part.source)), why)
    wanted = anchors(part.source)
    if len(wanted) < rule.anchors:
        return None
    there = part.text.casefold()
    found = share(sum(anchor in there for anchor in wanted), len(wanted))
    if found >= rule.least:
        return None
    return Finding(found, f"not found: {' '.join(sorted(wanted)[:4])}")


def anchors(text: str) -> set[str]:
    """Numbers of two digits or more, and the stems of names and abbreviations within sentences, in small letters."""
    text = prose(text)
    found = set(_NUMBER.findall(text))
    for match in _WORD.finditer(text):
        word = match[0]
        inner = any(map(str.isupper, word[1:])) or any(map(str.isdigit, word))
        if len(word) >= _STEM and word[0].isupper() and (inner or _within_sentence(text, match.start())):
            found.add(word[:_STEM].casefold())
    return found


def _marks_differ(part: Part) -> str | None:
    source, text = (_QUESTION.sub("?", side) for side in (part.source, part.text))
    if "?" in source and "?" not in text:
        return "the question is gone"
    ends = _end(source), _end(text)
    if ends[0] in _SENTENCE_ENDS and ends[1].isalnum() and len(text) < len(source):
        return "breaks off"
    if "?" in ends and set(ends) <= _SENTENCE_ENDS and ends[0] != ends[1]:
        return "a question in the place of a statement" if ends[1] == "?" else "a statement in the place of a question"
    return None


def _end(text: str) -> str:
    """The last character, quotation marks, brackets and formatting left out."""
    return text.rstrip().rstrip(_CLOSING)[-1:]


def _within_sentence(text: str, start: int) -> bool:
    """Whether a word stands before this place: after anything but a word or a comma a capital is no sign of a name."""
    before = start - 1
    while before >= 0 and text[before] == " ":
        before -= 1
    return before >= 0 and (text[before].isalnum() or text[before] == ",")
