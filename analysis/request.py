"""From a request to tables and figures: what ``table1``, ``figure1`` and so on are made of."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

from analysis import drawings
from analysis.categories import category_table, one_setting, rules_table
from analysis.layouts import groups, layouts
from analysis.metric_name import MetricName
from analysis.selection import Setting, same_settings, select
from analysis.tables import make_tables
from analysis.write import Made
from experiment.errors import KirjoError
from experiment.results import RunResult, load_results
from experiment.store import Store

_FIGURES = {"table1": ("mixes", drawings.mixes), "betas": ("betas", drawings.betas)}


def load(store: str, where: Mapping[str, str]) -> list[RunResult]:
    """The runs of a store that a request is about.

    Raises:
        KirjoError: there is no such store, or no run has the values asked for.
    """
    return select(same_settings(load_results(Store.open(Path(store), create=False))), where, store)


def metric_names(texts: Sequence[str], runs: Sequence[RunResult]) -> list[MetricName]:
    """The metrics asked for, in the languages that the runs are scored in.

    Raises:
        KirjoError: there is no such metric.
    """
    languages = {language for run in runs for language in run.languages}
    return [MetricName.parse(text, languages) for text in texts]


def tables_of(
    name: str, runs: Sequence[RunResult], store: str, metrics: Sequence[str] = (), where: Collection[str] = ()
) -> list[Made]:
    """The tables of one name, each with its figure if it has one; ``where`` names what the runs were chosen by.

    Raises:
        KirjoError: the runs do not give such a table.
    """
    runs = [run for run in runs if run.languages]  # the others only make data
    if name in ("figure1", "rules"):
        if metrics:
            raise KirjoError(f"{name} has its own metrics; --metric is for {', '.join(layouts())}")
        return _of_one_setting(name, runs, store)
    tables = make_tables(name, runs, store, metric_names(metrics, runs), where)
    if name not in _FIGURES or metrics:
        return [Made(table) for table in tables]
    figure, draw = _FIGURES[name]
    layout = layouts()[name]
    pairs = zip(tables, groups(layout, runs), strict=True)
    return [Made(table, partial(draw, layout, group), figure) for table, group in pairs]


def _of_one_setting(name: str, runs: Sequence[RunResult], store: str) -> list[Made]:
    setting = one_setting(_the_papers(runs), store, name)
    languages = _languages(setting)
    if name == "figure1":
        return [Made(category_table(setting, languages, store), partial(drawings.categories, setting, languages), name)]
    return [Made(rules_table(setting, str(setting.first.axes["target_language"]), store))]


def _the_papers(runs: Sequence[RunResult]) -> list[RunResult]:
    """Where nothing else was chosen, the run that the paper's Figure 1 shows: SFT on all of the target language."""
    chosen = [run for run in runs if run.axes["method"] == "sft" and run.axes["mix"] == 100]
    return chosen or list(runs)


def _languages(setting: Setting) -> list[str]:
    axes = setting.first.axes
    first = [str(axes["source_language"]), str(axes["target_language"])]
    return [language for language in first if language in setting.first.languages]
