"""How often the 95 % intervals hold the truth, and how often the tests cry wolf, on results made up with known truth.

python -m benchmarks.coverage [single] [percentiles] [seeds] [paired] [published] [--repetitions 2000]

Prompts have 1 to 3 instructions (1.5 on average, as in IFEval) and a chance of their own to be followed (beta
distribution, so the instructions of one prompt hang together: ``icc``). A run answers every prompt once.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.statistics import Difference, Estimate, against_published, differences, estimates
from experiment.metrics import Tally

PROMPTS = (30, 60, 120, 510)
SHARES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98)
AT_ONCE = 250  # cells resampled together: 10,000 resamples of each are held in memory

Floats = NDArray[np.float64]


def totals(generator: np.random.Generator, prompts: int) -> NDArray[np.int64]:
    """Instructions of each prompt, [P]."""
    return generator.choice([1, 2, 3], p=[0.6, 0.27, 0.13], size=prompts)


def chances(generator: np.random.Generator, prompts: int, share: float, icc: float) -> Floats:
    """Each prompt's own chance to be followed, [P]; ``icc`` is how alike the instructions of a prompt fare."""
    if icc == 0:
        return np.full(prompts, share)
    return generator.beta(share * (1 / icc - 1), (1 - share) * (1 / icc - 1), size=prompts)


class World:
    """Prompts, and runs that answer them: an answer is redrawn with chance ``noise``, else the same in every run."""

    def __init__(self, generator: np.random.Generator, prompts: int, share: float, icc: float, noise: float) -> None:
        self.generator, self.noise, self.share = generator, noise, share
        self.total = totals(generator, prompts)
        self.prompt = np.repeat(np.arange(prompts), self.total)
        self.chance = chances(generator, prompts, share, icc)[self.prompt]
        self.common = generator.random(len(self.prompt)) < self.chance

    def run(self, shift: float = 0.0) -> Tally:
        """One run whose true share is the world's plus ``shift``."""
        generator, size = self.generator, len(self.prompt)
        own = generator.random(size) < self.chance
        right = np.where(generator.random(size) < self.noise, own, self.common)
        changed = generator.random(size) < (shift / (1 - self.share) if shift > 0 else -shift / self.share)
        right = np.where(changed, shift > 0, right)
        correct = np.bincount(self.prompt, weights=right, minlength=len(self.total)).astype(np.int64)
        return Tally(np.arange(len(self.total)), correct, self.total)

    def seeds(self, count: int, spread: float) -> list[Tally]:
        """Runs whose true shares vary by a standard deviation of ``spread`` between seeds."""
        bound = 0.99 * min(self.share, 1 - self.share)
        return [self.run(float(np.clip(self.generator.normal(0, spread), -bound, bound))) for _ in range(count)]


def by_parts(cells: Sequence[Sequence[Tally]]) -> Iterator[Estimate]:
    """The estimates of many cells, some at a time."""
    for start in range(0, len(cells), AT_ONCE):
        yield from estimates(cells[start : start + AT_ONCE])


def held(found: Sequence[Estimate | Difference], truth: float) -> str:
    """In percent."""
    return f"{100 * np.mean([one.low <= truth <= one.high for one in found]):7.1f}"


def rejected(found: Sequence[Difference]) -> str:
    """In percent, at p < 0.05."""
    return f"{100 * np.mean([one.p < 0.05 for one in found]):7.1f}"


def single(generator: np.random.Generator, repetitions: int) -> None:
    """One seed: coverage by number of prompts, share, and how alike the instructions of a prompt fare."""
    print("coverage of a share's interval, one seed, % (columns: the true share)")
    print(f"prompts icc {''.join(f'{share:7.2f}' for share in SHARES)}")
    for prompts in PROMPTS:
        for icc in (0.0, 0.3, 0.8):
            row = []
            for share in SHARES:
                cells = [[World(generator, prompts, share, icc, 0).run()] for _ in range(repetitions)]
                row.append(held(list(by_parts(cells)), share))
            print(f"{prompts:7} {icc:3} {''.join(row)}", flush=True)


def percentiles(generator: np.random.Generator, repetitions: int) -> None:
    """What the intervals would be worth if they were percentiles of the resampled shares, which they are not."""
    print("\ncoverage of percentiles of the resampled shares, not used, % (columns: the true share)")
    print(f"prompts icc {''.join(f'{share:7.2f}' for share in SHARES)}")
    for prompts in PROMPTS:
        weights = generator.multinomial(prompts, np.full(prompts, 1 / prompts), size=2000).astype(np.float64)
        row = []
        for share in SHARES:
            worlds = [World(generator, prompts, share, 0.3, 0).run() for _ in range(repetitions)]
            correct, total = (np.stack([getattr(one, name) for one in worlds], axis=1) for name in ("correct", "total"))
            low, high = np.quantile((weights @ correct) / (weights @ total), (0.025, 0.975), axis=0)
            row.append(f"{100 * np.mean((low <= share) & (share <= high)):7.1f}")
        print(f"{prompts:7} 0.3 {''.join(row)}", flush=True)


def seeds(generator: np.random.Generator, repetitions: int) -> None:
    """Several seeds: coverage of the mean share, and of the difference of two settings that are the same."""
    print("\nseveral seeds, true share 0.35, icc 0.3; spread: standard deviation of the true share between seeds;")
    print("noise: share of the answers that any other seed redraws; %")
    print("prompts seeds spread noise  covered  difference covered  false alarms")
    for prompts in (120, 510):
        for count in (1, 2, 3, 5):
            for spread in (0.0, 0.01, 0.02, 0.04):
                for noise in (0.1, 0.5):
                    cells, apart = [], []
                    for _ in range(repetitions):
                        world = World(generator, prompts, 0.35, 0.3, noise)
                        cells.append(world.seeds(count, spread))
                        apart += differences([world.seeds(count, spread)], cells[-1])
                    numbers = (held(list(by_parts(cells)), 0.35), held(apart, 0.0), rejected(apart))
                    print(f"{prompts:7} {count:5} {spread:6} {noise:5}  {'       '.join(numbers)}", flush=True)


def paired(generator: np.random.Generator, repetitions: int) -> None:
    """One seed each: the paired interval with and without a true difference, and how often the test cries wolf."""
    print("\npaired comparison, one seed each, icc 0.3, %")
    print("prompts share noise  discordant  covered (none)  covered (5 points)  false alarms")
    for prompts in PROMPTS:
        for share in (0.05, 0.35, 0.9):
            for noise in (0.1, 0.4, 1.0):
                same, apart, discordant = [], [], []
                for _ in range(repetitions):
                    world = World(generator, prompts, share, 0.3, noise)
                    base = [world.run()]
                    none, some = [world.run()], [world.run(0.05)]
                    same += differences([none], base)
                    apart += differences([some], base)
                    discordant.append(np.mean(none[0].correct != base[0].correct))
                numbers = (f"{100 * np.mean(discordant):7.1f}", held(same, 0.0), held(apart, 0.05), rejected(same))
                print(f"{prompts:7} {share:5} {noise:5}  {'      '.join(numbers)}", flush=True)


def published(generator: np.random.Generator, repetitions: int) -> None:
    """Against a published count of a run as good as ours, on other prompts and on the same: false alarms, coverage."""
    print("\nagainst a published count, no true difference, true share 0.35, icc 0.3, noise 0.4, %")
    print("prompts seeds spread  other prompts: covered  false alarms  same prompts: covered  false alarms")
    for prompts in (120, 510):
        for count, spread in ((1, 0.0), (1, 0.02), (3, 0.0), (3, 0.02), (5, 0.02)):
            other, same = [], []
            for _ in range(repetitions):
                here, there = (World(generator, prompts, 0.35, 0.3, 0.4) for _ in range(2))
                ours = here.seeds(count, spread)
                other.append(against_published(ours, there.seeds(1, spread)[0].count))
                same.append(against_published(ours, here.seeds(1, spread)[0].count))
            numbers = (held(other, 0.0), rejected(other), held(same, 0.0), rejected(same))
            print(f"{prompts:7} {count:5} {spread:6}  {'           '.join(numbers)}", flush=True)


def main() -> None:
    """Print the tables asked for, all by default."""
    tables = {"single": single, "percentiles": percentiles, "seeds": seeds, "paired": paired, "published": published}
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("tables", nargs="*", metavar="table", help=", ".join(tables))
    parser.add_argument("--repetitions", type=int, default=2000, help="made-up results a number (default: 2000)")
    asked = parser.parse_args()
    error = 100 * (0.95 * 0.05 / asked.repetitions) ** 0.5
    print(f"{asked.repetitions} repetitions: a number near 95 or 5 has a standard error of {error:.1f}\n")
    for name in asked.tables or tables:
        tables[name](np.random.default_rng(1), asked.repetitions)


if __name__ == "__main__":
    main()
