"""Files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path


def write_safely(path: Path, content: bytes) -> Path:
    """Write a file under its name only when it is whole: a full disk or a kill leaves no half of one.

    Raises:
        OSError: it cannot be written; what stood there before still stands.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_bytes(content)
        return partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
