"""Where a table goes: to the terminal, or into files in every format, its figure with it."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.render import FORMATS, html, provenance, render
from analysis.safely import write_safely
from analysis.table import Table
from experiment.errors import KirjoError

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Made:
    """A table, and how its figure is drawn, if it has one (None: there is nothing to draw), and called."""

    table: Table
    draw: Callable[[], Figure | None] = lambda: None
    figure: str = ""


def show(made: Sequence[Made], asked: Namespace, width: int) -> None:
    """Print tables in the format asked for, and write files if a folder was named.

    Raises:
        KirjoError: the folder cannot be written to.
    """
    if asked.out is not None:
        _check_folder(asked.out)
    for number, each in enumerate(made, start=1):
        put(_whole(each.table, asked.format, width))
        if asked.provenance:
            put(provenance(each.table))
        if asked.out is not None:
            stem = each.table.name if len(made) == 1 else f"{each.table.name}-{number}"
            for path in write(each, asked.out, stem):
                print(f"written: {path}", file=sys.stderr)


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise KirjoError(f"cannot write to {folder}: it is a file, not a folder; name another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KirjoError(f"cannot write to {folder}: {error.strerror or error}; name another --out") from error


def write(made: Made, folder: Path, stem: str) -> list[Path]:
    """Write a table in all formats and its figure; returns the files.

    Raises:
        KirjoError: the folder cannot be written to.
    """
    try:
        paths = []
        for name, form in FORMATS.items():
            content = _whole(made.table, name).encode("utf-8", errors="replace")
            paths.append(write_safely(folder / f"{stem}{form.suffix}", content))
        drawn = made.draw()
        if drawn is not None:
            from analysis.figures import save

            paths += save(drawn, folder / stem.replace(made.table.name, made.figure, 1))
    except OSError as error:
        raise KirjoError(
            f"cannot write to {error.filename or folder}: {error.strerror or error}; name another --out"
        ) from error
    return paths


def _whole(table: Table, form: str, width: int | None = None) -> str:
    """A table as a document by itself: an HTML page, with the runs that its cells lead to."""
    text = render(table, form, width)
    return html.page(text + html.runs(table.origins), table.title) if form == "html" else text


def put(text: str) -> None:
    """Print what may hold any character: a terminal that cannot show one gets a question mark for it."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, errors="replace").decode(encoding), flush=True)
