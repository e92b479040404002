"""Errors that a user can cause: shown as one message, without a traceback."""

from __future__ import annotations


class KirjoError(Exception):
    """A fault in what was asked for: says what was expected, what came and what to do."""


class DataError(KirjoError):
    """A data file that is missing, unreadable or not of the expected form."""


class StoreError(KirjoError):
    """The store cannot be read or written, or holds something damaged."""


class ClaimLost(StoreError):
    """Another process took the step over because this one was thought dead."""
