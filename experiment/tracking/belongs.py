"""Which sweep a W&B run belongs to, and its tags: from the records of the runs that use it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from experiment.store import Store

_TAGGED = ("model", "data_mix", "mix", "method", "beta")
_LONGEST_TAG = 64  # W&B refuses longer ones

Record = Mapping[str, Any]


def users(store: Store, key: str) -> list[Record]:
    """The records of the runs that a step (``stage/fingerprint``) belongs to."""
    return [record for record in store.runs() if key in record.get("steps", {}).values()]


def group(store: Store, runs: Iterable[Record]) -> str | None:
    """The newest sweep that asked for one of the runs; None if none did."""
    ids = {str(record["id"]) for record in runs}
    asked = [sweep for sweep in store.sweeps() if ids & set(sweep.get("runs", ()))]
    newest = max(asked, key=lambda sweep: str(sweep.get("asked_for", "")), default=None)
    return None if newest is None else str(newest["id"])


def tags(runs: Iterable[Record]) -> list[str]:
    """``method=dpo_en``, ``mix=40`` ...: every value that the runs have, each once."""
    found = {
        f"{name}={axes[name]}": None
        for record in runs
        for axes in [record.get("axes", {})]
        for name in _TAGGED
        if axes.get(name) is not None
    }
    return sorted(tag[:_LONGEST_TAG] for tag in found)
