"""Several processes for one list of work, on Linux.

Forked off directly: a launcher's worker is a daemon, to which multiprocessing refuses children, and a fresh interpreter
would spend longer on importing NLTK than these processes live. What they run is Python alone.
"""

from __future__ import annotations

import os
import pickle
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from experiment.errors import KirjoError

T = TypeVar("T")


def in_order(work: Callable[[int], T], count: int, processes: int) -> Iterator[T]:
    """``work(0)``, ``work(1)`` ... in order; every n-th is done in this process, the others in its children.

    Raises:
        KirjoError: a child ended early. What ``work`` raises is raised here, in its place.
    """
    processes = min(processes, count) if sys.platform == "linux" else 1
    if processes <= 1:
        yield from map(work, range(count))
        return
    children: list[tuple[int, Any]] = []
    try:
        for child in range(1, processes):
            children.append(_fork(work, range(child, count, processes), children))
        for index in range(count):
            turn = index % processes
            yield work(index) if turn == 0 else _receive(children[turn - 1][1])
    finally:
        for _, pipe in children:
            pipe.close()  # whoever still has something to say gets an error, and ends
        for pid, _ in children:
            os.waitpid(pid, 0)


def _fork(work: Callable[[int], Any], share: range, others: list[tuple[int, Any]]) -> tuple[int, Any]:
    read, write = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of locks that other threads hold; the child takes none of theirs.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        os.close(write)
        return pid, os.fdopen(read, "rb")
    try:
        os.close(read)
        for _, pipe in others:
            os.close(pipe.fileno())
        with os.fdopen(write, "wb") as out:
            for index in share:
                try:
                    message = (True, work(index))
                except Exception as error:  # noqa: BLE001 - raised again in the parent
                    message = (False, error)
                pickle.dump(message, out, pickle.HIGHEST_PROTOCOL)
                out.flush()
    finally:
        os._exit(0)  # nothing of the parent's is to be cleaned up here


def _receive(pipe: Any) -> Any:
    try:
        done, found = pickle.load(pipe)
    except (EOFError, pickle.UnpicklingError):
        raise KirjoError(
            "a process that scored responses ended early (killed, or out of memory): give the command again"
        ) from None
    if not done:
        raise found
    return found
