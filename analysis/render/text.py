"""What all renderers share: clean text, what a cell shows, which columns stand left, what a note is made of."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from analysis.table import Cell, Kind, Origin, Table

# Explicit bidirectional embeddings, overrides and isolates: they would reorder what stands beside them.
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_BREAKS = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")

NUMBERS: frozenset[Kind] = frozenset({"published", "measured", "interval", "difference", "p"})


def lines(text: str) -> str:
    """The text without what no format can hold (NUL, escape sequences, lone surrogates ...); line ends are ``\\n``."""
    return "".join(_visible(character) for character in _BREAKS.sub("\n", text))


def plain(text: str) -> str:
    """The text as ``lines`` gives it, on one line."""
    return lines(text).replace("\n", " ").replace("\t", " ")


def _visible(character: str) -> str:
    if character in "\n\t":
        return character
    point = ord(character)
    nothing = point & 0xFFFE == 0xFFFE or 0xFDD0 <= point <= 0xFDEF  # noncharacters
    if nothing or character in _BIDI or unicodedata.category(character) in ("Cc", "Cs"):
        return "\ufffd"
    return character


def shown(cell: Cell) -> str:
    """What is printed of a cell, on one line."""
    if cell.kind == "missing":
        return "missing"
    return "-" if cell.kind == "empty" else plain(cell.text)


def left(table: Table) -> tuple[bool, ...]:
    """For each column whether it is aligned left: the first, and those that hold verdicts in words and no numbers."""
    kinds = [{row[index].kind for panel in table.panels for row in panel.rows} for index in range(len(table.headings))]
    return tuple(index == 0 or ("verdict" in found and not found & NUMBERS) for index, found in enumerate(kinds))


def settings(origins: Collection[Origin]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The settings that all the runs have in common, and by run what it has otherwise."""
    first = next(iter(origins)).settings if origins else {}
    common = {
        name: value
        for name, value in first.items()
        if all(name in origin.settings and origin.settings[name] == value for origin in origins)
    }
    own = {
        origin.run: {name: value for name, value in origin.settings.items() if name not in common} for origin in origins
    }
    return common, own


def blocks(notes: Sequence[str]) -> Iterator[tuple[bool, str]]:
    """The notes as (is it a command, text on one line): a line that begins with two spaces is a command."""
    for note in notes:
        words: list[str] = []
        for line in lines(note).split("\n"):
            if line.startswith("  "):
                if words:
                    yield False, plain(" ".join(words))
                    words = []
                yield True, plain(line.strip())
            elif line.strip():
                words.append(line.strip())
        if words:
            yield False, plain(" ".join(words))
