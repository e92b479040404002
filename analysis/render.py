"""Tables for the terminal and as Markdown."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from analysis.tables import Table


def print_table(table: Table, console: Console) -> None:
    """Print a table with its notes."""
    # On a narrow terminal every number takes two lines rather than some of them a cut heading.
    narrow = console.width < 100
    width, padding = (9, 0) if narrow else (None, 1)
    rendered = RichTable(
        title=Text(table.title, style="table.title"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, padding),
    )
    for index, heading in enumerate(table.headings):
        rendered.add_column(
            heading, justify="left" if index == 0 else "right", no_wrap=index == 0, width=width if index else None
        )
    for row in table.rows:
        rendered.add_row(*row)
    console.print(rendered)
    for note in table.notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    console.print()


def markdown(table: Table) -> str:
    """The table as GitHub-flavoured Markdown with its notes below."""
    lines = [
        f"### {table.title}",
        "",
        _line(table.headings),
        "|" + "|".join([" :--- ", *[" ---: "] * (len(table.headings) - 1)]) + "|",
        *map(_line, table.rows),
        "",
        *[f"    {note.strip()}" if note.startswith("  ") else f"{note}\n" for note in table.notes],
    ]
    return "\n".join(lines).rstrip() + "\n"


def _line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
