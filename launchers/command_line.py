"""What can be asked of ``python -m launchers``, and how."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path

COMMANDS = {
    "status": "how every run and every unfinished step stands",
    "logs": "where the logs of steps are, and their last lines",
    "cancel": "give runs up: only the steps that no other unfinished run needs",
    "retry": "submit again what failed or was never submitted",
    "sync": "upload offline W&B runs",
}
_STATUS_EXIT = """exit code: 0; 1 if a run cannot get done by itself any more (a step that it needs failed, was
cancelled or is blocked; with --watch also if nothing is in flight any more and a run is not done); 2 if the request
is wrong, or SLURM or the store does not answer"""
WATCH_S = 10.0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The request; argparse ends the program with code 2 where it is not one."""
    parser = argparse.ArgumentParser(
        prog="python -m launchers",
        description="What became of what was launched, on a cluster or here: from the store and SLURM's queue alone.",
    )
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    for name, add in (("status", _status), ("logs", _logs), ("cancel", _cancel), ("retry", _retry), ("sync", _sync)):
        one = commands.add_parser(
            name,
            help=COMMANDS[name],
            description=COMMANDS[name],
            formatter_class=argparse.RawDescriptionHelpFormatter,
            epilog=_STATUS_EXIT if name == "status" else None,
        )
        add(one)
        one.add_argument(
            "--store",
            type=Path,
            default=Path("store"),
            metavar="PATH",
            help="where the artifacts live (default: store)",
        )
    if not arguments:
        parser.print_help()
        raise SystemExit(2)
    asked = parser.parse_args(arguments)
    if asked.command == "cancel" and bool(asked.runs) == asked.all:
        parser.error("cancel takes names of runs, or --all")
    return asked


def _status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", metavar="PATTERN", help="only these: a run's name, part of one, or with * and ?")
    parser.add_argument(
        "--watch",
        nargs="?",
        type=_seconds,
        const=WATCH_S,
        metavar="SECONDS",
        help=f"look again every so often (default: {WATCH_S:g}) until nothing is in flight; redraws on a terminal, "
        "elsewhere prints what has changed",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document: runs and steps")


def _logs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        nargs="*",
        metavar="WHAT",
        help="a run, a stage, or the beginning of a step's fingerprint (default: what runs or has failed)",
    )
    parser.add_argument(
        "-n", "--lines", type=int, default=10, metavar="N", help="of each log (default: 10); 0: paths only"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what is written, until Ctrl-C")


def _cancel(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="*", metavar="RUN", help="a run's name, or with * and ?")
    parser.add_argument("--all", action="store_true", help="every job of the store")
    parser.add_argument("--dry-run", action="store_true", help="say what would be cancelled, and cancel nothing")


def _retry(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--waiting",
        action="store_true",
        help="only what was never submitted, for want of room in the queue (jobs of a sweep do that when they end)",
    )


def _sync(_parser: argparse.ArgumentParser) -> None:
    pass


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0.1 <= (value := float(text)) <= 86400:
            return value
    raise argparse.ArgumentTypeError(f"expected seconds, from 0.1 to 86400, found {text!r}")
