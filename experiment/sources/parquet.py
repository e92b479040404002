"""Rows of a local file, JSON lines or parquet: what the hub serves can be laid down as either and reads the same."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiment.errors import DataError
from experiment.sources.jsonl import read_jsonl


def is_parquet(path: str | Path) -> bool:
    """Whether a file is parquet, by its name."""
    return Path(path).suffix == ".parquet"


def read_rows(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (number, row): the line of a JSON lines file, counting from 1, or the row of a parquet file.

    Raises:
        DataError: the file is missing or not what its name says.
    """
    if not is_parquet(path):
        yield from read_jsonl(path)
        return
    arrow, parquet = (importlib.import_module(name) for name in ("pyarrow", "pyarrow.parquet"))
    try:
        table = parquet.read_table(path)
    except (OSError, arrow.ArrowException) as error:
        raise DataError(f"cannot read the data file {path}: {str(error).splitlines()[0]}") from None
    yield from enumerate(table.to_pylist(), start=1)
