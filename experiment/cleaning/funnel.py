"""What cleaning threw away: counts by rule with examples, and every dropped row in full.

``funnel.json`` of a clean artifact:

    kind        "conversations" or "pairs"
    languages   {"source", "target"}: ISO 639-1
    rows_in, rows_out
    cut         {"rows", "texts"}: how many had words of the prompt cut off and were judged by what stood before
    rules       in order, those that are on, each with
        rule        its name: its section in the settings
        threshold   the rule in a few words
        dropped     rows that it was the first to drop: rows_in = rows_out + all of these
        would_drop  rows that it alone would drop
        parts       {role: how many parts of the rows that it would drop}, by what is wrong with them
        examples    up to 3 of the rows that it dropped: {"id", "role", "value", "why", "source", "text"}, texts clipped

``dropped.jsonl``: a dropped row a line: {"id", "rule", "role", "part", "value", "why", "rules", "parts"}; ``rules`` are
all that would drop it, ``parts`` its texts as they came ({"role", "source", "text"}).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from experiment.cleaning.finding import Languages
from experiment.cleaning.rules import Judgement
from experiment.cleaning.settings import Clean
from experiment.errors import DataError
from experiment.translation.rows import Kind

FUNNEL = "funnel.json"
DROPPED = "dropped.jsonl"
EXAMPLES = 3
_CLIPPED = 400  # characters of an example


@dataclass(frozen=True)
class Example:
    """A part of a row that a rule dropped; texts clipped."""

    id: str
    role: str
    value: float | str
    why: str
    source: str
    text: str


@dataclass(frozen=True)
class RuleCount:
    """How many rows a rule dropped, how many it would drop alone, and in which parts it found them wanting."""

    rule: str
    threshold: str
    dropped: int
    would_drop: int
    parts: dict[str, int]
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True)
class Funnel:
    """From the rows that came to those that are left."""

    kind: Kind
    languages: dict[str, str]
    rows_in: int
    rows_out: int
    cut: dict[str, int]
    rules: tuple[RuleCount, ...] = field(default=())

    def lines(self) -> list[str]:
        """The funnel in words, a line for each rule that found something."""
        told = [f"{self.rows_in} rows came"]
        told += [
            f"{count.rule} ({count.threshold}) took {count.dropped}, and would take {count.would_drop} alone"
            for count in self.rules
            if count.would_drop
        ]
        return [*told, f"{self.rows_out} rows are left"]


def make_funnel(settings: Clean, kind: Kind, languages: Languages, judgements: Sequence[Judgement]) -> Funnel:
    """Count what was found."""
    dropped = [judgement for judgement in judgements if judgement.faults]
    return Funnel(
        kind,
        asdict(languages),
        len(judgements),
        len(judgements) - len(dropped),
        {
            "rows": sum(judgement.cuts > 0 for judgement in judgements),
            "texts": sum(judgement.cuts for judgement in judgements),
        },
        tuple(_count(name, section.threshold, dropped) for name, section in settings.sections()),
    )


def dropped_row(judgement: Judgement) -> dict[str, Any]:
    """The row of ``dropped.jsonl``."""
    first = judgement.faults[0]
    return {
        **judgement.row.to_json(),
        "rule": first.rule,
        "role": judgement.row.parts[first.part].role,
        "part": first.part,
        **asdict(first.finding),
        "rules": list(dict.fromkeys(fault.rule for fault in judgement.faults)),
    }


def write_funnel(folder: Path, funnel: Funnel) -> None:
    """Write ``funnel.json``."""
    text = json.dumps(asdict(funnel), ensure_ascii=False, indent=1)
    (folder / FUNNEL).write_bytes(text.encode("utf-8", "backslashreplace") + b"\n")


def read_funnel(artifact: Path) -> Funnel:
    """The funnel of a clean artifact.

    Raises:
        DataError: there is none, or it is damaged.
    """
    path = artifact / FUNNEL
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        counts = [
            RuleCount(**{**count, "examples": tuple(Example(**example) for example in count["examples"])})
            for count in document["rules"]
        ]
        return Funnel(**{**document, "rules": tuple(counts)})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"cannot read the funnel {path}: {error}") from None


def _count(name: str, threshold: str, dropped: Sequence[Judgement]) -> RuleCount:
    would = [judgement for judgement in dropped if any(fault.rule == name for fault in judgement.faults)]
    did = [judgement for judgement in dropped if judgement.faults[0].rule == name]
    roles = Counter(
        judgement.row.parts[index].role
        for judgement in would
        for index in sorted({fault.part for fault in judgement.faults if fault.rule == name})
    )
    return RuleCount(
        name,
        threshold,
        len(did),
        len(would),
        dict(sorted(roles.items())),
        tuple(_example(judgement) for judgement in did[:EXAMPLES]),
    )


def _example(judgement: Judgement) -> Example:
    first = judgement.faults[0]
    part = judgement.row.parts[first.part]
    return Example(
        judgement.row.id,
        part.role,
        first.finding.value,
        first.finding.why,
        _clip(part.source),
        _clip(part.text),
    )


def _clip(text: str) -> str:
    return text if len(text) <= _CLIPPED else f"{text[:_CLIPPED]} [...]"
