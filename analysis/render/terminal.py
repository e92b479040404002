"""Tables for the terminal, and where their numbers come from."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping

from rich import box
from rich.console import Console, ConsoleRenderable
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from analysis.render import layout
from analysis.render.text import blocks, left, plain, settings, shown
from analysis.table import Cell, Panel, Table

WIDTH = 100
# Colours only repeat what the words say.
_STYLES = {"published": "dim", "missing": "bold red", "empty": "dim", "p": "dim"}


def text(table: Table, width: int | None = None) -> str:
    """The table as plain text without colours, ``width`` columns wide (default 100)."""
    stream = io.StringIO()
    console = Console(file=stream, width=width or WIDTH, color_system=None, force_terminal=False, legacy_windows=False)
    print_table(table, console)
    return "\n".join(line.rstrip() for line in stream.getvalue().rstrip().split("\n")) + "\n"


def print_table(table: Table, console: Console) -> None:
    """Print a table with its notes, in colours where the console has them."""
    headings = [plain(heading) for heading in table.headings]
    rows = [[shown(cell) for cell in row] for panel in table.panels for row in panel.rows]
    fitted = layout.widths(
        [[headings[index], *(row[index] for row in rows)] for index in range(len(headings))], console.width
    )
    console.print(Text(plain(table.title), style="bold"))
    for panel in table.panels:
        console.print()
        if panel.title:
            console.print(Text(plain(panel.title), style="bold cyan"))
        if fitted is None:
            for record in _records(panel, headings, console.width):
                console.print(record)
        else:
            console.print(_grid(panel, headings, left(table), *fitted), crop=False)
    if table.notes:
        console.print()
    for command, note in blocks(table.notes):
        if command:  # whole, to be copied
            console.print(Text("  " + note), soft_wrap=True)
        else:
            console.print(Text(note))
    console.print()


def _grid(panel: Panel, headings: list[str], lefts: tuple[bool, ...], widths: list[int], gap: int) -> RichTable:
    grid = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=0, show_edge=False, header_style="bold")
    # The box draws one column between cells; the rest of the gap is padding.
    grid.padding = (0, gap - 1, 0, 0)
    for heading, at_left, width in zip(headings, lefts, widths, strict=True):
        grid.add_column(
            Text("\n".join(layout.wrap(heading, width))),
            justify="left" if at_left else "right",
            vertical="top",
            min_width=width,
            max_width=width,
            no_wrap=True,
        )
    for row in panel.rows:
        grid.add_row(*[_cell(cell, width) for cell, width in zip(row, widths, strict=True)])
    return grid


def _cell(cell: Cell, width: int) -> Text:
    return Text("\n".join(layout.wrap(shown(cell), width)), style=_STYLES.get(cell.kind, ""))


def _records(panel: Panel, headings: list[str], width: int) -> Iterator[ConsoleRenderable]:
    """For terminals too narrow for columns: each row as a list of what it holds."""
    for row in panel.rows:
        yield Text(shown(row[0]), style="bold")
        for heading, cell in zip(headings[1:], row[1:], strict=True):
            if value := shown(cell):
                line = f"{heading}: {value}" if heading else value
                yield Padding(Text(line, style=_STYLES.get(cell.kind, "")), (0, 0, 0, min(2, width // 4)))


def provenance(table: Table) -> str:
    """For each run behind the table: the command that makes it again, fingerprints, versions, settings.

    Settings that all the runs have in common are told once, at the end.
    """
    parts = [f"{plain(table.title)}: where the numbers come from"]
    common, own = settings(table.origins)
    for origin in table.origins:
        lines = [f"{plain(origin.name)} (run {plain(origin.run)})", f"  command: {plain(origin.command)}"]
        lines += _named("versions", origin.versions, "  ")
        lines += _named("fingerprints", origin.fingerprints, "  ")
        lines += _named("settings", own[origin.run], "  ")
        parts.append("\n".join(lines))
    if common:
        parts.append("\n".join(_named("settings of all runs", common, "")))
    if not table.origins:
        parts.append("No run stands behind this table.")
    return "\n\n".join(parts) + "\n"


def _named(title: str, named: Mapping[str, object], indent: str) -> list[str]:
    named = {name: value for name, value in named.items() if value is not None}
    if not named:
        return []
    width = max(len(plain(name)) for name in named)
    lines = (f"{plain(name).ljust(width)}  {plain(str(value))}" for name, value in named.items())
    return [f"{indent}{title}:", *(f"{indent}  {line}" for line in lines)]
