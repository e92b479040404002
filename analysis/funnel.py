"""``python -m analysis funnel``: what cleaning dropped of translated data, rule by rule, beside what was published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from analysis import published
from analysis.origins import command
from analysis.panels import EMPTY
from analysis.shared_steps import Shared, origins_of, refuse_none, shared_steps
from analysis.table import Cell, Panel, Table
from experiment.results import RunResult

if TYPE_CHECKING:
    from experiment.cleaning.funnel import Funnel, RuleCount

HEADINGS = ("step", "threshold", "dropped", "would drop alone", "rows left", "kept, %", "published")
_KINDS = {"sft": "conversations", "preference": "pairs"}
_TITLES = {"conversations": "SFT conversations", "pairs": "Preference pairs"}
_BLANK = Cell("", "verdict")

Found = list[tuple[Shared, "Funnel | None"]]


def funnels(runs: Sequence[RunResult], store: str) -> Found:
    """The distinct clean steps of some runs with their funnels; None where one is not there (yet).

    Raises:
        StoreError: an artifact is damaged.
        DataError: a funnel is not what this version reads.
    """
    from experiment.cleaning.funnel import read_funnel

    return [
        (shared, None if shared.manifest is None else read_funnel(shared.artifact(store)))
        for shared in shared_steps(runs, "clean")
    ]


def funnel_table(runs: Sequence[RunResult], store: str) -> Table:
    """A panel for each distinct clean step; runs that share one are told together.

    Raises:
        KirjoError: no run cleans anything, or a step is damaged.
    """
    found = funnels(runs, store)
    advice = command(["data_mix.target=translate"], store)
    refuse_none([shared for shared, _ in found], runs, "cleaned translations", advice, store)
    return Table(
        "funnel",
        "From translated to cleaned rows",
        HEADINGS,
        tuple(_panel(shared, funnel) for shared, funnel in found),
        tuple(_notes(found, store)),
        origins_of([shared for shared, _ in found], store),
    )


def _panel(shared: Shared, funnel: Funnel | None) -> Panel:
    kind = _kind(shared, funnel)
    title = ", ".join(filter(None, [_TITLES[kind], _direction(shared, funnel), shared.label]))
    paper = published.cleaning()[kind] if _direction(shared, funnel) == "en to fi" else None
    came = EMPTY if paper is None else Cell(f"{paper.rows_in:,}", "published", {"rows": paper.rows_in})
    if funnel is None:
        gap = (Cell("rows in", "label"), _BLANK, EMPTY, EMPTY, Cell("", "missing", {}, shared.ids), EMPTY, came)
        return Panel(title, (gap,))
    first: tuple[Cell, ...] = (
        Cell("rows in", "label"),
        _BLANK,
        EMPTY,
        EMPTY,
        *_left(funnel, funnel.rows_in, shared.ids),
        came,
    )
    rows, left = [first], funnel.rows_in
    for count in funnel.rules:
        left -= count.dropped
        rows.append(_row(count, funnel, left, shared.ids))
    went = EMPTY
    if paper is not None:
        share = 100 * paper.rows_out / paper.rows_in
        went = Cell(f"{paper.rows_out:,} ({share:.1f} %)", "published", {"rows": paper.rows_out, "percent": share})
    dropped = funnel.rows_in - funnel.rows_out
    total = Cell(f"{dropped:,}", "measured", {"dropped": dropped}, shared.ids)
    rows.append((Cell("rows out", "label"), _BLANK, total, EMPTY, *_left(funnel, funnel.rows_out, shared.ids), went))
    return Panel(title, tuple(rows))


def _row(count: RuleCount, funnel: Funnel, left: int, runs: tuple[str, ...]) -> tuple[Cell, ...]:
    return (
        Cell(count.rule, "label"),
        Cell(count.threshold, "verdict"),
        Cell(f"{count.dropped:,}", "measured", {"dropped": count.dropped, "of": funnel.rows_in}, runs),
        Cell(
            _alone(count),
            "measured",
            {"would_drop": count.would_drop, **{f"{role}_parts": number for role, number in count.parts.items()}},
            runs,
        ),
        *_left(funnel, left, runs),
        EMPTY,
    )


def _alone(count: RuleCount) -> str:
    parts = ", ".join(f"{role} {number:,}" for role, number in count.parts.items())
    return f"{count.would_drop:,} ({parts})" if parts else f"{count.would_drop:,}"


def _left(funnel: Funnel, rows: int, runs: tuple[str, ...]) -> tuple[Cell, Cell]:
    share = 100 * rows / funnel.rows_in if funnel.rows_in else 0.0
    return (
        Cell(f"{rows:,}", "measured", {"rows": rows}, runs),
        Cell(f"{share:.1f}", "measured", {"percent": share}, runs),
    )


def _kind(shared: Shared, funnel: Funnel | None) -> str:
    return funnel.kind if funnel else _KINDS.get(shared.role.partition(".")[2], "conversations")


def _direction(shared: Shared, funnel: Funnel | None) -> str:
    axes = shared.first.axes
    source, target = axes["source_language"], axes["target_language"]
    return "{source} to {target}".format_map(funnel.languages if funnel else {"source": source, "target": target})


def _notes(found: Found, store: str) -> Iterator[str]:
    yield (
        "A row counts as dropped by the first rule that it breaks, in the order of the table; 'would drop alone' "
        "counts all rows that break the rule, in brackets their parts that do. A conversation or pair goes as a whole."
    )
    yield (
        f"Published: {published.source().partition(',')[0]}, rows of its own data before and after cleaning; it gives "
        "no numbers for single rules. Where other data were translated, or by another model, levels do not compare."
    )
    for shared, funnel in found:
        named = f"{_TITLES[_kind(shared, funnel)]}{f' ({shared.label})' if shared.label else ''}"
        if len(shared.runs) > 1:
            yield f"{named}: one step, shared by {len(shared.runs)} runs."
        if funnel and funnel.cut["texts"]:
            yield (
                f"{named}: in {funnel.cut['rows']:,} rows words of the prompt were cut off ({funnel.cut['texts']:,} "
                "texts); what stood before them was judged."
            )
        if told := _left_out(shared):
            yield f"{named}: {told}"
        if told := _translated(shared):
            yield f"{named}: {told}"
    missing = dict.fromkeys(command(shared.first.overrides, store) for shared, funnel in found if funnel is None)
    if missing:
        yield "Missing cells; each is filled by its command:"
        yield from (f"  {line}" for line in missing)


def _left_out(shared: Shared) -> str:
    """What was left out when the source was read, before anything was translated."""
    source = shared.first.axes["source_language"]
    reader = {"sft": "translate.sft", "preference": f"pair.{source}"}.get(shared.role.partition(".")[2], "")
    manifest = shared.first.manifest(reader)
    dropped = (manifest.summary.get("sources", {}).get("source", {}) if manifest else {}).get("dropped", {})
    told = ", ".join(f"{number:,} {what}" for what, number in dropped.items())
    return f"left out when they were read, and not in these rows: {told}." if told else ""


def _translated(shared: Shared) -> str:
    """What the translation before it reports of its lines."""
    manifest = shared.first.manifest(f"translate.{shared.role.partition('.')[2]}")
    told = manifest.summary if manifest else {}
    if "distinct_lines" not in told:
        return ""
    counted = (
        (told.get("split_lines"), "split"),
        (told.get("cut_off"), "answers cut off"),
        (told.get("empty"), "empty"),
    )
    odd = ", ".join(f"{number:,} {what}" for number, what in counted if number)
    lines = f"{told.get('lines', 0):,} lines translated, {told['distinct_lines']:,} of them distinct"
    return f"{lines}; {odd}." if odd else f"{lines}."


def example_table(runs: Sequence[RunResult], store: str) -> Table | None:
    """Texts that rules dropped, source and translation side by side; None if there are none."""
    panels = []
    for shared, funnel in funnels(runs, store):
        for count in funnel.rules if funnel else ():
            if count.examples:
                named = [count.rule, _TITLES[_kind(shared, funnel)], shared.label]
                rows = (
                    (
                        Cell(f"{example.id}, {example.role}", "label"),
                        Cell(
                            ": ".join(filter(None, [str(example.value), example.why])),
                            "verdict",
                            {"value": example.value},
                            shared.ids,
                        ),
                        Cell(example.source, "verdict"),
                        Cell(example.text, "verdict"),
                    )
                    for example in count.examples
                )
                panels.append(Panel(", ".join(filter(None, named)), tuple(rows)))
    if not panels:
        return None
    notes = (
        "The first rows that each rule dropped; long texts are cut (all of them: dropped.jsonl of the clean step).",
    )
    return Table(
        "funnel-examples", "What the rules dropped", ("row", "found", "source", "translation"), tuple(panels), notes
    )
