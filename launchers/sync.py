"""``python -m launchers sync``: upload to W&B what steps have written to files, once; say what became of each run."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from experiment.claims import Observer, is_claimed
from experiment.store import Store
from experiment.tracking import rows
from experiment.tracking.client import FOLDER, MISSING, is_marked, is_online, mark, masked, refused
from experiment.tracking.tracker import environment, write_rows
from experiment.tracking.transaction_log import holds_run, parts

AT_ONCE = 4  # uploads; most of one is waiting for the server
TIMEOUT_S = 600.0  # of one run: W&B itself would try again for days


@dataclass(frozen=True)
class Upload:
    """What became of one W&B run."""

    id: str
    files: int
    problem: str = ""


def sync(store: Store, timeout_s: float = TIMEOUT_S) -> int:
    """Write the summary runs that are missing, then upload all that is not uploaded yet; returns the exit code.

    A step that is being worked on is left for later. What W&B has taken is marked beside its file (``.wandb.synced``,
    W&B's own mark), and not uploaded again.
    """
    if (spec := importlib.util.find_spec("wandb")) is None or spec.origin is None:
        return _refuse(MISSING)
    # Written first, and without the network: what is complete is then at least in files.
    warnings = write_rows(store) if rows.waiting(store) else []
    waiting = not_uploaded(store)
    if not waiting:
        _tell_warnings(warnings)
        print(f"nothing to upload in {store.root / FOLDER}: all W&B runs are uploaded, or none was written")
        return 1 if warnings else 0
    if reason := refused(server()):
        return _refuse(f"W&B cannot be reached ({reason}): {len(waiting)} W&B runs wait in {store.root / FOLDER}")
    _tell_warnings(warnings)
    busy = {run_id for run_id in waiting if _in_work(store, run_id)}
    waiting = _without_empty(waiting, busy)
    for run_id in sorted(busy):
        print(f"later     {run_id}: its step is being worked on")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = [pool.submit(upload, run_id, waiting[run_id], timeout_s) for run_id in sorted(set(waiting) - busy)]
        results = [_told(job.result()) for job in jobs]
    failed = [result for result in results if result.problem]
    print(f"{len(results) - len(failed)} W&B runs uploaded, {len(failed)} failed, {len(busy)} left for later")
    if failed:
        print("nothing is lost: the same command tries again what failed", file=sys.stderr)
    return 1 if failed or warnings else 0


def not_uploaded(store: Store) -> dict[str, list[Path]]:
    """The files of each W&B run that wait for their upload, oldest first; the later ones go on from the earlier."""
    found: dict[str, list[Path]] = {}
    for path in parts(store.root / FOLDER):
        if not is_marked(path):
            found.setdefault(path.stem.removeprefix("run-"), []).append(path)
    return found


def _without_empty(waiting: Mapping[str, list[Path]], busy: Set[str]) -> dict[str, list[Path]]:
    """Those that hold anything; a file that a killed process left empty is marked, so that it is not tried again."""
    found: dict[str, list[Path]] = {}
    for run_id, files in waiting.items():
        for path in files:
            if run_id in busy or holds_run(path):
                found.setdefault(run_id, []).append(path)
            else:
                mark(path)
                print(f"empty     {run_id}: nothing in {path.parent.name}")
    return found


def upload(run_id: str, files: Sequence[Path], timeout_s: float) -> Upload:
    """Let the W&B client upload one run; its mark, not its exit code, tells whether it did.

    Where an online attempt broke off, the server has some of it already: then only the rest is sent.
    """
    names = [str(path.resolve()) for path in files]
    command = [sys.executable, "-m", "wandb", "sync", *names]
    if any(is_online(path) for path in files):
        command = [sys.executable, "-m", "experiment.tracking.rest", str(files[0].resolve().parents[2]), *names]
    try:
        done = _run(command, timeout_s)
    except subprocess.TimeoutExpired:
        return Upload(run_id, len(files), f"W&B did not take it within {timeout_s:.0f} s")
    except OSError as error:
        return Upload(run_id, len(files), f"cannot start wandb: {error}")
    if all(is_marked(path) for path in files):
        return Upload(run_id, len(files))
    return Upload(run_id, len(files), _last_line(done.stderr + done.stdout) or f"wandb ended with {done.returncode}")


def server(environ: Mapping[str, str] = os.environ) -> str:
    """The address of the W&B server as the client itself resolves it."""
    code = "import wandb; print(wandb.setup().settings.base_url)"
    try:
        done = _run([sys.executable, "-c", code], 60)
        done.check_returncode()
        return done.stdout.strip().splitlines()[-1]
    except (OSError, subprocess.SubprocessError, IndexError):
        return environ.get("WANDB_BASE_URL", "https://api.wandb.ai")


def _run(command: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run Python in an empty folder: W&B leaves logs where it runs, and a folder ``wandb`` would be its package."""
    with tempfile.TemporaryDirectory(prefix="kirjo-sync-", ignore_cleanup_errors=True) as folder:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            cwd=folder,
            env=environment(keys=True) | {"WANDB_ERROR_REPORTING": "false"},
        )


def _in_work(store: Store, run_id: str) -> bool:
    stage, _, fingerprint = run_id.partition("-")
    if stage == "row":
        return not rows.is_written(store, run_id)
    return is_claimed(store.base(stage, fingerprint), Observer())


def _told(result: Upload) -> Upload:
    parts = f" ({result.files} parts)" if result.files > 1 else ""
    if result.problem:
        print(f"failed    {result.id}{parts}: {result.problem}", file=sys.stderr)
    else:
        print(f"uploaded  {result.id}{parts}")
    return result


def _last_line(text: str) -> str:
    """The last line that says something, without a key that a message might repeat."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return masked(lines[-1]) if lines else ""


def _tell_warnings(warnings: Sequence[str]) -> None:
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def _refuse(reason: str) -> int:
    print(f"error: {reason}", file=sys.stderr)
    return 1
