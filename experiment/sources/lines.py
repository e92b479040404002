"""Plain text, a sentence a line (FLORES, WMT), or a column of rows; blank lines stay, so that files stay aligned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from experiment.errors import DataError
from experiment.sources.columns import Columns
from experiment.sources.jsonl import numbered_lines, utf8
from experiment.sources.parquet import has_rows
from experiment.sources.raw import Raw, raw_rows
from experiment.sources.source import Source


def lines(source: Source) -> Iterator[str]:
    """The lines in order; of rows, the texts in their column.

    Raises:
        DataError: the file is unreadable or not UTF-8, or a row has no text in the column.
    """
    if source.path and not has_rows(source.path):
        path = Path(source.path)
        # Only \n ends a line: a sentence may hold U+2028 or a form feed. A \r before it is Windows' line end.
        for number, line in numbered_lines(path):
            yield utf8(path, number, line).removesuffix("\n").removesuffix("\r")
        return
    yield from texts(source)


def texts(source: Source) -> Iterator[str]:
    """The texts in the column that is named, else in ``text_<language>``, else in ``text``.

    Raises:
        DataError: a row has no text there.
    """
    columns, column = source.named(), f"text_{source.language}"
    for raw in raw_rows(source):
        yield _text(raw, columns, column)


def _text(raw: Raw, columns: Columns, column: str) -> str:
    if columns.name("text"):
        found = columns.value(raw.where, raw.row, "text", "a text")
    else:
        found = raw.row.get(column, raw.row.get("text"))
    if isinstance(found, str):
        return found
    if columns.name("text"):
        raise columns.wrong(raw.where, raw.row, "text", "a text")
    there = ", ".join(sorted(raw.row)) or "none"
    near = [f"columns.text={item}" for item in columns.near(raw.row, "text") if item not in (column, "text")]
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise DataError(f"{raw.where}: expected a text in column '{column}' or 'text'; columns: {there}{hint}")
