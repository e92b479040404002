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


@dataclass(frozen=True)
class PublishedCleaning:
    """How many rows came and how many were left, of ``conversations`` or ``pairs``."""

    label: str
    rows_in: int
    rows_out: int


@dataclass(frozen=True)
class PublishedScore:
    """A published spBLEU: of which system, on which test set, in which direction (``en-fi``)."""

    system: str
    test: str
    direction: str
    value: float


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


def cleaning() -> dict[str, PublishedCleaning]:
    """Rows before and after cleaning, by kind."""
    return {kind: PublishedCleaning(**row) for kind, row in _document()["cleaning"]["rows"].items()}


def translation() -> list[PublishedScore]:
    """What was published of translation quality."""
    return [PublishedScore(**row) for row in _document(_PORO)["translation"]["rows"]]


def translation_shots() -> int:
    """How many examples stood before every line."""
    return int(_document(_PORO)["translation"]["shots"])


def translation_source() -> str:
    """Where these values come from, with what they were measured on."""
    document = _document(_PORO)
    found = document["translation"]
    tests = " and ".join(test["label"] for test in found["tests"].values())
    return f"{document['source']} ({tests}; {found['shots']} examples, tokenizer {found['tokenizer']})"


_PAPER, _PORO = "finnish-post-training.yaml", "poro-34b.yaml"


@functools.lru_cache(maxsize=4)
def _document(file: str = _PAPER) -> dict[str, Any]:
    text = resources.files(__package__).joinpath(file).read_text(encoding="utf-8")
    document = yaml.safe_load(text)
    assert isinstance(document, dict)
    return document
