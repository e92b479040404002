"""What of a text is prose: no code, no addresses; and the words and lines of it."""

from __future__ import annotations

import functools
import re

from experiment.translation.segments import code_blocks

_INLINE_CODE = re.compile(r"`[^`\n]+`")
ADDRESS = re.compile(r"(?:https?://|www\.)\S+|(?<!\S)\S+@\S+\.\w+")
WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
# Marks that are frequent in code, formulas, tables and drawings, and rare in sentences.
_SYMBOLS = frozenset("{}()[]<>=;_/\\|#*+$&^~%@")
_MOST_SYMBOLS = 0.12  # of a line's characters; lines with more are code


@functools.lru_cache(maxsize=64)
def prose(text: str) -> str:
    """The text without code (fenced, within a line, or lines that look so), addresses and e-mail addresses."""
    for block in code_blocks(text):
        text = text.replace(block, "\n")
    text = ADDRESS.sub(" ", _INLINE_CODE.sub(" ", text))
    return "\n".join(line for line in text.split("\n") if not _looks_like_code(line))


def letters(text: str) -> int:
    """How many letters a text has."""
    return sum(map(str.isalpha, text))


def lines(text: str) -> int:
    """How many lines are not blank."""
    return sum(1 for line in text.split("\n") if line.strip())


def _looks_like_code(line: str) -> bool:
    solid = "".join(line.split())
    return solid.endswith((";", "{", "}")) or sum(map(_SYMBOLS.__contains__, solid)) > _MOST_SYMBOLS * len(solid)
