"""What a quality artifact holds: ``quality.json``, and ``sentences.jsonl`` with every text that was compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from experiment.errors import DataError

QUALITY = "quality.json"
SENTENCES = "sentences.jsonl"  # one row per text, the fields of Sentence
ROWS = "rows.jsonl"  # of round trips: one row per conversation or pair, with the chrF++ of all its texts

Kind = Literal["references", "round_trip"]


@dataclass(frozen=True)
class Sentence:
    """A text, its translation and what that is compared with: a reference, or what a round trip began with."""

    id: str  # of its row
    part: int  # its place in the row, counted from 0
    role: str
    source: str
    reference: str
    hypothesis: str


@dataclass(frozen=True)
class Quality:
    """How good translations are; ``metrics``: by name ``value, signature, low, high``, ``reason`` if there is none."""

    kind: Kind
    source_language: str
    target_language: str
    sentences: int
    rows: int  # the units of the intervals
    empty: int  # hypotheses without a word
    metrics: Mapping[str, Mapping[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """The document of ``quality.json``."""
        return asdict(self)


def read_quality(artifact: Path) -> Quality:
    """The result of a quality artifact.

    Raises:
        DataError: it is not what this version writes.
    """
    path = artifact / QUALITY
    try:
        return Quality(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"{path}: not the result of a quality step ({error}): delete {artifact}, it is made anew"
        ) from None
