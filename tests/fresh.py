"""Programs in a fresh Python, without a network and without anything of ours in NLTK's places."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def run_python(program: str, *arguments: str, timeout: float | None = None, **env: str) -> Any:
    """The JSON that a fresh Python prints, with every connection refused and nothing of ours in NLTK's places."""
    refuse = (
        "import json, socket, sys\n"
        "def refuse(*args): raise AssertionError(f'tried to connect: {args}')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "import nltk\n"
        "nltk.data.path[:] = [folder for folder in [sys.argv[1]] if folder]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", refuse + program, *arguments],
        cwd=ROOT,
        env={
            **{name: value for name, value in os.environ.items() if name != "NLTK_DATA"},
            **env,
            "HF_HUB_OFFLINE": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
