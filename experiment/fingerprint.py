"""The identity of values and files: canonical JSON, hashes, and JSON files that are never half written."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from experiment.errors import KirjoError, StoreError

JSON: TypeAlias = bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"] | None

_known: dict[tuple[str, int, int, int], str] = {}


class FingerprintError(KirjoError):
    """A value that has no canonical form, hence no fingerprint."""


def canonical(value: JSON) -> str:
    """The one JSON text of a value: keys sorted, no spaces, 1.0 written as 1.

    Raises:
        FingerprintError: the value holds something that JSON cannot say exactly; names the place.
    """
    return json.dumps(_plain(value, ""), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: JSON, length: int = 16) -> str:
    """The first `length` hex digits of the SHA-256 of the canonical form."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:length]


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's content, as 64 hex digits."""
    seen = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            seen.update(block)
    return seen.hexdigest()


def known_digest(path: Path) -> str:
    """The `file_digest`, remembered by this process for as long as the file's stat stays the same."""
    stat = path.stat()
    key = (str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino)
    if key not in _known:
        _known[key] = file_digest(path)
    return _known[key]


def finite(value: object) -> object:
    """The value with null for each number that JSON lacks (NaN, infinity: a training that diverged)."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json_atomic(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file so that readers see the old or the new one, never a part; NaN and infinity become null."""
    text = json.dumps(finite(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{secrets.token_hex(6)}.new")
    try:
        with new.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    sync(path.parent)


def read_json(path: Path) -> Any:
    """The content of a JSON file; FileNotFoundError if it is absent, StoreError if it is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StoreError(f"{path}: not readable as JSON ({error}); delete it and run the same command again") from error


def sync(path: Path) -> None:
    """Make the system write a file or folder to disk now."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Not every file system can do this for a folder; that the disk is full is said here, though.
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
    finally:
        os.close(handle)


def _plain(value: object, where: str) -> object:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _number(value, where)
    if isinstance(value, str):
        return _text(value, where)
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {_key(key, where): _plain(item, f"{where}.{key}" if where else str(key)) for key, item in value.items()}
    raise _refusal(where, f"is a {type(value).__name__}")


def _number(value: float, where: str) -> int | float:
    if not math.isfinite(value):
        raise _refusal(where, f"is the float {value}")
    # A setting means the same whether it was written 1 or 1.0, 0.0 or -0.0.
    return int(value) if value.is_integer() else float(value)


def _text(value: str, where: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _refusal(where, f"is a str that is not Unicode text ({error.reason})") from error
    return str.__str__(value)


def _key(key: object, where: str) -> str:
    if not isinstance(key, str):
        raise _refusal(where, f"has the key {key!r}, a {type(key).__name__} where a str is needed")
    return _text(key, where)


def _refusal(where: str, what: str) -> FingerprintError:
    return FingerprintError(
        f"no fingerprint: {where or 'the value itself'} {what}; only null, booleans, finite numbers, "
        "text, lists and mappings with text keys have one. Convert it where it is made."
    )
