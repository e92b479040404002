"""What made an artifact: its manifest, and the versions, commit, machine and process it tells of."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import uuid
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from experiment.errors import StoreError
from experiment.fingerprint import known_digest

FORMAT = 1

PACKAGES = (
    "kirjo",
    "torch",
    "transformers",
    "trl",
    "datasets",
    "accelerate",
    "tokenizers",
    "lm_eval",
    "langdetect",
    "py3langid",
    "simplemma",
    "nltk",
    "sacrebleu",
    "sentencepiece",
    "hydra-core",
    "omegaconf",
    "deepspeed",
    "peft",
)


@dataclass(frozen=True)
class FileInfo:
    """The size and checksum of a file of an artifact."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What an artifact is, what made it and which files belong to it."""

    format: int
    stage: str
    fingerprint: str
    version: int
    settings: dict[str, Any]
    inputs: dict[str, str]
    files: dict[str, FileInfo]
    provenance: dict[str, Any]
    timings: dict[str, Any]
    execution: dict[str, Any]
    summary: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The manifest as plain lists, mappings and values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Any, path: Path) -> Manifest:
        """The manifest read from `path`; StoreError if it is of a newer format or not a manifest."""
        check_format(content, path)
        try:
            found = {field.name: content[field.name] for field in fields(cls)}
            found["files"] = {name: FileInfo(info["bytes"], info["sha256"]) for name, info in found["files"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"{path}: not a complete manifest ({error!r}); delete its folder to redo it") from error
        return cls(**found)

    def wrong_sizes(self, folder: Path) -> list[str]:
        """A sentence for each file that is missing in the folder or has another size."""
        wrong = []
        for name, info in self.files.items():
            path = folder / name
            found = path.stat().st_size if path.is_file() else None
            if found != info.bytes:
                wrong.append(f"{path}: expected {info.bytes} bytes, found {'no file' if found is None else found}")
        return wrong

    def wrong_contents(self, folder: Path) -> list[str]:
        """A sentence for each file in the folder whose content is not the one that was published."""
        judged = (_wrong_content(folder / name, info) for name, info in self.files.items())
        return [problem for problem in judged if problem]


def _wrong_content(path: Path, info: FileInfo) -> str | None:
    try:
        same = known_digest(path) == info.sha256
    except FileNotFoundError:
        return f"{path}: is gone"
    except OSError as error:
        # A passing fault of the file system is no damage: nothing may be put aside for it.
        raise StoreError(f"cannot read {path}: {error.strerror or error}; give the same command again") from error
    return None if same else f"{path}: the content has changed since it was published"


def check_format(content: Any, path: Path) -> None:
    """StoreError unless the JSON of a store's file is of a format that this version reads."""
    found = content.get("format") if isinstance(content, dict) else None
    if not isinstance(found, int):
        raise StoreError(f'{path}: expected a JSON object with a whole number "format", found {str(content)[:60]}')
    if found > FORMAT:
        raise StoreError(
            f"{path} was written by a newer Kirjo (format {found}); this one reads up to {FORMAT}: "
            "upgrade, or use another store=..."
        )


def describe() -> dict[str, Any]:
    """The Python, packages, commit, machine and job of this process (no environment variables but the job's id)."""
    commit, dirty = checkout()
    return {
        "python": platform.python_version(),
        "packages": dict(_versions()),
        "git": {"commit": commit, "dirty": dirty},
        "host": platform.node(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "job": os.environ.get("SLURM_JOB_ID"),
    }


@dataclass(frozen=True)
class Process:
    """A process among all that ever ran: `start` tells it from a later one with the same number."""

    host: str
    boot: str
    pid: int
    pid_ns: int | None
    start: str | None


def this_process() -> Process:
    """The identity of the process that asks."""
    host, boot, pid_ns = _machine()
    stat = _process_stat(os.getpid())
    return Process(host=host, boot=boot, pid=os.getpid(), pid_ns=pid_ns, start=stat[1] if stat else None)


def is_gone(process: Process) -> bool | None:
    """Whether the process has ended; None if that cannot be told from here (another host, another container)."""
    if (process.host, process.boot, process.pid_ns) != _machine():
        return None
    stat = _process_stat(process.pid)
    if stat is not None and process.start is not None:
        state, start = stat
        return state in "ZX" or start != process.start
    # No /proc here, or one that hides the processes of other users.
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return None
    return None


@lru_cache(maxsize=1)
def _machine() -> tuple[str, str, int | None]:
    host = platform.node()
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return host, boot, Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        # Hosts can share a name. Where a host has no number either, this one is random, which is safe.
        return host, f"node-{uuid.getnode():x}", None


def _process_stat(pid: int) -> tuple[str, str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    after_name = text.rpartition(")")[2].split()
    return after_name[0], after_name[19]


@lru_cache(maxsize=1)
def _versions() -> tuple[tuple[str, str], ...]:
    # Imported here because it alone would double the time that importing this module takes.
    from importlib import metadata

    installed = {name: next(iter(metadata.distributions(name=name)), None) for name in PACKAGES}
    return tuple((name, found.version) for name, found in installed.items() if found is not None)


# Beside the packages in a snapshot of the code: where it was taken from.
CODE = "code.json"


@lru_cache(maxsize=1)
def checkout() -> tuple[str | None, bool | None]:
    """The commit that this code is from, and whether files were changed since; None where that is not known."""
    taken = Path(__file__).resolve().parent.parent / CODE
    if taken.exists():
        content = json.loads(taken.read_text(encoding="utf-8"))
        return content["commit"], content["dirty"]
    # An installed copy may lie inside somebody else's repository (a virtual environment in a checkout):
    # only a repository that tracks this very file is ours.
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None, None
    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--", ".")
    return commit, None if changes is None else bool(changes)


def _git(*arguments: str) -> str | None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-C", str(Path(__file__).resolve().parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, env=clean, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
