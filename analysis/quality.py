"""``python -m analysis quality``: how good the translations of a store are, beside what was published."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis import published
from analysis.origins import command
from analysis.panels import EMPTY
from analysis.shared_steps import Shared, origins_of, refuse_none, shared_steps
from analysis.table import Cell, Panel, Table
from experiment.quality.names import OFFLINE, SPBLEU, TITLES, TOKENIZERS
from experiment.quality.result import SENTENCES, Quality, read_quality
from experiment.results import RunResult
from experiment.sources.jsonl import read_jsonl

_ROLE = re.compile(r"quality\.(?P<test>.+)\.(?P<direction>[a-z]{2,3}-[a-z]{2,3})\.(?P<shots>\d+)shot")
_BLANK = Cell("", "verdict")


@dataclass(frozen=True)
class Line:
    """One row of the table: a quality step, with its result if it is there."""

    shared: Shared
    test: str
    direction: str
    shots: str
    quality: Quality | None
    values: Mapping[str, Mapping[str, Any]]  # by metric

    @property
    def is_round_trip(self) -> bool:
        """Whether it went to the other language and back."""
        return self.quality.kind == "round_trip" if self.quality else self.shared.role.endswith(".round_trip")


def quality_table(runs: Sequence[RunResult], store: str) -> Table:
    """A row for each distinct quality step: against references, then round trips.

    Raises:
        KirjoError: no run measures anything, or a step is damaged.
    """
    lines = [_line(shared, store) for shared in shared_steps(runs, "quality")]
    files = [f"quality.tests.flores.lines.{language}.path=FILE" for language in ("en", "fi")]
    # The examples of the test set's template are files as well; without any the test sets alone are needed.
    advice = command(["quality=flores", "quality.shots=[0]", *files], store)
    refuse_none([line.shared for line in lines], runs, "measured translations", advice, store)
    names = [*OFFLINE, *dict.fromkeys(name for line in lines for name in line.values if name not in OFFLINE)]
    panels = [
        Panel(title, tuple(_row(line, names) for line in lines if line.is_round_trip is back))
        for title, back in (("Against references", False), ("Round trips: against the texts they began with", True))
        if any(line.is_round_trip is back for line in lines)
    ]
    return Table(
        "quality",
        "Translation quality",
        ("test set", "direction", "examples", "sentences", *(TITLES[name] for name in names), "published spBLEU"),
        tuple(panels),
        tuple(_notes(lines, names, store)),
        origins_of([line.shared for line in lines], store),
    )


def _line(shared: Shared, store: str) -> Line:
    quality, values = None, {}
    if shared.manifest is not None:
        artifact = shared.artifact(store)
        quality = read_quality(artifact)
        values = {name: _late(name, found, quality, artifact, shared) for name, found in quality.metrics.items()}
    named = _ROLE.fullmatch(shared.role)
    if named:
        return Line(shared, named["test"], named["direction"], named["shots"], quality, values)
    axes = shared.first.axes
    test = shared.role.removeprefix("quality.").removesuffix(".round_trip")
    there = f"{axes['source_language']}-{axes['target_language']}"
    back = f"-{axes['source_language']}" if shared.role.endswith(".round_trip") else ""
    return Line(shared, test, there + back, "", quality, values)


def _late(name: str, found: Mapping[str, Any], quality: Quality, artifact: Path, shared: Shared) -> Mapping[str, Any]:
    """spBLEU that was missing only for want of its model is measured now if the model is here: the texts are kept."""
    if name != SPBLEU or found["value"] is not None or quality.kind != "references" or shared.manifest is None:
        return found
    from experiment.quality import metrics, spm

    tokenizer = shared.manifest.settings.get("spbleu_tokenizer", TOKENIZERS[0])
    if spm.find(tokenizer).reason:
        return found
    rows = [row for _, row in read_jsonl(artifact / SENTENCES)]
    hypotheses, references = ([row[column] for row in rows] for column in ("hypothesis", "reference"))
    return metrics.measure(SPBLEU, hypotheses, references, tokenizer).to_json()


def _row(line: Line, names: Sequence[str]) -> tuple[Cell, ...]:
    label = f"{line.test} ({line.shared.label})" if line.shared.label else line.test
    runs = line.shared.ids
    sentences = EMPTY
    if line.quality is not None:
        numbers = {"sentences": line.quality.sentences, "rows": line.quality.rows, "empty": line.quality.empty}
        sentences = Cell(f"{line.quality.sentences:,}", "measured", numbers, runs)
    return (
        Cell(label, "label"),
        Cell(line.direction, "verdict"),
        Cell(line.shots, "measured", {"shots": int(line.shots)}) if line.shots else EMPTY,
        sentences,
        *(_score(line, name) for name in names),
        _published(line),
    )


def _score(line: Line, name: str) -> Cell:
    if line.quality is None:
        asked = not line.is_round_trip or name == "chrf"
        return Cell("", "missing", {}, line.shared.ids) if asked else EMPTY
    found = line.values.get(name)
    if found is None:
        return EMPTY
    if found["value"] is None:
        return Cell("", "missing", {"reason": found.get("reason", "")}, line.shared.ids)
    numbers = {key: found[key] for key in ("value", "low", "high", "signature")}
    text = f"{found['value']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"
    return Cell(text, "measured", numbers, line.shared.ids)


def _beside(line: Line) -> list[published.PublishedScore]:
    """What was published for this test set, direction and number of examples; the paper's own model first."""
    if line.shots != str(published.translation_shots()):
        return []
    name = re.sub(r"[^a-z0-9]", "", line.test.lower())
    return [one for one in published.translation() if name.startswith(one.test[:6]) and one.direction == line.direction]


def _published(line: Line) -> Cell:
    beside = [] if line.is_round_trip else _beside(line)
    if not beside:
        return EMPTY
    text = f"{beside[0].value:.1f} ({beside[0].system})"
    return Cell(text, "published", {one.system: one.value for one in beside})


def _notes(lines: Sequence[Line], names: Sequence[str], store: str) -> Iterator[str]:
    yield "In brackets 95 % intervals, bootstrap over sentences (over conversations or pairs in round trips)."
    for name in names:
        signatures = dict.fromkeys(line.values[name]["signature"] for line in lines if name in line.values)
        if signatures:
            yield f"{TITLES[name]}: {'; '.join(signatures)}"
    beside = [one for line in lines if not line.is_round_trip for one in _beside(line)]
    if beside:
        others = [f"{one.system} {one.test} {one.direction} {one.value:.1f}" for one in dict.fromkeys(beside)]
        yield (
            f"Published: {published.translation_source()}: {', '.join(others)}. It compares only where sentences "
            "and tokenizer are the same."
        )
    if any(line.is_round_trip for line in lines):
        yield "A round trip says nothing of the translation in between: a model that copies comes back whole."
    reasons = [found["reason"] for line in lines for found in line.values.values() if found["value"] is None]
    yield from (f"Missing: {reason}" for reason in dict.fromkeys(reasons))
    shared = [line.shared for line in lines if len(line.shared.runs) > 1]
    if shared:
        yield f"{len(shared)} of {len(lines)} rows are steps that several runs share."
    commands = dict.fromkeys(command(line.shared.first.overrides, store) for line in lines if line.quality is None)
    if commands:
        yield "Missing rows; each is filled by its command:"
        yield from (f"  {again}" for again in commands)
