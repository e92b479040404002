"""A row in both languages, as translate leaves it and clean judges it: conversations and preference pairs alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from experiment.sources.jsonl import read_jsonl

TRANSLATED = "translated.jsonl"

Kind = Literal["conversations", "pairs", "lines"]
PartRole = Literal["system", "user", "assistant", "chosen", "rejected", "line"]


@dataclass(frozen=True)
class Part:
    """One text of a row: a turn of the conversation or of the prompt, or a reply of a pair; ``source`` is what it was.

    ``empty`` and ``cut_off`` count the lines for which the model gave nothing, or did not come to an end.
    """

    role: PartRole
    source: str
    text: str
    empty: int = 0
    cut_off: int = 0


@dataclass(frozen=True)
class TranslatedRow:
    """All texts of a row, in order: the turns, and of a pair then the chosen and the rejected reply."""

    id: str
    parts: tuple[Part, ...]

    def to_json(self) -> dict[str, Any]:
        """The row of ``translated.jsonl``."""
        return asdict(self)


def read_translated(artifact: Path) -> Iterator[TranslatedRow]:
    """The rows of a translate artifact."""
    for _, row in read_jsonl(artifact / TRANSLATED):
        yield TranslatedRow(row["id"], tuple(Part(**part) for part in row["parts"]))
