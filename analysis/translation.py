"""``python -m analysis translation``: translations from anywhere against references, as a table or one document."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.panels import BLANK, EMPTY, LEVEL, p_text
from analysis.proportions import holm
from analysis.table import Cell, Panel, Table
from experiment.errors import DataError, KirjoError
from experiment.quality import comet, metrics
from experiment.quality.metrics import Absent, Measured
from experiment.quality.names import COMET, OFFLINE, TITLES
from experiment.quality.resampling import RESAMPLES, TRIALS, Comparison, compare
from experiment.quality.sentences import read_sentences, refuse_blank


@dataclass(frozen=True)
class System:
    """A file of hypotheses with its scores by metric."""

    name: str
    empty: int  # lines without a word
    scores: Mapping[str, Measured | Absent]


@dataclass(frozen=True)
class Compared:
    """A system against the first one by one metric; ``p_holm`` is corrected for all systems compared by it."""

    metric: str
    system: System
    found: Comparison
    p_holm: float


def systems_of(asked: Namespace) -> tuple[list[System], int]:
    """The scores of every file of hypotheses, and how many sentences there are.

    Raises:
        KirjoError: a file is not what it should be, or COMET was asked for and is not there.
    """
    names = [str(path) for path in asked.hypotheses]
    if len(set(names)) != len(names):
        raise KirjoError(f"--hypotheses {max(names, key=names.count)} is given twice")
    if asked.comet:
        comet.program()
        if asked.sources is None:
            raise KirjoError("--comet needs the sentences that were translated: --sources FILE")
    references = read_sentences(asked.references)
    refuse_blank(str(asked.references), references)
    sources = _as_long(asked.sources, asked.references, references) if asked.sources else []
    files = [(str(path), _as_long(path, asked.references, references)) for path in asked.hypotheses]
    systems = []
    for name, hypotheses in files:
        scores = {metric: metrics.measure(metric, hypotheses, references, asked.tokenizer) for metric in OFFLINE}
        if asked.comet:
            scores[COMET] = comet.measure(hypotheses, references, sources, asked.comet_model, asked.gpus)
        systems.append(System(name, sum(not hypothesis.strip() for hypothesis in hypotheses), scores))
    return systems, len(references)


def _as_long(path: Path, other: Path, references: Sequence[str]) -> list[str]:
    lines = read_sentences(path)
    if len(lines) != len(references):
        blank = "; its last line is blank" if not lines[-1].strip() else ""
        raise DataError(
            f"{path} has {len(lines)} lines and {other} has {len(references)}: the two must be the same sentences, "
            f"line by line{blank}"
        )
    return lines


def compared(systems: Sequence[System]) -> list[Compared]:
    """Every system against the first, metric by metric."""
    first, *others = systems
    found = []
    for name, baseline in first.scores.items():
        pairs = [(other, other.scores[name]) for other in others]
        tests = [
            (other, compare(one.counts, baseline.counts, baseline.score))
            for other, one in pairs
            if isinstance(one, Measured) and isinstance(baseline, Measured)
        ]
        for (other, test), p in zip(tests, holm([test.p for _, test in tests]), strict=True):
            found.append(Compared(name, other, test, p))
    return found


def document(asked: Namespace) -> dict[str, Any]:
    """The scores for programs: of one file at the top, of several under ``systems``, with their comparisons."""
    systems, sentences = systems_of(asked)
    scored = [
        {"hypotheses": one.name, "empty": one.empty, **{name: found.to_json() for name, found in one.scores.items()}}
        for one in systems
    ]
    shared = {"references": str(asked.references), "sentences": sentences}
    if len(scored) == 1:
        return {**shared, **scored[0]}
    comparisons = [
        {
            "metric": one.metric,
            "hypotheses": one.system.name,
            "baseline": systems[0].name,
            **vars(one.found),
            "p_holm": one.p_holm,
        }
        for one in compared(systems)
    ]
    return {**shared, "systems": scored, "comparisons": comparisons}


def as_json(asked: Namespace) -> str:
    """The document as text."""
    return json.dumps(document(asked), ensure_ascii=False, indent=1)


def table(asked: Namespace) -> Table:
    """A panel for each metric, a row for each file of hypotheses."""
    systems, sentences = systems_of(asked)
    several = len(systems) > 1
    tests = {(one.metric, one.system.name): one for one in compared(systems)}
    panels = []
    for name in systems[0].scores:
        rows = []
        for place, system in enumerate(systems):
            cells = [Cell(system.name, "label"), *score_cells(system.scores[name].to_json())]
            if several:
                cells += _compared_cells(tests.get((name, system.name)), place == 0)
            rows.append(tuple(cells))
        panels.append(Panel(TITLES[name], tuple(rows)))
    headings = ("hypotheses", "score", "95 % interval")
    return Table(
        "translation",
        f"Translations of {sentences:,} sentences, against {asked.references}",
        (*headings, *(("to the first", "p (Holm)", "told apart?") if several else ())),
        tuple(panels),
        _notes(systems, sentences),
    )


def score_cells(found: Mapping[str, Any], runs: tuple[str, ...] = ()) -> tuple[Cell, Cell]:
    """A score and its interval; a metric that could not be measured is missing."""
    if found["value"] is None:
        return Cell("", "missing", {}, runs), EMPTY
    numbers = {name: found[name] for name in ("value", "low", "high")}
    return (
        Cell(f"{found['value']:.2f}", "measured", {**numbers, "signature": found["signature"]}, runs),
        Cell(
            f"{found['low']:.2f} to {found['high']:.2f}", "interval", {"low": found["low"], "high": found["high"]}, runs
        ),
    )


def _compared_cells(one: Compared | None, is_first: bool) -> tuple[Cell, Cell, Cell]:
    if one is None:
        return (Cell("baseline", "verdict") if is_first else EMPTY, EMPTY, BLANK)
    found, told = one.found, one.p_holm < LEVEL
    return (
        Cell(
            f"{_points(found.difference):+.2f} [{_points(found.low):.2f}, {_points(found.high):.2f}]",
            "difference",
            vars(found),
        ),
        Cell(p_text(one.p_holm), "p", {"p": found.p, "p_holm": one.p_holm}),
        Cell("yes" if told else "no", "verdict", {"told": told}),
    )


def _points(value: float) -> float:
    """To two decimals; never -0."""
    return round(value, 2) + 0.0


def _notes(systems: Sequence[System], sentences: int) -> tuple[str, ...]:
    first = systems[0].scores
    notes = [f"{TITLES[name]}: {found.signature}" for name, found in first.items()]
    notes += [
        f"{TITLES[name]} is missing: {found.reason}" for name, found in first.items() if isinstance(found, Absent)
    ]
    notes.append(f"Intervals: 95 %, bootstrap over sentences ({RESAMPLES:,} resamples).")
    if len(systems) > 1:
        others = f"{len(systems) - 1} comparison{'s' * (len(systems) > 2)}"
        notes.append(
            f"To the first: difference in points with its interval (the same resamples); p: paired approximate "
            f"randomisation over sentences ({TRIALS:,} trials), Holm-corrected for {others} a "
            f"metric. Told apart: p below {LEVEL:g}; 'no' does not mean that the two are equal."
        )
    notes += [
        f"{one.empty:,} of {sentences:,} lines of {one.name} are blank; they count as translations without a match."
        for one in systems
        if one.empty
    ]
    return tuple(notes)
