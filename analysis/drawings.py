"""What each figure shows: from the runs of a table to the points that ``analysis.figures`` draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from analysis.betas import choose
from analysis.categories import by_category, figure_metrics
from analysis.layouts import Group, Layout, row_keys
from analysis.metric_name import ACCURACY, MetricName
from analysis.panels import tallies_of
from analysis.selection import Setting
from analysis.statistics import Estimate, estimates
from analysis.tables import language_name, own_rules
from experiment.scoring.verdict import PAPER

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from analysis.figures import Points

Curve = Sequence[tuple[float, Estimate | None]]


def mixes(layout: Layout, group: Group) -> Figure | None:
    """Accuracy in both languages, and the response language below, over the mix; None where nothing is scored."""
    accuracy = _accuracy(layout, group)
    target = group.languages[1]
    in_language = {
        f"responses in {language_name(target)}": _points(layout, group, MetricName(target, "response_language")),
    }
    if not _any(accuracy) and not _any(in_language):
        return None
    # Levels of another benchmark in the same picture would only mislead.
    rows = layout.published if group.is_the_papers else {}

    def beside(column: str) -> dict[float, float]:
        return {float(mix): 100 * getattr(row, column).share for mix, row in rows.items()}

    from analysis.figures import mixes_figure

    return mixes_figure(
        _curves(accuracy),
        {language_name(language): beside(language) for language in ("en", "fi")} if rows else None,
        _curves(in_language),
        {label: beside("response_language") for label in in_language} if rows else None,
    )


def betas(layout: Layout, group: Group) -> Figure | None:
    """Accuracy in both languages over beta, the chosen one marked; None where nothing can be chosen from."""
    accuracy = _accuracy(layout, group)
    choice = choose(group.settings, group.languages)
    if choice is None:
        return None
    beside = {
        language_name(language): (float(beta), 100 * getattr(row, language).share)
        for beta, row in (layout.published if group.is_the_papers else {}).items()
        for language in ("en", "fi")
    }

    from analysis.figures import betas_figure

    return betas_figure(_curves(accuracy), choice.beta, choice.short_rule, beside)


def categories(setting: Setting, languages: Sequence[str]) -> Figure | None:
    """Figure 1: accuracy by instruction category, a series per language and rule set; None if nothing is scored."""
    metrics = figure_metrics(setting, languages)
    if not metrics:
        return None

    from analysis.figures import Series, categories_figure

    return categories_figure(
        [
            Series(
                language_name(metric.language) + ("" if metric.rules == PAPER else f", rules {metric.rules}"),
                [(each.name, each.instructions, each.estimate) for each in by_category(setting, metric)],
            )
            for metric in metrics
        ],
    )


def _accuracy(layout: Layout, group: Group) -> dict[str, Curve]:
    metrics = {language_name(language): MetricName(language, ACCURACY) for language in group.languages}
    target = group.languages[1]
    if own := own_rules(group.settings.values(), target):
        metrics[f"{language_name(target)}, rules {own}"] = MetricName(target, ACCURACY, own)
    return {label: _points(layout, group, metric) for label, metric in metrics.items()}


def _points(layout: Layout, group: Group, metric: MetricName) -> Curve:
    """A point for every row of the table, without an estimate where it is missing: the figure says so."""
    keys = row_keys(layout, group, chosen=False)
    tallies = {key: found for key in keys if (found := tallies_of(group.settings.get(key), metric))}
    measured = dict(zip(tallies, estimates(list(tallies.values())), strict=True))
    return [(float(key), measured.get(key)) for key in keys]


def _any(curves: Mapping[str, Curve]) -> bool:
    return any(estimate is not None for points in curves.values() for _, estimate in points)


def _curves(found: Mapping[str, Curve]) -> list[Points]:
    from analysis.figures import Points

    return [Points(label, points) for label, points in found.items() if _any({label: points})]
