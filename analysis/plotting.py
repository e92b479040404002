"""How figures look and how they are saved: legible in print, told apart without colour, the same bytes each time.

matplotlib is imported when a figure is made and not before, and only its objects are used: there is no display.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.safely import write_safely
from experiment.errors import KirjoError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("pdf", "svg", "png")
# One and both columns of a page, in inches.
SINGLE, DOUBLE = 3.3, 6.9
SMALL, NORMAL = 7.0, 8.0
INK, FAINT = "#1a1a1a", "#595959"
DPI = 300


@dataclass(frozen=True)
class Style:
    """How one series is drawn: colour (of Okabe and Ito), a lighter fill, and what tells it apart in grey."""

    colour: str
    fill: str
    hatch: str
    marker: str
    line: str | tuple[float, tuple[float, ...]]


# Only the colours of Okabe and Ito that stand out from white paper by 3 to 1 or more.
STYLES = (
    Style("#0072B2", "#0072B2", "", "o", "-"),
    Style("#D55E00", "#F6D4BC", "////", "s", (0, (5, 1.5))),
    Style("#000000", "#B3B3B3", "....", "^", (0, (1, 1.2))),
    Style("#009E73", "#D6EFE7", "xxxx", "D", (0, (5, 1.5, 1, 1.5))),
    Style("#CC79A7", "#FFFFFF", "\\\\\\\\", "v", (0, (3, 1, 1, 1, 1, 1))),
)

_RC: dict[str, Any] = {
    # Comes with matplotlib, so a figure is the same on every machine.
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": NORMAL,
    "axes.titlesize": NORMAL,
    "axes.labelsize": NORMAL,
    "figure.titlesize": NORMAL,
    "figure.labelsize": SMALL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "text.parse_math": False,  # a $ in a label is a $
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#d9d9d9",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.5,
    "hatch.linewidth": 0.7,
    "pdf.fonttype": 42,  # text stays text that can be searched
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "kirjo",
}
_METADATA: Mapping[str, dict[str, Any]] = {
    "pdf": {"Creator": "Kirjo", "Producer": None, "CreationDate": None},
    "svg": {"Creator": "Kirjo", "Date": None},
    "png": {"Software": None},
}


@contextmanager
def drawing() -> Iterator[None]:
    """Our look, whatever the user's matplotlibrc says."""
    try:
        import matplotlib
    except ImportError as error:
        raise KirjoError(
            "figures need matplotlib, which is not installed; install it with: pip install matplotlib"
        ) from error
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        settings: Any = matplotlib.rcParams
        settings.update(_RC)
        yield


def new_figure(width: float, height: float, rows: Sequence[float] = (1,)) -> tuple[Figure, list[Axes]]:
    """A figure of this size in inches with axes one below the other, of these relative heights, sharing x."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    found = figure.subplots(len(rows), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": list(rows)})
    return figure, list(found[:, 0])


def save(figure: Figure, path: Path | str, formats: Sequence[str] | None = None) -> list[Path]:
    """Write the figure once for each format (default: that of the path's ending, else all) and give the paths back.

    The same figure gives the same bytes. PNGs have 300 dots an inch.

    Raises:
        KirjoError: there is no such format, or a file cannot be written.
    """
    path = Path(path)
    ending = path.suffix.removeprefix(".").lower()
    stem = path.with_suffix("") if ending in FORMATS else path
    wanted = list(formats) if formats is not None else [ending] if ending in FORMATS else list(FORMATS)
    for name in wanted:
        if name not in FORMATS:
            raise KirjoError(f"there is no figure format '{name}'; there are: {', '.join(FORMATS)}")
    written = []
    for name in wanted:
        buffer = io.BytesIO()
        with drawing():
            figure.savefig(buffer, format=name, dpi=DPI, metadata=_METADATA[name], facecolor="white")
        target = stem.with_name(f"{stem.name}.{name}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_safely(target, buffer.getvalue())
        except OSError as error:
            raise KirjoError(
                f"the figure cannot be written to {target}: {error.strerror}; choose another path"
            ) from error
        written.append(target)
    return written
