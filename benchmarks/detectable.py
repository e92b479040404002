"""The smallest true difference that a paired comparison finds four times in five (power 80 %, level 5 %), in points.

python -m benchmarks.detectable

Discordance is the share of instructions (or prompts) on which the two settings' answers come out differently. The
instructions are taken as independent; count prompts instead where those of one prompt hang together.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from analysis.proportions import wilson

SIZES = {"783 instructions (IFEval)": 783, "510 prompts": 510, "176 instructions (demo)": 176, "120 prompts": 120}
DISCORDANCES = (0.05, 0.10, 0.15, 0.20, 0.30)
POWER, LEVEL = 0.8, 0.05
ACCURACY = 0.4  # about what the published models reach


@functools.cache
def least_wins(discordant: int) -> int:
    """From how many wins on McNemar's exact two-sided test is below 5 %; one more than there can be if never."""
    wins = np.arange(discordant + 1)
    below = np.flatnonzero(2 * stats.binom.sf(wins - 1, discordant, 0.5) < LEVEL)
    return int(below[0]) if len(below) else discordant + 1


def power(difference: float, discordance: float, size: int) -> float:
    """The chance that McNemar's exact test finds a difference in its true direction, over all numbers of discordant."""
    counts: NDArray[np.int64] = np.arange(size + 1)
    weights = stats.binom.pmf(counts, size, discordance)
    needed = np.array([least_wins(count) for count in counts])
    found = stats.binom.sf(needed - 1, counts, (1 + difference / discordance) / 2)
    return float((weights * found).sum())


def smallest(discordance: float, size: int) -> float | None:
    """The smallest detectable difference, at most the discordance; None if that is not enough."""
    if power(discordance, discordance, size) < POWER:
        return None
    return float(optimize.brentq(lambda value: power(value, discordance, size) - POWER, 0, discordance, xtol=1e-5))


def smallest_with_seeds(discordance: float, size: int, seeds: int, spread: float) -> float:
    """The same for means over seeds that vary by ``spread``; normal theory, the answers' noise not averaged away.

    t-test with Satterthwaite's degrees of freedom at the true variances. With one seed nothing estimates the spread, so
    it is taken as known: what a single pair of runs would have to differ by to stand out from seeds as well.
    """

    def missing(difference: float) -> float:
        prompts = max(0.0, discordance - difference**2) / size
        runs = 2 * spread**2 / seeds
        error = math.sqrt(prompts + runs)
        if seeds == 1:
            return float(stats.norm.sf(stats.norm.isf(LEVEL / 2) - difference / error)) - POWER
        freedom = (prompts + runs) ** 2 / (prompts**2 / (size - 1) + runs**2 / (2 * (seeds - 1)))
        return float(stats.nct.sf(stats.t.isf(LEVEL / 2, freedom), freedom, difference / error)) - POWER

    return float(optimize.brentq(missing, 1e-6, 0.6, xtol=1e-5))


def one_and_two(size: int) -> list[str]:
    """Half the interval of one accuracy (Wilson), and the smallest difference that an unpaired z-test finds."""
    low, high = wilson(ACCURACY, size, float(stats.norm.isf(LEVEL / 2)))
    error = math.sqrt(2 * ACCURACY * (1 - ACCURACY) / size)
    unpaired = error * float(stats.norm.isf(LEVEL / 2) + stats.norm.ppf(POWER))
    return [f"{50 * (high - low):.1f}", f"{100 * unpaired:.1f}"]


def main() -> None:
    """Print both tables as Markdown."""
    heading = " | ".join(f"{100 * value:.0f} % differ" for value in DISCORDANCES)
    rule = "|---" * (len(DISCORDANCES) + 1) + "|"
    print(
        "One seed each, McNemar's exact test; seeds taken not to matter; the first two columns at an accuracy of 40 %\n"
    )
    print(f"| | one accuracy: ± | unpaired | {heading} |\n|---|---{rule}")
    for name, size in SIZES.items():
        found = [smallest(discordance, size) for discordance in DISCORDANCES]
        cells = one_and_two(size) + ["none" if value is None else f"{100 * value:.1f}" for value in found]
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"\nMeans over seeds, 783 instructions\n\n| seeds each, spread | {heading} |\n{rule}")
    for spread in (0.01, 0.02):
        for seeds in (1, 3, 5):
            cells = [f"{100 * smallest_with_seeds(value, 783, seeds, spread):.1f}" for value in DISCORDANCES]
            known = " (spread taken as known)" if seeds == 1 else ""
            print(f"| {seeds}, {100 * spread:.0f} points{known} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
