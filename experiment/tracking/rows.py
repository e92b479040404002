"""One summary run per row of a sweep: written once, when the last score of the row is there."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from experiment.claims import Claim, Observer
from experiment.fingerprint import write_json_atomic
from experiment.results import RunResult, load_results, read_verdicts
from experiment.store import Store
from experiment.tracking import belongs
from experiment.tracking.client import FOLDER, Identity, Warn, open_run
from experiment.tracking.measured import metrics

STALE_S = 30.0  # without a beat, a writer on another host is dead; to write a row takes seconds
ROWS = "rows"  # in the W&B folder: one small file per row that has its summary run


def row_id(run_id: str) -> str:
    """The W&B id of a row: derived from the run's, whose length and characters W&B would not take."""
    return f"row-{hashlib.sha256(run_id.encode()).hexdigest()[:16]}"


def waiting(store: Store, step: str | None = None) -> list[RunResult]:
    """The rows (that a step belongs to) that are tracked and complete, and have no summary run yet."""
    return [
        run
        for run in load_results(store)
        if (step is None or step in run.steps.values())
        and run.config.get("tracking", {}).get("name") == "wandb"
        and not _marker(store, run).exists()
        and _complete(run)
    ]


def write_rows(
    wandb: Any, store: Store, runs: Iterable[RunResult], mode: str, warn: Warn, patience_s: float = 0.0
) -> None:
    """Write the summary runs of some rows, each once.

    ``patience_s`` is for rows that another process writes: a killed one on another host shows only after ``STALE_S``.
    """
    observer, until, left = Observer(STALE_S), time.monotonic() + patience_s, list(runs)
    while left := [run for run in left if not _write_once(wandb, store, run, mode, warn, observer)]:
        if time.monotonic() >= until:
            return
        time.sleep(0.5)


def is_written(store: Store, row: str) -> bool:
    """Whether the summary run with this W&B id is whole."""
    return _marker_of(store, row).exists()


def _write_once(wandb: Any, store: Store, run: RunResult, mode: str, warn: Warn, observer: Observer) -> bool:
    """Several processes may see the row complete at once: one of them holds its claim. Whether it is written now."""
    marker = _marker(store, run)
    marker.parent.mkdir(parents=True, exist_ok=True)
    claim = Claim.acquire(marker.with_suffix(""), beat_every_s=STALE_S / 10, observer=observer)
    if claim is None:
        return marker.exists()
    with claim:
        if not marker.exists():
            opened = open_run(wandb, store.root, {**run.config["tracking"], "mode": mode}, _identity(store, run), warn)
            opened.conclude(_summary(store, run))
            opened.finish(failed=False)
            write_json_atomic(marker, {"run": run.id, "wandb": row_id(run.id)})
    return True


def _identity(store: Store, run: RunResult) -> Identity:
    record = {"id": run.id, "axes": run.axes}
    config = {**run.config, "axes": dict(run.axes), "steps": dict(run.steps), "overrides": list(run.overrides)}
    group = belongs.group(store, [record])
    return Identity(row_id(run.id), run.name, "row", group, belongs.tags([record]), {**config, "run": run.id})


def _summary(store: Store, run: RunResult) -> dict[str, Any]:
    """``fi/instruction_strict`` and so on, and what training ended with."""
    found: dict[str, Any] = {}
    for language in run.languages:
        key = run.steps[f"score.{language}"]
        found |= {f"{language}/{name}": share for name, share in metrics(read_verdicts(store, key)).items()}
    for role in run.steps:
        manifest = run.manifest(role)
        loss = manifest.summary.get("final_loss") if manifest else None
        if loss is not None:
            found[f"{role}/final_loss"] = loss
    return found


def _complete(run: RunResult) -> bool:
    return all(run.store.is_complete(*run.steps[f"score.{language}"].split("/")) for language in run.languages)


def _marker(store: Store, run: RunResult) -> Path:
    return _marker_of(store, row_id(run.id))


def _marker_of(store: Store, row: str) -> Path:
    return store.root / FOLDER / ROWS / f"{row}.json"
