"""Prompts resampled, and signs of prompts flipped: what chance does to a share and to a difference of two shares.

Prompts are the unit: the instructions of one prompt are answered by one response, so they stay together.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000  # the standard error then wavers by 0.7 %
SEED = 20250312

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Column:
    """Something to resample: ``over`` out of ``under``, both [P], in whole numbers.

    ``extremes`` is what ``over`` would sum to if all prompts were like the one or the other of the two made-up ones.
    """

    over: Integers
    under: Integers
    extremes: tuple[int, int]


@dataclass(frozen=True)
class Resampled:
    """A column with two prompts made up, one at either extreme: its ratio, and the variance of that over resamples."""

    ratio: float
    variance: float


@functools.lru_cache(maxsize=4)
def _weights(prompts: int) -> NDArray[np.float64]:
    """How often each prompt was drawn in each resample, [RESAMPLES, P]; 80 kB a prompt, the same at every call."""
    drawn = np.random.default_rng((SEED, prompts)).integers(prompts, size=(RESAMPLES, prompts), dtype=np.uint32)
    places = drawn + prompts * np.arange(RESAMPLES)[:, None]
    counts = np.bincount(places.ravel(), minlength=RESAMPLES * prompts)
    return counts.reshape(RESAMPLES, prompts).astype(np.float64)


def resample(columns: Sequence[Column]) -> list[Resampled]:
    """Resample each column's prompts with two made-up prompts of the mean size added, one at either extreme.

    Without the two, a share of 0 or 1 and a pair of runs without a difference would have no variance at all. They are
    the two successes and two failures of Agresti and Coull (1998), halved, and for differences the adjustment of
    Bonett and Price (2012, J. Educ. Behav. Stat. 37), with a prompt where they have a subject.
    """
    found: dict[int, Resampled] = {}
    places: dict[int, list[int]] = {}
    for place, column in enumerate(columns):
        places.setdefault(len(column.under), []).append(place)
    for prompts, here in places.items():
        extended = [_extended(columns[place]) for place in here]
        over, under = (np.stack(arrays, axis=1) for arrays in zip(*extended, strict=True))
        # Sums of whole numbers are exact: no cell depends on its neighbours or on the threads.
        weights = _weights(prompts + 2)
        ratios = (weights @ over.astype(np.float64)) / (weights @ under.astype(np.float64))
        for index, place in enumerate(here):
            ratio = int(over[:, index].sum()) / int(under[:, index].sum())
            found[place] = Resampled(ratio, float(np.ascontiguousarray(ratios[:, index]).var(ddof=1)))
    return [found[place] for place in range(len(columns))]


def _extended(column: Column) -> tuple[Integers, Integers]:
    # Everything times P, so that the mean size is a whole number.
    prompts, size = len(column.under), int(column.under.sum())
    return np.append(prompts * column.over, column.extremes), np.append(prompts * column.under, [size, size])


def sign_flips(differences: Integers) -> float:
    """The exact two-sided p of whole-number differences, [P], if each could as well have had the other sign.

    The share of all 2^P choices of signs whose sum is at least as far from 0 as the one seen (Fisher's randomisation
    test). With one instruction per prompt this is McNemar's exact test. Sums are whole numbers, so their distribution
    is had by convolution, and no sampling of signs is needed.
    """
    sizes = np.bincount(np.abs(differences))
    distribution = np.ones(1)
    for size in range(1, len(sizes)):
        if sizes[size]:
            steps = np.zeros(2 * size * int(sizes[size]) + 1)
            steps[:: 2 * size] = _halves(int(sizes[size]))
            distribution = np.convolve(distribution, steps)
    reach = len(distribution) // 2
    far = abs(int(differences.sum()))
    if far == 0:
        return 1.0
    return min(1.0, 2 * float(distribution[reach + far :].sum()))


def _halves(count: int) -> NDArray[np.float64]:
    """The binomial distribution with probability one half, [count + 1]."""
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
    chances: NDArray[np.float64] = np.exp(logs[-1] - logs - logs[::-1] - count * math.log(2))
    return chances
