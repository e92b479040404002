"""The costs of a plan, for people: a line for equal steps, totals, and what the numbers rest on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from experiment.cost.architecture import Shape
from experiment.cost.estimate import Costs, Estimate
from experiment.cost.fits import misfits
from experiment.cost.memory import GB
from experiment.plan import Plan
from experiment.resources import LIGHT, Site
from experiment.stages import STAGES

MINUTE, HOUR = 60, 3600


@dataclass(frozen=True)
class Line:
    """Steps of one stage that ask for the same and need the same memory."""

    stage: str
    estimates: tuple[Estimate, ...]

    @property
    def first(self) -> Estimate:
        """Any of them, for what they have in common."""
        return self.estimates[0]


def show_costs(console: Console, plan: Plan, costs: Costs, jobs: int | None = None) -> None:
    """Print what is known of the costs; nothing where nothing is."""
    if costs.site is None:
        _one_line(console, costs)
        return
    lines = list(_lines(plan, costs.steps))
    if not lines:
        return
    console.print(_cost_table(lines, costs))
    console.print(_total(lines, costs, jobs), highlight=False)
    needing = [line for line in lines if line.first.memory is not None]
    if needing:
        console.print(_memory_table(needing))
    for text in _rests_on(lines, costs.shapes, costs.site):
        console.print(text, highlight=False, markup=False)
    for text in [*misfits(plan, costs.steps, costs.site), *_too_short(lines)]:
        console.print(text, style="bold", highlight=False, markup=False)


def duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3:05 h``."""
    if seconds < 1.5 * MINUTE:
        return f"{seconds:.0f} s"
    if seconds < HOUR:
        return f"{seconds / MINUTE:.0f} min"
    minutes = round(seconds / MINUTE)
    return f"{minutes // 60}:{minutes % 60:02d} h"


def hours(value: float | None) -> str:
    """Billed GPU-hours, with as many digits as matter."""
    if value is None:
        return "?"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _one_line(console: Console, costs: Costs) -> None:
    """Without a site: only how long it takes, if finished steps tell of most of it."""
    if costs.seconds is None or 2 * costs.without_time >= len(costs.steps):
        return
    left_out = f"; {costs.without_time} steps have none and are left out" if costs.without_time else ""
    console.print(
        f"about {duration(costs.seconds)} of work, one step after another (measured: finished steps like these in the "
        f"store{left_out})",
        highlight=False,
    )


def _lines(plan: Plan, estimates: Mapping[str, Estimate]) -> Iterator[Line]:
    groups: dict[tuple[object, ...], list[Estimate]] = {}
    for key, estimate in estimates.items():
        kind = (plan.steps[key].stage, estimate.allocation, estimate.memory, estimate.basis)
        groups.setdefault(kind, []).append(estimate)
    order = list(STAGES)
    for (stage, *_), members in sorted(groups.items(), key=lambda item: order.index(str(item[0][0]))):
        yield Line(str(stage), tuple(members))


def _cost_table(lines: Sequence[Line], costs: Costs) -> Table:
    table = Table("to run", title="Cost", title_justify="left")
    bills = ("billed", "at walltime") if costs.billed_most else ()  # no GPU is asked for: nothing to bill
    for heading in ("steps", "nodes", "ranks", "walltime", "time each", *bills):
        table.add_column(heading, justify="right")
    for line in lines:
        allocation = line.first.allocation
        asked = ("", "", "")
        if allocation is not None:
            asked = (str(allocation.nodes), str(allocation.ranks), duration(allocation.walltime_min * MINUTE))
        billed = [_sum(estimate.billed for estimate in line.estimates)]
        billed.append(_sum(estimate.billed_most for estimate in line.estimates))
        light = line.stage in LIGHT
        table.add_row(
            line.stage,
            str(len(line.estimates)),
            *asked,
            _times(line.estimates),
            *("" if light else hours(value) for value in billed[: len(bills)]),
        )
    table.add_section()
    table.add_row(
        "total", str(len(costs.steps)), "", "", "", "", *map(hours, (costs.billed, costs.billed_most)[: len(bills)])
    )
    return table


def _sum(values: Iterator[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return sum(found) if found else None


def _times(estimates: Sequence[Estimate]) -> str:
    found = sorted(estimate.seconds for estimate in estimates if estimate.seconds is not None)
    if not found:
        return "not known"
    low, high = duration(found[0]), duration(found[-1])
    span = low if low == high else f"{low.removesuffix(' h') if high.endswith(' h') else low} to {high}"
    bounds = {estimate.bound for estimate in estimates}
    sign = "≤ " if "most" in bounds else "≥ " if "least" in bounds else ""
    return f"{sign}{span}" + ("\nmeasured" if estimates[0].basis == "measured" else "")


def _total(lines: Sequence[Line], costs: Costs, jobs: int | None) -> str:
    parts = [f"{jobs} jobs"] if jobs is not None else []
    if costs.billed:
        parts.append(f"{hours(costs.billed)} GPU-hours as the site bills them, by the times above")
    if costs.billed_most:
        parts.append(f"{hours(costs.billed_most)} GPU-hours if every step takes its walltime")
    unknown = sum(line.stage not in LIGHT and e.seconds is None for line in lines for e in line.estimates)
    if unknown:
        parts.append(f"the time of {unknown} steps is not known and not in the estimate")
    if any(line.stage in LIGHT for line in lines):
        names = ", ".join(dict.fromkeys(line.stage for line in lines if line.stage in LIGHT))
        parts.append(f"{names} ride along in the jobs beside them")
    return "; ".join(parts)


def _memory_table(lines: Sequence[Line]) -> Table:
    table = Table("stage", title="Memory of a rank, GB", title_justify="left")
    host = any(line.first.memory and line.first.memory.host for line in lines)
    parts = ("weights", "gradients", "optimizer", "activations")
    for heading in (*parts, "total", "of", *(["on the node"] if host else [])):
        table.add_column(heading, justify="right")
    seen = set()
    for line in lines:
        found, allocation = line.first.memory, line.first.allocation
        if found is None or allocation is None or (line.stage, allocation, found) in seen:
            continue
        seen.add((line.stage, allocation, found))
        gpus = f", {allocation.gpus_per_rank} GPUs" if allocation.gpus_per_rank > 1 else ""
        room = "?" if line.first.available is None else f"{line.first.available / GB:g}"
        values = [f"{value / GB:.1f}" for value in (*found.parts().values(), found.total)]
        table.add_row(f"{line.stage}{gpus}", *values, room, *([f"{found.host / GB:.1f}"] if host else []))
    return table


def _shape_line(name: str, shape: Shape) -> str:
    return (
        f"{name}: N = {shape.parameters:,} parameters (L = {shape.layers} layers, hidden h = {shape.hidden:,}, "
        f"{shape.heads} heads, vocabulary {shape.vocabulary:,})"
    )


def _rests_on(lines: Sequence[Line], shapes: Mapping[str, Shape], site: Site) -> Iterator[str]:
    """The formulas that were used, with what of model and site went into them; nothing where none was."""
    if not any(line.first.memory or line.first.basis == "formula" for line in lines):
        return
    for name, shape in shapes.items():
        yield _shape_line(name, shape)
    used = {line.stage for line in lines for estimate in line.estimates if estimate.basis == "formula"}
    if used & {"sft", "dpo", "pretrain", "reference"}:
        assert site.model_flops_utilization is not None  # else there is no such estimate
        yield (
            f"training: tokens x (6 N + 12 L h s) / (GPUs x {site.gpu_tflops:g} TFLOP/s x "
            f"{site.model_flops_utilization:.1%}); reference: a third of that, on one GPU"
        )
    if "generate" in used:
        yield (
            f"generate: weights and cache read once a token and batch at {site.gpu_bandwidth_tb_s:g} TB/s, every batch "
            "to max_new_tokens (≥: no token can take less)"
        )
    bound = dict.fromkeys(line.stage for line in lines if any(e.bound == "most" for e in line.estimates))
    if bound:
        yield f"≤: rows of {', '.join(bound)} are taken as long as max_length allows, until steps are measured"
    yield "docs/cost.md says where each formula is from and what it leaves out"


def _too_short(lines: Sequence[Line]) -> Iterator[str]:
    for line in lines:
        longest = max((estimate.seconds or 0 for estimate in line.estimates), default=0)
        allocation = line.first.allocation
        if allocation is not None and longest > allocation.walltime_min * MINUTE:
            yield (
                f"{line.stage}: up to {duration(longest)} with a walltime of "
                f"{duration(allocation.walltime_min * MINUTE)}: such a job is stopped, queued again and goes on from "
                "its checkpoint"
            )
