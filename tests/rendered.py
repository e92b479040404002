"""Two tables to render: one as the papers' tables will be, one with the nastiest texts there are."""

from __future__ import annotations

from analysis.table import Cell, Origin, Panel, Table

MIXES = ("0", "10", "20", "40", "60", "80", "100")
PANELS = (
    "English accuracy",
    "Finnish accuracy",
    "Finnish accuracy, rules for Finnish",
    "Responses in Finnish",
    "Correct and in Finnish",
)
HEADINGS = ("data mix", "published", "reproduced", "95 % interval", "to published", "to baseline", "p (Holm)", "")
NASTY = (
    r"100 % of $5 & #1_{a}^b ~ C:\new <b>",
    "a | b || `c` *d* _e_ [link](javascript:alert(1)) ![x][y]",
    "</td><script>alert('x')</script>&amp;&#60;",
    "two\nlines\r\nof text\u2028here",
    "\u202eevil\u202c שלום عربى 日本語 🙂",
    "nul \x00, bell \x07, escape \x1b[31mred\x1b[0m",
    '=HYPERLINK("http://example.org";"x")',
    "≈ 5 − 3 ± 2 CO₂ m² é ä ö å Š ž ŋ β “q” … € – —",
    "a very long label " + "without_any_end_" * 6,
    "-- ,, '' \"quoted\" [first] *star*",
    "% end\n\\input{/etc/passwd}",
)


def origin(run: str, name: str) -> Origin:
    """A run of the demonstration."""
    return Origin(
        run,
        name,
        f"python -m experiment experiment=table1 mix={name.split('-')[-1].removesuffix('pct')} seed=1",
        {"sft.learning_rate": 2e-05},
        {"sft": f"sft/{run}a1b2c3d4", "score.en": f"score/{run}e5f6a7b8"},
        {"lm_eval": "0.4.13", "langdetect": "1.0.9", "git": "0123abc"},
    )


def paper_table() -> Table:
    """Table 1 as it will be: five panels of seven rows and eight columns."""
    panels = tuple(Panel(title, tuple(_row(mix, place) for mix in MIXES)) for place, title in enumerate(PANELS))
    origins = tuple(origin(f"run{mix}", f"en-fi-{mix}pct") for mix in MIXES)
    notes = (
        "Published: arXiv 2503.09407, Table 1. Intervals: 95 %, bootstrap over prompts; p by Holm over the six mixes.",
        "Share of the responses to the Finnish prompts that langdetect calls Finnish. The two that are told from the "
        "baseline's are so at 5 %. What is missing can be made with:",
        "  python -m experiment experiment=table1 mix=0,10,20,40,60,80,100 'base_model.revision=main' --multirun",
    )
    return Table("table1", "Table 1: SFT data mixes (demo, demo, demo)", HEADINGS, panels, notes, origins)


def _row(mix: str, place: int) -> tuple[Cell, ...]:
    label = Cell(f"en-fi-{mix}pct", "label")
    run = (f"run{mix}",)
    published = Cell("39.97 (313/783)", "published", {"correct": 313, "total": 783, "percent": 39.97})
    if place > 1:
        published = Cell("", "empty")
    if mix == "60":
        return (label, published, Cell("", "missing"), *[Cell("", "empty")] * 4, Cell("", "empty"))
    measured = {"correct": 73, "total": 176, "percent": 41.47, "low": 33.5, "high": 49.2}
    cells = (
        label,
        published,
        Cell("41.47 (73/176)", "measured", measured, run),
        Cell("33.5 to 49.2", "interval", {"low": 33.5, "high": 49.2}, run),
        Cell("+5.08 [-3.4, 13.6]", "difference", {"difference": 5.08, "low": -3.4, "high": 13.6}, run)
        if place < 2
        else Cell("", "empty"),
    )
    if mix == "0":
        return (*cells, Cell("baseline", "verdict"), Cell("", "empty"), Cell("", "verdict"))
    told = mix == "100"
    return (
        *cells,
        Cell("-12.27 [-17.1, -7.9]", "difference", {"difference": -12.27, "low": -17.1, "high": -7.9}, (*run, "run0")),
        Cell("0.004" if told else "0.92", "p", {"p": 0.92}, run),
        Cell("worse than baseline" if told else "not told from baseline", "verdict", {}, run),
    )


def nasty_table() -> Table:
    """A table whose texts try to break out of every format."""
    rows = tuple(
        (
            Cell(text, "label"),
            Cell(text, "measured", {"percent": -1.5, "note": text}, (text,)),
            Cell(text, "verdict", {}, ("a b", "c")),
        )
        for text in NASTY
    )
    panels = (Panel(NASTY[0], rows[:6]), Panel("", rows[6:]))
    origins = tuple(Origin(text, text, text, {}, {text: text}, {text: text}) for text in NASTY)
    return Table("na sty/1", " ".join(NASTY[:3]), ("label", NASTY[1], ""), panels, (*NASTY, f"  {NASTY[0]}"), origins)
