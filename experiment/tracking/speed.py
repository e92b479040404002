"""Tokens per second between two logged steps."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from experiment.plan import Step


class Speed:
    """Counts tokens as TRL's trainers report them (``num_tokens``, of all ranks, since the start or the resumption).

    The trainer of ``pretrain`` reports none; its rows are blocks of ``max_length`` tokens, ``global_batch`` a step.
    """

    def __init__(self, step: Step) -> None:
        training = step.settings.get("training", {})
        blocks = step.stage == "pretrain"
        self._per_step = training.get("global_batch", 0) * training.get("max_length", 0) if blocks else 0
        self._before: tuple[float, float] | None = None

    def of(self, step: int, values: Mapping[str, Any]) -> dict[str, float]:
        """``tokens_per_second`` since the last call; nothing for the first step, whose start is not known.

        An entry of the trainer's history, replayed when training is resumed, names its ``step`` and has no time.
        """
        tokens = step * self._per_step if self._per_step else values.get("num_tokens")
        if tokens is None or "loss" not in values or "step" in values:
            return {}
        now, before = time.monotonic(), self._before
        self._before = (now, float(tokens))
        if before is None or now <= before[0] or tokens <= before[1]:
            return {}
        return {"tokens_per_second": (tokens - before[1]) / (now - before[0])}
