"""Fits columns of text into a width: cells are broken between words, and nothing is ever cut off."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.cells import cell_len, chop_cells

# What is kept together while there is room: an interval or fraction in brackets, else a word.
_GROUP = re.compile(r"\[[^\[\]]*\]|\([^()]*\)|\S+")
_WORD = re.compile(r"\S+")
# No word needs more than this; longer ones are broken anywhere.
_LONGEST_WORD = 24


def wrap(text: str, width: int) -> list[str]:
    """The text in lines of at most ``width`` terminal columns, brackets kept whole where they fit in."""
    if cell_len(text) <= width:
        return [text]
    pieces: list[str] = []
    for group in _GROUP.findall(text):
        for word in [group] if cell_len(group) <= width else _WORD.findall(group):
            pieces += [word] if cell_len(word) <= width else chop_cells(word, width)
    result: list[str] = []
    for piece in pieces:
        if result and cell_len(result[-1]) + 1 + cell_len(piece) <= width:
            result[-1] += " " + piece
        else:
            result.append(piece)
    return result or [""]


def widths(columns: Sequence[Sequence[str]], width: int) -> tuple[list[int], int] | None:
    """The width of each column (its heading first) and of the gap between them; None when they do not fit in at all.

    Columns are made narrower from the right: first headings are broken, then cells into two lines, then as far as
    their words allow. The first column, which names the rows, comes last.
    """
    choices: list[tuple[int, ...]] = [_choices(texts) for texts in columns]
    chosen = [choice[0] for choice in choices]
    gaps = len(columns) - 1
    for gap in (2, 1):
        if sum(chosen) + gap * gaps <= width:
            return chosen, gap
    for level in (1, 2, 3):
        for index in [*range(gaps, 0, -1), 0]:
            chosen[index] = choices[index][level]
            if sum(chosen) + gaps <= width:
                return _widened(chosen, choices, width - gaps), 1
    return None


def _choices(texts: Sequence[str]) -> tuple[int, int, int, int]:
    """The widths at which all is on one line, all but the heading, on two lines, or as many as there are words."""
    full, body = max([1, *map(cell_len, texts)]), max([1, *map(cell_len, texts[1:])])
    words = [[cell_len(word) for word in _WORD.findall(text)] for text in texts]
    heading = max([body, *words[0]])
    least = min(full, _LONGEST_WORD, max([1, *(length for text in words for length in text)]))
    two = next((w for w in range(least, heading) if all(len(wrap(text, w)) <= 2 for text in texts)), heading)
    return full, heading, two, least


def _widened(chosen: list[int], choices: list[tuple[int, ...]], room: int) -> list[int]:
    """Hands out again what the last step saved too much, to the columns that can use it as a whole."""
    result = list(chosen)
    for index, options in enumerate(choices):
        for option in options:
            if option > result[index] and sum(result) - result[index] + option <= room:
                result[index] = option
                break
    return result
