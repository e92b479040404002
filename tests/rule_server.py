"""A server that speaks OpenAI's API and translates by rule, for tests: every word is turned round and marked.

The rule is known, so a test can say what every line must become. ``python -m tests.rule_server PORT [DELAY]``.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "rules"


def translated(line: str) -> str:
    """The line by the rule: words in order, each with its letters turned round, ``ä`` before and after."""
    return " ".join(f"ä{word[::-1]}ä" for word in line.split())


def line_of(prompt: str) -> str:
    """The line that a prompt of the template ``plain`` without examples asks for."""
    return prompt.removesuffix("=")


class RuleServer(ThreadingHTTPServer):
    """Counts what it was asked for; ``answer`` makes a completion out of a prompt."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int = 0, answer: Callable[[str], str] | None = None, delay_s: float = 0.0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.answer = answer or (lambda prompt: translated(line_of(prompt)))
        self.delay_s = delay_s
        self.asked: Counter[str] = Counter()
        self.lock = threading.Lock()

    def handle_error(self, *_arguments: Any) -> None:
        """A client that was killed has hung up: nothing to tell."""

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: RuleServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Which models there are."""
        self._send({"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    def do_POST(self) -> None:
        """Go on from a prompt."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = asked["prompt"]
        with self.server.lock:
            self.server.asked[prompt] += 1
        time.sleep(self.server.delay_s)
        text = self.server.answer(prompt)
        choice = {"index": 0, "text": text, "finish_reason": "stop"}
        self._send(
            {"object": "text_completion", "model": MODEL, "choices": [choice], "usage": {"completion_tokens": 1}}
        )

    def _send(self, document: dict[str, Any]) -> None:
        content = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextlib.contextmanager
def serving(**options: Any) -> Iterator[RuleServer]:
    """A server in a thread of this process, for as long as it is needed."""
    server = RuleServer(**options)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    RuleServer(int(sys.argv[1]), delay_s=float(sys.argv[2]) if len(sys.argv) > 2 else 0.0).serve_forever()
