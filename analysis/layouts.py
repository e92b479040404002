"""What the rows of the paper's tables are, and which runs of a store belong to one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis import published
from analysis.places import METHODS
from analysis.published import PublishedRow
from analysis.selection import Setting, settings_of
from experiment.results import RunResult

MIXES = (0, 10, 20, 40, 60, 80, 100)
BETAS = (0.01, 0.05, 0.1)
LABELS = {"sft": "baseline (sft)"}

# What tells the experiments of a store apart: a table holds one of each.
EXPERIMENT_AXES = ("model", "data_mix", "benchmark")


@dataclass(frozen=True)
class Layout:
    """What a table's rows are: how a run falls into one, and the overrides that make it."""

    title: str
    first_heading: str
    axes: tuple[str, ...]  # the settings that tell the rows apart
    keys: Sequence[Any]
    baseline: Any
    key_of: Callable[[RunResult], Any]
    label: Callable[[Any, str], str]  # (row's key, language pair such as en-fi)
    overrides: Callable[[Any], Sequence[str]]
    published: Mapping[Any, PublishedRow]


@dataclass(frozen=True)
class Group:
    """The runs of one experiment, as a table's rows."""

    experiment: tuple[str, ...]  # values of EXPERIMENT_AXES
    runs: tuple[RunResult, ...]
    settings: Mapping[Any, Setting]
    left_out: int  # older results of the same settings

    @property
    def languages(self) -> tuple[str, str]:
        """Source and target language."""
        for run in self.runs:
            return str(run.axes["source_language"]), str(run.axes["target_language"])
        return "en", "fi"

    @property
    def asked_languages(self) -> set[str]:
        """The languages that some run is to be scored in; of an empty group both."""
        return {language for run in self.runs for language in run.languages} or set(self.languages)

    @property
    def is_the_papers(self) -> bool:
        """Whether levels compare with the published ones: the same benchmark in the same languages."""
        return self.experiment[2] == "ifeval" and self.languages == ("en", "fi")


def layouts() -> dict[str, Layout]:
    """The tables by name."""
    return {
        "table1": Layout(
            "Table 1: SFT data mixes",
            "data mix",
            ("mix",),
            MIXES,
            0,
            lambda run: run.axes["mix"] if run.axes["method"] == "sft" else None,
            lambda mix, pair: f"{pair}-{mix}pct",
            lambda mix: [f"mix={mix}"],
            published.rows("table1"),
        ),
        "table2": Layout(
            "Table 2: post-training methods",
            "model",
            ("method",),
            METHODS,
            "sft",
            lambda run: run.axes["method"] if run.axes["mix"] == 100 and run.axes["beta"] in (None, 0.05) else None,
            lambda method, _pair: LABELS.get(method, method),
            lambda method: [f"method={method}"],
            published.rows("table2"),
        ),
        "betas": Layout(
            "Beta grid: DPO on both languages",
            "beta",
            ("beta", "dpo.beta"),
            BETAS,
            0.05,
            lambda run: run.axes["beta"] if run.axes["mix"] == 100 and run.axes["method"] == "dpo_both" else None,
            lambda beta, _pair: f"{beta:g}",
            lambda beta: ["method=dpo_both", f"dpo.beta={beta:g}"],
            {0.05: published.rows("table2")["dpo_both"]},
        ),
    }


def groups(layout: Layout, runs: Sequence[RunResult]) -> list[Group]:
    """The experiments that have runs for a table; runs belong to one if all hashed settings but its rows' are the same.

    With no runs at all it is the demo's table, empty.
    """
    found: dict[tuple[str, ...], list[RunResult]] = {}
    for run in runs:
        # A run that only makes data has no scores to come.
        if run.languages and layout.key_of(run) is not None:
            names = tuple(str(run.axes[axis]) for axis in (*EXPERIMENT_AXES, "settings"))
            found.setdefault(names, []).append(run)
    made = []
    for names, members in sorted((found or {("demo", "demo", "demo", ""): []}).items()):
        settings, left_out = settings_of((layout.key_of(run), run) for run in members)
        made.append(Group(names[:-1], tuple(members), settings, left_out))
    return made


def comparisons(layout: Layout, group: Group) -> int:
    """How many rows are to be compared with the baseline, whether they are there or not."""
    return len(set(row_keys(layout, group, chosen=False)) - {layout.baseline})


def row_keys(layout: Layout, group: Group, chosen: bool) -> list[Any]:
    """The rows of a table in order: the paper's and all others that there are; of a choice only those in it."""
    others = sorted(set(group.settings) - set(layout.keys), key=lambda key: (str(type(key)), key))
    keys = [key for key in layout.keys if not chosen or key in group.settings] + others
    return sorted(keys) if all(isinstance(key, int | float) for key in keys) else keys
