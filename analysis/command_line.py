"""What can be asked of ``python -m analysis``, and how."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.render import FORMATS
from experiment.errors import KirjoError
from experiment.quality.names import COMET_MODEL, TOKENIZERS

TABLES = {
    "table1": "Table 1: the data mixes",
    "table2": "Table 2: the post-training methods",
    "betas": "the beta grid, and which beta is chosen",
    "figure1": "Figure 1: accuracy by instruction category",
    "rules": "the paper's rules and the language's own, by type of instruction",
}
OTHERS = {
    "compare": "a table of any sweep: --rows mix --columns method --metric ifeval_fi.instruction_strict",
    "report": "one HTML file with the tables, figures, plan, curves, runs and a browser of the answers",
    "score": "score responses from elsewhere: --prompts FILE --responses FILE",
    "translation": "score translations from elsewhere: --references FILE --hypotheses FILE [--hypotheses FILE ...]",
    "quality": "how good the translations of a store are, beside published values",
    "funnel": "what cleaning dropped of the translated data, rule by rule",
}

_DESCRIPTION = "From results to tables, figures and a report. Nothing here trains or generates; stores are only read."


class Parser(argparse.ArgumentParser):
    """argparse that knows what a misspelt option was meant to be."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse an option that there is not, before what it was meant for is found missing."""
        known = [name for action in self._actions for name in action.option_strings]
        for given in args or ():
            name = given.partition("=")[0]
            if name.startswith("--") and len(name) > 2 and not any(option.startswith(name) for option in known):
                close = difflib.get_close_matches(name, known, n=1)
                meant = f" (did you mean {close[0]}?)" if close else ""
                self.error(f"unrecognized arguments: {name}{meant}")
        return super().parse_known_args(args, namespace)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The request; argparse ends the program with code 2 where it is not one."""
    if not arguments:
        _tables().print_help()
        raise SystemExit(2)
    first, *rest = arguments
    if first in OTHERS:
        parsers = {
            "compare": _compare,
            "report": _report,
            "score": _score,
            "translation": _translation,
            "quality": _quality,
            "funnel": _funnel,
        }
        asked = parsers[first]().parse_args(rest)
        asked.command = first
        return asked
    parser = _tables()
    asked = parser.parse_args(arguments)
    asked.command = "tables"
    for name in asked.tables:
        if name in OTHERS:
            parser.error(f"{name} comes first and alone: python -m analysis {name} ...")
        if name not in TABLES:
            close = difflib.get_close_matches(name, [*TABLES, *OTHERS], n=1)
            meant = f" (did you mean {close[0]}?)" if close else ""
            parser.error(f"there is no table '{name}'{meant}; there are: {', '.join([*TABLES, *OTHERS])}")
    return asked


def _tables() -> argparse.ArgumentParser:
    names = {**TABLES, **OTHERS}
    listed = "\n".join(f"  {name:11} {what}" for name, what in names.items())
    parser = Parser(
        prog="python -m analysis",
        usage=f"python -m analysis table [table ...] [options], or python -m analysis {'|'.join(OTHERS)} [options]",
        description=(
            f"{_DESCRIPTION}\n\nwhat there is:\n{listed}\n\n{', '.join(OTHERS)} tell more, e.g. compare --help"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("tables", nargs="+", metavar="table", help=f"one or several of: {', '.join(TABLES)}")
    _of_a_store(parser)
    _as_a_table(parser)
    parser.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="METRIC",
        help="instead of the usual ones, e.g. ifeval_fi.prompt_strict@finnish (may be repeated)",
    )
    return parser


def _compare() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m analysis compare", description=OTHERS["compare"])
    parser.add_argument(
        "--rows", required=True, metavar="SETTING", help="any axis or setting, e.g. mix, sft.learning_rate"
    )
    parser.add_argument("--columns", metavar="SETTING", help="a second one")
    parser.add_argument(
        "--metric",
        action="append",
        required=True,
        metavar="METRIC",
        help="ifeval_<language>.<metric>[@<rule set>][/<category>]; may be repeated",
    )
    parser.add_argument(
        "--baseline", metavar="VALUE", help="the row that others are compared with (default: the first)"
    )
    _of_a_store(parser)
    _as_a_table(parser)
    return parser


def _report() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m analysis report", description=OTHERS["report"])
    _of_a_store(parser)
    parser.add_argument("--out", type=Path, default=Path("report.html"), metavar="FILE", help="default: report.html")
    return parser


def _score() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m analysis score", description=OTHERS["score"])
    parser.add_argument("--benchmark", default="ifeval", choices=["ifeval"], help="whose rules (default: ifeval)")
    parser.add_argument("--language", required=True, help="the prompts' language, e.g. en")
    parser.add_argument("--prompts", required=True, type=Path, metavar="FILE", help="JSON lines in IFEval's schema")
    parser.add_argument(
        "--responses", required=True, type=Path, metavar="FILE", help="JSON lines: key or prompt, and response"
    )
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="FILE",
        help="prompts with the same keys, e.g. IFEval's English ones: what they do not ask for is reported",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead of tables")
    parser.add_argument("--nltk-data", metavar="FOLDER", help="where NLTK's tokenizers/punkt_tab lies")
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="ID",
        help="leave out prompts with this instruction, e.g. language:response_language (may be repeated)",
    )
    return parser


def _translation() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m analysis translation", description=OTHERS["translation"])
    parser.add_argument(
        "--references", required=True, type=Path, metavar="FILE", help="one sentence a line, plain or .gz"
    )
    parser.add_argument(
        "--hypotheses",
        required=True,
        action="append",
        type=Path,
        metavar="FILE",
        help="their translations, line by line; repeated, every other file is compared with the first",
    )
    parser.add_argument("--sources", type=Path, metavar="FILE", help="what was translated, for --comet")
    parser.add_argument(
        "--tokenizer", choices=TOKENIZERS, default=TOKENIZERS[0], help=f"of spBLEU (default: {TOKENIZERS[0]})"
    )
    parser.add_argument("--comet", action="store_true", help="COMET as well, by its own program comet-score")
    parser.add_argument(
        "--comet-model", default=COMET_MODEL, metavar="MODEL", help=f"a name or .ckpt (default: {COMET_MODEL})"
    )
    parser.add_argument("--gpus", type=int, default=0, metavar="N", help="for COMET (default: 0)")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    _as_a_table(parser, of_runs=False)
    return parser


def _quality() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m analysis quality", description=OTHERS["quality"])
    _of_a_store(parser)
    _as_a_table(parser)
    return parser


def _funnel() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m analysis funnel", description=OTHERS["funnel"])
    _of_a_store(parser)
    _as_a_table(parser)
    parser.add_argument("--examples", action="store_true", help="below the table, texts that each rule dropped")
    return parser


def _of_a_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", default="store", help="where the artifacts live (default: store)")
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="SETTING=VALUE",
        help="only runs with this value, e.g. model=demo, sft.epochs=3 or mix=0,100 (may be repeated)",
    )


def _as_a_table(parser: argparse.ArgumentParser, of_runs: bool = True) -> None:
    parser.add_argument("--format", choices=list(FORMATS), default="terminal", help="default: terminal")
    parser.add_argument("--markdown", dest="format", action="store_const", const="markdown", help="--format markdown")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="write files there, in all formats, and the figures as PDF, SVG and PNG",
    )
    parser.set_defaults(provenance=False)
    if of_runs:
        parser.add_argument(
            "--provenance",
            action="store_true",
            help="after each table: settings, fingerprints and command of every run in it",
        )


def conditions(items: Sequence[str]) -> dict[str, str]:
    """What ``--where`` asks for.

    Raises:
        KirjoError: an item is not of the form SETTING=VALUE, or two contradict each other.
    """
    found: dict[str, str] = {}
    for item in items:
        axis, equals, value = item.partition("=")
        if not equals or not axis or not value:
            raise KirjoError(f"--where {item}: expected SETTING=VALUE, for example --where model=demo")
        if found.get(axis, value) != value:
            raise KirjoError(f"--where {axis} is given twice: for several values, --where {axis}={found[axis]},{value}")
        found[axis] = value
    return found
