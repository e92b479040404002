"""The published tables, made again from integer counts, and which of their differences can be told from chance.

python -m analysis.published            # Tables 1 and 2 as printed in the paper
python -m analysis.published contrasts  # every row against its reference
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from analysis.published import TABLES, rows, where_from
from analysis.published.contrasts import COLUMNS, LEVEL, Contrast, contrasts


def printed(table: str) -> Iterator[str]:
    """A published table as Markdown, percent cut to two decimals, and its counts."""
    where = where_from(table)
    yield f"{where.table} (page {where.page}) of {where.title}, {where.url}\n"
    yield "| | EN | FI | Resp. lang | EN k/n | FI k/n | Resp. lang k/n |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows(table).values():
        counts = (row.en, row.fi, row.response_language)
        cells = [*(count.truncated for count in counts), *(f"{count.correct}/{count.total}" for count in counts)]
        yield f"| {row.label} | {' | '.join(cells)} |"


def compared(table: str, column: str) -> Iterator[str]:
    """The comparisons of one column as Markdown."""
    found = contrasts(table, column)
    yield f"{where_from(table).table}, {COLUMNS[column]}, {len(found)} comparisons\n"
    yield "| | points | unpaired 95 % | p | p (Holm) | alone: at most | Holm: at most | unrelated | told? |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for contrast in found:
        yield f"| {' | '.join(_cells(contrast))} |"


def _cells(contrast: Contrast) -> list[str]:
    found = contrast.difference
    return [
        f"{contrast.row.label} - {contrast.against.label}",
        f"{100 * found.difference:+.2f}",
        f"{100 * found.low:+.1f} to {100 * found.high:+.1f}",
        _p(found.p),
        _p(found.p_adjusted),
        _share(contrast.alone, contrast.most),
        _share(contrast.together, contrast.most),
        _share(contrast.unrelated, 1),
        _told(contrast),
    ]


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _share(value: float | None, most: float) -> str:
    if value is None:
        return "never"
    return "any" if value >= most else f"{100 * value:.1f} %"


def _told(contrast: Contrast) -> str:
    if contrast.difference.p_adjusted < LEVEL:
        return "yes"
    return "no" if contrast.together is None else "only if paired"


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m analysis.published", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("tables", "contrasts"), default="tables")
    if parser.parse_args().what == "tables":
        blocks = ["\n".join(printed(table)) for table in TABLES]
    else:
        blocks = ["\n".join(compared(table, column)) for table in TABLES for column in COLUMNS]
    print("\n\n".join(blocks))


if __name__ == "__main__":
    main()
