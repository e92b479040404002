"""Several processes for one list of work, on Linux.

Forked off directly: a launcher's worker is a daemon, to which multiprocessing refuses children, and a fresh interpreter
would spend longer on importing NLTK than these processes live. What they run is Python alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import pickle
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

from experiment.errors import KirjoError

T = TypeVar("T")

_HEADER = 8  # bytes that say how long a message is
_GRACE = 2.0  # seconds that a process has to end when it is told to
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

# Nobody else's children may inherit the writing end of a pipe, or its reader would never see the end of it.
_FORKING = threading.Lock()


def _fresh_lock() -> None:
    global _FORKING  # whoever held the other one is not in this process
    _FORKING = threading.Lock()


os.register_at_fork(after_in_child=_fresh_lock)


@dataclass
class _Child:
    pid: int
    pipe: BinaryIO
    status: int | None = None  # as os.waitstatus_to_exitcode has it, once it has ended


def in_order(work: Callable[[int], T], count: int, processes: int) -> Iterator[T]:
    """``work(0)``, ``work(1)`` ... in order; every n-th is done in this process, the others in its children.

    The children end with this process, however it ends, and with this iterator.

    Raises:
        KirjoError: a child ended early, or what it found cannot be handed over. What ``work`` raises is raised here, in
            its place; where that cannot be pickled, a KirjoError with its type and text.
    """
    processes = min(processes, count) if sys.platform == "linux" else 1
    if processes <= 1:
        yield from map(work, range(count))
        return
    children: list[_Child] = []
    try:
        for child in range(1, processes):
            children.append(_fork(work, range(child, count, processes), children))
        for index in range(count):
            turn = index % processes
            yield work(index) if turn == 0 else _receive(children[turn - 1])
    finally:
        _end(children)


def _fork(work: Callable[[int], Any], share: range, others: list[_Child]) -> _Child:
    parent, prctl = os.getpid(), _prctl()
    with _FORKING:
        read, write = os.pipe()
        with warnings.catch_warnings():
            # Python 3.12 warns of locks that other threads hold; those that the child takes are made anew in it.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid:
            os.close(write)
            return _Child(pid, os.fdopen(read, "rb"))
        code = 1
        try:
            _prepare(parent, prctl)
            os.close(read)
            for other in others:
                os.close(other.pipe.fileno())
            with os.fdopen(write, "wb") as out:
                code = _work(work, share, out)
        finally:
            os._exit(code)  # nothing of the parent's is to be cleaned up here


@functools.lru_cache(maxsize=1)
def _prctl() -> Callable[..., int] | None:
    """Loaded before forking: the loader has locks of its own."""
    try:
        found: Callable[..., int] = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return None
    return found


def _prepare(parent: int, prctl: Callable[..., int] | None) -> None:
    """End when the parent does or says so, by none of its own handlers."""
    for number in (signal.SIGTERM, signal.SIGINT):
        # A thread other than the main one forked: it is the main one here, but Python may not know it yet.
        with contextlib.suppress(ValueError):
            signal.signal(number, signal.SIG_DFL)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _work(work: Callable[[int], Any], share: range, out: BinaryIO) -> int:
    """Send what is found, then what is raised, if anything; the exit status."""
    for index in share:
        try:
            found = work(index)
        except Exception as error:  # noqa: BLE001 - raised again in the parent
            _send(out, _error(error))
            return 1
        try:
            message = pickle.dumps((True, found), pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # noqa: BLE001 - pickle raises what it likes
            told = f"the result of work({index}), a {type(found).__name__}, cannot be handed over: {error}"
            _send(out, pickle.dumps((False, KirjoError(told))))
            return 1
        _send(out, message)
    return 0


def _send(out: BinaryIO, message: bytes) -> None:
    out.write(len(message).to_bytes(_HEADER, "big") + message)
    out.flush()


def _error(error: Exception) -> bytes:
    try:
        message = pickle.dumps((False, error), pickle.HIGHEST_PROTOCOL)
        pickle.loads(message)
    except Exception:  # noqa: BLE001 - an exception with arguments of its own is not made again from its text
        message = pickle.dumps((False, KirjoError(f"{type(error).__name__}: {error}")))
    return message


def _receive(child: _Child) -> Any:
    header = child.pipe.read(_HEADER)
    size = int.from_bytes(header, "big")
    message = child.pipe.read(size) if len(header) == _HEADER else b""
    if len(header) < _HEADER or len(message) < size:
        _wait([child])  # so that its own status is told, not that of being asked to end
        _end([child])
        raise KirjoError(
            f"a process that scored responses ended early ({_told(child.status)}; out of memory?): "
            "give the command again, with fewer threads if it ends so again"
        )
    try:
        done, found = pickle.loads(message)
    except Exception as error:  # unpickling runs what the class defines
        raise KirjoError(f"what a process found cannot be read here: {type(error).__name__}: {error}") from error
    if not done:
        raise found
    return found


def _told(status: int | None) -> str:
    if status is None or status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


def _end(children: list[_Child]) -> None:
    """See the children off: those that are not done are asked to end, then made to."""
    for child in children:
        child.pipe.close()
        if not _ended(child):
            _signal(child, signal.SIGTERM)
    for child in _wait(children):
        _signal(child, signal.SIGKILL)
        _ended(child, wait=True)


def _wait(children: list[_Child]) -> list[_Child]:
    """Those that have not ended after a moment."""
    deadline = time.monotonic() + _GRACE
    while (running := [child for child in children if not _ended(child)]) and time.monotonic() < deadline:
        time.sleep(0.002)
    return running


def _signal(child: _Child, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child.pid, number)


def _ended(child: _Child, wait: bool = False) -> bool:
    if child.status is None:
        try:
            pid, status = os.waitpid(child.pid, 0 if wait else os.WNOHANG)
        except ChildProcessError:  # somebody else has waited for it
            pid, status = child.pid, 0
        child.status = os.waitstatus_to_exitcode(status) if pid else None
    return child.status is not None
