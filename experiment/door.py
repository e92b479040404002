"""How sections of the config are checked at the door, and the mark of what never enters a fingerprint."""

from __future__ import annotations

from pydantic import ConfigDict

DOOR = ConfigDict(extra="forbid", allow_inf_nan=False)

# The metadata of a field that says where or how a step runs, and does not decide what it leaves.
NOT_HASHED = {"hashed": False}
