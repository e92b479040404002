"""A small hub on this machine: the few endpoints that the real client asks for models and data sets."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import urllib.parse
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Repository:
    """Files by commit; the last commit is what ``main`` is at. ``status``: how the gate answers, if there is one."""

    commits: Mapping[str, Mapping[str, bytes]]
    status: int | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)  # what the tree claims, where it is not the truth

    def commit(self, revision: str) -> str | None:
        if revision == "main":
            return list(self.commits)[-1]
        return revision if revision in self.commits else None


@dataclass
class Hub:
    """Repositories by ``models/owner/name`` or ``datasets/owner/name``, and what was asked for."""

    url: str
    repositories: dict[str, Repository]
    asked: list[tuple[str, str]] = field(default_factory=list)

    def downloads(self) -> list[str]:
        """The files that were sent since the last call, by name."""
        found = [path.rsplit("/", 1)[-1] for verb, path in self.asked if verb == "GET" and "/resolve/" in path]
        self.asked.clear()
        return sorted(found)


@contextmanager
def serve(repositories: dict[str, Repository], punkt: bytes = b"") -> Iterator[Hub]:
    """The hub, listening for as long as the block runs; ``punkt`` is the zip behind /punkt_tab.zip, with an index."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    hub = Hub(f"http://127.0.0.1:{server.server_port}", repositories)
    server.hub, server.punkt = hub, punkt  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def punkt_zip(*languages: str) -> bytes:
    """A package of sentence models in NLTK's layout, each without a word learnt."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for language in languages:
            for name in ("abbrev_types.txt", "collocations.tab", "ortho_context.tab", "sent_starters.txt"):
                archive.writestr(f"punkt_tab/{language}/{name}", "")
    return content.getvalue()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """No lines in the test's output."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _answer(self, body: bytes = b"") -> None:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        hub.asked.append((self.command, path))
        parts = path.strip("/").split("/")
        if parts[0] == "index.xml":
            return self._index(hub)
        if parts[0] == "punkt_tab.zip":
            return self._send(200, self.server.punkt)  # type: ignore[attr-defined]
        if parts[0] == "api" and len(parts) >= 4:
            kind, name, rest = parts[1], "/".join(parts[2:4]), parts[4:]
        elif "resolve" in parts:
            place = parts.index("resolve")
            kind = "datasets" if parts[0] == "datasets" else "models"
            name, rest = "/".join(parts[place - 2 : place]), parts[place:]
        else:
            return self._fail(404, "EntryNotFound")
        found = hub.repositories.get(f"{kind}/{name}")
        if found is None:
            return self._fail(404, "RepoNotFound")
        commit = found.commit(rest[1] if len(rest) > 1 else "main")
        if commit is None:
            return self._fail(404, "RevisionNotFound")
        files = found.commits[commit]
        if rest[:1] == ["auth-check"]:
            return self._fail(found.status, "GatedRepo") if found.status else self._json({})
        if rest[:1] == ["resolve"]:
            return self._file(found, commit, files, "/".join(rest[2:]))
        if rest[:1] == ["tree"]:
            return self._json(_tree(found, files, "/".join(rest[2:]), "recursive=true" in self.path.lower()))
        if rest[:1] == ["paths-info"]:
            return self._json(_paths(found, files, _form(body)))
        siblings = [{"rfilename": name} for name in files]
        return self._json({"id": name, "sha": commit, "siblings": siblings, "private": False, "gated": False})

    def _file(self, found: Repository, commit: str, files: Mapping[str, bytes], path: str) -> None:
        if found.status:
            return self._fail(found.status, "GatedRepo")
        if path not in files:
            return self._fail(404, "EntryNotFound", commit)
        return self._send(200, files[path], {"X-Repo-Commit": commit, "ETag": f'"{_id(files[path])}"'})

    def _index(self, hub: Hub) -> None:
        content = self.server.punkt  # type: ignore[attr-defined]
        package = {
            "id": "punkt_tab",
            "name": "Punkt",
            "subdir": "tokenizers",
            "size": str(len(content)),
            "unzipped_size": "0",
            "checksum": hashlib.md5(content).hexdigest(),
            "sha256_checksum": hashlib.sha256(content).hexdigest(),
            "url": f"{hub.url}/punkt_tab.zip",
            "unzip": "1",
        }
        attributes = " ".join(f'{key}="{value}"' for key, value in package.items())
        text = f"<nltk_data><packages><package {attributes}/></packages><collections/></nltk_data>"
        self._send(200, text.encode(), {"Content-Type": "text/xml"})

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _fail(self, status: int, code: str, commit: str = "") -> None:
        self._send(status, b"{}", {"X-Error-Code": code, **({"X-Repo-Commit": commit} if commit else {})})

    def _send(self, status: int, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _id(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def _entry(found: Repository, files: Mapping[str, bytes], path: str) -> dict[str, Any]:
    size = found.sizes.get(path, len(files[path]))
    return {"type": "file", "path": path, "size": size, "oid": _id(files[path])}


def _tree(found: Repository, files: Mapping[str, bytes], under: str, recursive: bool) -> list[dict[str, Any]]:
    inside = [path for path in files if not under or path.startswith(f"{under}/")]
    if recursive:
        return [_entry(found, files, path) for path in inside]
    start = len(under) + 1 if under else 0
    folders = dict.fromkeys(path[: path.index("/", start)] for path in inside if "/" in path[start:])
    here = [_entry(found, files, path) for path in inside if "/" not in path[start:]]
    return [*here, *({"type": "directory", "path": path, "oid": _id(path.encode()), "size": 0} for path in folders)]


def _paths(found: Repository, files: Mapping[str, bytes], asked: list[str]) -> list[dict[str, Any]]:
    folders = [path for path in asked if any(file.startswith(f"{path}/") for file in files)]
    return [
        *(_entry(found, files, path) for path in asked if path in files),
        *({"type": "directory", "path": path, "oid": _id(path.encode()), "size": 0} for path in folders),
    ]


def _form(body: bytes) -> list[str]:
    try:
        paths = json.loads(body)["paths"]
    except (ValueError, KeyError):
        paths = urllib.parse.parse_qs(body.decode()).get("paths", [])
    return [paths] if isinstance(paths, str) else list(paths)
