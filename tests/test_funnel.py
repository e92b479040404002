"""``analysis funnel``: what cleaning dropped, each step once, in every format; no text is taken for markup."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.funnel import example_table, funnel_table
from analysis.render import FORMATS, render
from analysis.report.collect import STAGES as REPORTED
from analysis.request import tables_of
from analysis.selection import newest
from analysis.table import Table
from analysis.whole_report import make_report
from experiment.cleaning.funnel import FUNNEL, Example, Funnel, RuleCount, write_funnel
from experiment.errors import KirjoError, StoreError
from experiment.fingerprint import digest
from experiment.plan import Run
from experiment.results import load_results
from experiment.stages import STAGES
from experiment.store import Store
from tests.asked import ask
from tests.reports import NASTY, unpacked
from tests.stores import fill, plan, record
from tests.test_render import golden
from tests.translations import noised, publish_files, publish_quality, some_sentences

DATA = ("data_mix.target=translate",)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(tmp_path / "store", create=True)


def example(number: int, source: str, text: str, value: float | str = 1.75, why: str = "too long") -> Example:
    return Example(f"row-{number}", "assistant", value, why, source, text)


def some_funnel(kind: Any = "conversations", examples: Sequence[Example] = (), cut: int = 3) -> Funnel:
    rules = (
        RuleCount("empty", "not empty", 10, 10, {"assistant": 9, "user": 1}, tuple(examples[:1])),
        RuleCount("length_ratio", "<= 1.5", 80, 1234, {"assistant": 85}, tuple(examples[1:])),
        RuleCount("copy", "<= 0.5", 0, 0, {}),
    )
    languages = {"source": "en", "target": "fi"}
    return Funnel(kind, languages, 1500, 1410, {"rows": cut, "texts": cut + 1 if cut else 0}, rules)


def publish_funnel(store: Store, run: Run, part: str, funnel: Funnel) -> Path:
    return publish_files(store, run.steps[f"clean.{part}"], lambda work: write_funnel(work, funnel))


def filled(store: Store, funnel: Funnel | None = None) -> list[Run]:
    """Two runs that share one cleaning of SFT data, and one that only makes data."""
    runs = [plan(*DATA, "mix=10"), plan(*DATA, "mix=20"), plan(*DATA, "method=data")]
    for run in runs:
        record(store, run)
    publish_funnel(store, runs[0], "sft", funnel or some_funnel())
    return runs


def made(store: Store) -> Table:
    return funnel_table(newest(load_results(store)), "store")


def texts(table: Table, panel: int = 0) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.panels[panel].rows]


def test_the_funnel_as_it_is_printed(store, capsys):
    runs = filled(store)
    summary = {"rows": 1500, "lines": 9000, "distinct_lines": 8100, "split_lines": 4, "cut_off": 12, "empty": 0}
    publish_files(store, runs[0].steps["translate.sft"], lambda work: (work / "x").write_text(""), summary=summary)
    publish_funnel(store, runs[2], "preference", some_funnel("pairs", cut=0))
    golden("funnel.txt", render(made(store), "terminal"))
    golden("funnel.md", render(made(store), "markdown"))


def test_rows_are_counted_down_to_what_is_left(store):
    filled(store)
    table = made(store)
    first, *rules, last = texts(table)
    assert first == ["rows in", "", "-", "-", "1,500", "100.0", "4,692"]
    assert rules[0] == ["empty", "not empty", "10", "10 (assistant 9, user 1)", "1,490", "99.3", "-"]
    assert rules[1][2:5] == ["80", "1,234 (assistant 85)", "1,410"]
    assert rules[2][2:5] == ["0", "0", "1,410"]
    assert last == ["rows out", "", "90", "-", "1,410", "94.0", "4,399 (93.8 %)"]
    cells = table.panels[0].rows[2]
    assert cells[2].numbers == {"dropped": 80, "of": 1500}
    assert cells[3].numbers == {"would_drop": 1234, "assistant_parts": 85}


def test_runs_that_share_a_step_are_told_together_and_gaps_name_their_command(store):
    runs = filled(store)
    table = made(store)
    assert [panel.title for panel in table.panels] == ["SFT conversations, en to fi", "Preference pairs, en to fi"]
    assert "SFT conversations: one step, shared by 3 runs." in table.notes
    missing = texts(table, 1)
    assert [row[0] for row in missing] == ["rows in"]
    assert table.panels[1].rows[0][4].kind == "missing"
    assert missing[0][6] == "7,221"
    (again,) = [note for note in table.notes if note.startswith("  python")]
    assert "method=data" in again
    first = min(run.id for run in runs)  # one of those that share the step is enough
    assert {origin.run for origin in table.origins} == {first, runs[2].id}
    clean = next(origin for origin in table.origins if origin.run == first)
    assert clean.versions["lm_eval"] == "0.4.13"  # what the manifest of the clean step says


def cleaned_with(run: Run, rules: Mapping[str, Any]) -> Run:
    """The run with other rules of cleaning."""
    steps = {
        role: f"clean/{digest([key, rules])}" if key.startswith("clean/") else key for role, key in run.steps.items()
    }
    return replace(run, steps=steps, config={**run.config, "clean": {"name": "paper", **rules}})


def test_runs_with_different_cleaning_are_told_apart(store):
    for value in (0.8, 0.9):
        run = cleaned_with(plan(*DATA, "method=data"), {"language": {"least": value}})
        record(store, run)
        publish_funnel(store, run, "sft", some_funnel())
        publish_funnel(store, run, "preference", some_funnel("pairs"))
    titles = [panel.title for panel in made(store).panels]
    assert sorted(titles) == [
        "Preference pairs, en to fi, clean.language.least=0.8",
        "Preference pairs, en to fi, clean.language.least=0.9",
        "SFT conversations, en to fi, clean.language.least=0.8",
        "SFT conversations, en to fi, clean.language.least=0.9",
    ]


def test_a_rule_that_is_off_is_told_and_what_no_setting_tells_gets_its_name(store):
    for place, rules in enumerate(({"language": None}, {"language": {"least": 0.9}}, {"language": {"least": 0.8}})):
        run = cleaned_with(plan(*DATA, "mix=10"), rules)
        record(store, replace(run, name=str(place)))
        publish_funnel(store, run, "sft", some_funnel())
    ends = sorted(panel.title.split("en to fi, ")[1].split("/")[0] for panel in made(store).panels)
    assert ends == ["clean.language=none", *["clean.language=on, clean"] * 2]


def test_other_languages_have_nothing_published_beside_them(store):
    run = plan(*DATA, "method=data")
    record(store, run)
    other = some_funnel()
    publish_funnel(store, run, "sft", Funnel(**{**vars(other), "languages": {"source": "en", "target": "sv"}}))
    assert {row[6] for row in texts(made(store))} == {"-"}


def test_what_the_command_says(store, capsys):
    at = ["--store", str(store.root)]
    code, _, err = ask(capsys, "funnel", *at)
    assert code == 2
    assert f"python -m experiment data_mix.target=translate store={store.root}" in err
    filled(store, some_funnel(examples=[example(1, "Yes.", ""), example(2, "No.", "Ei " * 30)]))
    code, out, err = ask(capsys, "funnel", *at)
    assert (code, err) == (0, "")
    assert "row-1" not in out
    code, out, err = ask(capsys, "funnel", *at, "--examples")
    assert (code, err) == (0, "")
    assert "What the rules dropped" in out
    assert "row-1, assistant" in out
    code, out, _ = ask(capsys, "funnel", *at, "--provenance", "--where", "mix=10")
    assert code == 0
    assert "clean.sft" in out
    assert "clean.language.least" in out


def test_files_in_all_formats(store, capsys, tmp_path):
    filled(store, some_funnel(examples=[example(1, "Yes.", "")]))
    folder = tmp_path / "out"
    code, _, err = ask(capsys, "funnel", "--store", str(store.root), "--examples", "--out", str(folder))
    assert code == 0
    names = sorted(path.name for path in folder.iterdir())
    suffixes = [form.suffix for form in FORMATS.values()]
    assert names == sorted(f"{stem}{suffix}" for stem in ("funnel-1", "funnel-examples-2") for suffix in suffixes)
    assert err.count("written: ") == 10


def nasty() -> list[Example]:
    """Texts that try to break out of every format; UTF-8 cannot hold lone surrogates as they are."""
    return [example(number, text, text, text, text) for number, text in enumerate(NASTY) if number != 6]


@pytest.mark.parametrize("form", FORMATS)
def test_untrusted_texts_stay_texts(store, form):
    filled(store, some_funnel(examples=nasty()))
    table = example_table(newest(load_results(store)), "store")
    assert table is not None
    text = render(table, form)
    assert "\x1b" not in text
    assert "\u202e" not in text
    if form == "html":
        assert "<script" not in text
        assert "<img" not in text
        assert "&lt;script&gt;window.pwned = 1&lt;/script&gt;" in text
    if form == "markdown":
        assert "<script" not in text


def test_examples_stand_below_their_rule_side_by_side(store):
    filled(store, some_funnel(examples=[example(1, "Yes.", "", "", "empty"), example(2, "No.\nNever.", "Ei koskaan.")]))
    table = example_table(newest(load_results(store)), "store")
    assert table is not None
    assert table.headings == ("row", "found", "source", "translation")
    assert [panel.title for panel in table.panels] == ["empty, SFT conversations", "length_ratio, SFT conversations"]
    assert texts(table, 1) == [["row-2, assistant", "1.75: too long", "No.\nNever.", "Ei koskaan."]]
    golden("funnel-examples.txt", render(table, "terminal"))


def test_no_examples_no_table(store):
    filled(store)
    assert example_table(newest(load_results(store)), "store") is None


def test_a_damaged_funnel_names_the_command_that_makes_it_again(store):
    run = filled(store)[0]
    path = store.artifact(*run.steps["clean.sft"].split("/")) / FUNNEL
    path.write_text("{}")
    with pytest.raises(StoreError, match=r"(?s)funnel.json.*makes it again.*data_mix.target=translate"):
        made(store)


def test_no_table_of_nothing(store):
    record(store, plan("method=sft"))
    with pytest.raises(KirjoError, match="has no cleaned translations: none of its 1 runs has such a step"):
        made(store)


# In the report


def report(store: Store, tmp_path: Path) -> str:
    path = make_report(tmp_path / "report.html", load_results(store), store.root)
    return path.read_text(encoding="utf-8")


def test_the_report_shows_funnel_examples_and_quality(store, tmp_path):
    run = plan(*DATA, "mix=10", "translate.round_trip=true")
    fill(store, run)
    publish_funnel(store, run, "sft", some_funnel(examples=nasty()))
    references = some_sentences(12, "en")
    publish_quality(store, run, "quality.sft.round_trip", noised(references), references, ["chrf"])
    html = report(store, tmp_path)
    for title in ("From translated to cleaned rows", "What the rules dropped", "Translation quality"):
        assert f"<caption>{title}</caption>" in html
    data = unpacked(html)
    assert html.count("<script") == html.count("</script>") == 1 + len(data)
    assert "<img src=x" not in html
    assert "&lt;script&gt;window.pwned = 1&lt;/script&gt;" in html
    stages = list(dict.fromkeys(step["stage"] for step in data["index"]["steps"]))
    assert stages == ["pretrain", "translate", "clean", "quality", "mix", "sft", "generate", "score"]


def test_the_plan_of_the_report_knows_every_stage():
    assert tuple(STAGES) == REPORTED


def test_a_report_of_runs_that_translate_nothing_shows_nothing_new(store, tmp_path):
    fill(store, plan("method=sft"))
    html = report(store, tmp_path)
    assert not re.search("cleaned rows|rules dropped|Translation quality", html)


def test_a_damaged_funnel_is_told_in_the_report_and_stops_nothing_else(store, tmp_path):
    run = plan(*DATA, "mix=10")
    fill(store, run)
    (publish_funnel(store, run, "sft", some_funnel()) / FUNNEL).write_text("{}")
    html = report(store, tmp_path)
    assert "clean: not made" in html
    assert "makes it again" in html
    assert "Table 1" in html


def test_a_report_of_data_alone(store, tmp_path):
    run = plan(*DATA, "method=data")
    record(store, run)
    publish_funnel(store, run, "sft", some_funnel())
    html = report(store, tmp_path)
    assert "<caption>From translated to cleaned rows</caption>" in html
    assert "missing" in html
    assert "not made" not in html
    fill(store, plan("method=sft"))
    for name in ("table1", "table2", "betas", "figure1"):
        (table, *_) = tables_of(name, load_results(store), "store")
        assert run.id not in {origin.run for origin in table.table.origins}


def test_what_was_left_out_on_reading_is_told_beside_the_funnel(store):
    runs = filled(store)
    for role, dropped in (("translate.sft", {"rows without a text": 1400}), ("pair.en", {"messages in review": 7})):
        summary = {"rows": 1500, "sources": {"source": {"rows": 1500, "dropped": dropped}}}
        publish_files(store, runs[2].steps[role], lambda work: (work / "x").write_text(""), summary=summary)
    notes = [note for note in made(store).notes if "left out when they were read" in note]
    assert [note.split(": ")[-1] for note in notes] == ["1,400 rows without a text.", "7 messages in review."]
