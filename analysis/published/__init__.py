"""Published values, with their source, for standing beside what was measured."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

from experiment.metrics import Count


@dataclass(frozen=True)
class PublishedRow:
    """One row of a published table: accuracies as counts of instructions, response language as printed."""

    en: Count
    fi: Count
    response_language: str


def source() -> str:
    """Where the values come from."""
    return str(_document()["source"])


def rows(table: str) -> dict[Any, PublishedRow]:
    """The rows of ``table1`` (by mix) or ``table2`` (by method)."""
    document = _document()
    total = document["instructions"]
    return {
        key: PublishedRow(Count(row["en"], total), Count(row["fi"], total), row["response_language"])
        for key, row in document[table].items()
    }


@functools.lru_cache(maxsize=1)
def _document() -> dict[str, Any]:
    text = resources.files(__package__).joinpath("finnish-post-training.yaml").read_text(encoding="utf-8")
    document = yaml.safe_load(text)
    assert isinstance(document, dict)
    return document
