"""Metrics: from verdicts to counts. A number in a table is correct/total of one of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from experiment.scorers import Verdict


@dataclass(frozen=True)
class Count:
    """``correct`` out of ``total``."""

    correct: int
    total: int

    @property
    def truncated(self) -> str:
        """The share in percent, cut (not rounded) to two decimals as the paper prints it."""
        hundredths = 10_000 * self.correct // self.total if self.total else 0
        return f"{hundredths // 100}.{hundredths % 100:02d}"


def counts(verdicts: Sequence[Verdict], language: str) -> dict[str, Count]:
    """IFEval's four accuracies and the share of responses in ``language``.

    Instruction level counts instructions; prompt level counts prompts all of whose instructions were followed
    (arXiv 2311.07911, section 3).
    """
    prompts: dict[int, list[Verdict]] = {}
    for verdict in verdicts:
        prompts.setdefault(verdict.key, []).append(verdict)
    groups = list(prompts.values())
    return {
        "instruction_strict": Count(sum(verdict.strict for verdict in verdicts), len(verdicts)),
        "instruction_loose": Count(sum(verdict.loose for verdict in verdicts), len(verdicts)),
        "prompt_strict": Count(sum(all(verdict.strict for verdict in group) for group in groups), len(groups)),
        "prompt_loose": Count(sum(all(verdict.loose for verdict in group) for group in groups), len(groups)),
        "response_language": Count(sum(group[0].language == language for group in groups), len(groups)),
    }
