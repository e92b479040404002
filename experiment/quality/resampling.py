"""What chance in the choice of sentences leaves open: an interval of a score, and whether two systems differ.

The sentence is the unit (of a conversation: the row with all its texts). Draws are those of sacrebleu with its usual
seed, so its ``--confidence`` and ``--paired-ar`` say the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiment.quality.formulas import Counts, Score, Values

SEED = 12345
RESAMPLES = 1000
TRIALS = 10_000

_AT_ONCE = 4_000_000  # drawn numbers held at a time
_TIE = 1e-9  # points; what rounding may leave between two equal differences


@dataclass(frozen=True)
class Comparison:
    """One system minus another on the same sentences, in points, with its 95 % interval and p."""

    difference: float
    low: float
    high: float
    p: float


def interval(counts: Counts, score: Score) -> tuple[float, float]:
    """The 95 % interval of a score over the units of ``counts``, [U, K]: percentiles of the bootstrap."""
    return _ends(_scores(counts, score))


def compare(counts: Counts, others: Counts, score: Score) -> Comparison:
    """A system against another over the same units, [U, K] each.

    The p-value is that of approximate randomisation (Riezler and Maxwell 2005): the share of trials, each swapping the
    two systems' answers on random sentences, in which they differ by as much as they do. sacrebleu counts only those
    in which they differ by more, and so tells systems apart that differ in a single sentence; here these get a p of 1.
    """
    low, high = _ends(_scores(counts, score) - _scores(others, score))
    ours, theirs = counts.sum(axis=0), others.sum(axis=0)
    difference = float(score(ours[None])[0] - score(theirs[None])[0])
    as_far = 0
    for swapped in _swaps(len(counts)):
        mixed = swapped @ others + (1 - swapped) @ counts
        apart = np.abs(score(mixed) - score(ours + theirs - mixed))
        as_far += int((apart > abs(difference) - _TIE).sum())
    return Comparison(difference, low, high, (as_far + 1) / (TRIALS + 1))


def _scores(counts: Counts, score: Score) -> Values:
    """The score of every resample, [RESAMPLES]; the same units are drawn for every system of so many units."""
    return np.concatenate([score(weights @ counts) for weights in _weights(len(counts))])


def _weights(units: int) -> Iterator[NDArray[np.float64]]:
    """How often each unit was drawn in each resample, some resamples at a time, [r, U]."""
    draw = np.random.default_rng(SEED)
    for rows in _portions(RESAMPLES, units):
        drawn = draw.integers(units, size=(rows, units)) + units * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * units).reshape(rows, units).astype(np.float64)


def _swaps(units: int) -> Iterator[NDArray[np.float64]]:
    """Whether each unit's answers are swapped in each trial, some trials at a time, [r, U]."""
    draw = np.random.default_rng(SEED)
    for rows in _portions(TRIALS, units):
        yield draw.integers(2, size=(rows, units), dtype=bool).astype(np.float64)


def _portions(total: int, units: int) -> Iterator[int]:
    # Truth values are drawn 32 at a time: in portions of 32 rows they are the same as all at once.
    size = max(32, _AT_ONCE // max(1, units) // 32 * 32)
    for begin in range(0, total, size):
        yield min(size, total - begin)


def _ends(scores: Values) -> tuple[float, float]:
    ordered = np.sort(scores)
    cut = len(ordered) // 40
    return float(ordered[cut]), float(ordered[-1 - cut])
