"""The stages: one module each, named as the stage; its ``run(task)`` does the work of one step.

A version is bumped when the stage, given the same settings and inputs, would now leave another result.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """Where a stage's code lies and which of its behaviours made an artifact."""

    module: str
    version: int


STAGES: dict[str, Stage] = {
    "pretrain": Stage("experiment.stages.pretrain", 1),
    "pair": Stage("experiment.stages.pair", 1),
    "translate": Stage("experiment.stages.translate", 1),
    "clean": Stage("experiment.stages.clean", 1),
    "quality": Stage("experiment.stages.quality", 1),
    "mix": Stage("experiment.stages.mix", 1),
    "sft": Stage("experiment.stages.sft", 1),
    "reference": Stage("experiment.stages.reference", 1),
    "dpo": Stage("experiment.stages.dpo", 1),
    "generate": Stage("experiment.stages.generate", 1),
    "score": Stage("experiment.stages.score", 2),
}
