"""Upload what the server lacks of a W&B run whose online attempt broke off (``python -m experiment.tracking.rest``).

``wandb sync`` would send all of such a file again, after what the server has. Here the run is gone on with online, and
of its waiting files only the steps that the server has not are logged once more.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiment.errors import KirjoError
from experiment.tracking.client import Identity, NotOnline, OpenRun, leave, library, mark, masked, open_run
from experiment.tracking.transaction_log import records

_OURS = "_"  # names that W&B gives itself: _step, _runtime, _wandb


@dataclass
class _Part:
    """One waiting file: who it is, its history, and the summary and exit code that it ends with."""

    run: Any = None
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    failed: bool = True  # until it says otherwise


def send(root: Path, files: Sequence[Path]) -> None:
    """Send what the server lacks of one run's files, oldest first, and mark them as uploaded.

    Raises:
        KirjoError: W&B is not installed, or a file has no run in it.
        NotOnline: the server does not take it, or not in time.
    """
    wandb, parts = library(), [_read(path) for path in files]
    if any(part.run is None for part in parts):
        raise KirjoError(f"there is no W&B run in {files[0].parent}")
    first = parts[0].run
    tracking = {"mode": "online", "project": first.project, "entity": first.entity or None}
    run = open_run(wandb, root, tracking, _identity(first), _not_offline, waiting_ok=True)
    for path, part in zip(files, parts, strict=True):
        for row in part.history:
            _log(wandb, run, path.parent / "files", row)
    run.conclude({name: value for part in parts for name, value in part.summary.items()})
    run.finish(failed=parts[-1].failed)
    for path in files:
        mark(path)


def _read(path: Path) -> _Part:
    part = _Part()
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            part.run = record.run
        elif kind == "history":
            row = {_name(item): json.loads(item.value_json) for item in record.history.item}
            part.history.append({**row, "_step": record.history.step.num})
        elif kind == "summary":
            found = {_name(item): json.loads(item.value_json) for item in record.summary.update}
            part.summary |= {name: value for name, value in found.items() if _told(name, value)}
        elif kind == "exit":
            part.failed = record.exit.exit_code != 0
    return part


def _name(item: Any) -> str:
    return ".".join(item.nested_key) or str(item.key)


def _told(name: str, value: Any) -> bool:
    """Ours, and no table: W&B makes the summary of a table from the history."""
    return not name.startswith(_OURS) and not isinstance(value, Mapping)


def _log(wandb: Any, run: OpenRun, files: Path, row: Mapping[str, Any]) -> None:
    values = {name: value for name, value in row.items() if _told(name, value)}
    for name, value in row.items():
        if isinstance(value, Mapping) and value.get("_type") == "table-file" and (files / value["path"]).exists():
            table = json.loads((files / value["path"]).read_text(encoding="utf-8"))
            values[name] = wandb.Table(columns=table["columns"], data=table["data"], allow_mixed_types=True)
    if "_timestamp" in row:
        values["_timestamp"] = row["_timestamp"]
    run.log(row["_step"], values)


def _identity(run: Any) -> Identity:
    config = {item.key: json.loads(item.value_json) for item in run.config.update if item.key != "_wandb"}
    return Identity(run.run_id, run.display_name, run.job_type, run.run_group or None, list(run.tags), config)


def _not_offline(text: str) -> None:
    raise NotOnline(text)


def main(root: str, *files: str) -> int:
    """Send one run's files; the last line of what is printed says what is wrong."""
    try:
        send(Path(root), [Path(file) for file in files])
    except (KirjoError, NotOnline, OSError) as error:
        print(masked(str(error)), file=sys.stderr, flush=True)
        leave(1)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
