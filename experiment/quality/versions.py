"""What measures translations, as a part of a step's identity: another version may count differently."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def identity() -> dict[str, str]:
    """Package -> version; no spBLEU model and no COMET: they may be on one machine and not on another."""
    try:
        return {"sacrebleu": version("sacrebleu")}
    except PackageNotFoundError:
        return {"sacrebleu": "none"}
