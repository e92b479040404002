"""Where in a table of two settings each run belongs, and what tells runs apart that would fall into one place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.selection import differing, shown
from experiment.errors import KirjoError
from experiment.results import RunResult

# As in the paper, not by the alphabet.
METHODS = ("sft", "sft_masked", "sft_neftune", "dpo_en", "dpo_fi", "dpo_both")

# More settings in one place than these many are no table any more, but a list of unlike runs.
_MOST_TOLD = 2


@dataclass(frozen=True)
class Place:
    """A row or column: a setting's value, and where that is not enough, what else tells it apart."""

    value: Any
    besides: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        """Such as ``dpo_both, beta=0.01``."""
        return ", ".join([shown(self.value), *(f"{name}={shown(value)}" for name, value in self.besides)])


NOWHERE = Place("")


def places(runs: Sequence[RunResult], rows: str, columns: str | None) -> tuple[list[tuple[Place, Place]], list[str]]:
    """The (row, column) of each run, and the settings that had to be told besides.

    Where several settings fall into one place, what they differ in becomes part of the column (without columns: row).

    Raises:
        KirjoError: they differ in too much for a table.
    """
    plain = [(run.settings.get(rows), run.settings.get(columns) if columns else "") for run in runs]
    together: dict[tuple[Any, Any], list[RunResult]] = {}
    for place, run in zip(plain, runs, strict=True):
        together.setdefault(_hashable(place), []).append(run)
    told = {place: _told_apart(members, (rows, columns)) for place, members in together.items()}
    found = []
    split = 1 if columns else 0
    # A column is the same column in every row: what tells it apart somewhere is told everywhere.
    by_value: dict[Any, list[str]] = {}
    for place, names in told.items():
        kept = by_value.setdefault(place[split], [])
        kept += [name for name in names if name not in kept]
    for place, run in zip(plain, runs, strict=True):
        names = by_value[_hashable(place)[split]]
        besides = tuple((name, _hashable(run.settings.get(name))) for name in names)
        row, column = Place(_hashable(place[0])), Place(_hashable(place[1]))
        found.append((row, Place(column.value, besides)) if columns else (Place(row.value, besides), NOWHERE))
    return found, list(dict.fromkeys(name for names in told.values() for name in names))


def _told_apart(runs: Sequence[RunResult], axes: tuple[str, str | None]) -> list[str]:
    """The settings in which runs of one place differ."""
    names: list[str] = []
    while more := _still_alike(runs, names, axes):
        names += more
    if len(names) > _MOST_TOLD:
        listed = "; ".join(f"{name}: {_values(runs, name)}" for name in names[:6])
        raise KirjoError(
            f"too many unlike runs fall into one place of the table; they differ in {listed}: choose with "
            f"--where {names[0]}=VALUE, or make one an axis (--rows {names[0]})\n"
            + "\n".join(f"  {run.name}" for run in runs[:6])
        )
    return names


def _still_alike(runs: Sequence[RunResult], names: Sequence[str], axes: tuple[str, str | None]) -> list[str]:
    """What runs differ in that the names do not tell apart yet."""
    groups: dict[Any, list[RunResult]] = {}
    for run in runs:
        groups.setdefault(tuple(_hashable(run.settings.get(name)) for name in names), []).append(run)
    found = (differing(members[0], other) for members in groups.values() for other in members[1:])
    return list(dict.fromkeys(name for names_of_one in found for name in names_of_one if name not in (*axes, *names)))


def _values(runs: Sequence[RunResult], name: str) -> str:
    return ", ".join(dict.fromkeys(shown(run.settings.get(name)) for run in runs))


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list | tuple) else value


def ordered(found: Iterable[Place]) -> list[Place]:
    """Numbers by size, methods as in the paper, else by name."""
    return sorted(dict.fromkeys(found), key=lambda place: [_rank(place.value), *(_rank(v) for _, v in place.besides)])


def _rank(value: Any) -> tuple[int, float, str]:
    if isinstance(value, int | float):
        return 0, float(value), ""
    if value in METHODS:
        return 1, METHODS.index(value), ""
    return 2, 0.0, shown(value)
