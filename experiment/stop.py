"""A request to stop in good order: the scheduler wants the node back, or the walltime ends.

The handler of the signal calls :func:`request`. Where work can stop anywhere, that raises `Stopped` at once; code that
must reach a safe place first (an optimizer step, a batch) runs within :func:`deferred`, asks :func:`requested` there,
saves, and calls :func:`obey`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Stopped(BaseException):
    """Work was stopped on request; what was saved is gone on with later. Not an error, so not an Exception."""


_requested = False
_deferred = 0


def request() -> None:
    """Ask the work of this process to stop; raises `Stopped` here unless it is deferred."""
    global _requested
    _requested = True
    if not _deferred:
        raise Stopped


def requested() -> bool:
    """Whether this process was asked to stop."""
    return _requested


@contextmanager
def deferred() -> Iterator[None]:
    """Let requests wait until the code within asks for them."""
    global _deferred
    before = _deferred
    _deferred += 1
    try:
        yield
    finally:
        _deferred = before


@contextmanager
def at_once() -> Iterator[None]:
    """Within :func:`deferred`, let requests stop the code within at once after all."""
    global _deferred
    before, _deferred = _deferred, 0
    try:
        obey()
        yield
    finally:
        _deferred = before


def obey() -> None:
    """Raise `Stopped` if this process was asked to stop."""
    if _requested:
        raise Stopped
