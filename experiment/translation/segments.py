"""A text as what is translated and what stays: lines, the blanks around them, blank lines, code.

Joining all pieces gives the text again, byte for byte; putting translations in the place of the lines keeps all else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

# A fence opens a code block; one at least as long of the same kind, alone on its line, closes it (CommonMark 4.5, but
# indented as deep as it likes: blocks stand in lists). One that is never closed reaches to the end of the text.
_FENCE = re.compile(r"[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]*)?(`{3,}|~{3,})(.*)")
# Triple backticks that open and close within one line.
_INLINE = re.compile(r"(`{3,})(?!`).+?(?<!`)\1(?!`)")
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|$)")
# What opens a line and belongs to its form: list marks, headings, quotations.
_MARKERS = re.compile(r"(?:(?:[-*+•–]|\d{1,3}[.)]|#{1,6}|>)[ \t]+)+")
_SENTENCE_END = re.compile(r"(?<=[.!?…。！？])[\"'”’»)\]]*\s+")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Piece:
    """Part of a text: a line to translate, or (``keep``) something that stays as it is."""

    text: str
    keep: bool


def pieces(text: str, keep_markers: bool) -> list[Piece]:
    """Cut a text into what is translated and what stays.

    A line without a letter (a rule, a number, a smiley) stays: there is nothing to translate.
    """
    found: list[Piece] = []
    for line, is_code in _lines(text):
        if is_code:
            found.append(Piece(line, True))
        else:
            found += _of_line(line, keep_markers)
    return _joined(found)


def rebuild(parts: list[Piece], translations: Mapping[str, str]) -> str:
    """The text with its lines replaced by their translations."""
    return "".join(piece.text if piece.keep else translations[piece.text] for piece in parts)


def code_blocks(text: str) -> list[str]:
    """What of a text is code between triple backticks, in order, with its fences."""
    blocks, block = [], ""
    for line, is_code in _lines(text):
        if is_code:
            block += line
            continue
        if block:
            blocks.append(block)
            block = ""
        blocks += [span[0] for span in _INLINE.finditer(line)]
    return [*blocks, block] if block else blocks


def sentences(line: str) -> list[Piece]:
    """The sentences of a line, and the blanks between them."""
    return _joined(_cut(line, _SENTENCE_END))


def split_long(line: str, fits: Callable[[str], bool]) -> list[Piece]:
    """A line that is too long, as pieces that fit: as many whole sentences as go together, else words, else letters."""
    found: list[Piece] = []
    for piece in _packed(_cut(line, _SENTENCE_END), fits):
        if piece.keep or fits(piece.text):
            found.append(piece)
            continue
        for smaller in _packed(_cut(piece.text, _SPACE), fits):
            found += [smaller] if smaller.keep or fits(smaller.text) else _halved(smaller.text, fits)
    return _joined(found)


def _lines(text: str) -> Iterator[tuple[str, bool]]:
    """Every line with its end, and whether it belongs to a code block."""
    fence = ""
    for found in _LINE.finditer(text):
        line = found[0]
        if not line:
            continue
        match = _FENCE.match(line)
        if fence:
            yield line, True
            if match and match[1].startswith(fence) and not match[2].strip():
                fence = ""
        elif match and not (match[1][0] == "`" and "`" in match[2]):
            fence = match[1]
            yield line, True
        else:
            yield line, False


def _of_line(line: str, keep_markers: bool) -> Iterator[Piece]:
    start = 0
    for span in _INLINE.finditer(line):
        yield from _prose(line[start : span.start()], keep_markers and start == 0)
        yield Piece(span[0], True)
        start = span.end()
    yield from _prose(line[start:], keep_markers and start == 0)


def _prose(text: str, keep_markers: bool) -> Iterator[Piece]:
    start, end = len(text) - len(text.lstrip()), len(text.rstrip())
    if keep_markers and (marker := _MARKERS.match(text, start, end)):
        start = end - len(text[marker.end() : end].lstrip())
    core = text[start:end]
    if not any(letter.isalpha() for letter in core):
        yield Piece(text, True)
        return
    yield Piece(text[:start], True)
    yield Piece(core, False)
    yield Piece(text[end:], True)


def _joined(parts: list[Piece]) -> list[Piece]:
    """What stays and stands side by side is one piece; empty ones go."""
    found: list[Piece] = []
    for piece in parts:
        if not piece.text:
            continue
        if piece.keep and found and found[-1].keep:
            found[-1] = Piece(found[-1].text + piece.text, True)
        else:
            found.append(piece)
    return found


def _cut(line: str, between: re.Pattern[str]) -> list[Piece]:
    """The line as pieces and the blanks between them."""
    found, start = [], 0
    for match in between.finditer(line):
        blanks = len(match[0]) - len(match[0].lstrip("\"'”’»)]"))
        end = match.start() + blanks
        found += [Piece(line[start:end], False), Piece(line[end : match.end()], True)]
        start = match.end()
    return [*found, Piece(line[start:], False)]


def _packed(parts: list[Piece], fits: Callable[[str], bool]) -> list[Piece]:
    """Neighbours put together for as long as they fit."""
    found: list[Piece] = []
    waiting = ""  # the blanks after the last piece
    for piece in parts:
        if piece.keep:
            waiting = piece.text
            continue
        if found and fits(found[-1].text + waiting + piece.text):
            found[-1] = Piece(found[-1].text + waiting + piece.text, False)
        else:
            found += [Piece(waiting, True), piece] if waiting else [piece]
        waiting = ""
    return [*found, Piece(waiting, True)] if waiting else found


def _halved(text: str, fits: Callable[[str], bool]) -> list[Piece]:
    if fits(text) or len(text) < 2:
        return [Piece(text, False)]
    middle = len(text) // 2
    return [*_halved(text[:middle], fits), *_halved(text[middle:], fits)]
