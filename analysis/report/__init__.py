"""The report: one HTML file with tables, figures, plan, learning curves, runs and every answer; opens from disk."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from analysis.report.answers import Block, collect_answers
from analysis.report.collect import collect
from analysis.report.pack import chunks, data_block, frame, packed
from analysis.safely import write_safely
from analysis.table import Table
from experiment.errors import KirjoError
from experiment.results import RunResult
from experiment.store import Store

__all__ = ["Report", "build", "write_report"]

MEGABYTE = 1_000_000
_SHORTEST_CUT = 200  # characters; an answer cut shorter than this tells nothing


@dataclass(frozen=True)
class Report:
    """A report ready to be written, and what had to be left out of it."""

    html: bytes
    cut: int  # answers that are not whole
    cut_after: int | None  # characters
    answers: int

    @property
    def note(self) -> str:
        """What was left out, in a sentence; empty if nothing was."""
        if not self.cut:
            return ""
        return (
            f"{self.cut:,} of {self.answers:,} answers are cut after {self.cut_after:,} characters, each marked in the "
            "page; a larger max_megabytes or fewer runs leave them whole"
        )


def write_report(
    path: Path,
    runs: Sequence[RunResult],
    tables: Sequence[tuple[Table, str]],
    figures: Sequence[tuple[str, str]],
    store: Store,
    max_megabytes: float = 30,
) -> Path:
    """Write the report; ``tables`` are (table, HTML fragment), ``figures`` (title, SVG). Says what had to be cut.

    Raises:
        KirjoError: there are no runs, the file cannot be written, or the size cannot be kept even with answers cut.
    """
    report = build(runs, tables, figures, store, max_megabytes)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_safely(path, report.html)
    except OSError as error:
        raise KirjoError(f"cannot write the report {path}: {error.strerror or error}; name another file") from error
    if report.note:
        print(f"{path}: {report.note}", file=sys.stderr)
    return path


def build(
    runs: Sequence[RunResult],
    tables: Sequence[tuple[Table, str]],
    figures: Sequence[tuple[str, str]],
    store: Store,
    max_megabytes: float = 30,
    made: str | None = None,
) -> Report:
    """Make the report in memory; ``made`` is the time it tells, now if not given.

    Raises:
        KirjoError: there are no runs, or the size cannot be kept even with answers cut.
    """
    if not runs:
        raise KirjoError(
            f"no runs to report on in {store.root}: run an experiment first (python -m experiment ...), or name the "
            "right store (--store PATH)"
        )
    index, blocks = collect_answers(runs)
    page = collect(runs, store)
    page["made"] = made or datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    page["version"] = _version()
    before, between, after = frame(page, tables, figures)
    limit = int(max_megabytes * MEGABYTE)
    cut_after: int | None = None
    while True:
        answers, cut = chunks(index.runs, blocks, cut_after)
        data = data_block("index", packed({**page, **index.to_json(), "cut": {"answers": cut, "after": cut_after}}))
        html = b"".join([before, data, between, *answers, after])
        if len(html) <= limit:
            return Report(html, cut, cut_after, index.answers)
        cut_after = _shorter(blocks, cut_after, len(html), limit)
        if cut_after < _SHORTEST_CUT:
            raise KirjoError(
                f"the report would take more than {max_megabytes:g} MB (now {len(html) / MEGABYTE:.1f} MB) even with "
                f"its answers cut after {_SHORTEST_CUT} characters: allow more (max_megabytes), or report on fewer runs"
            )


def _shorter(blocks: Sequence[Block], cut_after: int | None, size: int, limit: int) -> int:
    """A number of characters to cut answers after that should bring the size under the limit; less than before."""
    lengths = [len(text) for block in blocks for text in block.texts]
    longest = min(max(lengths, default=0), cut_after or sys.maxsize)
    # Compressed size goes roughly with length; where it does not, the next round corrects it.
    wanted = sum(min(length, longest) for length in lengths) * limit / size * 0.98
    low, high = 0, max(longest - 1, 0)
    while low < high:
        middle = (low + high + 1) // 2
        if sum(min(length, middle) for length in lengths) <= wanted:
            low = middle
        else:
            high = middle - 1
    return low


def _version() -> str:
    try:
        return metadata.version("kirjo")
    except metadata.PackageNotFoundError:
        return "(version unknown: not installed as a package)"
