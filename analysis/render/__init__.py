"""Tables in every form: for the terminal, and as Markdown, LaTeX, CSV and HTML."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from analysis.render import csv, html, latex, markdown, terminal
from analysis.render.terminal import provenance
from analysis.table import Table
from experiment.errors import KirjoError

__all__ = ["FORMATS", "Format", "provenance", "render"]


@dataclass(frozen=True)
class Format:
    """One form of a table: how a file of it ends, and what makes it."""

    suffix: str
    text: Callable[[Table], str]


FORMATS: Mapping[str, Format] = {
    "terminal": Format(".txt", terminal.text),
    "markdown": Format(".md", markdown.text),
    "latex": Format(".tex", latex.text),
    "csv": Format(".csv", csv.text),
    "html": Format(".html", html.fragment),
}


def render(table: Table, format: str, width: int | None = None) -> str:
    """The table in one of FORMATS; ``width`` (columns, default 100) counts for the terminal alone.

    Write it as UTF-8 with ``newline=""``: the lines of a CSV end in CRLF, as RFC 4180 wants them.

    Raises:
        KirjoError: there is no such format, or a row has not as many cells as the table has headings.
    """
    chosen = FORMATS.get(format)
    if chosen is None:
        raise KirjoError(f"there is no table format '{format}'; there are: {', '.join(FORMATS)}")
    _check(table)
    return terminal.text(table, width) if format == "terminal" else chosen.text(table)


def _check(table: Table) -> None:
    for panel in table.panels:
        for row in panel.rows:
            if len(row) != len(table.headings):
                raise KirjoError(
                    f"a row of table {table.name}, panel '{panel.title}', has {len(row)} cells where the table has "
                    f"{len(table.headings)} headings; give every row one cell for each heading (kind 'empty' where "
                    "there is nothing to show)"
                )
