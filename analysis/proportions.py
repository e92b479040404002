"""Formulas for one and two proportions, from numbers alone; sizes may be effective ones, hence no whole numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Part:
    """One source of variance with the degrees of freedom it was estimated with."""

    variance: float
    freedom: float


def satterthwaite(parts: Sequence[Part]) -> Part:
    """The sum of independent variances and its degrees of freedom (Satterthwaite 1946, Biometrics Bulletin 2)."""
    variance = sum(part.variance for part in parts)
    spread = sum(part.variance**2 / part.freedom for part in parts)
    return Part(variance, variance**2 / spread if spread > 0 else math.inf)


def quantile(freedom: float) -> float:
    """How many standard errors make half a two-sided 95 % interval, by Student's t."""
    from scipy import special  # 0.2 s; scipy.stats would be 0.6 s

    half = 0.5 + CONFIDENCE / 2
    return float(special.ndtri(half) if math.isinf(freedom) else special.stdtrit(freedom, half))


def two_sided(deviation: float, freedom: float) -> float:
    """The p-value of a deviation in standard errors, by Student's t."""
    from scipy import special

    below = special.ndtr(-abs(deviation)) if math.isinf(freedom) else special.stdtr(freedom, -abs(deviation))
    return float(min(1.0, 2 * below))


def wilson(share: float, size: float, deviations: float) -> tuple[float, float]:
    """Wilson's score interval (1927, JASA 22) of a share of ``size`` independent trials."""
    square = deviations**2
    centre = (share + square / (2 * size)) / (1 + square / size)
    half = deviations / (1 + square / size) * math.sqrt(share * (1 - share) / size + square / (4 * size**2))
    # Rounding could leave 0 or 1 a hair outside of the interval of a share of 0 or 1.
    return max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))


def newcombe(one: tuple[float, float, float], other: tuple[float, float, float]) -> tuple[float, float]:
    """The interval of one share minus another, each given with its own (Newcombe 1998, Stat. Med. 17, method 10)."""
    share, low, high = one
    other_share, other_low, other_high = other
    difference = share - other_share
    down = math.hypot(share - low, other_high - other_share)
    up = math.hypot(high - share, other_share - other_low)
    return max(-1.0, difference - down), min(1.0, difference + up)


def pooled_deviation(share: float, size: float, other_share: float, other_size: float) -> float:
    """Standard errors between two shares if they are one: the two-proportion z statistic; 0 where both are 0 or 1."""
    pooled = (share * size + other_share * other_size) / (size + other_size)
    error = math.sqrt(max(0.0, pooled * (1 - pooled)) * (1 / size + 1 / other_size))
    return (share - other_share) / error if error > 0 else 0.0


def holm(values: Sequence[float]) -> list[float]:
    """p-values corrected for being made together (Holm 1979, Scand. J. Stat. 6), in the order given."""
    count = len(values)
    order = np.argsort(values, kind="stable")
    # Written out because the import of statsmodels for it takes 0.9 s; the tests compare the two.
    steps = np.asarray(values, dtype=np.float64)[order] * np.arange(count, 0, -1)
    corrected = np.empty(count)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return [float(value) for value in corrected]
