"""Table 1, Table 2 and the beta grid: what was measured beside what was published, and what can be told of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis import published
from analysis.betas import choose
from analysis.metric_name import ACCURACY, MetricName
from analysis.origins import command, origins
from analysis.panels import HEADINGS, Row, panel
from analysis.places import METHODS
from analysis.published import PublishedRow
from analysis.selection import Setting, refuse_incomparable, settings_of
from analysis.table import Table
from experiment.results import RunResult
from experiment.scoring.verdict import PAPER

MIXES = (0, 10, 20, 40, 60, 80, 100)

BETAS = (0.01, 0.05, 0.1)
LABELS = {"sft": "baseline (sft)"}

# What tells the experiments of a store apart: a table holds one of each.
EXPERIMENT_AXES = ("model", "data_mix", "benchmark")

# Options that change no result need not be told in a title.
NOT_SETTINGS = ("launcher", "tracking", "preflight", "generate")

# What tells the rows of a table apart, as overrides.
ROW_AXES = ("mix", "method", "dpo_beta", "dpo.beta", "experiment", "seed")


@dataclass(frozen=True)
class Layout:
    """What a table's rows are: how a run falls into one, and the overrides that make it."""

    title: str
    first_heading: str
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


def layouts() -> dict[str, Layout]:
    """The tables by name."""
    return {
        "table1": Layout(
            "Table 1: SFT data mixes",
            "data mix",
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
        if layout.key_of(run) is not None:
            names = tuple(str(run.axes[axis]) for axis in (*EXPERIMENT_AXES, "settings"))
            found.setdefault(names, []).append(run)
    made = []
    for names, members in sorted((found or {("demo", "demo", "demo", ""): []}).items()):
        settings, left_out = settings_of((layout.key_of(run), run) for run in members)
        made.append(Group(names[:-1], tuple(members), settings, left_out))
    return made


def make_tables(name: str, runs: Sequence[RunResult], store: str, metrics: Sequence[MetricName] = ()) -> list[Table]:
    """The named table, once for each experiment that there are runs of; ``metrics`` instead of the usual panels.

    Raises:
        KirjoError: runs of one experiment were scored in ways that do not compare.
    """
    layout = layouts()[name]
    return [_table(name, layout, group, store, metrics) for group in groups(layout, runs)]


def _table(name: str, layout: Layout, group: Group, store: str, metrics: Sequence[MetricName]) -> Table:
    languages = group.languages
    for language in languages:
        refuse_incomparable(group.settings.values(), language)
    rows = _rows(layout, group, languages)
    panels = [(described(metric), metric) for metric in metrics] or usual_panels(group.settings.values(), languages)
    missing = [
        (row.label, line)
        for row in rows
        for line in missing_commands(row.setting, [*_chosen(group), *layout.overrides(row.key)], store)
    ]
    return Table(
        name,
        f"{layout.title} ({', '.join([*group.experiment, *_apart(group.runs)])})",
        (layout.first_heading, *HEADINGS),
        tuple(panel(title, metric, rows, layout.baseline) for title, metric in panels),
        (*_choice(name, group), *_notes(layout, group, rows, missing)),
        origins(group.settings.values(), store),
    )


def _choice(name: str, group: Group) -> tuple[str, ...]:
    chosen = choose(group.settings, group.languages) if name == "betas" else None
    return (chosen.note,) if chosen else ()


def _rows(layout: Layout, group: Group, languages: tuple[str, str]) -> list[Row]:
    others = sorted(set(group.settings) - set(layout.keys), key=lambda key: (str(type(key)), key))
    keys = [*layout.keys, *others]
    if all(isinstance(key, int | float) for key in keys):
        keys.sort()
    pair = "-".join(languages)
    return [
        Row(key, layout.label(key, pair), group.settings.get(key), _published(layout.published.get(key), languages))
        for key in keys
    ]


def _published(row: PublishedRow | None, languages: tuple[str, str]) -> dict[str, published.Count]:
    if row is None or languages != ("en", "fi"):
        return {}
    return {
        f"ifeval_en.{ACCURACY}": row.en,
        f"ifeval_fi.{ACCURACY}": row.fi,
        "ifeval_fi.response_language": row.response_language,
    }


LANGUAGE_NAMES = {"en": "English", "fi": "Finnish", "eu": "Basque", "sv": "Swedish"}


def language_name(code: str) -> str:
    """The English name of a language, or its code."""
    return LANGUAGE_NAMES.get(code, f"'{code}'")


def described(metric: MetricName) -> str:
    """A panel's title for any metric."""
    rules = "" if metric.rules == PAPER else f", rule set {metric.rules}"
    category = f", {metric.category}" if metric.category else ""
    return f"{language_name(metric.language)}: {metric.metric.replace('_', ' ')}{rules}{category}"


def usual_panels(settings: Iterable[Setting], languages: tuple[str, str]) -> list[tuple[str, MetricName]]:
    """The paper's three columns, and what they leave out: a language's own rules, and correct AND in the language."""
    source, target = languages
    name = language_name(target)
    own = next(iter(_own_rules(settings, target)), None)
    panels = [
        (f"{language_name(source)} accuracy", MetricName(source, ACCURACY)),
        (f"{name} accuracy", MetricName(target, ACCURACY)),
    ]
    if own:
        panels.append((f"{name} accuracy, by rules for {name}", MetricName(target, ACCURACY, own)))
    panels += [
        (f"Responses in {name} (to {name} prompts)", MetricName(target, "response_language")),
        (
            f"Followed and in {name}" + (f", by rules for {name}" if own else ""),
            MetricName(target, f"{ACCURACY}_in_language", own or PAPER),
        ),
    ]
    return panels


def _own_rules(settings: Iterable[Setting], language: str) -> list[str]:
    for setting in settings:
        for scored in setting.scored(language):
            return [rules for rules in scored.rules if rules != PAPER]
    return []


def missing_commands(setting: Setting | None, overrides: Sequence[str], store: str) -> list[str]:
    """The commands that fill a row: a run that exists but is not complete is made whole by what began it."""
    if setting is None:
        return [command(overrides, store)]
    return [command(run.overrides, store) for run in setting.missing]


def _chosen(group: Group) -> list[str]:
    experiment = [f"{axis}={value}" for axis, value in zip(EXPERIMENT_AXES, group.experiment, strict=True)]
    return [*experiment, *_shared(group.runs)]


def _resolution(total: int) -> float:
    """1.96 standard errors of the difference of two independent shares around one half, in percentage points."""
    return 100 * 1.96 * math.sqrt(2 * 0.25 / total)


def _notes(layout: Layout, group: Group, rows: Sequence[Row], missing: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    target = group.languages[1]
    baseline = next((row.label for row in rows if row.key == layout.baseline), "")
    notes = [
        f"Published: {published.source()}. Percent (k/n): instructions followed, strict; responses whose language is "
        f"'{target}' by langdetect. Beside a published value percentages are cut to two decimals as in the paper, "
        "elsewhere rounded.",
        "Intervals: 95 %, resampling prompts with all their instructions. To published: difference in points; of the "
        "published side only k and n are known; * marks p < 0.05 (not corrected).",
        f"To baseline: difference to {baseline} on the same prompts, in points; p: paired permutation test over "
        "prompts, Holm-corrected over the rows. Not told apart from the baseline means p >= 0.05, not that they are "
        "equal.",
    ]
    if group.experiment[2] != "ifeval":
        notes.append(
            f"The benchmark '{group.experiment[2]}' is not IFEval and the model is not Poro 34B: levels do not compare "
            "with the published ones, and such differences are shown without a test. Of the courses, read the one of "
            "the response language; the accuracies are those of a very small model."
        )
    if any(len(setting.runs) > 1 for setting in group.settings.values()):
        notes.append(
            "Rows with several seeds: mean ± standard deviation over seeds; their intervals hold both sources."
        )
    elif group.settings:
        notes.append("One seed a row: what another training seed would change is in no interval.")
    if group.left_out:
        notes.append(
            f"{group.left_out} older results of the same settings, by earlier versions of code or checkers, left out."
        )
    if missing:
        notes.append("Missing cells; each is filled by its command:")
        notes += [f"  {label}: {line}" for label, line in missing]
    return tuple(notes)


def _shared(runs: Sequence[RunResult]) -> list[str]:
    """What all runs of a table were asked for besides their place in it (``data_mix.path=FILE``): its gaps need it."""
    if not runs:
        return []
    kept = [item for item in runs[0].overrides if all(item in run.overrides for run in runs)]
    return [item for item in kept if item.split("=", 1)[0].lstrip("+") not in (*EXPERIMENT_AXES, *ROW_AXES)]


def _apart(runs: Sequence[RunResult]) -> list[str]:
    """The options that tell this experiment from others of the same model, data and benchmark."""
    keys = {item: item.split("=", 1)[0].lstrip("+~") for item in _shared(runs)}
    return [
        item
        for item, key in keys.items()
        if not key.endswith((".path", ".nltk_data")) and key.split(".")[0] not in NOT_SETTINGS
    ]
