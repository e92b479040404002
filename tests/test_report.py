"""The report as a file: stands alone, lets nothing break out, tells every gap. What it does: test_report_browser."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import json
import math
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.render.html import fragment
from analysis.report import build, write_report
from analysis.report.curves import curve, thinned
from analysis.report.pack import packed
from analysis.table import Cell, Panel, Table
from experiment.errors import KirjoError
from experiment.results import RunResult, load_results
from experiment.store import Store
from tests.reports import NASTY, many, unpacked, with_answers, words
from tests.stores import fill, plan, publish, publish_answers, record, verdict

PAGE = Path(__file__).resolve().parent.parent / "analysis" / "report" / "page"
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><script>window.pwned = 1</script></svg>'


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(tmp_path / "store", create=True)


@pytest.fixture
def runs(store) -> list[RunResult]:
    for method, level in (("sft", 0.3), ("dpo_both", 0.6)):
        fill(store, plan(f"method={method}"), level=level)
    return load_results(store)


def html_of(runs: list[RunResult], store: Store, **options: Any) -> str:
    return build(runs, options.pop("tables", []), options.pop("figures", []), store, **options).html.decode("utf-8")


def answers(html: str, language: str, run: int) -> dict[tuple[int, int], str]:
    """The answers of a run as the page finds them, by key and variant."""
    data = unpacked(html)
    found = {}
    for item in data["index"]["languages"][language]["items"]:
        block = data[str(item["block"])]
        place = block["prompts"][item["place"]]["answer"][run]
        if place >= 0:
            found[item["key"], item["variant"]] = block["texts"][place]
    return found


class Tags(HTMLParser):
    """All tags with their attributes, and what stands in scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": []}
        self.open = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in self.inside:
            self.open = tag
            if dict(attrs).get("type") is None:
                self.inside[tag].append("")

    def handle_endtag(self, tag):
        self.open = "" if tag == self.open else self.open

    def handle_data(self, data):
        if self.open and self.tags[-1][1].get("type") is None:
            self.inside[self.open][-1] += data


def test_nothing_is_loaded_from_elsewhere(runs, store):
    table = Table("t", "T", ("run", "n"), (Panel("", ((Cell("a", "label"), Cell("1", runs=(runs[0].id,))),)),))
    found = Tags(html_of(runs, store, tables=[(table, fragment(table))], figures=[("F", SVG)]))
    for tag, attributes in found.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base"), tag
        for name in ("src", "href", "action", "srcset", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:image/svg+xml;base64,")), (tag, name, value)
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
    (style,), (script,) = found.inside["style"], found.inside["script"]
    assert not re.search(r"url\(|@import", style)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", script)


def test_the_policy_allows_this_script_and_this_style_alone(runs, store):
    html = html_of(runs, store)
    found = Tags(html)
    (policy,) = (a["content"] for _, a in found.tags if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    for name in ("script", "style"):
        (text,) = found.inside[name]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[f"{name}-src"] == f"'sha256-{digest}'"
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == "data:"
    assert (rules["require-trusted-types-for"], rules["trusted-types"]) == ("'script'", "'none'")
    # Before anything it should guard.
    assert html.index("Content-Security-Policy") < html.index("<style") < html.index("<script")


def test_the_page_never_makes_markup_of_text():
    for path in PAGE.glob("*.js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(|DOMParser|setHTML|srcdoc",
            path.read_text(),
        ), path


def test_nasty_texts_come_out_as_they_went_in(store):
    texts = dict(enumerate(NASTY))
    run = dataclasses.replace(plan("method=sft"), name=NASTY[0], overrides=(f"x='{NASTY[2]}'",))
    record(store, run)
    texts.pop(6)  # a file of UTF-8 cannot hold lone surrogates as they are: below
    publish_answers(store, run, "fi", texts, {key: f"{text}?" for key, text in texts.items()})
    key = run.steps["generate.en"]
    work = store.work(*key.split("/"))
    work.mkdir(parents=True)
    row = {"key": 6, "prompt": NASTY[6], "response": NASTY[6]}
    (work / "responses.jsonl").write_text(json.dumps(row) + "\n")
    none: dict[str, Any] = {}
    store.publish(*key.split("/"), version=1, settings=none, inputs=none, provenance=none, timings=none,
                  execution=none, summary=none)  # fmt: skip
    runs = load_results(store)
    html = html_of(runs, store, figures=[(NASTY[3], SVG)])
    assert answers(html, "fi", 0) == {(key, 0): text for key, text in texts.items()}
    assert answers(html, "en", 0) == {(6, 0): NASTY[6]}
    assert unpacked(html)["index"]["runs"][0]["name"] == NASTY[0]
    # The figure's title stands escaped in the contents, its caption and its picture's name; all else is packed.
    assert html.count("pwned") == html.count("&quot;&gt;&lt;svg onload=&quot;window.pwned = 1&quot;&gt;") == 3
    assert html.count("<script") == html.count("</script>") == 1 + len(unpacked(html))


@given(st.recursive(st.text(st.characters(exclude_categories=())), lambda inner: st.lists(inner, max_size=4)))
def test_any_text_can_be_packed(value):
    data = packed(value)
    assert re.fullmatch(rb"[A-Za-z0-9+/=]+", data)
    assert joined(json.loads(gzip.decompress(base64.b64decode(data)))) == joined(value)


def joined(value: Any) -> Any:
    """Texts as JavaScript has them: two halves of a character that stand together are that character."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return [joined(item) for item in value]


def test_the_same_answer_stands_once(store):
    for method in ("sft", "dpo_en", "dpo_fi"):
        with_answers(store, plan(f"method={method}"), {1: "same", 2: f"by {method}"}, [verdict(1, 0, True)])
    data = unpacked(html_of(load_results(store), store))
    assert sorted(data["0"]["texts"] + data["1"]["texts"]) == ["by dpo_en", "by dpo_fi", "by sft", "same"]
    assert len(set(data["1"]["prompts"][0]["answer"])) == 1


def test_verdicts_stand_at_their_instructions(runs, store):
    index = unpacked(html_of(runs, store))["index"]
    for name, language in index["languages"].items():
        for place, run in enumerate(runs):
            scored = run.scored(name)
            names = [index["instruction_ids"][id] for item in language["items"] for id in item["instructions"]]
            assert tuple(names) == scored.instruction_ids
            for rules in scored.rules:
                for kind in ("strict", "loose"):
                    expected = "".join(str(int(value)) for value in getattr(scored, kind)[rules])
                    assert language[kind][str(place)][rules] == expected
            codes = [index["codes"][code] for code in language["found"][str(place)]["langdetect"]]
            assert tuple(codes) == scored.languages["langdetect"]
    assert index["languages"]["fi"]["rules"][0] == "paper"


def test_other_prompts_under_the_same_key_are_kept_apart(store):
    for method, prompt in (("sft", "old"), ("dpo_en", "new"), ("dpo_fi", "old")):
        run = plan(f"method={method}")
        record(store, run)
        publish_answers(store, run, "fi", {7: method}, {7: prompt})
    html = html_of(load_results(store), store)
    names = {run.name: place for place, run in enumerate(load_results(store))}
    found = {name.split("/")[3]: answers(html, "fi", place) for name, place in names.items()}
    assert found["sft"].keys() == found["dpo_fi"].keys() != found["dpo_en"].keys()


def test_too_long_answers_are_cut_and_counted(store, tmp_path, capsys):
    runs = many(store, words(3), runs=2, prompts=30)
    whole = build(runs, [], [], store)
    assert (whole.cut, whole.note, whole.answers) == (0, "", 120)
    report = build(runs, [], [], store, max_megabytes=0.12)
    assert len(report.html) <= 120_000 < len(whole.html)
    html = report.html.decode()
    data = unpacked(html)
    assert data["index"]["cut"] == {"answers": report.cut, "after": report.cut_after}
    for place, run in enumerate(runs):
        full = {row["key"]: row["response"] for row in run.responses("fi")}
        for (key, _), text in answers(html, "fi", place).items():
            assert text == full[key][: report.cut_after]
    lengths = [len(row["response"]) for run in runs for name in ("en", "fi") for row in run.responses(name)]
    assert report.cut == sum(length > report.cut_after for length in lengths) > 0
    assert any(block["cut"] for name, block in data.items() if name != "index")
    write_report(tmp_path / "r.html", runs, [], [], store, max_megabytes=0.12)
    assert f"{report.cut} of 120 answers are cut after {report.cut_after:,} characters" in capsys.readouterr().err
    with pytest.raises(KirjoError, match=r"0.05 MB .*even with its answers cut after 200 .*max_megabytes"):
        build(runs, [], [], store, max_megabytes=0.05)


def test_no_runs_is_an_error_that_says_what_to_do(store):
    with pytest.raises(KirjoError, match=r"no runs to report on in .*python -m experiment"):
        build([], [], [], store)


def test_every_gap_is_told(store):
    names = ("method=sft", "method=dpo_en", "method=dpo_fi", "method=dpo_both")
    by_name = {name: plan(name) for name in names}
    for name in names[:3]:
        fill(store, by_name[name])
    record(store, by_name[names[3]])
    deleted, damaged = by_name["method=sft"].steps["generate.fi"], by_name["method=dpo_en"].steps["score.fi"]
    shutil.rmtree(store.root / deleted)
    (store.root / damaged / "verdicts.jsonl").write_text("{}\n")
    runs = load_results(store)
    place = {run.name.split("/")[3]: number for number, run in enumerate(runs)}
    index = unpacked(html_of(runs, store))["index"]
    gaps = index["languages"]["fi"]["gaps"]
    assert gaps[str(place["sft"])] == [f"no answers ({deleted} is not in the store)"]
    assert re.match("the verdicts cannot be read: .*expected .* bytes", gaps[str(place["dpo_en"])][0])
    assert str(place["dpo_fi"]) not in gaps
    assert [text.split(" (")[0] for text in gaps[str(place["dpo_both"])]] == ["not scored yet", "no answers"]
    assert any(gap.endswith("the step is not in the store") for gap in index["curve_gaps"])
    states = {step["key"]: step["state"] for step in index["steps"]}
    assert states[deleted] == "missing"
    assert states[by_name["method=dpo_fi"].steps["score.fi"]] == "done"


def test_answers_that_are_no_answers_are_a_gap(store):
    run = plan("method=sft")
    record(store, run)
    publish(store, run.steps["generate.fi"], "responses.jsonl", [{"key": "one"}])
    index = unpacked(html_of(load_results(store), store))["index"]
    (_, gap) = index["languages"]["fi"]["gaps"]["0"]
    assert "expected rows with a whole number" in gap


def test_steps_are_told_apart_by_what_their_runs_have_in_common(store):
    for override in ("mix=0", "mix=100", "method=dpo_en", "method=dpo_both", "dpo_beta=0.1"):
        record(store, plan(*([override] if override != "dpo_beta=0.1" else ["method=dpo_both", override])))
    runs = load_results(store)
    steps = unpacked(html_of(runs, store))["index"]["steps"]
    labels = {(step["role"], step["label"]) for step in steps}
    assert {("pretrain", ""), ("sft", "mix=0"), ("sft", "mix=100"), ("dpo", "method=dpo_en")} <= labels
    assert {("score.fi", "method=dpo_both, beta=0.05"), ("score.fi", "beta=0.1"), ("pair.fi", "")} <= labels
    assert sum(len(step["runs"]) for step in steps) == sum(len(run.steps) for run in runs)
    assert [step["stage"] for step in steps] == sorted(
        (step["stage"] for step in steps),
        key=("pretrain", "pair", "mix", "sft", "reference", "dpo", "generate", "score").index,
    )


def test_learning_curves_are_read_checked_and_thinned(store):
    run = plan("method=sft")
    record(store, run)
    rows = [{"step": step, "epoch": step / 10, "loss": 5 / step} for step in range(1, 1001)]
    publish(store, run.steps["sft"], "history.jsonl", rows)
    publish(store, run.steps["pretrain"], "history.jsonl", rows)
    path = store.root / run.steps["pretrain"] / "history.jsonl"
    path.write_text(path.read_text().replace("5.0", "6.0"))
    index = unpacked(html_of(load_results(store), store))["index"]
    (found,) = index["curves"]
    assert (found["role"], found["rows"], list(found["columns"])) == ("sft", 1000, ["loss"])
    assert len(found["columns"]["loss"][0]) <= 300
    assert "has changed since" in index["curve_gaps"][0]


@given(st.lists(st.floats(-1e6, 1e6), max_size=2000))
def test_thinning_keeps_ends_order_and_extremes(values):
    points = list(enumerate(values))
    thin = thinned(points)
    assert len(thin) <= 300
    assert thin == sorted(set(thin) & set(points))
    if points:
        assert (thin[0], thin[-1]) == (points[0], points[-1])
        assert max(y for _, y in thin) == max(values)
        assert min(y for _, y in thin) == min(values)


def test_thinning_loses_no_spike_to_either_side():
    points = [(step, 0.0) for step in range(2000)]
    for step, value in ((401, 5.0), (402, -5.0), (1500, 3.0)):
        points[step] = (step, value)
    kept = dict(thinned(points))
    assert (kept[401], kept[402], kept[1500]) == (5.0, -5.0, 3.0)


def test_what_is_no_number_is_left_out_of_a_curve_and_counted():
    found = curve("sft/x", [{"step": 1, "loss": 2.0}, {"step": 2, "loss": math.nan}, {"step": 3, "loss": "Infinity"}])
    assert (found.columns, found.not_finite) == ({"loss": ([1.0], [2.0])}, 2)


def test_the_same_store_gives_the_same_file(runs, store, tmp_path):
    first, second = (build(runs, [], [], store, made="then").html for _ in range(2))
    assert first == second
    path = write_report(tmp_path / "new" / "report.html", runs, [], [("F", SVG)], store)
    assert path.read_bytes().startswith(b"<!DOCTYPE html>")


def test_the_command_of_a_run_can_be_pasted(store):
    run = dataclasses.replace(plan("method=sft"), overrides=("method=sft", "data_mix.path=a b'c.jsonl"))
    record(store, run)
    (found,) = unpacked(html_of(load_results(store), store))["index"]["runs"]
    assert found["command"] == (
        f"""python -m experiment method=sft 'data_mix.path=a b'"'"'c.jsonl' store={store.root}"""
    )
