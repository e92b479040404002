"""The metrics by name: from hypotheses and references to counts, a value and sacrebleu's signature.

Values are sacrebleu's own. Its counts per text are kept, so that intervals and comparisons need not count again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from experiment.quality import formulas, spm
from experiment.quality.formulas import Counts, Score
from experiment.quality.names import CHRF, SPBLEU, TOKENIZERS
from experiment.quality.resampling import interval

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric


@dataclass(frozen=True)
class Measured:
    """A metric's value, from 0 to 100, and what it was counted from, unit by unit."""

    value: float
    signature: str
    counts: Counts  # [U, K]
    score: Score

    def to_json(self) -> dict[str, Any]:
        """Value and signature, with the 95 % interval over the units."""
        low, high = interval(self.counts, self.score)
        return {"value": self.value, "signature": self.signature, "low": low, "high": high}

    def by_unit(self, units: Sequence[int]) -> Measured:
        """The same with several texts as one unit; ``units`` names that of each text, counted from 0."""
        together = np.zeros((max(units) + 1, self.counts.shape[1]))
        np.add.at(together, np.asarray(units), self.counts)
        return Measured(self.value, self.signature, together, self.score)

    def each(self) -> list[float]:
        """The value of each unit by itself."""
        return [float(value) for value in self.score(self.counts)]


@dataclass(frozen=True)
class Absent:
    """A metric that cannot be measured here; ``signature`` is what it would have."""

    signature: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        """No value, and why."""
        return {"value": None, "signature": self.signature, "low": None, "high": None, "reason": self.reason}


def measure(
    name: str, hypotheses: Sequence[str], references: Sequence[str], tokenizer: str = TOKENIZERS[0]
) -> Measured | Absent:
    """One of OFFLINE of at least one hypothesis with its reference; ``tokenizer`` is that of spBLEU."""
    if name == SPBLEU and (reason := spm.find(tokenizer).reason):
        return Absent(_signature_of(tokenizer), reason)
    metric = _metric(name, tokenizer)
    # What corpus_score does, with the counts kept.
    counts = metric._extract_corpus_statistics(hypotheses, [references])
    value = float(metric._aggregate_and_compute(counts).score)
    score = formulas.chrf if name == CHRF else formulas.bleu
    return Measured(value, metric.get_signature().format(), np.array(counts, dtype=np.float64), score)


def _metric(name: str, tokenizer: str) -> Metric:
    from sacrebleu.metrics import bleu, chrf

    if name == CHRF:
        return chrf.CHRF(word_order=2)
    return bleu.BLEU(tokenize=tokenizer) if name == SPBLEU else bleu.BLEU()


def _signature_of(tokenizer: str) -> str:
    from sacrebleu.metrics import bleu

    metric = bleu.BLEU(tokenize="none")
    metric.num_refs, metric.tokenizer_signature = 1, tokenizer
    return metric.get_signature().format()
