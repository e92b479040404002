"""What the analysis reads: run records and score artifacts, checked against their checksums; never logs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiment.errors import DataError, StoreError
from experiment.metrics import Count, counts
from experiment.scorers import Verdict
from experiment.sources.jsonl import read_jsonl
from experiment.store import Store

RESPONSES = "responses.jsonl"  # of a generate artifact: one row per prompt
VERDICTS = "verdicts.jsonl"  # of a score artifact: one row per prompt and instruction, the fields of scorers.Verdict


@dataclass(frozen=True)
class RunResult:
    """One run as the tables see it: its axes and, by language, its counts (absent where not scored yet)."""

    name: str
    axes: Mapping[str, Any]
    overrides: tuple[str, ...]
    steps: Mapping[str, str]
    asked_for: str  # when last, ISO 8601, UTC
    scores: Mapping[str, Mapping[str, Count]]


def load_results(store: Store) -> list[RunResult]:
    """All runs the store knows, in the order of their ids.

    Raises:
        StoreError: a run record or a score artifact is damaged.
    """
    results = []
    for record in store.runs():
        try:
            results.append(_result(store, record))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StoreError(
                f"{store.root / 'runs'}/{record.get('id')}.json is not a run record ({error!r}): "
                "delete it and give the command of its run again, which writes it anew"
            ) from None
    return results


def _result(store: Store, record: Mapping[str, Any]) -> RunResult:
    scores = {}
    for role, key in record["steps"].items():
        if role.startswith("score."):
            found = read_verdicts(store, key)
            if found is not None:
                language = role.removeprefix("score.")
                scores[language] = counts(found, language)
    return RunResult(
        record["name"], record["axes"], tuple(record["overrides"]), record["steps"], record["asked_for"], scores
    )


def read_verdicts(store: Store, key: str) -> list[Verdict] | None:
    """The rows of a score artifact; None where the step is not done.

    Raises:
        StoreError: the artifact is damaged.
    """
    stage, fingerprint = key.split("/")
    if store.read_manifest(stage, fingerprint) is None:
        return None
    problems = store.verify(stage, fingerprint)
    if problems:
        raise StoreError(f"{problems[0]}. Give the command of its run again: it is redone")
    path = store.artifact(stage, fingerprint) / VERDICTS
    try:
        return [Verdict(**row) for _, row in read_jsonl(path)]
    except TypeError as error:
        raise DataError(f"{path}: not the rows this version reads: {error}") from None
