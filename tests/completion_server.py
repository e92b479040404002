"""A real HTTP server with OpenAI's API whose model is a rule, and which can be told to misbehave.

python -m tests.completion_server PORT MODEL [BEHAVIOUR]
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "toy"

# (which request this is, from 0 on; its body) -> the reply, or what to do instead
Reply = tuple[int, dict[str, str], bytes]
Behaviour = Callable[[int, dict[str, Any]], "Reply | str | None"]


def answer_to(asked: dict[str, Any]) -> tuple[str, str, int]:
    """(text, finish reason, tokens): the words of the prompt backwards, a token each, up to a stop or the limit."""
    said = asked["messages"][-1]["content"] if "messages" in asked else asked["prompt"]
    text, reason, count = "", "stop", 0
    for word in reversed(said.split(" ")):
        if count == asked["max_tokens"]:
            return text, "length", count
        text += f"{word} "
        count += 1
        places = [place for stop in asked.get("stop", []) if (place := text.find(stop)) >= 0]
        if places:
            return text[: min(places)], "stop", count
    return text, reason, count


def reply_to(path: str, asked: dict[str, Any]) -> Reply:
    """A well-behaved answer."""
    text, reason, tokens = answer_to(asked)
    chat = path.endswith("chat/completions")
    said = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    document = {
        "object": "chat.completion" if chat else "text_completion",
        "choices": [{"index": 0, "finish_reason": reason, **said}],
        "usage": {"prompt_tokens": 1, "completion_tokens": tokens},
    }
    return as_json(document)


def as_json(document: Any, status: int = 200, **headers: str) -> Reply:
    return status, {"Content-Type": "application/json", **headers}, json.dumps(document).encode()


@dataclass
class Server:
    """What it was asked, and by whom; ``behave`` may answer otherwise."""

    behave: Behaviour = lambda _number, _asked: None
    models: tuple[str, ...] = (MODEL,)
    pause_s: float = 0.0
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    most_at_once: int = 0
    port: int = 0
    _now: int = 0
    _lock: Any = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def take(self, asked: dict[str, Any], headers: dict[str, str]) -> int:
        with self._lock:
            self.asked.append(asked)
            self.headers.append(headers)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            return len(self.asked) - 1

    def leave(self) -> None:
        with self._lock:
            self._now -= 1


def handler_of(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.paths.append(self.path)
            if self.path == "/v1/models":
                found = server.behave(-1, {}) or as_json({"data": [{"id": name} for name in server.models]})
                assert not isinstance(found, str)
                self.give(found)
            elif self.path == "/health":
                self.give((200, {}, b""))
            else:
                self.give(as_json({"detail": "Not Found"}, 404))

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            number = server.take(asked, dict(self.headers.items()))
            try:
                time.sleep(server.pause_s)
                found = server.behave(number, asked)
            finally:
                server.leave()
            if isinstance(found, str):
                self.misbehave(found, reply_to(self.path, asked))
            else:
                self.give(found or reply_to(self.path, asked))

        def give(self, reply: Reply) -> None:
            status, headers, body = reply
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def misbehave(self, how: str, reply: Reply) -> None:
            if how == "hang":
                time.sleep(5)
            elif how == "half":  # a body that breaks off
                status, _, body = reply
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
            elif how == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


class Listening(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news here."""


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """The server in threads of this process."""
    with Listening(("127.0.0.1", 0), handler_of(server)) as listening:
        server.port = listening.server_address[1]
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()


def main(port: str, model: str, behaviour: str = "") -> None:
    """The server in a process of its own."""
    how, _, number = behaviour.partition(":")
    if how == "crash":
        sys.exit("no GPU is free\nTraceback: there is none")
    if how == "never":
        time.sleep(600)
    if how == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if how == "family":  # a server that starts a process of its own
        os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "543.21")

    def behave(at: int, _asked: dict[str, Any]) -> str | None:
        return "die" if how == "die" and at >= int(number) else None

    print("ready", flush=True)
    Listening(("127.0.0.1", int(port)), handler_of(Server(behave, models=(model,)))).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
