"""Scores from summed counts, for many sums at once: what sacrebleu computes of one, thousands of resamples need."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]  # whole numbers (but for COMET), [..., K]
Values = NDArray[np.float64]
Score = Callable[[Counts], Values]  # [R, K] -> [R], from 0 to 100

_ORDERS = 4  # of BLEU's n-grams
_BETA = 2  # how much more recall counts in chrF


def bleu(sums: Counts) -> Values:
    """BLEU (Papineni et al. 2002) smoothed as sacrebleu does (``exp``): n-grams without a match count 1/2, 1/4 ...

    Columns: length, reference's length, then the n-grams that match (4), then all of them (4).
    """
    length, reference = sums[:, 0], sums[:, 1]
    matches, total = sums[:, 2 : 2 + _ORDERS], sums[:, 2 + _ORDERS : 2 + 2 * _ORDERS]
    with np.errstate(divide="ignore", invalid="ignore"):
        halved = 0.5 ** np.cumsum(matches == 0, axis=1)
        precisions = np.where(matches > 0, matches, halved) / total
        score = 100 * np.exp(np.log(precisions).mean(axis=1))
        score *= np.where(length < reference, np.exp(1 - reference / length), 1.0)
    # No match at all, or too short for some n-grams: 0.
    nothing = ~matches.any(axis=1) | (total == 0).any(axis=1)
    return np.where(nothing, 0.0, score)


def chrf(sums: Counts) -> Values:
    """chrF++ (Popović 2017) over the n-gram orders that both texts have, as sacrebleu averages them.

    Columns: for each order n-grams of the hypothesis, of the reference, and those that match.
    """
    ours, theirs, matches = sums[:, 0::3], sums[:, 1::3], sums[:, 2::3]
    both = (ours > 0) & (theirs > 0)
    orders = np.maximum(both.sum(axis=1), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(both, matches / ours, 0.0).sum(axis=1) / orders
        recall = np.where(both, matches / theirs, 0.0).sum(axis=1) / orders
        score = (1 + _BETA**2) * precision * recall / (_BETA**2 * precision + recall)
    return np.where(precision + recall > 0, 100 * score, 0.0)


def mean(sums: Counts) -> Values:
    """The mean of scores that each text has by itself. Columns: the sum of the scores, from 0 to 100, and how many."""
    result: Values = sums[:, 0] / sums[:, 1]
    return result
