"""Accuracy by instruction: by category in every language (Figure 1), and by type under every rule set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.metric_name import ACCURACY, MetricName
from analysis.origins import command, origins
from analysis.panels import measured_cell
from analysis.selection import Setting, refuse_incomparable, settings_of
from analysis.statistics import Estimate, estimates
from analysis.table import Cell, Panel, Table
from analysis.tables import described, language_name
from experiment.errors import KirjoError
from experiment.metrics import Scored, Tally, category_of
from experiment.results import RunResult
from experiment.scoring.verdict import PAPER


@dataclass(frozen=True)
class CategoryEstimate:
    """The accuracy on one category's instructions."""

    name: str
    instructions: int
    tallies: tuple[Tally, ...]
    estimate: Estimate


def one_setting(runs: Sequence[RunResult], store: str, wanted: str) -> Setting:
    """The only setting among the runs, to be shown by itself.

    Raises:
        KirjoError: there is none, or there are several.
    """
    settings, _ = settings_of(
        ((*_experiment(run), run.axes["mix"], run.axes["method"], run.axes["beta"]), run) for run in runs
    )
    if len(settings) == 1:
        (setting,) = settings.values()
        if not any(setting.scored(language) for language in setting.first.languages):
            again = command(setting.first.overrides, store)
            raise KirjoError(f"{wanted}: {setting.name} is not scored yet; this command does it:\n  {again}")
        for language in setting.first.languages:
            refuse_incomparable([setting], language)
        return setting
    names = sorted({setting.name for setting in settings.values()})
    listed = "".join(f"\n  {name}" for name in names[:20])
    told = (
        f"{len(settings)} settings fit: choose one with --where, such as --where method=sft --where mix=100"
        if names
        else (f"the store {store} holds no run for it: python -m experiment store={store}")
    )
    raise KirjoError(f"{wanted} is made of one setting (all its seeds); {told}{listed}")


def _experiment(run: RunResult) -> tuple[str, ...]:
    return tuple(str(run.axes[axis]) for axis in ("model", "data_mix", "benchmark", "settings"))


def by_category(setting: Setting, metric: MetricName, by_type: bool = False) -> list[CategoryEstimate]:
    """A metric of instructions for every category (or type) there is, in alphabetical order; empty if not scored."""
    scored = setting.scored(metric.language)
    if not scored:
        return []
    names = sorted({name if by_type else category_of(name) for name in scored[0].instruction_ids})
    cells = [_tallies(scored, metric, name) for name in names]
    return [
        CategoryEstimate(name, int(tallies[0].total.sum()), tuple(tallies), found)
        for name, tallies, found in zip(names, cells, estimates(cells), strict=True)
    ]


def _tallies(scored: Sequence[Scored], metric: MetricName, name: str) -> list[Tally]:
    return [MetricName(metric.language, metric.metric, metric.rules, name).tally(each) for each in scored]


def category_table(setting: Setting, languages: Sequence[str], store: str) -> Table:
    """The numbers of Figure 1."""
    panels = []
    runs = tuple(run.id for run in setting.runs)
    for metric in figure_metrics(setting, languages):
        found = by_category(setting, metric)
        rows = tuple(
            (
                Cell(each.name, "label"),
                Cell(str(each.instructions), "measured", {"total": each.instructions}, runs),
                measured_cell(each.tallies, each.estimate, runs, cut=False),
                Cell(
                    f"{100 * each.estimate.low:.1f} to {100 * each.estimate.high:.1f}",
                    "interval",
                    {"low": 100 * each.estimate.low, "high": 100 * each.estimate.high},
                    runs,
                ),
            )
            for each in found
        )
        panels.append(Panel(described(metric), rows))
    return Table(
        "figure1",
        f"Accuracy by instruction category ({setting.name})",
        ("category", "instructions", "accuracy", "95 % interval"),
        tuple(panels),
        ("Instruction-level strict accuracy in percent, rounded. Intervals: 95 %, resampling prompts.",),
        origins([setting], store),
    )


def figure_metrics(setting: Setting, languages: Sequence[str]) -> list[MetricName]:
    """Every language by the paper's rules, then by its own, where it is scored."""
    found = []
    for language in languages:
        scored = setting.scored(language)
        if scored:
            own = [rules for rules in scored[0].rules if rules != PAPER][:1]
            found += [MetricName(language, ACCURACY, rules) for rules in (PAPER, *own)]
    return found


def rules_table(setting: Setting, language: str, store: str) -> Table:
    """How the verdicts of a language's rule sets differ, by type of instruction, all seeds together."""
    scored = setting.scored(language)
    runs = tuple(run.id for run in setting.runs)
    if not scored:
        raise KirjoError(f"the run {setting.first.name} is not scored in '{language}' (yet)")
    rules = scored[0].rules
    if len(rules) == 1:
        raise KirjoError(
            f"'{language}' has only the rule set '{rules[0]}': nothing to compare. A rule set of its own is a file in "
            "experiment/scoring/languages/"
        )
    names = sorted(set(scored[0].instruction_ids))
    rows = [_rules_row(name, [name], scored, rules, runs) for name in names]
    rows.append(_rules_row("all", names, scored, rules, runs))
    return Table(
        "rules",
        f"Instructions followed in {language_name(language)} answers, by rule set ({setting.name})",
        ("instruction", "instructions", *rules, "verdicts that differ"),
        (Panel("", tuple(rows)),),
        (
            "Strict verdicts on the same answers. 'paper' is what the authors' harness says, its English-only rules "
            "included; the last column counts instructions that not all rule sets judge alike.",
        ),
        origins([setting], store),
    )


def _rules_row(
    label: str, names: Sequence[str], scored: Sequence[Scored], rules: Sequence[str], runs: tuple[str, ...]
) -> tuple[Cell, ...]:
    asked = [np.isin(np.array(each.instruction_ids), list(names)) for each in scored]
    total = sum(int(mask.sum()) for mask in asked)
    correct = [
        sum(int((each.strict[name] & mask).sum()) for each, mask in zip(scored, asked, strict=True)) for name in rules
    ]
    differ = 0
    for each, mask in zip(scored, asked, strict=True):
        verdicts = np.stack([each.strict[name] for name in rules])
        differ += int(((verdicts != verdicts[0]).any(axis=0) & mask).sum())
    return (
        Cell(label, "label"),
        Cell(str(total), "measured", {"total": total}, runs),
        *(Cell(str(count), "measured", {"correct": count, "total": total}, runs) for count in correct),
        Cell(str(differ) if differ else "-", "measured", {"differ": differ}, runs),
    )
