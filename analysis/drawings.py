"""What each figure shows: from the runs of a table to the points that ``analysis.figures`` draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from analysis import published
from analysis.betas import SHORT_RULE, choose
from analysis.categories import by_category, figure_metrics
from analysis.metric_name import ACCURACY, MetricName
from analysis.panels import tallies_of
from analysis.selection import Setting
from analysis.statistics import Estimate, estimates
from analysis.tables import Group, language_name
from experiment.scoring.verdict import PAPER

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from analysis.figures import Points

Draw = Callable[[], "Figure"]


def mixes(group: Group) -> Draw | None:
    """Accuracy in both languages, and the response language below, over the mix; None where nothing is scored."""
    accuracy = {language_name(language): _points(group, MetricName(language, ACCURACY)) for language in group.languages}
    target = group.languages[1]
    in_language = {
        f"responses in {language_name(target)}": _points(group, MetricName(target, "response_language")),
    }
    if not any([*accuracy.values(), *in_language.values()]):
        return None
    # Levels of another benchmark in the same picture would only mislead.
    rows = published.rows("table1") if group.experiment[2] == "ifeval" and group.languages == ("en", "fi") else {}

    def beside(column: str) -> dict[float, float]:
        return {float(mix): 100 * getattr(row, column).share for mix, row in rows.items()}

    def draw() -> Figure:
        from analysis.figures import mixes_figure

        return mixes_figure(
            _curves(accuracy),
            {language_name(language): beside(language) for language in ("en", "fi")} if rows else None,
            _curves(in_language),
            {label: beside("response_language") for label in in_language} if rows else None,
        )

    return draw


def betas(group: Group) -> Draw | None:
    """Accuracy in both languages over beta, the chosen one marked; None where nothing can be chosen from."""
    accuracy = {language_name(language): _points(group, MetricName(language, ACCURACY)) for language in group.languages}
    choice = choose(group.settings, group.languages)
    if choice is None:
        return None

    def draw() -> Figure:
        from analysis.figures import betas_figure

        return betas_figure(_curves(accuracy), choice.beta, SHORT_RULE)

    return draw


def categories(setting: Setting, languages: Sequence[str]) -> Draw | None:
    """Figure 1: accuracy by instruction category, a series per language and rule set; None if nothing is scored."""
    metrics = figure_metrics(setting, languages)
    if not metrics:
        return None

    def draw() -> Figure:
        from analysis.figures import Series, categories_figure

        return categories_figure(
            [
                Series(
                    language_name(metric.language) + ("" if metric.rules == PAPER else f", rules {metric.rules}"),
                    [(each.name, each.instructions, each.estimate) for each in by_category(setting, metric)],
                )
                for metric in metrics
            ],
            title=setting.name,
        )

    return draw


def _points(group: Group, metric: MetricName) -> list[tuple[float, Estimate]]:
    tallies = {key: found for key, setting in sorted(group.settings.items()) if (found := tallies_of(setting, metric))}
    return [(float(key), found) for key, found in zip(tallies, estimates(list(tallies.values())), strict=True)]


def _curves(found: Mapping[str, Sequence[tuple[float, Estimate]]]) -> list[Points]:
    from analysis.figures import Points

    return [Points(label, points) for label, points in found.items() if points]
