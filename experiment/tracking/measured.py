"""What a finished step has to show in W&B: its metrics and its first answers, read from its artifact."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from experiment.metrics import METRICS, Scored, counts, tally
from experiment.plan import Step
from experiment.results import RESPONSES, read_verdicts
from experiment.scoring.verdict import Verdict
from experiment.sources.jsonl import read_jsonl
from experiment.store import Store

_BY_RULES = ("instruction_strict", "instruction_loose", "prompt_strict", "prompt_loose")

Table = tuple[list[str], list[list[Any]]]  # columns, rows


def metrics(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Every metric as a share from 0 to 1; accuracies by each rule set but ``paper`` carry its name (``@finnish``)."""
    scored = Scored.of(verdicts)
    found = {name: count.share for name, count in counts(scored).items() if name in METRICS}
    for rules in scored.rules[1:]:
        found |= {f"{name}@{rules}": tally(scored, name, rules).count.share for name in _BY_RULES}
    return found


def answers(step: Step, store: Store, most: int) -> Table | None:
    """The first ``most`` answers of a generate step, or verdicts on the first ``most`` instructions of a score step."""
    if step.stage == "generate":
        rows = islice(_responses(store, step.key), most)
        columns = ["key", "prompt", "response", "tokens", "finished"]
        return columns, [[row[name] for name in columns] for row in rows]
    if step.stage == "score":
        given = {row["key"]: row for row in _responses(store, step.inputs["responses"])}
        return _judged(list(read_verdicts(store, step.key)[:most]), given)
    return None


def _judged(verdicts: list[Verdict], given: dict[int, dict[str, Any]]) -> Table:
    rules = list(verdicts[0].strict) if verdicts else []
    identifiers = list(verdicts[0].language) if verdicts else []
    columns = ["key", "prompt", "response", "instruction", "asked_language"]
    columns += [f"strict {name}" for name in rules] + [f"loose {name}" for name in rules]
    columns += [f"language by {name}" for name in identifiers]
    rows = [
        [
            item.key,
            given[item.key]["prompt"],
            given[item.key]["response"],
            item.instruction_id,
            item.asked_language,
            *(item.strict[name] for name in rules),
            *(item.loose[name] for name in rules),
            *(item.language[name] for name in identifiers),
        ]
        for item in verdicts
    ]
    return columns, rows


def _responses(store: Store, key: str) -> Any:
    stage, fingerprint = key.split("/")
    return (row for _, row in read_jsonl(store.artifact(stage, fingerprint) / RESPONSES))
