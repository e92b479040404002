"""Tables as GitHub-flavoured Markdown: a table for each panel, since Markdown has no headings within one."""

from __future__ import annotations

import re
from collections.abc import Sequence

from analysis.render.text import blocks, left, plain, shown
from analysis.table import Table

_MARKUP = re.compile(r"[\\`*_~|$#]")
# Brackets are left alone, being part of every interval, unless they would make a link or define one.
_LINK = re.compile(r"\](?=[(\[:])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# What would begin a list, a heading or a rule at the start of a paragraph.
_BLOCK = re.compile(r"^(\s*)([-+=]|\d+(?=[.)]))")


def text(table: Table) -> str:
    """The table as Markdown with its notes below."""
    parts = [f"### {escape(table.title)}"]
    for panel in table.panels:
        if panel.title:
            parts.append(f"#### {escape(panel.title)}")
        rule = "|".join(" :--- " if at_left else " ---: " for at_left in left(table))
        rows = [_row([shown(cell) for cell in row]) for row in panel.rows]
        parts.append("\n".join([_row(table.headings), f"|{rule}|", *rows]))
    commands: list[str] = []
    for command, note in blocks(table.notes):
        if command:
            commands.append("    " + note)
        else:
            parts += ["\n".join(commands)] * bool(commands) + [paragraph(note)]
            commands = []
    return "\n\n".join(parts + ["\n".join(commands)] * bool(commands)) + "\n"


def escape(given: str) -> str:
    """Any text so that Markdown shows it as it is, on one line."""
    marked = _LINK.sub(r"\\]", _MARKUP.sub(r"\\\g<0>", plain(given)))
    return re.sub("[&<>]", lambda match: _ENTITIES[match[0]], marked)


def paragraph(given: str) -> str:
    """Any text as a paragraph of its own."""
    escaped = escape(given.strip())
    return _BLOCK.sub(lambda m: m[1] + (m[2] + "\\" if m[2].isdigit() else "\\" + m[2]), escaped)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(escape(cell) for cell in cells) + " |"
