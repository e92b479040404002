"""The figures: accuracy by category, over beta, over the mix. Shares come as 0 to 1 and show in %."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from analysis.plotting import DOUBLE, FAINT, INK, SINGLE, SMALL, STYLES, Style, drawing, new_figure, save
from analysis.render.text import plain
from analysis.statistics import Estimate
from experiment.errors import KirjoError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "Group",
    "Points",
    "Series",
    "betas_figure",
    "categories_figure",
    "mixes_figure",
    "save",
]


class Group(NamedTuple):
    """One category of a series: its name, how many instructions it has, and the result (None: missing)."""

    name: str
    n: int
    estimate: Estimate | None


class Series(NamedTuple):
    """The bars of one colour, e.g. those of one language."""

    label: str
    groups: Sequence[Group | tuple[str, int, Estimate | None]]


class Points(NamedTuple):
    """One curve, e.g. that of one language: results (None: missing) over a number."""

    label: str
    points: Sequence[tuple[float, Estimate | None]]


def categories_figure(series: Sequence[Series], title: str = "", width: float = DOUBLE) -> Figure:
    """Accuracy by category, a bar for each series, in alphabetical order; bars lie down in a narrow figure.

    Raises:
        KirjoError: there is no result.
    """
    found = {one.label: {group[0]: Group(*group) for group in one.groups} for one in series}
    _need("figure by category", (group.estimate for groups in found.values() for group in groups.values()))
    names = sorted({name for groups in found.values() for name in groups})
    lying = width < 5
    with drawing():
        figure, (axes,) = new_figure(width, 0.7 + 0.42 * len(names) if lying else 2.6)
        missing = []
        for place, (label, groups) in enumerate(found.items()):
            size = 0.8 / len(found)
            offset = (place - (len(found) - 1) / 2) * size
            absent = [name for name in names if name not in groups or groups[name].estimate is None]
            missing += [f"{label} {name}" for name in absent]
            there = [(at + offset, groups[name].estimate) for at, name in enumerate(names) if name not in absent]
            _bars(axes, there, size, _style(place), plain(label), lying)
            for at in (names.index(name) + offset for name in absent):
                x, y, turned = (1, at, 0) if lying else (at, 1, 90)
                horizontal, vertical = ("left", "center") if lying else ("center", "bottom")
                axes.text(x, y, "missing", size=SMALL, color=FAINT, rotation=turned, ha=horizontal, va=vertical)
        ticks = [
            _category(name, [groups[name].n for groups in found.values() if name in groups], lying) for name in names
        ]
        (axes.set_yticks if lying else axes.set_xticks)(range(len(names)), ticks)
        (axes.set_xlim if lying else axes.set_ylim)(0, 100)
        (axes.set_xlabel if lying else axes.set_ylabel)("accuracy, %")
        axes.grid(axis="x" if lying else "y")
        axes.tick_params(axis="y" if lying else "x", length=0)
        if lying:
            axes.set_ylim(len(names) - 0.5, -0.5)  # the first on top
        _finish(figure, axes, title, missing, width)
    return figure


def betas_figure(
    series: Sequence[Points],
    chosen: float,
    rule: str,
    published: Mapping[str, tuple[float, float]] | None = None,
    title: str = "",
    width: float = SINGLE,
) -> Figure:
    """Accuracy over beta on a log scale, the chosen beta marked; ``published`` is {label: (beta, percent)}.

    Raises:
        KirjoError: there is no result, or a beta is not above 0.
    """
    _need("figure of the betas", (estimate for one in series for _, estimate in one.points))
    hollow = {label: {beta: percent} for label, (beta, percent) in (published or {}).items()}
    betas = sorted({beta for one in series for beta, _ in one.points})
    if min([chosen, *betas, *(beta for points in hollow.values() for beta in points)]) <= 0:
        raise KirjoError(
            f"betas on a log scale have to be above 0, but there are {chosen} and {betas}; leave out the others"
        )
    with drawing():
        figure, (axes,) = new_figure(width, 2.5)
        axes.set_xscale("log")
        missing = _curves(axes, series, hollow, _styles(series), "beta ", lambda x, shift: x * 1.04**shift)
        axes.axvline(chosen, color=INK, linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=1)
        at_end = len(betas) > 1 and chosen >= betas[-1]
        axes.annotate(
            f"chosen: {chosen:g}", (chosen, 1), (-3 if at_end else 3, -1), xycoords=("data", "axes fraction"),
            textcoords="offset points", size=SMALL, va="top", ha="right" if at_end else "left",
        )  # fmt: skip
        axes.set_xticks(betas, [f"{beta:g}" for beta in betas])
        if len(betas) == 1:  # older matplotlibs warn of an axis without a length
            axes.set_xlim(betas[0] / 2, betas[0] * 2)
        axes.minorticks_off()
        axes.margins(x=0.12, y=0.2)
        axes.set_xlabel("beta")
        _percent(axes, "accuracy, %")
        _finish(figure, axes, title, missing, width, f"Chosen by: {plain(rule)}." if rule else "")
    return figure


def mixes_figure(
    accuracy: Sequence[Points],
    published: Mapping[str, Mapping[float, float]] | None = None,
    language: Sequence[Points] = (),
    published_language: Mapping[str, Mapping[float, float]] | None = None,
    title: str = "",
    width: float = SINGLE,
) -> Figure:
    """Accuracy over the mix and, below, the share of responses in the language; published {label: {mix: percent}}.

    Raises:
        KirjoError: there is no result.
    """
    _need("figure of the mixes", (estimate for one in (*accuracy, *language) for _, estimate in one.points))
    below = f"{language[0].label}, %" if len(language) == 1 else "in the language, %"
    panels = [(accuracy, published, "accuracy, %"), (language, published_language, below)]
    panels = [panel for panel in panels if panel[0]]
    styles = _styles([*accuracy, *language])
    mixes = sorted({mix for one in (*accuracy, *language) for mix, _ in one.points})
    with drawing():
        figure, all_axes = new_figure(width, (0.5, 2.4, 3.6)[len(panels)], (1.5, 1)[: len(panels)])
        missing = []
        for axes, (series, hollow, label) in zip(all_axes, panels, strict=True):
            lost = _curves(axes, series, hollow or {}, styles, "mix ", lambda x, shift: x + 0.8 * shift)
            missing += [f"{entry} ({label.removesuffix(', %')})" for entry in lost] if len(panels) > 1 else lost
            axes.margins(y=0.12)
            _percent(axes, label)
        all_axes[-1].set_xticks(mixes, [f"{mix:g}" for mix in mixes])
        if len(mixes) == 1:
            all_axes[-1].set_xlim(mixes[0] - 5, mixes[0] + 5)
        all_axes[-1].set_xlabel("mix: share of the target-language rows, %")
        _finish(figure, all_axes[0], title, missing, width)
    return figure


def _need(what: str, values: Iterable[object]) -> None:
    if all(value is None for value in values):
        raise KirjoError(f"the {what} needs at least one result, but there is none; run what it shows first")


def _style(place: int) -> Style:
    return STYLES[place % len(STYLES)]


def _styles(series: Sequence[Points]) -> dict[str, Style]:
    return {label: _style(place) for place, label in enumerate(dict.fromkeys(one.label for one in series))}


def _errors(estimates: Sequence[Estimate]) -> list[list[float]]:
    """Distances to the ends of the intervals, in percentage points; rounding never makes one negative."""
    below = [max(0.0, 100 * (one.share - one.low)) for one in estimates]
    above = [max(0.0, 100 * (one.high - one.share)) for one in estimates]
    return [below, above]


def _bars(
    axes: Axes, there: Sequence[tuple[float, Estimate | None]], size: float, style: Style, label: str, lying: bool
) -> None:
    estimates = [estimate for _, estimate in there if estimate is not None]
    places = [at for at, _ in there]
    shares = [100 * estimate.share for estimate in estimates]
    look: dict[str, Any] = {"color": style.fill, "edgecolor": style.colour, "hatch": style.hatch, "linewidth": 0.6}
    if lying:
        axes.barh(places, shares, size, label=label, **look)
    else:
        axes.bar(places, shares, size, label=label, **look)
    x, y = (shares, places) if lying else (places, shares)
    ends: dict[str, Any] = {"xerr" if lying else "yerr": _errors(estimates)}
    # First a white rim, so that the interval shows on a dark bar too.
    for ink, line, cap in (("white", 2.6, 2.6), (INK, 0.9, 1.8)):
        axes.errorbar(x, y, fmt="none", ecolor=ink, elinewidth=line, capthick=line, capsize=cap, **ends)


def _category(name: str, sizes: Sequence[int], lying: bool) -> str:
    n = "/".join(map(str, dict.fromkeys(sizes)))
    return f"{plain(name)}\nn={n}" if lying else plain(name).replace("_", "_\n") + f"\nn={n}"


def _curves(
    axes: Axes,
    series: Sequence[Points],
    published: Mapping[str, Mapping[float, float]],
    styles: Mapping[str, Style],
    unit: str,
    shifted: Any,
) -> list[str]:
    """Draw the curves side by side, published values as hollow markers; what is missing comes back."""
    missing = []
    for place, (label, given) in enumerate(series):
        style = styles[label]
        points = sorted(given, key=lambda point: point[0])
        missing += [f"{label} {unit}{at:g}" for at, estimate in points if estimate is None]
        # A little apart, so that intervals do not cover each other.
        shift = place - (len(series) - 1) / 2
        xs = [shifted(at, shift) for at, _ in points]
        ys = [math.nan if estimate is None else 100 * estimate.share for _, estimate in points]
        axes.plot(xs, ys, color=style.colour, linestyle=style.line, marker=style.marker, label=plain(label))
        there = [(x, estimate) for x, (_, estimate) in zip(xs, points, strict=True) if estimate is not None]
        axes.errorbar(
            [x for x, _ in there], [100 * estimate.share for _, estimate in there],
            yerr=_errors([estimate for _, estimate in there]), fmt="none", ecolor=style.colour, elinewidth=0.9,
            capsize=2,
        )  # fmt: skip
        aside = shift + (2 if shift > 0 else -2)
        hollow = sorted(published.get(label, {}).items())
        axes.plot(
            [shifted(at, aside) for at, _ in hollow], [percent for _, percent in hollow], linestyle="none",
            marker=style.marker, markerfacecolor="white", markeredgecolor=style.colour, markeredgewidth=0.9, zorder=3,
            label=f"{plain(label)}, published" if hollow else "_none",
        )  # fmt: skip
    return missing


def _percent(axes: Axes, label: str) -> None:
    low, high = axes.get_ylim()
    # Room for whole markers at 0 and at 100, and none for shares that there cannot be.
    axes.set_ylim(max(-4, low), min(104, high))
    axes.set_ylabel(label)
    axes.grid(axis="y")


def _finish(figure: Figure, axes: Axes, title: str, missing: Sequence[str], width: float, note: str = "") -> None:
    """Legend above the axes, title above all, and below what has to be said: never a gap without a word."""
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > 1 or (labels and not title):
        columns = max(1, min(len(labels), int(width * 72 / (30 + 0.62 * SMALL * max(map(len, labels))))))
        axes.legend(
            handles, labels, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2,
            handlelength=2.6, columnspacing=1.2, handletextpad=0.5, borderpad=0,
        )  # fmt: skip
    characters = int(width * 72 / (0.56 * SMALL))
    if title:
        figure.suptitle(textwrap.fill(plain(title), int(characters * 0.85)), x=0.01, ha="left", weight="bold")
    note = f"Bars: 95 % intervals. {note}".rstrip()
    said = [note] + [f"Missing: {plain(', '.join(missing))}."] * bool(missing)
    if said:
        text = "\n".join(textwrap.fill(one, characters) for one in said)
        figure.supxlabel(text, x=0.01, ha="left", color=FAINT)
