"""Ask before an expensive launch."""

from __future__ import annotations

import sys

from experiment.errors import KirjoError


def confirm(gpu_hours: float | None, limit: float | None) -> None:
    """Ask whether to launch, if it may cost more than the limit (both in GPU-hours as the site bills them).

    Raises:
        KirjoError: the answer is not yes, or there is nobody to ask.
    """
    if gpu_hours is None or limit is None or gpu_hours <= limit:
        return
    cost = f"this may cost up to {gpu_hours:,.0f} GPU-hours (plan=true shows where they go)"
    above = f"more than launcher.confirm_above={limit:g}"
    if not sys.stdin.isatty():
        raise KirjoError(f"{cost}, {above}: raise that option to launch without being asked")
    print(f"{cost}, {above}. Launch? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise KirjoError("not launched")
