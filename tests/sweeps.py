"""Start real sweeps as a user would: another process, the command line, a store of its own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.tiny import TINY

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1"}


def command(*arguments: str, store: Path) -> list[str]:
    """The command line of a tiny sweep."""
    return [sys.executable, "-m", "experiment", *TINY, *arguments, f"store={store}"]


def start(*arguments: str, store: Path) -> subprocess.Popen[str]:
    """Start a tiny sweep and go on; its own process group, so that it can be killed with its workers or without."""
    return subprocess.Popen(
        command(*arguments, store=store),
        cwd=ROOT,
        env=ENVIRONMENT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def run(*arguments: str, store: Path) -> subprocess.CompletedProcess[str]:
    """Run a tiny sweep to its end."""
    return subprocess.run(
        command(*arguments, store=store), cwd=ROOT, env=ENVIRONMENT, text=True, capture_output=True, timeout=300
    )


def plan(*arguments: str, store: Path) -> dict[str, list[dict[str, object]]]:
    """The plan of a tiny sweep, as programs get it."""
    found = run(*arguments, "plan=json", store=store)
    assert found.returncode == 0, found.stderr
    document: dict[str, list[dict[str, object]]] = json.loads(found.stdout)
    return document


def scores(store: Path) -> dict[str, str]:
    """Every score artifact with the checksum of its verdicts."""
    return {path.parent.name: _sha(path) for path in sorted(store.glob("score/*/verdicts.jsonl"))}


def endings(store: Path) -> dict[str, int]:
    """How often each step was carried out to its end, from the steps' logs."""
    return {
        path.stem: path.read_text(encoding="utf-8", errors="replace").count("\n--- done")
        for path in sorted(store.glob("logs/*.log"))
    }


def manifests(store: Path) -> list[dict[str, object]]:
    """The manifests of all artifacts."""
    return [json.loads(path.read_text()) for path in sorted(store.glob("*/*/manifest.json"))]


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
