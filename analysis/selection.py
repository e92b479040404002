"""Which runs a table is made of: chosen by their settings, seeds of one setting together, never the incomparable."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from experiment.errors import KirjoError
from experiment.metrics import Scored
from experiment.results import RunResult

# What no result depends on, as settings of a record: where and how it ran, and names that only label.
NO_RESULT = frozenset(
    {
        "launcher",
        "parallel",
        "tracking",
        "preflight",
        "generate",
        "engine",
        "store",
        "plan",
        "prefetch",
        "sweep",
        "settings",
    }
)

# The settings that `experiment.config` marks as not hashed; a test holds the two together, for importing it takes long.
NOT_HASHED = frozenset(
    {
        "micro_batch",
        "gradient_checkpointing",
        "checkpoint_every",
        "threads",
        "resources",
        "dimensions",
        "nltk_data",
        "batch_size",
        "shard_rows",
        "engine",
        "round_trip",
        "gpus",
        "max_truncated",
    }
)


@dataclass(frozen=True)
class Setting:
    """One setting of an experiment: runs that differ in their seed alone, by seed."""

    key: Any
    runs: tuple[RunResult, ...]

    @property
    def first(self) -> RunResult:
        """Any of the runs; but for the seed they are the same."""
        return self.runs[0]

    @property
    def name(self) -> str:
        """The run's name, or what the names of several seeds have in common."""
        if len(self.runs) == 1:
            return self.first.name
        return re.sub(r",seed=[^,#]*", "", self.first.name) + f", {len(self.runs)} seeds"

    def scored(self, language: str) -> list[Scored]:
        """The verdicts of every seed that is scored."""
        return [found for run in self.runs if (found := run.scored(language)) is not None]

    @cached_property
    def missing(self) -> tuple[RunResult, ...]:
        """The runs that are to be scored in some language and are not yet."""
        return tuple(run for run in self.runs if any(run.scored(language) is None for language in run.languages))


Deciding = frozenset[tuple[str, str]]  # the settings that decide a result, by name


def same_settings(runs: Sequence[RunResult]) -> list[RunResult]:
    """The runs, with the same digest of their settings where all that decides a result is the same.

    A new version has settings that old records lack, and another digest; without this the old ones would stand in
    tables of their own.
    """
    keys = _deciding(runs)
    by_time = sorted(zip(keys, runs, strict=True), key=lambda item: item[1].asked_for)
    digests = {key: run.axes["settings"] for key, run in by_time}
    return [
        run if run.axes["settings"] == digests[key] else replace(run, axes={**run.axes, "settings": digests[key]})
        for key, run in zip(keys, runs, strict=True)
    ]


def newest(runs: Sequence[RunResult]) -> list[RunResult]:
    """Of the runs with the same settings and seed the one asked for last: the others are by older code or checkers."""
    found: dict[Deciding, RunResult] = {}
    for key, run in zip(_deciding(runs), runs, strict=True):
        if key not in found or run.asked_for > found[key].asked_for:
            found[key] = run
    kept = {run.id for run in found.values()}
    return [run for run in runs if run.id in kept]


def _deciding(runs: Sequence[RunResult]) -> list[Deciding]:
    """What decides each run's result. A record that lacks some settings is taken for the only one it agrees with.

    Where several agree with it, any could be meant, and it stays by itself: what two records both have always counts.
    """
    keys = [frozenset((name, str(value)) for name, value in run.settings.items() if decides(name)) for run in runs]
    distinct = set(keys)
    sizes: dict[int, list[Deciding]] = {}
    for key in distinct:
        sizes.setdefault(len(key), []).append(key)
    fuller = {
        key: [other for size, others in sizes.items() if size > len(key) for other in others if key < other]
        for key in distinct
    }
    return [fuller[key][0] if len(fuller[key]) == 1 else key for key in keys]


def shown(value: Any) -> str:
    """A setting's value as it is typed: 0.05, true, none."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(shown, value)) + "]"
    return "none" if value is None else str(value)


def value_of(run: RunResult, axis: str) -> str | None:
    """The value of a setting or axis of a run as it is typed; None where the run has no such setting."""
    return shown(run.settings[axis]) if axis in run.settings else None


def check_axis(results: Sequence[RunResult], axis: str) -> None:
    """Refuse an axis that no run has.

    Raises:
        KirjoError: there is none of that name; the valid ones are listed.
    """
    names = {name for run in results for name in run.settings}
    if axis in names:
        return
    close = difflib.get_close_matches(axis, names, n=3, cutoff=0.6)
    meant = f" (did you mean {' or '.join(close)}?)" if close else ""
    raise KirjoError(
        f"no run has a setting '{axis}'{meant}; {_valid(results)}. Any setting of --cfg job is an axis, too"
    )


def select(results: Sequence[RunResult], where: Mapping[str, str], store: str) -> list[RunResult]:
    """The runs that have the given values; several values of one axis are separated by commas.

    Raises:
        KirjoError: there is no such axis, or no run has the value.
    """
    if not results and where:
        raise KirjoError(f"the store {store} holds no runs yet: python -m experiment experiment=paper store={store}")
    for axis in where:
        check_axis(results, axis)
    wanted = {axis: {_normal(_bare(axis, value)) for value in listed(values)} for axis, values in where.items()}
    fitting = [
        run for run in results if all(_normal(value_of(run, axis) or "") in values for axis, values in wanted.items())
    ]
    if where and not fitting:
        asked = ", ".join(f"{axis}={value}" for axis, value in where.items())
        raise KirjoError(f"no run in {store} has {asked}; {_valid(results)}")
    return fitting


def listed(values: str) -> list[str]:
    """What commas separate, but for those within brackets: ``0,10`` is two values, ``[en,fi]`` is one."""
    return re.findall(r"\[[^\]]*\]|[^,]+", values)


def _normal(value: str) -> str:
    """The same for the same value: 0.010 and 1e-2, with blanks or without."""
    number = _number(value)
    return value.replace(" ", "") if number is None else f"{number:g}"


def _bare(axis: str, value: str) -> str:
    return value.removesuffix("pct") if axis == "mix" else value


def _valid(results: Sequence[RunResult]) -> str:
    axes = sorted({axis for run in results for axis in run.axes} - {"settings", "data"})
    held = {axis: _sorted({value for run in results if (value := value_of(run, axis)) is not None}) for axis in axes}
    told = "; ".join(f"{axis}: {', '.join(values)}" for axis, values in held.items() if values)
    return f"its runs have {told}" if told else "it holds no runs yet"


def _sorted(values: Iterable[str]) -> list[str]:
    """Numbers by size, then words."""
    return sorted(values, key=lambda value: (_number(value) is None, _number(value) or 0.0, value))


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def settings_of(keyed: Iterable[tuple[Any, RunResult]]) -> tuple[dict[Any, Setting], int]:
    """Put runs with the same key together as the seeds of one setting; also how many older runs were left out.

    The same settings with the same seed give other steps only when code or a checker became another version: then the
    run asked for last counts.

    Raises:
        KirjoError: runs of one key differ in more than their seed.
    """
    groups: dict[Any, dict[Any, RunResult]] = {}
    left_out = 0
    for key, run in sorted(keyed, key=lambda item: item[1].asked_for):
        seeds = groups.setdefault(key, {})
        older = seeds.get(run.axes.get("seed"))
        if older is not None and older.steps != run.steps:
            _refuse_ambiguous(key, older, run)
            left_out += 1
        seeds[run.axes.get("seed")] = run
    for key, seeds in groups.items():
        runs = list(seeds.values())
        for other in runs[1:]:
            _refuse_ambiguous(key, runs[0], other)
    ordered = {key: tuple(run for _, run in sorted(seeds.items(), key=_by_seed)) for key, seeds in groups.items()}
    return {key: Setting(key, runs) for key, runs in ordered.items()}, left_out


def _by_seed(item: tuple[Any, RunResult]) -> str:
    return str(item[0]).zfill(12)


def differing(one: RunResult, other: RunResult) -> dict[str, tuple[Any, Any]]:
    """The settings in which two runs differ, but for the seed and those that no result depends on."""
    axes = ("mix", "method", "beta", "model", "data_mix", "benchmark")
    if all(one.axes.get(axis) == other.axes.get(axis) for axis in (*axes, "settings")):
        return {}  # all that is hashed is the same, wherever the data lay
    found = {
        name: (one.settings.get(name), other.settings.get(name))
        for name in {**one.settings, **other.settings}
        if decides(name) and one.settings.get(name) != other.settings.get(name)
    }
    # An axis stands beside the settings it is short for (beta, dpo.beta): it is enough to tell.
    short = {name: values for name, values in found.items() if name in axes}
    told = short or {name: values for name, values in found.items() if name not in (*one.axes, "seed")}
    # The same files by name, with another content.
    return told or {name: values for name, values in found.items() if name == "data"}


def decides(name: str) -> bool:
    """Whether a result can depend on the setting of this name."""
    parts = name.split(".")
    return parts[0] not in NO_RESULT and parts[-1] != "name" and not NOT_HASHED & set(parts)


def _refuse_ambiguous(key: Any, one: RunResult, other: RunResult) -> None:
    told = differing(one, other)
    if told:
        names = "; ".join(f"{name}: {shown(one)} and {shown(other)}" for name, (one, other) in list(told.items())[:5])
        axis = next(iter(told))
        place = ", ".join(map(shown, key)) if isinstance(key, tuple) else shown(key)
        raise KirjoError(
            f"two runs fall into one place of the table ({place}) and differ in {names}: choose with "
            f"--where {axis}=VALUE, or make it an axis (--rows {axis})\n  {one.name}\n  {other.name}"
        )


def refuse_incomparable(settings: Iterable[Setting], language: str, swept: Sequence[str] = ()) -> None:
    """Refuse answers that must not stand in one table: other prompts, other limits, other scorers.

    Raises:
        KirjoError: what differs, between which runs, and what to do.
    """
    first: tuple[RunResult, dict[str, Any]] | None = None
    for run in (run for setting in settings for run in setting.runs):
        scored = run.scored(language)
        if scored is None:
            continue
        found = {**_evaluation(run, language), "prompts scored": scored.keys.tobytes()}
        if first is None:
            first = (run, found)
            continue
        for name, value in found.items():
            if first[1][name] != value and name not in swept:
                raise KirjoError(_incomparable(name, first[0], first[1][name], run, value, language))


def _evaluation(run: RunResult, language: str) -> dict[str, Any]:
    manifest = run.manifest(f"score.{language}")
    settings = manifest.settings if manifest else {}
    return {
        "prompts": settings.get("prompts"),
        "benchmark.exclude_instructions": settings.get("exclude_instructions"),
        "benchmark.max_new_tokens": run.settings.get("benchmark.max_new_tokens"),
        "scorers": settings.get("scorers"),
    }


def _incomparable(name: str, one: RunResult, value: Any, other: RunResult, another: Any, language: str) -> str:
    if name == "prompts scored":
        missing = len(np.setxor1d(np.frombuffer(value, np.int64), np.frombuffer(another, np.int64)))
        told, advice = f"{missing} prompts are scored in one and not in the other", "give their commands again"
    elif name == "scorers":
        told = f"scorers: {_parts(value, another)} and {_parts(another, value)}"
        advice = "give both commands again from one installation: nothing is generated anew, only scored"
    elif name == "prompts":
        told = f"prompts: {_parts(value, another)} and {_parts(another, value)}"
        advice = "choose with --where"
    else:
        told = f"{name}: {shown(value)} and {shown(another)}"
        advice = f"choose with --where {name}=VALUE, or make it an axis (--rows {name})"
    return (
        f"these runs cannot stand in one table, for their '{language}' answers differ in more than the table tells "
        f"({told}): {advice}\n  {one.name}\n  {other.name}"
    )


def _parts(value: Any, other: Any) -> str:
    """What of a mapping differs from another, short."""
    if not isinstance(value, Mapping) or not isinstance(other, Mapping):
        return str(value)
    unlike = {name: part for name, part in value.items() if other.get(name) != part}
    return " ".join(f"{name}={_parts(part, other.get(name))}" for name, part in unlike.items()) or "(less)"
