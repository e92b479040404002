"""The third front door: tables, figures, comparisons, the report, and scores of responses from elsewhere."""

from __future__ import annotations

import gc
import shutil
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from analysis.command_line import conditions, parse
from experiment.errors import KirjoError


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what was asked; exit 2 when the request is wrong."""
    asked = parse(sys.argv[1:] if arguments is None else arguments)
    # A store of many runs is read into millions of small values, none of them in a circle: looking for such takes a
    # third of the time, and the process ends soon.
    collecting = gc.isenabled()
    gc.disable()
    try:
        _COMMANDS[asked.command](asked)
    except KirjoError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # a reader such as `head` has seen enough
        sys.stderr.close()
    except OSError as error:
        print(f"error: {error.filename or 'the output'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(2)
    finally:
        if collecting:
            gc.enable()


def _tables(asked: Namespace) -> None:
    from analysis.request import load, tables_of
    from analysis.write import show

    where = conditions(asked.where)
    runs = load(asked.store, where)
    for name in asked.tables:
        show(tables_of(name, runs, asked.store, asked.metric, where), asked, width())


def _compare(asked: Namespace) -> None:
    from analysis.compare import compare
    from analysis.request import load, metric_names
    from analysis.write import Made, show

    runs = load(asked.store, conditions(asked.where))
    metrics = metric_names(asked.metric, runs)
    table = compare(runs, metrics, asked.rows, asked.columns, asked.baseline, asked.store)
    show([Made(table)], asked, width())


def _report(asked: Namespace) -> None:
    from analysis.request import load
    from analysis.whole_report import make_report

    path = make_report(asked.out, load(asked.store, conditions(asked.where)), Path(asked.store))
    print(f"{path}: open it in a browser; it needs no network")


def _score(asked: Namespace) -> None:
    from analysis.score import score_outside
    from analysis.write import put

    put(score_outside(asked, width()))


def _translation(asked: Namespace) -> None:
    from analysis.translation import as_json, table
    from analysis.write import Made, put, show

    if asked.json:
        put(as_json(asked))
    else:
        show([Made(table(asked))], asked, width())


def _quality(asked: Namespace) -> None:
    from analysis.quality import quality_table
    from analysis.request import load
    from analysis.selection import newest
    from analysis.write import Made, show

    runs = newest(load(asked.store, conditions(asked.where)))
    show([Made(quality_table(runs, asked.store))], asked, width())


def _funnel(asked: Namespace) -> None:
    from analysis.funnel import example_table, funnel_table
    from analysis.request import load
    from analysis.selection import newest
    from analysis.write import Made, show

    runs = newest(load(asked.store, conditions(asked.where)))
    tables = [funnel_table(runs, asked.store), *([example_table(runs, asked.store)] if asked.examples else [])]
    show([Made(table) for table in tables if table is not None], asked, width())


_COMMANDS = {
    "tables": _tables,
    "compare": _compare,
    "report": _report,
    "score": _score,
    "translation": _translation,
    "quality": _quality,
    "funnel": _funnel,
}


def width() -> int:
    """The columns of the terminal; 100 where there is none."""
    return shutil.get_terminal_size((100, 24)).columns


if __name__ == "__main__":
    main()
