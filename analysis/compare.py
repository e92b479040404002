"""A table of any sweep: any setting as rows, any as columns, any metric in the cells."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from analysis.metric_name import MetricName
from analysis.origins import origins
from analysis.panels import EMPTY, LEVEL, Row, compare_with, measured_cell, panel, tallies_of
from analysis.places import NOWHERE, Place, ordered, places
from analysis.selection import Setting, check_axis, refuse_incomparable, settings_of, shown
from analysis.statistics import Difference, Estimate, estimates
from analysis.table import Cell, Panel, Table
from analysis.tables import described, missing_commands
from experiment.errors import KirjoError
from experiment.metrics import Tally
from experiment.results import RunResult

# Without columns a row has room for all that is known of it; there is nothing published to stand beside it.
_HEADINGS = ("measured", "95 % interval", "to baseline", "p (Holm)", "told apart?")
Key = tuple[Place, Place]


def compare(
    runs: Sequence[RunResult],
    metrics: Sequence[MetricName],
    rows: str,
    columns: str | None,
    baseline: str | None,
    store: str,
) -> Table:
    """The metrics by one or two settings; other settings must be the same in all the runs, the seed excepted.

    Raises:
        KirjoError: there is no such setting or baseline, runs do not compare, or several fall into one place.
    """
    axes = [axis for axis in (rows, columns) if axis]
    if not runs:
        raise KirjoError(f"the store {store} holds no runs yet: python -m experiment experiment=paper store={store}")
    for axis in axes:
        check_axis(runs, axis)
    if rows == columns:
        raise KirjoError(f"rows and columns are both {rows}: leave --columns out, or name another setting")
    keys, told_by = places(runs, rows, columns)
    settings, left_out = settings_of(zip(keys, runs, strict=True))
    for language in {metric.language for metric in metrics}:
        refuse_incomparable(settings.values(), language, swept=[*axes, *told_by])
    row_keys = ordered(key[0] for key in settings)
    chosen = _baseline(row_keys, baseline, rows)
    table = _two_axes if columns else _one_axis
    return table(settings, row_keys, metrics, rows, columns or "", chosen, left_out, store)


def _baseline(row_keys: Sequence[Place], asked: str | None, rows: str) -> Place:
    if asked is None:
        return row_keys[0]
    wanted = asked.removesuffix("pct") if rows == "mix" else asked
    for key in row_keys:
        if wanted in (str(key), shown(key.value)):
            return key
    raise KirjoError(f"--baseline {asked}: no row has {rows}={asked}; rows: {'; '.join(map(str, row_keys))}")


def _one_axis(
    settings: Mapping[Key, Setting],
    row_keys: Sequence[Place],
    metrics: Sequence[MetricName],
    rows: str,
    _columns: str,
    baseline: Place,
    left_out: int,
    store: str,
) -> Table:
    made = [Row(key, str(key), settings[key, NOWHERE], {}) for key in row_keys]
    panels = []
    for metric in metrics:
        whole = panel(described(metric), metric, made, baseline)
        # The columns that stand beside published values have nothing to say here.
        panels.append(Panel(whole.title, tuple((row[0], row[2], row[3], *row[5:]) for row in whole.rows)))
    return Table(
        "compare",
        f"{', '.join(map(str, metrics))} by {rows}",
        (rows, *_HEADINGS),
        tuple(panels),
        _notes(settings, f"{rows}={baseline}", left_out, store),
        origins(settings.values(), store),
    )


def _two_axes(
    settings: Mapping[Key, Setting],
    row_keys: Sequence[Place],
    metrics: Sequence[MetricName],
    rows: str,
    columns: str,
    baseline: Place,
    left_out: int,
    store: str,
) -> Table:
    column_keys = ordered(key[1] for key in settings)
    panels = []
    for metric in metrics:
        tallies = {key: found for key in settings if (found := tallies_of(settings[key], metric))}
        estimated = dict(zip(tallies, estimates(list(tallies.values())), strict=True))
        compared = _compared(tallies, column_keys, baseline)
        panels.append(
            Panel(
                described(metric),
                tuple(
                    (
                        Cell(str(row), "label"),
                        *(
                            _cell(settings, metric, tallies, estimated, compared, (row, column))
                            for column in column_keys
                        ),
                    )
                    for row in row_keys
                ),
            )
        )
    return Table(
        "compare",
        f"{', '.join(map(str, metrics))} by {rows} and {columns}",
        (f"{rows} \\ {columns}", *map(str, column_keys)),
        tuple(panels),
        (
            f"*: told apart from {rows}={baseline} in the same column; =: not told apart; no mark: nothing to compare "
            "with; -: no such run.",
            *_notes(settings, f"{rows}={baseline} in the same column", left_out, store),
        ),
        origins(settings.values(), store),
    )


def _compared(
    tallies: Mapping[Key, Sequence[Tally]], column_keys: Sequence[Place], baseline: Place
) -> dict[Key, Difference]:
    """Each cell against the baseline of its column; corrected by Holm over the column."""
    found: dict[Key, Difference] = {}
    for column in column_keys:
        there = {key: seeds for key, seeds in tallies.items() if key[1] == column}
        found |= compare_with(there, (baseline, column))
    return found


def _cell(
    settings: Mapping[Key, Setting],
    metric: MetricName,
    tallies: Mapping[Key, Sequence[Tally]],
    estimated: Mapping[Key, Estimate],
    compared: Mapping[Key, Difference],
    key: Key,
) -> Cell:
    if key not in settings:
        return EMPTY
    if key not in tallies:
        # A language that was never asked for is no gap: no command of the run would fill it.
        return Cell("missing", "missing") if metric.language in settings[key].first.languages else EMPTY
    found, seeds = estimated[key], tallies[key]
    runs = tuple(run.id for run in settings[key].runs)
    whole = measured_cell(seeds, found, runs, cut=False)
    text = f"{whole.text} [{100 * found.low:.1f}, {100 * found.high:.1f}]"
    difference = compared.get(key)
    if difference is None:
        return Cell(text, "measured", whole.numbers, runs)
    told = difference.p_adjusted < LEVEL
    numbers = {
        **whole.numbers,
        "difference": 100 * difference.difference,
        "p": difference.p,
        "p_holm": difference.p_adjusted,
        "told": told,
    }
    return Cell(f"{text} {'*' if told else '='}", "measured", numbers, runs)


def _notes(settings: Mapping[Key, Setting], baseline: str, left_out: int, store: str) -> tuple[str, ...]:
    notes = [
        "Percent, rounded; intervals: 95 %, resampling prompts with all their instructions, not corrected"
        + ("; several seeds: mean, and an interval that holds prompts and seeds." if _several(settings) else "."),
        f"Compared with {baseline} on the same prompts by an exact paired sign-flip test over prompts"
        + (" (several seeds: t-test over prompts and seeds)" if _several(settings) else "")
        + f", Holm-corrected. Told apart: p below {LEVEL:g}; otherwise they need not be equal.",
    ]
    if left_out:
        notes.append(
            f"{left_out} older results of the same settings, by earlier versions of code or checkers, left out."
        )
    missing = list(itertools.chain.from_iterable(missing_commands(each, (), store) for each in settings.values()))
    if missing:
        notes.append("Missing cells; each is filled by its command:")
        notes += [f"  {line}" for line in missing]
    return tuple(notes)


def _several(settings: Mapping[Key, Setting]) -> bool:
    return any(len(setting.runs) > 1 for setting in settings.values())
