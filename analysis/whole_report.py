"""What goes into the report: every table and figure that the runs give, then plan, curves, runs and answers."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.command_line import TABLES
from analysis.funnel import example_table, funnel_table
from analysis.places import METHODS
from analysis.quality import quality_table
from analysis.render import render
from analysis.report import write_report
from analysis.request import tables_of
from analysis.selection import newest
from analysis.table import Table
from analysis.write import Made
from experiment.errors import KirjoError
from experiment.results import RunResult
from experiment.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def make_report(path: Path, runs: Sequence[RunResult], store: Path) -> Path:
    """Write the report of some runs; returns its path.

    Raises:
        KirjoError: there are no runs, or the file cannot be written.
    """
    if not runs:
        raise KirjoError(f"the store {store} holds no runs yet: python -m experiment experiment=paper store={store}")
    runs = sorted(newest(runs), key=_order)
    scored = [run for run in runs if run.languages]  # the others only make data
    names = TABLES if scored else ()
    made = [each for name in names for each in _made(name, scored, str(store)) if _holds_numbers(each.table)]
    made += [Made(table) for table in _of_data(runs, str(store))]
    tables = [(each.table, render(each.table, "html")) for each in made]
    figures = [(each.table.title, _svg(drawn)) for each in made if (drawn := each.draw()) is not None]
    return write_report(path, runs, tables, figures, Store.open(store, create=False))


def _order(run: RunResult) -> tuple[object, ...]:
    """Experiment by experiment, methods as in the paper, mixes and betas by size."""
    axes = run.axes
    method = METHODS.index(axes["method"]) if axes["method"] in METHODS else len(METHODS)
    names = (axes["model"], axes["data_mix"], axes["benchmark"], axes["settings"])
    return (
        *map(str, names),
        method,
        str(axes["method"]),
        axes["mix"],
        axes["beta"] or 0.0,
        str(axes["seed"]).zfill(12),
    )


def _made(name: str, runs: Sequence[RunResult], store: str) -> list[Made]:
    try:
        return tables_of(name, runs, store)
    except KirjoError as error:
        # One table that the runs do not give is no reason to have no report; the report says which and why.
        return [Made(Table(name, f"{name}: not made", ("reason",), (), (str(error),)))]


def _of_data(runs: Sequence[RunResult], store: str) -> list[Table]:
    """How the runs' data came about, for those that translate any: what cleaning dropped, and how good it is."""
    stages = {key.split("/")[0] for run in runs for key in run.steps.values()}
    makers = {"clean": (funnel_table, example_table), "quality": (quality_table,)}
    tables = []
    for stage, makers_of_stage in makers.items():
        for make in makers_of_stage if stage in stages else ():
            try:
                table = make(runs, store)
            except KirjoError as error:
                table = Table(stage, f"{stage}: not made", ("reason",), (), (str(error),))
            tables += [table] if table is not None else []
    return tables


def _holds_numbers(table: Table) -> bool:
    return not table.panels or any(
        cell.kind == "measured" for panel in table.panels for row in panel.rows for cell in row
    )


def _svg(drawn: Figure) -> str:
    from analysis.figures import save

    with tempfile.TemporaryDirectory() as folder:
        (path,) = save(drawn, Path(folder) / "figure", ["svg"])
        return path.read_text(encoding="utf-8")
