"""Published values, with their source, for standing beside what was measured."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

from experiment.metrics import Count as Count

TABLES = ("table1", "table2")


@dataclass(frozen=True)
class PublishedRow:
    """One row of a published table: accuracies as counts of instructions, response language as a count of prompts."""

    en: Count
    fi: Count
    response_language: Count
    label: str  # the row's name in the paper


@dataclass(frozen=True)
class Source:
    """Where a published table stands."""

    title: str
    url: str
    table: str
    page: str  # "?" where it is not known


def source() -> str:
    """Where the values come from."""
    return str(_document()["source"])


def where_from(table: str) -> Source:
    """Where ``table1`` or ``table2`` stands in which paper."""
    document = _document()
    return Source(document["title"], document["url"], **document[table]["where"])


def rows(table: str) -> dict[Any, PublishedRow]:
    """The rows of ``table1`` (by mix) or ``table2`` (by method)."""
    document = _document()
    instructions, prompts = document["instructions"], document["prompts"]
    return {
        key: PublishedRow(
            Count(row["en"], instructions),
            Count(row["fi"], instructions),
            Count(row["response_language"], prompts),
            row["label"],
        )
        for key, row in document[table]["rows"].items()
    }


@functools.lru_cache(maxsize=1)
def _document() -> dict[str, Any]:
    text = resources.files(__package__).joinpath("finnish-post-training.yaml").read_text(encoding="utf-8")
    document = yaml.safe_load(text)
    assert isinstance(document, dict)
    return document
