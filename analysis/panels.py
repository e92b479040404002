"""Panels: one metric over the rows of a table, each with its interval, beside what was published and the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.metric_name import MetricName
from analysis.selection import Setting
from analysis.statistics import UNKNOWN, Difference, Estimate, against_published, corrected, differences, estimates
from analysis.table import Cell, Panel
from experiment.metrics import Count, Tally

HEADINGS = ("published", "reproduced", "95 % interval", "to published", "to baseline", "p (Holm)", "told apart?")
LEVEL = 0.05

EMPTY = Cell("-", "empty")
BLANK = Cell("", "verdict")


@dataclass(frozen=True)
class Row:
    """One row of a table: what it stands for, the runs that fill it, and what was published, by metric name."""

    key: Any
    label: str
    setting: Setting | None
    published: Mapping[str, Count]


def panel(title: str, metric: MetricName, rows: Sequence[Row], baseline: Any, comparisons: int = 0) -> Panel:
    """The rows for one metric; ``baseline`` is the key of the row that others are compared with on the same prompts.

    Holm corrects for ``comparisons``, if that is more than are there: what is missing must not make the rest surer.
    """
    tallies = {row.key: found for row in rows if (found := tallies_of(row.setting, metric))}
    estimated = dict(zip(tallies, estimates(list(tallies.values())), strict=True))
    compared = compare_with(tallies, baseline, comparisons)
    return Panel(
        title,
        tuple(
            (
                Cell(row.label, "label"),
                *_cells(row, metric, tallies.get(row.key), estimated.get(row.key), compared, baseline),
            )
            for row in rows
        ),
    )


def tallies_of(setting: Setting | None, metric: MetricName) -> list[Tally]:
    """The metric's counts, a tally per seed that is scored; empty where none is."""
    if setting is None:
        return []
    return [metric.tally(found) for found in setting.scored(metric.language)]


def compare_with(tallies: Mapping[Any, Sequence[Tally]], baseline: Any, comparisons: int = 0) -> dict[Any, Difference]:
    """Every other setting against the baseline, corrected by Holm over all of them; empty without a baseline.

    Of ``comparisons`` those that are not there count as if they had found nothing.
    """
    others = {key: found for key, found in tallies.items() if key != baseline}
    if baseline not in tallies or not others:
        return {}
    found = differences(list(others.values()), tallies[baseline])
    absent = [UNKNOWN] * (comparisons - len(found))
    return dict(zip(others, corrected([*found, *absent]), strict=False))


def _cells(
    row: Row,
    metric: MetricName,
    tallies: Sequence[Tally] | None,
    estimate: Estimate | None,
    compared: Mapping[Any, Difference],
    baseline: Any,
) -> tuple[Cell, ...]:
    published = row.published.get(str(metric))
    first = EMPTY if published is None else _published(published)
    if not tallies or estimate is None or row.setting is None:
        missing = row.setting is None or row.setting.missing
        asked = row.setting is None or metric.language in row.setting.first.languages
        return (first, Cell("missing", "missing") if missing and asked else EMPTY, *[EMPTY] * 4, BLANK)
    runs = tuple(run.id for run in row.setting.runs)
    return (
        first,
        measured_cell(tallies, estimate, runs, cut=published is not None),
        Cell(f"{_points(estimate.low)} to {_points(estimate.high)}", "interval", _ends(estimate), runs),
        EMPTY if published is None else _against(tallies, published, runs),
        *_from_baseline(compared.get(row.key), row.key == baseline, runs),
    )


def _published(count: Count) -> Cell:
    numbers = {"correct": count.correct, "total": count.total, "percent": 100 * count.share}
    return Cell(f"{count.truncated} ({count.correct}/{count.total})", "published", numbers)


def measured_cell(tallies: Sequence[Tally], estimate: Estimate, runs: tuple[str, ...], cut: bool) -> Cell:
    """Percent and count of one seed, or the mean over seeds and their standard deviation."""
    counts = [tally.count for tally in tallies]
    numbers: dict[str, Any] = {"percent": 100 * estimate.share, "seeds": len(counts), **_ends(estimate)}
    if len(counts) == 1:
        (count,) = counts
        text = f"{count.truncated if cut else count.rounded} ({count.correct}/{count.total})"
        return Cell(text, "measured", {"correct": count.correct, "total": count.total, **numbers}, runs)
    spread = 100 * (estimate.spread or 0.0)
    numbers |= {"correct": [count.correct for count in counts], "total": counts[0].total, "spread": spread}
    return Cell(f"{100 * estimate.share:.2f} ± {spread:.2f} ({len(counts)} seeds)", "measured", numbers, runs)


def _against(tallies: Sequence[Tally], published: Count, runs: tuple[str, ...]) -> Cell:
    found = against_published(tallies, published)
    # Only over as many instructions can it be the same benchmark; elsewhere the test would compare two things.
    same_benchmark = tallies[0].count.total == published.total
    mark = "*" if same_benchmark and found.p < LEVEL else ""
    numbers = {**_ends(found), "difference": 100 * found.difference, **({"p": found.p} if same_benchmark else {})}
    return Cell(_difference(found) + mark, "difference", numbers, runs)


def _from_baseline(found: Difference | None, is_baseline: bool, runs: tuple[str, ...]) -> tuple[Cell, Cell, Cell]:
    if found is None:
        return (Cell("baseline", "verdict") if is_baseline else EMPTY, EMPTY, BLANK)
    numbers = {
        **_ends(found),
        "difference": 100 * found.difference,
        "p": found.p,
        "p_holm": found.p_adjusted,
    }
    told = found.p_adjusted < LEVEL
    return (
        Cell(_difference(found), "difference", numbers, runs),
        Cell(p_text(found.p_adjusted), "p", {"p": found.p, "p_holm": found.p_adjusted}, runs),
        Cell("yes" if told else "no", "verdict", {"told": told}),
    )


def p_text(p: float) -> str:
    """A p-value as papers print it."""
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _difference(found: Difference) -> str:
    return f"{_points(found.difference, sign=True)} [{_points(found.low)}, {_points(found.high)}]"


def _ends(found: Estimate | Difference) -> dict[str, float]:
    return {"low": 100 * found.low, "high": 100 * found.high}


def _points(share: float, sign: bool = False) -> str:
    """A share in percent to one decimal; never "-0.0"."""
    tenths = round(1000 * share) / 10
    return f"{tenths + 0.0:+.1f}" if sign and tenths else f"{tenths + 0.0:.1f}"
