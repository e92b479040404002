"""Renderers. ``KIRJO_GOLDEN=write pytest tests/test_render.py`` writes tests/golden/render/ anew."""

from __future__ import annotations

import csv as stdlib_csv
import io
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from analysis.render import FORMATS, csv, html, latex, layout, markdown, provenance, render, terminal
from analysis.render.text import blocks, lines, plain, settings
from analysis.table import Cell, Panel, Table
from experiment.errors import KirjoError
from tests.rendered import NASTY, nasty_table, origin, paper_table

GOLDEN = Path(__file__).parent / "golden" / "render"
ANY = st.text(st.characters(), max_size=60) | st.text("\\%&_#${}~^<>|`'\"[]()*!-+=@,.:; \n\t\r\x00\x1b\u202eé−≈1a")


def one(text: str, kind: str = "measured") -> Table:
    cells = (Cell("label", "label"), Cell(text, kind, {"percent": 1.5}, ("r",)))  # type: ignore[arg-type]
    return Table("t", "T", ("a", "b"), (Panel("", (cells,)),))


def golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("KIRJO_GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    assert path.read_bytes().decode() == text


# Golden files


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("table", [paper_table(), nasty_table()], ids=["paper", "nasty"])
def test_a_table_is_rendered_as_before(table, name):
    stem = "paper" if table.name == "table1" else "nasty"
    golden(stem + FORMATS[name].suffix, render(table, name))


def test_a_page_and_the_provenance_are_as_before():
    table = paper_table()
    golden("page.html", html.page(render(table, "html") + html.runs(table.origins), table.title))
    golden("provenance.txt", provenance(table))


# What is shown


@pytest.mark.parametrize("name", FORMATS)
def test_missing_and_empty_cells_say_so(name):
    assert "missing" in render(one("hidden", "missing"), name)
    assert "hidden" not in render(one("hidden", "missing"), name)
    assert "hidden" not in render(one("hidden", "empty"), name)


def test_an_unknown_format_or_a_short_row_is_refused():
    with pytest.raises(KirjoError, match="no table format 'pdf'; there are: terminal, markdown, latex, csv, html"):
        render(paper_table(), "pdf")
    short = Table("t", "T", ("a", "b"), (Panel("P", ((Cell("x", "label"),),)),))
    with pytest.raises(KirjoError, match="table t, panel 'P', has 1 cells where the table has 2 headings"):
        render(short, "csv")


def test_lines_of_notes_that_begin_with_two_spaces_are_commands():
    notes = ("one\ntwo\n  make x\nthree", "  make y\r\n  make z")
    assert list(blocks(notes)) == [
        (False, "one two"),
        (True, "make x"),
        (False, "three"),
        (True, "make y"),
        (True, "make z"),
    ]


@pytest.mark.parametrize("name", FORMATS)
def test_a_table_without_panels_or_rows_is_rendered(name):
    assert render(Table("t", "T", ("a", "b"), ()), name)
    assert render(Table("t", "T", ("a", "b"), (Panel("P", ()),)), name)


# Terminal


@pytest.mark.parametrize("width", [20, 40, 60, 79, 80, 100, 120, 200])
@pytest.mark.parametrize("table", [paper_table(), nasty_table()], ids=["paper", "nasty"])
def test_nothing_is_wider_than_the_terminal_and_nothing_cut(table, width):
    shown = terminal.text(table, width)
    commands = {"  " + text for command, text in blocks(table.notes) if command}
    assert max(cell_len(line) for line in shown.split("\n") if line not in commands) <= width
    assert "…" not in shown.replace("” …", "").replace("… €", "").replace("…\n", "") or table.name != "table1"
    for word in ("(313/783)", "baseline", "missing", "-12.27") if table.name == "table1" else ("=HYPERLINK",):
        assert word in shown


def test_at_80_columns_it_is_still_a_table_and_at_40_a_list():
    assert "data mix" in terminal.text(paper_table(), 80)
    assert "  published: 39.97 (313/783)\n" in terminal.text(paper_table(), 40)


def test_colours_are_used_where_there_are_some_and_never_needed():
    stream = io.StringIO()
    terminal.print_table(paper_table(), Console(file=stream, width=100, force_terminal=True, color_system="standard"))
    coloured = stream.getvalue()
    assert "\x1b[" in coloured
    bare = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert "\n".join(line.rstrip() for line in bare.split("\n")).strip() == terminal.text(paper_table(), 100).strip()


@given(ANY, st.integers(4, 40))
def test_wrapped_text_keeps_every_character_and_the_width(text, width):
    text = plain(text)
    wrapped = layout.wrap(text, width)
    assert "".join("".join(wrapped).split()) == "".join(text.split())
    assert cell_len(text) <= width or max(map(cell_len, wrapped)) <= width


def test_settings_in_common_are_told_once_and_others_with_their_run():
    one, other = origin("a", "en-fi-0pct"), origin("b", "en-fi-10pct")
    origins = (
        replace(one, settings={"mix": 0, "sft.epochs": 3}),
        replace(other, settings={"mix": 10, "sft.epochs": 3}),
    )
    assert settings(origins) == ({"sft.epochs": 3}, {"a": {"mix": 0}, "b": {"mix": 10}})
    told = provenance(replace(paper_table(), origins=origins))
    assert told.count("sft.epochs") == 1
    assert re.search(r"run b\)(\n.+)*\n  settings:\n    mix  10\n", told)
    assert settings(()) == ({}, {})
    assert html.runs(origins).count("sft.epochs") == 1


def test_provenance_names_runs_commands_fingerprints_and_versions():
    shown = provenance(paper_table())
    for part in ("en-fi-10pct (run run10)", "mix=10 seed=1", "sft/run10a1b2c3d4", "langdetect  1.0.9"):
        assert part in shown
    assert "No run stands behind" in provenance(one("x"))


# Any text survives


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.data: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.data += [value or "" for name, value in attrs if name == "title"]

    def handle_data(self, data: str) -> None:
        self.data.append(data)


@given(ANY)
def test_html_gives_the_text_back(text):
    reader = Reader()
    reader.feed(f'<p title="{html.escape(text)}">{html.escape(text)}</p>')
    reader.close()
    assert reader.tags == ["p"]
    assert reader.data == [plain(text)] * (2 if plain(text) else 1)


@given(ANY)
def test_html_of_a_table_has_no_other_tags_and_a_target_for_each_link(text):
    table = Table(
        "t", text, ("a", text), (Panel(text, ((Cell(text, "label"), Cell(text + "x", runs=(text,))),)),), (text,)
    )
    page = html.page(html.fragment(table) + html.runs([origin(text, text)]), text)
    assert not {"script", "b", "style"} & set(re.findall(r"<([a-zA-Z]\w*)", html.fragment(table)))
    (target,) = re.findall(r'href="#([^"]*)"', page)
    assert f'id="{target}"' in page


@given(ANY)
@example("=1+1")
@example("  +cmd|' /C calc'!A0")
@example("'=x")
def test_csv_gives_the_text_back_and_no_formula(text):
    rows = list(stdlib_csv.reader(io.StringIO(csv.text(one(text)), newline=""), strict=True))
    assert len(rows) == 2
    field = rows[1][rows[0].index("text")]
    assert csv.unguarded(field) == plain(text)
    assert not re.match(r"\s*[=@]", field)
    assert csv.unguarded(csv.guarded(text)) == lines(text)


@pytest.mark.parametrize("text", ["+5.08 [-3.4, 13.6]", "-", "-3.4", "+1e-05", "41.47 (73/176)"])
def test_csv_leaves_numbers_alone(text):
    assert csv.guarded(text) == text


@pytest.mark.parametrize("text", ["=1", "+1+1", "-cmd", "@SUM(A1)", "\tx", "＝1", "-1-2", "+5.08 [=x]"])
def test_csv_guards_formulas(text):
    assert csv.guarded(text) == "'" + text


def test_csv_has_a_row_for_each_number_with_its_run():
    text = render(paper_table(), "csv")
    rows = list(stdlib_csv.DictReader(io.StringIO(text, newline="")))
    assert text.count("\r\n") == len(rows) + 1
    (row,) = [
        r for r in rows if (r["panel"], r["row"], r["column"]) == ("Finnish accuracy", "en-fi-10pct", "reproduced")
    ]
    assert (row["correct"], row["total"], row["percent"], row["low"]) == ("73", "176", "41.47", "33.5")
    assert row["runs"] == "run10"
    assert row["command"].endswith("mix=10 seed=1")
    assert row["fingerprints"] == "sft=sft/run10a1b2c3d4 score.en=score/run10e5f6a7b8"
    assert sum(r["kind"] == "missing" for r in rows) == 5


@given(ANY)
def test_a_markdown_row_has_its_columns_and_no_markup(text):
    shown = markdown.text(one(text))
    *_, row = shown.rstrip("\n").split("\n")
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 3
    bare = re.sub(r"\\[!-/:-@\[-`{-~]|&(amp|lt|gt);", ".", row.strip("|"))
    assert not re.search(r"[`*_~$#<>&\\]|\]\(|\]\[", bare)


@given(ANY)
def test_markdown_gives_the_text_back(text):
    entities = {"&amp;": "&", "&lt;": "<", "&gt;": ">"}
    back = re.sub(r"\\([!-/:-@\[-`{-~])|&amp;|&lt;|&gt;", lambda m: m[1] or entities[m[0]], markdown.escape(text))
    assert back == plain(text)


@pytest.mark.parametrize(
    ("text", "shown"), [("- a", "\\- a"), ("1. a", "1\\. a"), ("# a", "\\# a"), ("a - b", "a - b"), ("> a", "&gt; a")]
)
def test_a_markdown_paragraph_stays_one(text, shown):
    assert markdown.paragraph(text) == shown


def unescaped(text: str) -> str:
    """What is left of LaTeX when commands, escaped characters and braces are taken away."""
    return re.sub(r"\\([A-Za-z]+|.)|[{}]", "", text)


@given(ANY)
@example("\\")
@example("[x] *y --- ,,, '''")
def test_latex_is_balanced_and_nothing_is_unescaped(text):
    shown = latex.escape(text)
    assert not re.search(r"[%&_#$~^<>\\`\"|]|--|,,|''", unescaped(re.sub(r"\{\}|\\ensuremath\{-\}", "\x00", shown)))
    depth = 0
    for brace in re.findall(r"(?<!\\)(?:\\\\)*([{}])", shown):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0
    assert "\n" not in shown
    assert not shown.startswith(("[", "*"))
    assert shown.isascii() or set(shown) - set(map(chr, range(128))) <= latex._LATIN


@given(ANY)
def test_nothing_gets_out_of_a_latex_comment(text):
    table = Table("t", "T", ("a",), (), (), (origin(text, text),))
    assert len(re.findall(r"[\n\r\x0b\x0c\x85\u2028\u2029]", latex.text(table))) == len(
        re.findall("\n", latex.text(Table("t", "T", ("a",), (), (), (origin("r", "r"),))))
    )


@pytest.mark.parametrize("text", NASTY)
def test_every_nasty_text_is_in_every_format(text):
    shown = plain(text)
    assert html.escape(shown) in render(one(text), "html")
    commands = latex.text(one(text)).replace("\\allowbreak{}", "").replace("{}", "")
    assert latex.escape(shown).replace("\\allowbreak{}", "").replace("{}", "") in commands
    assert markdown.escape(shown) in render(one(text), "markdown")


def test_a_hyphen_is_a_minus_in_numbers_and_a_hyphen_in_names():
    shown = latex.text(Table("t", "T", ("a", "b"), (Panel("", ((Cell("en-fi-10", "label"), Cell("-3 [-4, -1]")),)),)))
    assert "en-fi-10 & \\ensuremath{-}3 [\\ensuremath{-}4, \\ensuremath{-}1] \\\\" in shown


def test_latex_numbers_the_table_itself():
    assert "\\caption{SFT data mixes (demo, demo, demo)}" in latex.text(paper_table())
