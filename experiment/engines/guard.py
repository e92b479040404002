"""Runs a command, and ends it with all it has started as soon as who started this is gone: ``guard.py COMMAND ...``.

Standard input is the line to the starter: it closes when that process ends, however it ends. Needs a process group of
its own. Imports nothing of the package, so that it is up at once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

# How long a server may take to end in good order.
GRACE_S = 10.0


def main(command: list[str]) -> int:
    """Run the command; its exit code."""
    # What ends the group would end this too early. Not SIG_IGN: the command would inherit that.
    signal.signal(signal.SIGTERM, lambda _signal, _frame: None)
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    except OSError as error:
        print(f"cannot start {command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        return 127
    threading.Thread(target=_end_with_starter, args=(child,), daemon=True).start()
    code = child.wait()
    print(f"the server has ended with exit code {code}", file=sys.stderr, flush=True)
    os.killpg(0, signal.SIGTERM)  # what it has started and left behind
    return code if code >= 0 else 128 - code


def _end_with_starter(child: subprocess.Popen[bytes]) -> None:
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGTERM)
    try:
        child.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        print(f"the server did not end within {GRACE_S:g} s and is killed", file=sys.stderr, flush=True)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
