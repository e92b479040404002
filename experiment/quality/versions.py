"""What measures translations, as a part of a step's identity: another version may count differently."""

from __future__ import annotations

from experiment.scoring.versions import package_version


def identity() -> dict[str, str]:
    """Package -> version; no spBLEU model and no COMET: they may be on one machine and not on another.

    Raises:
        KirjoError: sacrebleu is not installed.
    """
    return {"sacrebleu": package_version("sacrebleu")}
