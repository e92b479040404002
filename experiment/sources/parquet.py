"""Rows of a local file, JSON lines, a JSON array or parquet: what the hub serves reads the same from any of them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiment.errors import DataError
from experiment.sources.json_array import is_array, read_array
from experiment.sources.jsonl import read_jsonl

_BATCH = 1000  # rows that are in memory twice, as columns and as rows


def is_parquet(path: str | Path) -> bool:
    """Whether a file is parquet, by its name."""
    return Path(path).suffix == ".parquet"


def has_rows(path: str | Path) -> bool:
    """Whether a file holds rows with columns, by its name: not plain text."""
    return is_parquet(path) or Path(path).name.removesuffix(".gz").endswith((".jsonl", ".json", ".ndjson"))


def counts_lines(path: str | Path) -> bool:
    """Whether the numbers of :func:`read_rows` are those of lines."""
    return not (is_parquet(path) or is_array(Path(path)))


def read_rows(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (number, row): the line of a JSON lines file, counting from 1, or the row of a parquet file or an array.

    Raises:
        DataError: the file is missing or not what its name says.
    """
    if is_parquet(path):
        yield from _parquet_rows(path)
    elif is_array(Path(path)):
        yield from read_array(Path(path))
    else:
        yield from read_jsonl(path)


def _parquet_rows(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    arrow, parquet = (importlib.import_module(name) for name in ("pyarrow", "pyarrow.parquet"))
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (OSError, arrow.ArrowException) as error:
        raise DataError(f"cannot read the data file {path}: {str(error).splitlines()[0]}") from None
