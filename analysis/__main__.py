"""The tables: ``python -m analysis table1|table2|betas [--store PATH] [--markdown] [--where axis=value]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from analysis.render import markdown, print_table
from analysis.tables import layouts, make_tables
from experiment.errors import KirjoError
from experiment.results import load_results
from experiment.store import Store


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables that were asked for; exit 2 when the request is wrong."""
    asked = _parser().parse_args(arguments)
    try:
        where = dict(_condition(item) for item in asked.where)
        results = load_results(Store.open(Path(asked.store), create=False))
        for name in asked.tables:
            for table in make_tables(name, results, where, asked.store):
                if asked.markdown:
                    print(markdown(table))
                else:
                    print_table(table, Console())
    except KirjoError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m analysis", description=__doc__)
    parser.add_argument("tables", nargs="+", choices=list(layouts()), metavar="table", help="table1, table2, betas")
    parser.add_argument("--store", default="store", help="where the artifacts live (default: store)")
    parser.add_argument("--markdown", action="store_true", help="Markdown instead of terminal tables")
    parser.add_argument(
        "--where", action="append", default=[], metavar="AXIS=VALUE", help="only runs with this value, e.g. model=demo"
    )
    return parser


def _condition(item: str) -> tuple[str, str]:
    axis, equals, value = item.partition("=")
    if not equals:
        raise KirjoError(f"--where {item}: expected AXIS=VALUE, for example --where model=demo")
    return axis, value


if __name__ == "__main__":
    main()
