"""Texts to lines and back: what is translated, what stays, and that nothing is lost."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from experiment.translation.segments import Piece, code_blocks, pieces, rebuild, split_long

SHARED = Path(os.environ.get("KIRJO_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
OASST = SHARED / "oasst1" / "validation.jsonl"

# Texts that are likely to hold what matters: fences, list marks, blanks of all kinds, line ends of all kinds.
FORMS = (
    "```",
    "````",
    "~~~",
    "`",
    "\n",
    "\r\n",
    "\r",
    "\n\n",
    "- ",
    "1. ",
    "## ",
    "> ",
    " ",
    "\t",
    "\u00a0",
    "\u2028",
    "END",
    "{src}",
)
TEXTS = st.lists(st.sampled_from(FORMS) | st.text(max_size=12), max_size=30).map("".join)


def lines(text: str, keep_markers: bool = True) -> list[str]:
    return [piece.text for piece in pieces(text, keep_markers) if not piece.keep]


@given(TEXTS, st.booleans())
@example("```\ncode", True)
@example("a```b```c ```d", True)
@example("\n \n\n", False)
def test_the_pieces_are_the_text(text, keep_markers):
    found = pieces(text, keep_markers)
    assert "".join(piece.text for piece in found) == text
    assert rebuild(found, {line: line for line in lines(text, keep_markers)}) == text


@given(TEXTS, st.booleans())
@example("- \u00a0A", True)
def test_a_line_is_one_line_without_blanks_around_it(text, keep_markers):
    for line in lines(text, keep_markers):
        assert line == line.strip()
        assert any(letter.isalpha() for letter in line)
        assert "\n" not in line
        assert "\r" not in line


@given(TEXTS)
def test_translating_every_line_leaves_all_else(text):
    found = pieces(text, True)
    spoilt = rebuild(found, dict.fromkeys(lines(text), "x"))
    kept = [piece.text for piece in found if piece.keep]
    place = 0
    for part in kept:
        place = spoilt.index(part, place) + len(part)
    assert spoilt.count("\n") == text.count("\n")
    assert code_blocks(spoilt) == code_blocks(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello.", ["Hello."]),
        ("  Hello.  \n\n\tWorld\t\n", ["Hello.", "World"]),
        ("One\r\nTwo\rThree", ["One", "Two", "Three"]),
        ("---\n42\n:-)\n| 1 | 2 |", []),
        ("Before\n```python\nprint('hi')\n\nx = 1\n```\nAfter", ["Before", "After"]),
        ("Never closed\n```\ncode\nmore", ["Never closed"]),
        ("````\n```\ncode\n```\n````\nAfter", ["After"]),
        ("~~~\n```\n~~~\nAfter", ["After"]),
        ("- item\n  ```sh\n  ls\n  ```\n- next", ["item", "next"]),
        ("1. ```sh\n   ls\n   ```\n2. next", ["next"]),
        ("Run ```ls -l``` now", ["Run", "now"]),
        ("Inline `code` stays in its line", ["Inline `code` stays in its line"]),
        ("# Title\n> Quoted\n12) Twelve\n• Dot", ["Title", "Quoted", "Twelve", "Dot"]),
        ("2. 3. Nested", ["Nested"]),
        ("-not a list", ["-not a list"]),
        ("2024 was good", ["2024 was good"]),
    ],
)
def test_what_is_translated(text, expected):
    assert lines(text) == expected


def test_the_papers_way_translates_list_marks_with_their_line():
    assert lines("- item\n# Title", keep_markers=False) == ["- item", "# Title"]


def test_code_is_found_with_its_fences():
    text = "a\n```py\nx\n```\nb ```y``` c\n~~~\nz"
    assert code_blocks(text) == ["```py\nx\n```\n", "```y```", "~~~\nz"]


@given(st.text(max_size=200), st.integers(1, 40))
@example("One two. Three four! Five", 9)
@example("ääää" * 30, 7)
def test_long_lines_are_split_into_what_fits(line, most):
    parts = split_long(line, lambda text: len(text) <= most)
    assert "".join(piece.text for piece in parts) == line
    assert all(len(piece.text) <= most for piece in parts if not piece.keep)
    assert not any(piece.text.strip() for piece in parts if piece.keep)


def test_long_lines_are_split_at_sentences_as_few_as_will_do():
    line = 'One two three. Four five six! "Seven eight." Nine ten? Eleven'
    parts = split_long(line, lambda text: len(text) <= 30)
    assert parts == [
        Piece("One two three. Four five six!", False),
        Piece(" ", True),
        Piece('"Seven eight." Nine ten?', False),
        Piece(" ", True),
        Piece("Eleven", False),
    ]


def test_blanks_without_end_take_no_time_without_end():
    assert lines(" " * 200_000 + "x\n" + ">" * 200_000) == ["x"]


def test_every_real_text_comes_together_again():
    if not OASST.exists():
        pytest.skip(f"no real data at {OASST} (KIRJO_SHARED_DATA)")
    texts = [json.loads(line)[column] for line in OASST.open() for column in ("text_en", "text_fi")]
    assert len(texts) == 2 * 2022
    for text in texts:
        for keep_markers in (True, False):
            found = pieces(text, keep_markers)
            assert "".join(piece.text for piece in found) == text
            assert rebuild(found, {line: line for line in lines(text, keep_markers)}) == text
