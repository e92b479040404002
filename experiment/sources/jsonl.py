"""JSON lines, plain or gzipped, with errors that name the file and the line."""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from experiment.errors import DataError


def read_jsonl(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, row) for every non-empty line.

    Raises:
        DataError: the file is missing or not readable UTF-8, or a line is not a JSON object.
    """
    path = Path(path)
    for number, line in numbered_lines(path):
        if line.strip():
            yield number, _row(path, number, line)


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    r"""Yield (number, bytes) of every line with its ``\n``, unpacked where the name ends in .gz, without a BOM.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                yield number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: Exception) -> DataError:
    """The error for a file that the system does not hand out."""
    reason = getattr(error, "strerror", None) or str(error) or "the file ends early"
    return DataError(f"cannot read the data file {path}: {reason}")


def utf8(path: Path, number: int, line: bytes) -> str:
    """The text of a line.

    Raises:
        DataError: it is not UTF-8.
    """
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        told = line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and number == 1
        encoding = "UTF-16" if told else "WINDOWS-1252"
        sure = "" if told else " (or the encoding that it has)"
        raise DataError(
            f"{path}, line {number}: not UTF-8 ({error.reason} at byte {error.start} of the line); convert the file: "
            f"iconv -f {encoding} -t UTF-8 OLD > NEW{sure}"
        ) from None


def _row(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(utf8(path, number, line))
    except RecursionError:
        raise DataError(f"{path}, line {number}: nested too deeply to be read") from None
    except json.JSONDecodeError as error:
        array = number == 1 and line.lstrip().startswith(b"[")
        hint = "; a file that is one JSON array is read under a name that ends in .json" if array else ""
        raise DataError(f"{path}, line {number}: not JSON: {error.msg} at column {error.colno}{hint}") from None
    if not isinstance(row, dict):
        raise DataError(f"{path}, line {number}: expected a JSON object, got {type(row).__name__}")
    return row


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows as JSON lines with sorted keys; the same rows are the same bytes. Returns how many."""
    count = 0
    with path.open("wb") as out:
        for row in rows:
            out.write(json_line(row))
            count += 1
    return count


def json_line(row: Mapping[str, Any]) -> bytes:
    """One line of JSON in UTF-8. A row that UTF-8 cannot hold (half a surrogate pair) is escaped; it reads the same."""
    try:
        return json.dumps(row, ensure_ascii=False, sort_keys=True).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(row, sort_keys=True).encode() + b"\n"
