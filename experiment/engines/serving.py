"""A server that this process starts, and that ends with it."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import requests

from experiment import stop
from experiment.engines import guard
from experiment.errors import KirjoError
from experiment.ranks import ENVIRONMENT

LOOK_AGAIN_S = 0.25
LAST_LINES = 20


class StartedServer:
    """A command in a process group of its own, on a free port of this machine; its words go to a file."""

    def __init__(self, command: str, model: Path | str, work: Path) -> None:
        """Start it.

        Args:
            command: with ``{model}`` and ``{port}`` in it; split as a shell would, but run without one.
            model: what ``{model}`` stands for.
            work: the folder for the log.
        """
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log = work / f".server.{port}.log"
        parts = [part.replace("{model}", str(model)).replace("{port}", str(port)) for part in shlex.split(command)]
        self.command = shlex.join(parts)
        # A launcher's variables are for our ranks; a server would take itself for one of them.
        environment = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", guard.__file__, *parts],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment,
            )

    def wait_until_ready(self, seconds: float) -> None:
        """Wait until it answers.

        Raises:
            KirjoError: it ended, or does not answer in time.
        """
        end = time.monotonic() + seconds
        while not _ready(self.url):
            self.check()
            if time.monotonic() > end:
                raise KirjoError(
                    f"the server does not answer after {seconds:g} s (engine.openai.start_timeout_s): "
                    f"{self.command}\n{self._last_words()}"
                )
            time.sleep(LOOK_AGAIN_S)

    def check(self) -> None:
        """Raise a KirjoError with the server's last words if it has ended."""
        code = self._process.poll()
        if code is not None:
            raise KirjoError(f"the server ended with exit code {code}: {self.command}\n{self._last_words()}")

    def close(self) -> None:
        """End it, and all it has started."""
        with stop.deferred():
            if self._process.stdin:
                self._process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(guard.GRACE_S + 5)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _last_words(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
        return f"the end of its log, {self.log}:\n" + "\n".join(f"    {line}" for line in lines)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _ready(url: str) -> bool:
    """Whether the server says that it is well, or, where it has no word for that, lists its models."""
    with requests.Session() as session, contextlib.suppress(requests.RequestException):
        session.trust_env = False  # no proxy on the way to this machine
        code = session.get(f"{url}/health", timeout=5).status_code
        if code in (404, 405, 501):
            code = session.get(f"{url}/v1/models", timeout=5).status_code
        return code < 400
    return False
