"""Which beta of a grid is chosen, and by which rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.metric_name import ACCURACY, MetricName
from analysis.panels import LEVEL, compare_with, tallies_of
from analysis.selection import Setting
from experiment.metrics import Tally

SHORT_RULE = "highest mean accuracy of both languages"
RULE = "the highest mean of the instruction-level strict accuracies in both languages; of equals the smallest beta"


@dataclass(frozen=True)
class Choice:
    """The beta that the rule chooses, and those that it cannot be told from."""

    beta: float
    mean_percent: float
    not_told_from: tuple[float, ...]

    @property
    def short_rule(self) -> str:
        """The rule for a figure, with the betas that do as well."""
        rest = ", ".join(f"{beta:g}" for beta in self.not_told_from)
        return SHORT_RULE + (f"; not told apart from {rest}" if rest else "")

    @property
    def note(self) -> str:
        """The choice in words."""
        rest = ", ".join(f"{beta:g}" for beta in self.not_told_from)
        told = f" It cannot be told from {rest} (paired, Holm-corrected)." if rest else ""
        return (
            f"Chosen: beta {self.beta:g} ({self.mean_percent:.2f} %) by {RULE}.{told} The choice is made on the "
            "benchmark itself: its accuracy there is a little too high, as is that of any row chosen as the best."
        )


def choose(settings: Mapping[Any, Setting], languages: tuple[str, str]) -> Choice | None:
    """Choose among the betas that are scored in both languages; None where none is."""
    complete = {beta: _complete(setting, languages) for beta, setting in sorted(settings.items())}
    both = {beta: _both(setting, languages) for beta, setting in complete.items() if setting.runs}
    if not both:
        return None
    means = {beta: _mean(complete[beta], languages) for beta in both}
    chosen = max(means, key=lambda beta: (means[beta], -beta))
    compared = compare_with(both, chosen)
    rest = tuple(beta for beta, found in compared.items() if found.p_adjusted >= LEVEL)
    return Choice(float(chosen), 100 * means[chosen], rest)


def _complete(setting: Setting, languages: tuple[str, str]) -> Setting:
    """The setting with only those seeds that are scored in both languages."""
    runs = (run for run in setting.runs if all(run.scored(language) is not None for language in languages))
    return Setting(setting.key, tuple(runs))


def _mean(setting: Setting, languages: tuple[str, str]) -> float:
    shares = [
        [tally.count.share for tally in tallies_of(setting, MetricName(language, ACCURACY))] for language in languages
    ]
    return float(np.mean([np.mean(each) for each in shares]))


def _both(setting: Setting, languages: tuple[str, str]) -> list[Tally]:
    """The tallies of both languages as one, a prompt of each language being a prompt of its own."""
    by_language = [tallies_of(setting, MetricName(language, ACCURACY)) for language in languages]
    return [
        Tally(
            np.concatenate([first.keys * 2, second.keys * 2 + 1]),
            np.concatenate([first.correct, second.correct]),
            np.concatenate([first.total, second.total]),
        )
        for first, second in zip(*by_language, strict=True)
    ]
