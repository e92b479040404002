"""Benchmark prompts in IFEval's form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from experiment.errors import DataError
from experiment.sources.raw import raw_rows, whole
from experiment.sources.records import BenchmarkPrompt
from experiment.sources.source import Source


def prompts(source: Source) -> Iterator[BenchmarkPrompt]:
    """The prompts in the order of the rows.

    Raises:
        DataError: a row is no prompt, or has no instructions.
    """
    for _, where, row in raw_rows(source):
        yield _prompt(where, row)


def _prompt(where: str, row: dict[str, Any]) -> BenchmarkPrompt:
    ids, kwargs, key = row.get("instruction_id_list"), row.get("kwargs"), whole(row.get("key"))
    if not isinstance(row.get("prompt"), str) or not isinstance(ids, list) or not isinstance(kwargs, list):
        columns = ", ".join(sorted(row)) or "none"
        raise DataError(f"{where}: expected key, prompt, instruction_id_list and kwargs; columns: {columns}")
    if not isinstance(key, int) or isinstance(key, bool) or abs(key) >= 2**63:
        raise DataError(f"{where}: expected a whole number as key, got {row.get('key')!r} (one of 64 bits at most)")
    if not ids or len(ids) != len(kwargs):
        raise DataError(
            f"{where}: expected at least one instruction, each with its kwargs; got {len(ids)} and {len(kwargs)}"
        )
    if not all(isinstance(name, str) for name in ids) or not all(isinstance(given or {}, dict) for given in kwargs):
        raise DataError(f"{where}: expected texts in instruction_id_list and mappings (or null) in kwargs")
    # The hub's copy of IFEval fills every kwarg that an instruction does not use with null.
    used = tuple(
        {name: found for name, value in (given or {}).items() if (found := whole(value)) is not None}
        for given in kwargs
    )
    return BenchmarkPrompt(key, row["prompt"], tuple(ids), used)
