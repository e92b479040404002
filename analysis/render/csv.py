"""Tables as CSV for programs: one row for each number of the table, with all that stands behind it.

Columns: ``table``, ``panel``, ``row`` (its label), ``column`` (its heading), ``kind`` and ``text`` of the cell; then
every number that any cell has (``correct``, ``total``, ``percent``, ``low`` ...; shares in percent, differences in
percentage points; nothing where a cell has no such number); then ``runs`` (ids, one a line), ``command`` and
``fingerprints`` (one line for each run, in the same order). Missing results have a row of kind ``missing``; cells
without content have none.

RFC 4180: commas, CRLF, quotes doubled, a heading row; UTF-8. Texts that a spreadsheet would take for a formula get a
leading apostrophe (``unguarded`` takes it off again).
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from analysis.render.text import lines, shown
from analysis.table import Cell, Table

BEFORE = ("table", "panel", "row", "column", "kind", "text")
AFTER = ("runs", "command", "fingerprints", "versions")

_FORMULA = re.compile(r"\s*['=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")
# A signed number, alone or with an interval, is no formula: +5.08 [-3.4, 13.6]
_NUMBER = re.compile(r"-|[+-]?\d+(\.\d+)?(e[+-]?\d+)?( [\[(][+-]?\d+(\.\d+)?, [+-]?\d+(\.\d+)?[\])])?")


def text(table: Table) -> str:
    """The table as CSV, lines ended by CRLF."""
    names = list(dict.fromkeys(name for _, _, _, cell in _cells(table) for name in cell.numbers))
    origins = {origin.run: origin for origin in table.origins}
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow([*BEFORE, *[_heading(name) for name in names], *AFTER])
    for panel, label, heading, cell in _cells(table):
        about = [table.name, panel, label, heading, cell.kind, shown(cell)]
        found = [origins[run] for run in cell.runs if run in origins]
        after = [
            "\n".join(cell.runs),
            "\n".join(_one_line(o.command) for o in found),
            "\n".join(_pairs(origin.fingerprints) for origin in found),
            "\n".join(_pairs(origin.versions) for origin in found),
        ]
        numbers = [_number(cell.numbers.get(name)) for name in names]
        writer.writerow([*map(guarded, about), *numbers, *map(guarded, after)])
    return stream.getvalue()


def guarded(given: str) -> str:
    """Any text so that a spreadsheet takes it for text."""
    cleaned = lines(given)
    return "'" + cleaned if _FORMULA.match(cleaned) and not _NUMBER.fullmatch(cleaned) else cleaned


def unguarded(field: str) -> str:
    """The text that ``guarded`` was given."""
    return field[1:] if field.startswith("'") else field


def _cells(table: Table) -> Iterator[tuple[str, str, str, Cell]]:
    for panel in table.panels:
        for label, *cells in panel.rows:
            for heading, cell in zip(table.headings[1:], cells, strict=True):
                if cell.kind != "empty" and (cell.text or cell.numbers or cell.kind == "missing"):
                    yield panel.title, shown(label), heading, cell


def _heading(name: str) -> str:
    # A number of the same name as a column would make two columns that cannot be told apart.
    return guarded(f"number_{name}" if name in (*BEFORE, *AFTER) else name)


def _number(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return guarded(value)
    return repr(value) if type(value) in (int, float) else guarded(json.dumps(value, default=str))


def _pairs(named: Mapping[str, str]) -> str:
    return " ".join(f"{_one_line(name)}={_one_line(value)}" for name, value in named.items())


def _one_line(given: str) -> str:
    return lines(given).replace("\n", " ")
