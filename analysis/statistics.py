"""Intervals, paired comparisons, seeds: what can be said of a count, and what cannot.

Two things vary: which prompts a benchmark happens to hold, and which seed a run happened to have. The first is told by
resampling prompts, the second by runs that differ in the seed alone; with one seed nothing is known of it, and the
intervals are of the prompts only. ``python -m benchmarks.coverage`` measures how often the intervals hold the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from analysis.proportions import (
    Part,
    holm,
    newcombe,
    pooled_deviation,
    quantile,
    satterthwaite,
    two_sided,
    wilson,
)
from analysis.resampling import Column, Resampled, resample, sign_flips
from experiment.errors import DataError, KirjoError
from experiment.metrics import Count, Tally

# One setting's results: a tally per seed, all over the same prompts.
Seeds = Sequence[Tally]


@dataclass(frozen=True)
class Estimate:
    """A share from 0 to 1 with its 95 % interval; ``spread`` is the standard deviation between seeds."""

    share: float
    low: float
    high: float
    seeds: int
    spread: float | None


@dataclass(frozen=True)
class Difference:
    """A difference of two shares (from -1 to 1) with its 95 % interval and the p-value that there is none."""

    difference: float
    low: float
    high: float
    p: float
    p_adjusted: float  # by Holm over the comparisons made together


UNKNOWN = Difference(0.0, -1.0, 1.0, 1.0, 1.0)  # of nothing measured


# Prompts hang together alike in every seed: the mean design effect of so many is steady, and more only take time.
_SINGLE_SEEDS = 8


@dataclass(frozen=True)
class _Cell:
    """A cell with its prompts in ascending order."""

    keys: NDArray[np.int64]  # [P]
    correct: NDArray[np.int64]  # [S, P]
    total: NDArray[np.int64]  # [P]

    @property
    def seeds(self) -> int:
        return len(self.correct)

    @property
    def size(self) -> int:
        """Instructions (or prompts) counted in one seed."""
        return int(self.total.sum())

    @property
    def share(self) -> float:
        """Mean over the seeds."""
        return int(self.correct.sum()) / (self.seeds * self.size) if self.size else 0.0

    @property
    def spread(self) -> float | None:
        if self.seeds == 1 or not self.size:
            return None
        return float((self.correct.sum(axis=1) / self.size).std(ddof=1))

    @property
    def noise(self) -> float:
        """The part of the squared spread that is answers coming out anew with every seed, prompt by prompt."""
        prompts = len(self.keys)
        shares = self.correct.sum(axis=1) / self.size
        usual = self.correct.mean(axis=0) + np.outer(shares - shares.mean(), self.total)
        rest = (self.correct - usual) / self.size
        return float((rest**2).sum()) * prompts / max(1, prompts - 1) / (self.seeds - 1)

    @property
    def column(self) -> Column:
        """The seeds together: each prompt's instructions once for every seed."""
        return Column(self.correct.sum(axis=0), self.seeds * self.total, (self.seeds * self.size, 0))


def estimates(cells: Sequence[Seeds]) -> list[Estimate]:
    """The mean share over seeds of each cell of a table, with an interval that holds prompts and seeds.

    Wilson's interval for the effective number of instructions (Korn and Graubard 1998, Survey Methodology 24): as many
    independent ones as would have the same variance. That variance is V = V_prompts + s^2 / S: of the share averaged
    over S seeds when prompts are resampled, plus the squared spread between seeds. Student's t has the degrees of
    freedom of Satterthwaite, of P - 1 and S - 1. The noise of single answers is in both terms: V errs upwards.
    Percentiles of the resampled shares hold the truth too rarely near 0 and 1 and with few prompts.

    Raises:
        KirjoError: a cell has no seed, or its seeds are not over the same prompts.
    """
    read = [_read(cell) for cell in cells]
    resampled = iter(resample([cell.column for cell in read if cell.size]))
    return [
        _estimate(cell, next(resampled)) if cell.size else Estimate(0.0, 0.0, 1.0, cell.seeds, None) for cell in read
    ]


def _estimate(cell: _Cell, resampled: Resampled) -> Estimate:
    spread = cell.spread
    size, freedom = _effective(cell, _independent(cell, resampled), spread)
    low, high = wilson(cell.share, size, quantile(freedom))
    return Estimate(cell.share, low, high, cell.seeds, spread)


def _independent(cell: _Cell, resampled: Resampled) -> float:
    """How many independent instructions would vary as these do when prompts are resampled."""
    # The made-up prompts say how the instructions of one hang together where none or all are right; they add no data.
    real = len(cell.keys) / (len(cell.keys) + 2)
    return real * resampled.ratio * (1 - resampled.ratio) / resampled.variance


def _effective(cell: _Cell, independent: float, spread: float | None) -> tuple[float, float]:
    """The number of independent instructions that would vary as prompts and seeds do, and degrees of freedom."""
    binomial = cell.share * (1 - cell.share)
    prompts = Part(binomial / independent, max(1, len(cell.keys) - 1))
    if not spread or not binomial:
        return independent, prompts.freedom
    both = satterthwaite([prompts, Part(spread**2 / cell.seeds, cell.seeds - 1)])
    return binomial / both.variance, both.freedom


def differences(cells: Sequence[Seeds], baseline: Seeds) -> list[Difference]:
    """Each cell minus the baseline on the same prompts, corrected by Holm over the list.

    A cell that is the very object ``baseline`` gets the difference 0 and p = 1 and is not counted as a comparison.

    Interval: t times the standard error of the difference when the prompts, each with its answers in both cells, are
    resampled (with two made-up prompts: ``resampling.resample``), around the difference that includes those two. With
    several seeds: V = V_prompts + (s^2 - e^2) (1 / S_cell + 1 / S_baseline), where s is the spread between seeds, taken
    to be the same in both cells (and so known for a cell with one seed), and e^2 the part of s^2 that is the noise of
    single answers, which V_prompts has already: variances by prompts plus by seeds less by both (Cameron, Gelbach and
    Miller 2011, J. Bus. Econ. Stat. 29). Student's t has Satterthwaite's degrees of freedom.

    p: one seed each: exact sign-flip test over prompts. Several seeds: t-test with the interval's standard error.

    Raises:
        KirjoError: a cell has no seed, or the cells are not over the same prompts with the same instructions.
    """
    base = _read(baseline)
    others = [_read(cell) for cell in cells if cell is not baseline]
    for other in others:
        _same(other, base, "the cell and its baseline")
    if base.size:
        columns = [_contrast(other, base) for other in others]
        rows = zip(others, columns, resample(columns), strict=True)
        found = iter(corrected([_difference(*row, base) for row in rows]))
    else:
        found = iter([UNKNOWN] * len(others))
    itself = Difference(0.0, 0.0, 0.0, 1.0, 1.0)
    return [itself if cell is baseline else next(found) for cell in cells]


def _direction(cell: _Cell, base: _Cell) -> int:
    """1 or -1, the other way round for the other order of the two: their interval must not depend on the order."""
    over = base.seeds * cell.correct.sum(axis=0) - cell.seeds * base.correct.sum(axis=0)
    first = over[over != 0][:1].sum()
    return -1 if (int(over.sum()), int(first)) < (0, 0) else 1


def _contrast(cell: _Cell, base: _Cell) -> Column:
    """The difference in whole numbers, not below 0: both as if they had the product of their numbers of seeds."""
    over = _direction(cell, base) * (base.seeds * cell.correct.sum(axis=0) - cell.seeds * base.correct.sum(axis=0))
    # The made-up prompts: one seed's answers differ, of the cell with the fewer seeds.
    made_up = max(cell.seeds, base.seeds) * cell.size
    return Column(over, cell.seeds * base.seeds * cell.total, (made_up, -made_up))


def _difference(cell: _Cell, column: Column, resampled: Resampled, base: _Cell) -> Difference:
    difference = cell.share - base.share
    total = _with_seeds(Part(resampled.variance, max(1, len(cell.keys) - 1)), cell, base)
    half = quantile(total.freedom) * total.variance**0.5
    # Both cells can be all right and all wrong: then the shrunken centre must not leave the difference outside.
    centre = _direction(cell, base) * resampled.ratio
    low = max(-1.0, min(centre - half, difference))
    high = min(1.0, max(centre + half, difference))
    if cell.seeds == base.seeds == 1:
        p = sign_flips(column.over)
    else:
        p = two_sided(resampled.ratio / total.variance**0.5, total.freedom)
    return Difference(difference, low, high, p, p)


def _with_seeds(prompts: Part, cell: _Cell, base: _Cell) -> Part:
    """The variance of a difference by prompts and, where either has several, by seeds."""
    several = [one for one in (cell, base) if one.seeds > 1]
    freedom = sum(one.seeds - 1 for one in several)
    if not freedom:
        return prompts
    share = 1 / cell.seeds + 1 / base.seeds
    between = share * sum((one.seeds - 1) * (one.spread or 0.0) ** 2 for one in several) / freedom
    noise = share * sum((one.seeds - 1) * one.noise for one in several) / freedom
    variance = prompts.variance + max(0.0, between - noise)
    # What is subtracted makes the estimate no surer: the degrees of freedom are those of the whole spread.
    uncertainty = prompts.variance**2 / prompts.freedom + between**2 / freedom
    return Part(variance, variance**2 / uncertainty)


def corrected(found: Sequence[Difference]) -> list[Difference]:
    """The same differences with p-values corrected by Holm over this list."""
    adjusted = holm([difference.p for difference in found])
    return [replace(difference, p_adjusted=p) for difference, p in zip(found, adjusted, strict=True)]


def against_published(cell: Seeds, published: Count) -> Difference:
    """A reproduced share minus the published one, of which only k and n are known.

    The answers behind the published share are not known, so nothing can be paired. Its instructions are taken to hang
    together in prompts as ours do: our design effect (variance over resampled prompts / binomial variance, one seed) is
    applied to both. Interval by Newcombe from two of Wilson's, p by the two-proportion z-test, both with effective
    numbers of instructions. With several seeds the published share, a single run, is taken to spread as our runs do,
    and t replaces z. Not corrected for several comparisons: see ``corrected``.

    Raises:
        KirjoError: the cell has no seed, or its seeds are not over the same prompts.
    """
    ours = _read([*cell])
    if not ours.size or not published.total:
        return UNKNOWN
    runs = [replace(ours, correct=ours.correct[[seed]]) for seed in range(min(ours.seeds, _SINGLE_SEEDS))]
    together, *single = resample([ours.column, *(run.column for run in runs)])
    alone = [_independent(run, one) for run, one in zip(runs, single, strict=True)]
    theirs = published.total / ours.size * float(np.mean(alone))
    spread = ours.spread
    size, _ = _effective(ours, _independent(ours, together), spread)
    other, freedom = published.share, float("inf")
    if spread:
        seeds = Part(spread**2 * (1 + 1 / ours.seeds), ours.seeds - 1)
        prompts = [Part(ours.share * (1 - ours.share) / _independent(ours, together), float("inf"))]
        if 0 < other < 1:
            prompts.append(Part(other * (1 - other) / theirs, float("inf")))
            theirs = other * (1 - other) / (prompts[-1].variance + spread**2)
        freedom = satterthwaite([*prompts, seeds]).freedom
    return _two_shares((ours.share, size), (other, theirs), freedom)


def published_difference(one: Count, other: Count) -> Difference:
    """One published share minus another, unpaired and as if all instructions were independent: two-proportion z-test.

    Answers of two models to the same prompts agree more than chance would have it, which makes this too careful;
    instructions of one prompt hang together, which makes it too bold.
    """
    if not one.total or not other.total:
        return UNKNOWN
    return _two_shares((one.share, one.total), (other.share, other.total), float("inf"))


def _two_shares(one: tuple[float, float], other: tuple[float, float], freedom: float) -> Difference:
    """The difference of two shares, each given with its effective size."""
    deviations = quantile(freedom)
    low, high = newcombe((one[0], *wilson(*one, deviations)), (other[0], *wilson(*other, deviations)))
    p = two_sided(pooled_deviation(*one, *other), freedom)
    return Difference(one[0] - other[0], low, high, p, p)


def _read(cell: Seeds) -> _Cell:
    if not cell:
        raise KirjoError("a cell of a table needs the results of one seed at least; it has none")
    read = []
    for tally in cell:
        order = np.argsort(tally.keys, kind="stable")
        read.append(_Cell(tally.keys[order], tally.correct[None, order], tally.total[order]))
    for other in read[1:]:
        _same(read[0], other, "two seeds of a cell")
    return replace(read[0], correct=np.concatenate([one.correct for one in read]))


def _same(one: _Cell, other: _Cell, what: str) -> None:
    """Refuse what was not measured on the same prompts."""
    if not np.array_equal(one.keys, other.keys):
        apart = np.setxor1d(one.keys, other.keys)
        examples = ", ".join(str(key) for key in apart[:5])
        raise DataError(
            f"{what} were measured on different prompts ({len(one.keys)} and {len(other.keys)}; {len(apart)} are only "
            f"in one of the two, e.g. {examples}): compare runs on the same benchmark, or score both again"
        )
    unequal = np.flatnonzero(one.total != other.total)
    if len(unequal):
        key = one.keys[unequal[0]]
        raise DataError(
            f"{what} count different instructions on {len(unequal)} prompts, e.g. {one.total[unequal[0]]} and "
            f"{other.total[unequal[0]]} on prompt {key}: compare one metric and one version of the benchmark"
        )
