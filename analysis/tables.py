"""Table 1, Table 2 and the beta grid: what was measured beside what was published."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis import published
from analysis.published import PublishedRow
from experiment.errors import KirjoError
from experiment.metrics import Count
from experiment.results import RunResult

METRIC = "instruction_strict"
MIXES = (0, 10, 20, 40, 60, 80, 100)
METHODS = ("sft", "sft_masked", "sft_neftune", "dpo_en", "dpo_fi", "dpo_both")
BETAS = (0.01, 0.05, 0.1)
LABELS = {"sft": "baseline (sft)"}

# What tells the experiments of a store apart: a table holds one of each.
EXPERIMENT_AXES = ("model", "data_mix", "benchmark")

# Options that change no result need not be told in a title.
NOT_SETTINGS = ("launcher", "tracking", "preflight", "generate")

# What tells the rows of a table apart, as overrides.
ROW_AXES = ("mix", "method", "dpo_beta", "dpo.beta", "experiment")


@dataclass(frozen=True)
class Table:
    """Headings and cells ready to be rendered; every row has as many cells as there are headings."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """What a table's rows are: how a run falls into one, and the overrides that make it."""

    title: str
    first_heading: str
    keys: Sequence[Any]
    key_of: Callable[[RunResult], Any]
    label: Callable[[Any, str], str]  # (row's key, language pair such as en-fi)
    overrides: Callable[[Any], Sequence[str]]
    published: Mapping[Any, PublishedRow]


def layouts() -> dict[str, Layout]:
    """The tables by name."""
    return {
        "table1": Layout(
            "Table 1: SFT data mixes",
            "data mix",
            MIXES,
            lambda run: run.axes["mix"] if run.axes["method"] == "sft" else None,
            lambda mix, pair: f"{pair}-{mix}pct",
            lambda mix: [f"mix={mix}"],
            published.rows("table1"),
        ),
        "table2": Layout(
            "Table 2: post-training methods",
            "model",
            METHODS,
            lambda run: run.axes["method"] if run.axes["mix"] == 100 and run.axes["beta"] in (None, 0.05) else None,
            lambda method, _pair: LABELS.get(method, method),
            lambda method: [f"method={method}"],
            published.rows("table2"),
        ),
        "betas": Layout(
            "Beta grid: DPO on both languages",
            "beta",
            BETAS,
            lambda run: run.axes["beta"] if run.axes["mix"] == 100 and run.axes["method"] == "dpo_both" else None,
            lambda beta, _pair: f"{beta:g}",
            lambda beta: ["method=dpo_both", f"dpo.beta={beta:g}"],
            {0.05: published.rows("table2")["dpo_both"]},
        ),
    }


def make_tables(name: str, results: Sequence[RunResult], where: Mapping[str, str], store: str) -> list[Table]:
    """The named table, once for each experiment that the store holds runs of.

    Runs belong to one experiment if they have all settings in common but for mix, method and beta.

    Raises:
        KirjoError: no run fits ``where``.
    """
    layout = layouts()[name]
    fitting = [run for run in results if all(_axis(run, key) == value for key, value in where.items())]
    if where and not fitting:
        raise KirjoError(f"no run in {store} has {', '.join(f'{k}={v}' for k, v in where.items())}; {_valid(results)}")
    groups: dict[tuple[str, ...], list[RunResult]] = {}
    for run in fitting:
        if layout.key_of(run) is not None:
            names = tuple(str(run.axes[axis]) for axis in (*EXPERIMENT_AXES, "settings"))
            groups.setdefault(names, []).append(run)
    if not groups:
        groups = {("demo", "demo", "demo", ""): []}
    return [_table(layout, names[:-1], runs, store) for names, runs in sorted(groups.items())]


def _table(layout: Layout, experiment: tuple[str, ...], runs: Sequence[RunResult], store: str) -> Table:
    source, target = _languages(runs)
    pair = f"{source}-{target}"
    # The same settings give other steps only when code or checkers became another version: the last asked for counts.
    by_key = {layout.key_of(run): run for run in sorted(runs, key=lambda run: run.asked_for)}
    superseded = sum(run.steps != by_key[layout.key_of(run)].steps for run in runs)
    chosen = [f"{axis}={value}" for axis, value in zip(EXPERIMENT_AXES, experiment, strict=True)]
    keys = [*layout.keys, *sorted(set(by_key) - set(layout.keys), key=str)]
    rows, missing = [], []
    for key in keys:
        found = by_key.get(key)
        row = layout.published.get(key)
        cells = [layout.label(key, pair)]
        for language, name in ((source, "en"), (target, "fi")):
            cells += [_published(row, name), _measured(found, language, METRIC)]
        cells += [row.response_language if row else "-", _measured(found, target, "response_language")]
        rows.append(tuple(cells))
        # A run that exists but is not complete is made whole by the very overrides that began it.
        if found is None:
            missing.append((cells[0], _command([*chosen, *_shared(runs), *layout.overrides(key)], store)))
        elif any(_is_missing(found, language) for language in (source, target)):
            missing.append((cells[0], _command(found.overrides, store)))
    headings = (
        layout.first_heading,
        *(f"{language.upper()} {kind}" for language in (source, target) for kind in ("published", "measured")),
        "language published",
        "language measured",
    )
    return Table(
        f"{layout.title} ({', '.join([*experiment, *_apart(runs)])})",
        headings,
        tuple(rows),
        _notes(experiment, runs, target, superseded, [f"{label}: {command}" for label, command in missing]),
    )


def _resolution(total: int) -> float:
    """1.96 standard errors of the difference of two independent shares around one half, in percentage points."""
    return 100 * 1.96 * math.sqrt(2 * 0.25 / total)


def _notes(
    experiment: tuple[str, ...], runs: Sequence[RunResult], target: str, superseded: int, missing: Sequence[str]
) -> tuple[str, ...]:
    notes = [
        f"Published: {published.source()}; k (percent) of 783 instructions, instruction-level strict accuracy.",
        "Measured: k/n (percent), the same metric; "
        f"language: answers to the '{target}' prompts that are in '{target}'.",
        "Percentages are cut to two decimals, as in the paper, not rounded.",
    ]
    if experiment[2] != "ifeval":
        notes.append(
            f"The benchmark '{experiment[2]}' is not IFEval and the model is not Poro 34B: levels do not compare. "
            "Of the courses, read the one of the language column; the accuracies are those of a very small model."
        )
    if runs := [run for run in runs if target in run.scores]:
        total = runs[0].scores[target][METRIC].total
        notes.append(
            f"At n = {total} instructions two accuracies less than about {_resolution(total):.0f} points apart "
            "cannot be told apart (95 %, independent rows)."
        )
    if superseded:
        notes.append(
            f"{superseded} older results of the same settings, by earlier versions of code or checkers, left out."
        )
    if missing:
        notes.append("Missing cells; each is filled by its command:")
        notes += [f"  {line}" for line in missing]
    return tuple(notes)


def _measured(run: RunResult | None, language: str, metric: str) -> str:
    if run and language in run.scores:
        count = run.scores[language][metric]
        return f"{count.correct}/{count.total} ({count.truncated})"
    return "missing" if run is None or _is_missing(run, language) else "-"


def _is_missing(run: RunResult, language: str) -> bool:
    """Whether the run was to be scored in the language and is not (yet)."""
    return f"score.{language}" in run.steps and language not in run.scores


def _command(overrides: Sequence[str], store: str) -> str:
    return shlex.join(["python", "-m", "experiment", *overrides, f"store={store}"])


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


def _published(row: PublishedRow | None, name: str) -> str:
    if row is None:
        return "-"
    count: Count = getattr(row, name)
    return f"{count.correct} ({count.truncated})"


def _languages(runs: Sequence[RunResult]) -> tuple[str, str]:
    for run in runs:
        return str(run.axes["source_language"]), str(run.axes["target_language"])
    return "en", "fi"


def _axis(run: RunResult, key: str) -> str | None:
    value = run.axes.get(key)
    return None if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _valid(results: Sequence[RunResult]) -> str:
    axes = sorted({axis for run in results for axis in run.axes})
    held = {axis: sorted({value for run in results if (value := _axis(run, axis)) is not None}) for axis in axes}
    listed = "; ".join(f"{axis}: {', '.join(values)}" for axis, values in held.items() if values)
    return f"its runs have {listed}" if listed else "it holds no runs yet"
