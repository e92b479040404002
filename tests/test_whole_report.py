"""``python -m analysis report``: what goes into it, in which order, and what stops it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from experiment.store import Store
from tests.asked import ask
from tests.reports import unpacked
from tests.stores import fill, plan, record, with_seed


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store", create=True)


def report(store: Store, capsys, *arguments: str) -> str:
    path = store.root.parent / "out" / "report.html"
    code, out, err = ask(capsys, "report", "--store", str(store.root), "--out", str(path), *arguments)
    assert (code, err) == (0, "")
    assert str(path) in out
    return path.read_text(encoding="utf-8")


def test_it_holds_every_table_that_the_runs_give_with_its_figure_below(store, capsys):
    for overrides in (["method=dpo_both", "dpo.beta=0.1"], ["method=dpo_both"], ["mix=100"], ["mix=20"], ["mix=0"]):
        fill(store, plan(*overrides), prompts=12)
    html = report(store, capsys)
    captions = re.findall(r"<caption>(.*?)</caption>", html)
    assert [caption.split(" (")[0] for caption in captions] == [
        "Table 1: SFT data mixes",
        "Table 2: post-training methods",
        "Beta grid: DPO on both languages",
        "Accuracy by instruction category",
        "Instructions followed in Finnish answers, by rule set",
    ]
    parts = re.findall(r'id="(part-[tf]\d+)"', html)
    assert parts == ["part-t0", "part-f0", "part-t1", "part-t2", "part-f1", "part-t3", "part-f2", "part-t4"]
    names = [run["name"] for run in unpacked(html)["index"]["runs"]]
    assert names == [
        "demo/demo/0pct/sft",
        "demo/demo/20pct/sft",
        "demo/demo/100pct/sft",
        "demo/demo/100pct/dpo_both/beta=0.05",
        "demo/demo/100pct/dpo_both/beta=0.1",
    ]


def test_runs_by_older_versions_are_left_out(store, capsys):
    run = plan("mix=0")
    older = dataclasses.replace(run, steps={role: key[:-4] + "0000" for role, key in run.steps.items()})
    record(store, older, asked_for="2025-01-01T00:00:00.000+00:00")
    fill(store, run, prompts=12)
    assert [each["id"] for each in unpacked(report(store, capsys))["index"]["runs"]] == [run.id]


def test_a_table_that_cannot_be_made_is_told_in_the_report(store, capsys):
    fill(store, plan("mix=0"), prompts=12)
    other = with_seed(plan("mix=0"), 2)
    fill(store, other, prompts=14)
    html = report(store, capsys)
    assert "table1: not made" in html
    assert "2 prompts are scored in one and not in the other" in html


def test_only_chosen_runs(store, capsys):
    for mix in (0, 10):
        fill(store, plan(f"mix={mix}"), prompts=12)
    html = report(store, capsys, "--where", "mix=10")
    assert [run["name"] for run in unpacked(html)["index"]["runs"]] == ["demo/demo/10pct/sft"]


def test_a_store_without_runs_says_how_to_fill_it(store, capsys):
    code, _, err = ask(capsys, "report", "--store", str(store.root))
    assert code == 2
    assert "holds no runs yet: python -m experiment experiment=paper store=" in err
