"""The rows of a source as they lie there, in a local file or on the hub, each with its place for messages."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from experiment.errors import DataError
from experiment.sources.parquet import counts_lines, read_rows
from experiment.sources.source import Source


class Raw(NamedTuple):
    """A row, its number from 1, and the words that name its place."""

    number: int
    where: str
    row: dict[str, Any]


def raw_rows(source: Source) -> Iterator[Raw]:
    """The rows one after another; what has been passed is not kept.

    Raises:
        DataError: the file or the data set cannot be read; says why.
    """
    if source.path:
        unit = "line" if counts_lines(source.path) else "row"
        for number, row in read_rows(source.path):
            yield Raw(number, f"{source.path}, {unit} {number}", row)
        return
    if not source.hub:
        raise DataError(f"the {source.reader} reader needs a file or a data set of the hub: path=FILE or hub=NAME")
    from experiment.sources.hub import hub_rows

    for number, row in enumerate(hub_rows(source), start=1):
        yield Raw(number, f"{source.hub}@{source.revision}, row {number}", row)


def whole(value: Any) -> Any:
    """A number as it was before pandas read a column with gaps: 2.0 was 2, and NaN was null."""
    if not isinstance(value, float) or math.isinf(value):
        return value
    if math.isnan(value):
        return None
    return int(value) if value.is_integer() else value
