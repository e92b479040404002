"""Which published differences can be told from chance, as far as counts alone can say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.proportions import holm
from analysis.published import PublishedRow, rows
from analysis.resampling import sign_flips
from analysis.statistics import Difference, corrected, published_difference
from experiment.metrics import Count

COLUMNS = {"en": "English", "fi": "Finnish", "response_language": "response language"}
LEVEL = 0.05


@dataclass(frozen=True)
class Contrast:
    """One published row against another in one column.

    ``alone`` and ``together`` are the largest shares of instructions (prompts, for the response language) that may have
    come out differently with the paired test still under 5 %: for this comparison by itself, and by Holm with the whole
    column, all differing on the same share. None: not even if nothing but the difference itself differed.
    """

    row: PublishedRow
    against: PublishedRow
    difference: Difference  # unpaired, p_adjusted by Holm over the column's comparisons
    alone: float | None
    together: float | None
    unrelated: float  # the share that would differ if the answers of the two had nothing to do with each other
    most: float  # the largest share that can have differed, given the two counts


def pairs(table: str) -> list[tuple[Any, Any]]:
    """Row and reference: Table 1 against its first row and against the row before, Table 2 against the baseline."""
    keys = list(rows(table))
    against_first = [(key, keys[0]) for key in keys[1:]]
    neighbours = list(zip(keys[2:], keys[1:], strict=False)) if table == "table1" else []
    return against_first + neighbours


def contrasts(table: str, column: str) -> list[Contrast]:
    """All comparisons of one column of ``table1`` or ``table2``."""
    found = rows(table)
    chosen = [(found[key], found[other]) for key, other in pairs(table)]
    counts = [(getattr(row, column), getattr(other, column)) for row, other in chosen]
    differences = corrected([published_difference(one, other) for one, other in counts])
    alone = [_largest([pair])[0] for pair in counts]
    together = _largest(counts)
    return [
        Contrast(row, other, difference, by_itself, with_others, _unrelated(*pair), _most(*pair))
        for (row, other), difference, by_itself, with_others, pair in zip(
            chosen, differences, alone, together, counts, strict=True
        )
    ]


def _unrelated(one: Count, other: Count) -> float:
    return one.share * (1 - other.share) + other.share * (1 - one.share)


def _most(one: Count, other: Count) -> float:
    right = one.correct + other.correct
    return min(right, 2 * one.total - right) / one.total


def _largest(counts: Sequence[tuple[Count, Count]]) -> list[float | None]:
    """For each comparison, the largest share of discordant answers with a corrected p of McNemar's test under 5 %."""
    gaps = [abs(one.correct - other.correct) for one, other in counts]
    total = counts[0][0].total
    largest: list[float | None] = [None] * len(counts)
    for discordant in range(1, total + 1):
        adjusted = holm([_mcnemar(gap, discordant) for gap in gaps])
        for place, (p, gap) in enumerate(zip(adjusted, gaps, strict=True)):
            if p < LEVEL and discordant >= gap:
                largest[place] = discordant / total
    return largest


def _mcnemar(gap: int, discordant: int) -> float:
    """The exact p when ``discordant`` answers differ, or so many that the rest cancels out, and ``gap`` is left."""
    if gap == 0:
        return 1.0
    discordant = max(gap, discordant)
    cancelling = (discordant - gap + 1) // 2  # an odd one is rounded to the careful side
    return sign_flips(np.repeat([1, -1], [gap + cancelling, cancelling]))
