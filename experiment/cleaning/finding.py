"""What a rule finds in a translation, and what it is told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Languages:
    """The two languages (ISO 639-1)."""

    source: str
    target: str


@dataclass(frozen=True)
class Finding:
    """Why a part is no good translation: what was measured, as the rule's threshold has it, and what that means."""

    value: float | str
    why: str


def share(part: int | float, whole: int | float) -> float:
    """``part`` of ``whole``, to four digits: what a threshold is compared with is what the funnel shows."""
    return round(part / whole, 4)
