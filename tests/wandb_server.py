"""What the W&B client needs of a server, to see what it sends: runs, history and summary as they arrive."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Recorder:
    """A server on this machine that takes runs and remembers them; ``refuse`` makes it answer 400 for a run."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}  # run id -> the variables of its last UpsertBucket that named a group
        self.history: dict[str, list[dict[str, Any]]] = {}  # run id -> rows, as their offsets place them
        self.summary: dict[str, dict[str, Any]] = {}
        self.refuse: set[str] = set()
        self.hold: threading.Event | None = None  # until it is set, parts of files get no answer and are not taken
        self.text: list[str] = []  # bodies of all requests
        self.http = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self.http.shutdown()
        self.http.server_close()

    def answer(self, operation: str, given: dict[str, Any]) -> dict[str, Any] | None:
        """The data of a GraphQL answer; None refuses."""
        entity = {"id": "e", "name": "somebody"}
        project = {"id": "p", "name": "kirjo", "entity": entity}
        if operation == "Viewer":
            return {"viewer": {"id": "u", "entity": "somebody", "username": "somebody", "flags": "{}"}}
        if operation == "RunResumeStatus":
            return {"model": {**project, "bucket": self._resume(given["name"])}}
        if operation == "UpsertBucket":
            name = given["name"]
            if name in self.refuse:
                return None
            if given.get("groupName") or name not in self.runs:
                self.runs[name] = given
            bucket = {"id": name, "name": name, "displayName": name, "project": project, "historyLineCount": 0}
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if operation == "CreateArtifact":
            artifact = {"id": "a", "state": "COMMITTED", "artifactSequence": {"id": "s", "latestArtifact": None}}
            return {"createArtifact": {"artifact": artifact}}
        if operation == "CreateRunFiles":
            files = [{"name": name, "uploadUrl": f"{self.url}/upload"} for name in given.get("files", [])]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        return {}

    def take(self, run_id: str, sent: dict[str, Any]) -> None:
        """A part of a run's files: each line has its place by the offset of the first."""
        for name, chunk in (sent.get("files") or {}).items():
            lines = [json.loads(line) for line in chunk["content"]]
            if name == "wandb-history.jsonl":
                rows = self.history.setdefault(run_id, [])
                rows[chunk["offset"] : chunk["offset"] + len(lines)] = lines
            elif name == "wandb-summary.json":
                self.summary[run_id] = lines[-1]

    def _resume(self, run_id: str) -> dict[str, Any] | None:
        if run_id not in self.runs:
            return None
        rows = self.history.get(run_id, [])
        summary = self.summary.get(run_id, {})
        return {
            "id": run_id,
            "name": run_id,
            "summaryMetrics": json.dumps(summary),
            "displayName": run_id,
            "logLineCount": 0,
            "historyLineCount": len(rows),
            "eventsLineCount": 0,
            "historyTail": json.dumps([json.dumps(rows[-1])] if rows else []),
            "eventsTail": "[]",
            "config": self.runs[run_id].get("config") or "{}",
            "tags": self.runs[run_id].get("tags"),
            "wandbConfig": '{"t": 1}',
        }


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A client that ends drops its connections."""


def _handler(recorder: Recorder) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def take(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode(errors="replace")
            recorder.text.append(body)
            out: dict[str, Any] = {}
            status = 200
            if self.path.endswith("/graphql"):
                asked = json.loads(body)
                named = re.match(r"\s*(?:query|mutation)\s+(\w+)", asked["query"])
                data = recorder.answer(named.group(1) if named else "", asked.get("variables") or {})
                status, out = (200, {"data": data}) if data is not None else (400, {"errors": [{"message": "refused"}]})
            elif self.path.endswith("/file_stream"):
                if recorder.hold is not None and not recorder.hold.is_set():
                    recorder.hold.wait()
                    self.close_connection = True
                    return
                recorder.take(self.path.split("/")[-2], json.loads(body))
            answer = json.dumps(out).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = take  # noqa: N815 - names that http.server looks for

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
