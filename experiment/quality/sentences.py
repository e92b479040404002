"""Files of sentences, one a line, plain or gzipped, read as sacrebleu reads them; faults name the line."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

from experiment.errors import DataError


def read_sentences(path: Path) -> list[str]:
    """The lines of a file, without blanks at their ends.

    Raises:
        DataError: the file cannot be read, is empty or is not UTF-8.
    """
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    # Only a line feed ends a line: other separators of Unicode may stand within a sentence.
    lines = content.removeprefix(codecs.BOM_UTF8).split(b"\n")
    if not lines[-1]:
        lines.pop()
    if not lines:
        raise DataError(f"{path} is empty: expected sentences, one a line")
    return [_sentence(path, number, line) for number, line in enumerate(lines, start=1)]


def _sentence(path: Path, number: int, line: bytes) -> str:
    try:
        return line.decode("utf-8").rstrip()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}, line {number}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from None


def refuse_blank(where: str, references: Sequence[str]) -> None:
    """Refuse references of which one is blank: nothing can be compared with it.

    Raises:
        DataError: which lines they are.
    """
    blank = [number for number, reference in enumerate(references, start=1) if not reference.strip()]
    if blank:
        named = ", ".join(map(str, blank[:5])) + ", ..." * (len(blank) > 5)
        raise DataError(
            f"{where}: line{'s' * (len(blank) > 1)} {named} {'are' if len(blank) > 1 else 'is'} blank; every line must "
            "hold a reference: fill it in, or take the line out of all files"
        )
