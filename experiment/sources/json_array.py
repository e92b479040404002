"""A file that is one JSON array of rows, as Alpaca and ShareGPT are published; its elements one after another."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiment.errors import DataError
from experiment.sources.jsonl import unreadable

_BLANKS = re.compile(r"[ \t\r\n]*")


def is_array(path: Path) -> bool:
    """Whether a file named .json holds an array; what is called so on the hub is often JSON lines.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    if path.name.removesuffix(".gz").endswith(".json"):
        try:
            with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as content:
                return content.read(1000).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
        except (OSError, EOFError, zlib.error) as error:
            raise unreadable(path, error) from None
    return False


def read_array(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (number, row) for every element. The text is held, the rows are not.

    Raises:
        DataError: the file is unreadable, not UTF-8, or not an array of JSON objects.
    """
    text = _text(path)
    decoder, number = json.JSONDecoder(), 0
    place = _after_blanks(text, _after_blanks(text, 0) + 1)
    while not text.startswith("]", place):
        number += 1
        try:
            row, place = decoder.raw_decode(text, place)
        except RecursionError:
            raise DataError(f"{path}, row {number}: nested too deeply to be read") from None
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {error.lineno}: not JSON: {error.msg} at column {error.colno}") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}, row {number}: expected a JSON object, got {type(row).__name__}")
        yield number, row
        place = _after_blanks(text, place)
        if text.startswith(",", place):
            place = _after_blanks(text, place + 1)
        elif not text.startswith("]", place):
            raise DataError(
                f"{path}: expected a comma or the end of the array after row {number}; does the file end early?"
            )


def _text(path: Path) -> str:
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as content:
            return str(content.read(), "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not UTF-8 ({error.reason} at byte {error.start}); convert the file: "
            "iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW (or the encoding that it has)"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(path, error) from None


def _after_blanks(text: str, place: int) -> int:
    found = _BLANKS.match(text, place)
    return found.end() if found else place
