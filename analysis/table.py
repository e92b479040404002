"""A table as data: what a cell shows, what number stands behind it, and which runs that came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["label", "published", "measured", "interval", "difference", "p", "verdict", "missing", "empty"]


@dataclass(frozen=True)
class Cell:
    """One cell: ``text`` as it is printed, and for programs the same in numbers.

    ``numbers`` are plain JSON values by name, e.g. ``{"correct": 60, "total": 176, "percent": 34.09, "low": 27.1,
    "high": 41.3}``; shares are in percent, differences in percentage points. ``runs`` are ids of run records.
    """

    text: str
    kind: Kind = "measured"
    numbers: Mapping[str, Any] = field(default_factory=dict)
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Panel:
    """Rows under a common heading (one metric); every row has as many cells as the table has headings."""

    title: str  # empty: no heading
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Origin:
    """What a number leads back to: one run, with all that decided its result."""

    run: str  # id of the run record
    name: str
    command: str  # gives the same numbers again
    settings: Mapping[str, Any]  # the resolved config, flat: {"sft.learning_rate": 2e-05, ...}
    fingerprints: Mapping[str, str]  # role -> stage/fingerprint
    versions: Mapping[str, str]  # package -> version, of the score steps; also git commit


@dataclass(frozen=True)
class Table:
    """A table ready to be rendered; the first column is the row's label."""

    name: str  # table1; also the stem of its files
    title: str
    headings: tuple[str, ...]
    panels: tuple[Panel, ...]
    notes: tuple[str, ...] = ()  # one paragraph each; lines that begin with two spaces are commands
    origins: tuple[Origin, ...] = ()
