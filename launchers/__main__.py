"""The second front door: status, logs, cancel, retry and sync of what was launched."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence

from experiment.errors import KirjoError
from launchers.command_line import parse


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what was asked; exit 2 when the request is wrong."""
    asked = parse(sys.argv[1:] if arguments is None else arguments)
    commands = {"status": _status, "logs": _logs, "cancel": _cancel, "retry": _retry, "sync": _sync}
    try:
        code = commands[asked.command](asked)
        sys.stdout.flush()
    except KirjoError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except BrokenPipeError:  # a reader such as `head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except KeyboardInterrupt:
        code = 130
    except OSError as error:
        print(f"error: {error.filename or 'the output'}: {error.strerror or error}", file=sys.stderr)
        code = 2
    sys.exit(code)


def _status(asked: Namespace) -> int:
    from experiment.store import Store
    from launchers.status import status

    return status(Store.open(asked.store, create=False), asked.run, asked.json, asked.watch)


def _logs(asked: Namespace) -> int:
    from experiment.store import Store
    from launchers.logs import logs

    return logs(Store.open(asked.store, create=False), asked.what, asked.lines, asked.follow)


def _cancel(asked: Namespace) -> int:
    from experiment.store import Store
    from launchers.cancel import cancel

    return cancel(Store.open(asked.store, create=False), asked.runs, asked.all, asked.dry_run)


def _retry(asked: Namespace) -> int:
    from experiment.store import Store
    from launchers.slurm.retry import retry

    return retry(Store.open(asked.store, create=False), asked.waiting)


def _sync(asked: Namespace) -> int:
    from experiment.store import Store
    from launchers.sync import sync

    return sync(Store.open(asked.store, create=False))


if __name__ == "__main__":
    main()
