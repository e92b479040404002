"""How long the intervals of a whole table take: 14 rows by 6 metrics over 510 prompts, in a fresh process.

python -m benchmarks.intervals
"""

from __future__ import annotations

import subprocess
import sys
import time

ROWS, METRICS, PROMPTS = 14, 6, 510


def measure() -> None:
    """Print the seconds of each part, first call and second."""
    clock = time.perf_counter()
    import numpy as np

    from experiment.metrics import Count, Tally

    print(f"{time.perf_counter() - clock:6.2f} s  import of NumPy and experiment.metrics")
    clock = time.perf_counter()
    from analysis.statistics import against_published, differences, estimates

    print(f"{time.perf_counter() - clock:6.2f} s  import of analysis.statistics")
    generator = np.random.default_rng(0)
    total = generator.choice([1, 2, 3], p=[0.6, 0.27, 0.13], size=PROMPTS)
    for seeds in (1, 3):
        cells = [
            [Tally(np.arange(PROMPTS), generator.binomial(total, 0.35), total) for _ in range(seeds)]
            for _ in range(ROWS * METRICS)
        ]
        for attempt in ("first", "second"):
            clock = time.perf_counter()
            estimates(cells)
            print(
                f"{time.perf_counter() - clock:6.2f} s  estimates of {len(cells)} cells, {seeds} seeds, {attempt} call"
            )
            clock = time.perf_counter()
            for metric in range(METRICS):
                column = cells[metric * ROWS : (metric + 1) * ROWS]
                differences(column, column[0])
            print(
                f"{time.perf_counter() - clock:6.2f} s  differences of {METRICS} columns of {ROWS} rows, {attempt} call"
            )
        clock = time.perf_counter()
        for cell in cells[: 2 * ROWS]:
            against_published(cell, Count(285, 783))
        print(f"{time.perf_counter() - clock:6.2f} s  against_published of {2 * ROWS} cells")


def main() -> None:
    """Measure in a process that has imported nothing yet."""
    if sys.argv[1:] == ["--here"]:
        measure()
    else:
        subprocess.run([sys.executable, "-m", "benchmarks.intervals", "--here"], check=True)


if __name__ == "__main__":
    main()
