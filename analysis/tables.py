"""Table 1, Table 2 and the beta grid: what was measured beside what was published, and what can be told of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from analysis import published
from analysis.betas import choose
from analysis.layouts import EXPERIMENT_AXES, Group, Layout, comparisons, groups, layouts, row_keys
from analysis.metric_name import ACCURACY, MetricName
from analysis.origins import command, origins
from analysis.panels import HEADINGS, Row, panel
from analysis.published import PublishedRow
from analysis.selection import NO_RESULT, Setting, refuse_incomparable
from analysis.table import Table
from experiment.results import RunResult
from experiment.scoring.verdict import PAPER

# What tells the rows of a table apart, as overrides.
ROW_AXES = ("mix", "method", "dpo_beta", "dpo.beta", "experiment")

# What a point of an experiment file that sets options carries beside the file (experiment/sweep.py).
NO_GRIDS = "sweep.grids=[]"

LANGUAGE_NAMES = {"en": "English", "fi": "Finnish", "eu": "Basque", "sv": "Swedish"}


def make_tables(
    name: str,
    runs: Sequence[RunResult],
    store: str,
    metrics: Sequence[MetricName] = (),
    where: Collection[str] = (),
) -> list[Table]:
    """The named table, once for each experiment that there are runs of; ``metrics`` instead of the usual panels.

    ``where`` names the settings by which the runs were chosen: a table's rows that were not chosen are not missing.

    Raises:
        KirjoError: runs of one experiment were scored in ways that do not compare.
    """
    layout = layouts()[name]
    chosen = bool({*layout.axes, "mix", "method"} & set(where))
    return [_table(name, layout, group, store, metrics, chosen) for group in groups(layout, runs)]


def _table(name: str, layout: Layout, group: Group, store: str, metrics: Sequence[MetricName], chosen: bool) -> Table:
    languages = group.languages
    for language in languages:
        refuse_incomparable(group.settings.values(), language)
    pair = "-".join(languages)
    rows = [
        Row(key, layout.label(key, pair), group.settings.get(key), _published(layout.published.get(key), languages))
        for key in row_keys(layout, group, chosen)
    ]
    panels = [(described(metric), metric) for metric in metrics] or usual_panels(group.settings.values(), languages)
    panels = [(title, metric) for title, metric in panels if metric.language in group.asked_languages]
    missing = [
        (row.label, line)
        for row in rows
        for line in missing_commands(row.setting, [*_shared_by(group), *layout.overrides(row.key)], store)
    ]
    family = comparisons(layout, group)
    filled = tuple(panel(title, metric, rows, layout.baseline, family) for title, metric in panels)
    starred = any(cell.text.endswith("*") for each in filled for row in each.rows for cell in row)
    names = [f"{axis} {value}" for axis, value in zip(("model", "data", "benchmark"), group.experiment, strict=True)]
    return Table(
        name,
        f"{layout.title} ({', '.join([*names, *_apart(group.runs)])})",
        (layout.first_heading, *HEADINGS),
        filled,
        (*_choice(name, group), *_notes(layout, group, rows, missing, starred)),
        origins(group.settings.values(), store),
    )


def _choice(name: str, group: Group) -> tuple[str, ...]:
    chosen = choose(group.settings, group.languages) if name == "betas" else None
    return (chosen.note,) if chosen else ()


def _published(row: PublishedRow | None, languages: tuple[str, str]) -> dict[str, published.Count]:
    if row is None or languages != ("en", "fi"):
        return {}
    return {
        f"ifeval_en.{ACCURACY}": row.en,
        f"ifeval_fi.{ACCURACY}": row.fi,
        "ifeval_fi.response_language": row.response_language,
    }


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
    own = own_rules(settings, target)
    panels = [
        (f"{language_name(source)} accuracy", MetricName(source, ACCURACY)),
        (f"{name} accuracy" + (", by the paper's rules" if own else ""), MetricName(target, ACCURACY)),
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


def own_rules(settings: Iterable[Setting], language: str) -> str | None:
    """The rule set that is made for the language, if it has one."""
    for setting in settings:
        for scored in setting.scored(language):
            return next((rules for rules in scored.rules if rules != PAPER), None)
    return None


def missing_commands(setting: Setting | None, overrides: Sequence[str], store: str) -> list[str]:
    """The commands that fill a row: a run that exists but is not complete is made whole by what began it."""
    if setting is None:
        return [command(overrides, store)]
    return [command(run.overrides, store) for run in setting.missing]


def _shared_by(group: Group) -> list[str]:
    experiment = [f"{axis}={value}" for axis, value in zip(EXPERIMENT_AXES, group.experiment, strict=True)]
    return [*experiment, *_shared(group.runs)]


def _notes(
    layout: Layout, group: Group, rows: Sequence[Row], missing: Sequence[tuple[str, str]], starred: bool
) -> tuple[str, ...]:
    target = group.languages[1]
    baseline = next((row.label for row in rows if row.key == layout.baseline), str(layout.baseline))
    seeds = {len(setting.runs) for setting in group.settings.values()}
    notes = [
        f"Published: {published.source()}. Percent (k/n): instructions followed, strict; responses whose language is "
        f"'{target}' by langdetect. Beside a published value percentages are cut to two decimals as in the paper, "
        "elsewhere rounded" + (", means over seeds too." if seeds - {1} else "."),
        "Intervals: 95 %, resampling prompts with all their instructions. To published: difference in points; of the "
        "published side only k and n are known."
        + (" *: p < 0.05, not corrected; tested only where as many were counted as published." if starred else ""),
        f"To baseline: difference to {baseline} on the same prompts, in points. p: exact paired sign-flip test over "
        "prompts"
        + (" (a row or baseline of several seeds: t-test over prompts and seeds)" if seeds - {1} else "")
        + f", Holm-corrected for {comparisons(layout, group)} comparisons; the intervals of differences are not "
        "corrected. Told apart: whether this p is below 0.05; 'no' does not mean that the two are equal.",
    ]
    if not group.is_the_papers:
        notes.append(
            f"The benchmark '{group.experiment[2]}' in {' and '.join(group.languages)} is not the published one: "
            "levels do not compare with the published ones."
        )
    if group.experiment[0] == "demo":
        notes.append(
            "The accuracies are those of a very small model: of the trends, trust only that of the response language."
        )
    if seeds - {1}:
        notes.append("Several seeds: mean ± standard deviation over seeds; the interval holds prompts and seeds.")
    if 1 in seeds:
        notes.append("One seed: what another training seed would change is in no interval.")
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
    known = {*EXPERIMENT_AXES, *ROW_AXES}
    if NO_GRIDS in kept:  # an experiment file that sets options, not only rows: its points are nothing without it
        known.discard("experiment")
    return [item for item in kept if item.split("=", 1)[0].lstrip("+") not in known]


def _apart(runs: Sequence[RunResult]) -> list[str]:
    """The options that tell this experiment from others of the same model, data and benchmark."""
    keys = {item: item.split("=", 1)[0].lstrip("+~") for item in _shared(runs)}
    return [
        item
        for item, key in keys.items()
        if not key.endswith((".path", ".nltk_data")) and key.split(".")[0] not in NO_RESULT
    ]
