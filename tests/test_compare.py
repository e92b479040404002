"""A table of any sweep, and what is shown of one setting: by category, by rule set."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

from analysis.compare import compare
from analysis.metric_name import MetricName
from analysis.table import Table
from experiment.errors import KirjoError
from experiment.results import load_results
from experiment.store import Store
from tests.asked import ask
from tests.stores import fill, imagined, plan, publish_verdicts, record, verdict, with_seed

METRIC = MetricName("fi", "instruction_strict")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store", create=True)


def scored(store: Store, correct: int, *overrides: str, seed: int | None = None, total: int = 20) -> None:
    run = plan(*overrides) if seed is None else with_seed(plan(*overrides), seed)
    record(store, run)
    publish_verdicts(store, run, "fi", [verdict(key, 0, key < correct) for key in range(total)])


def made(store: Store, rows: str, columns: str | None = None, baseline: str | None = None) -> Table:
    return compare(load_results(store), [METRIC], rows, columns, baseline, "here")


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for panel in table.panels for row in panel.rows]


def test_a_setting_nobody_foresaw_is_an_axis_by_itself(store):
    for rate, correct in (("1e-3", 12), ("2e-3", 5), ("5e-4", 20)):
        scored(store, correct, "mix=0", f"sft.learning_rate={rate}")
    table = made(store, "sft.learning_rate")
    assert [row[:2] for row in texts(table)] == [
        ["0.0005", "100.00 (20/20)"],
        ["0.001", "60.00 (12/20)"],
        ["0.002", "25.00 (5/20)"],
    ]
    assert [row[5] for row in texts(table)] == ["", "yes", "yes"]
    # 8 prompts lost, none gained: 2 / 2^8; 15 lost: 2 / 2^15; Holm over the two.
    assert [row[4] for row in texts(table)] == ["-", "0.008", "<0.001"]


def test_two_axes_make_a_grid_with_gaps(store):
    scored(store, 4, "mix=0")
    scored(store, 10, "mix=100")
    scored(store, 11, "mix=100", "method=sft_masked")
    table = made(store, "mix", "method")
    assert table.headings == ("mix \\ method", "sft", "sft_masked")
    found = texts(table)
    assert [row[0] for row in found] == ["0", "100"]
    assert (found[0][1][:5], found[0][2]) == ("20.00", "-")
    assert found[1][1].startswith("50.00 (10/20) [")
    assert found[1][1].endswith("] *")
    # Nothing stands above it to be compared with.
    assert re.fullmatch(r"55.00 \(11/20\) \[[\d.]+, [\d.]+\]", found[1][2])


def test_what_tells_runs_of_one_place_apart_becomes_part_of_the_column(store):
    scored(store, 4, "mix=100")
    for beta in ("0.01", "0.1"):
        scored(store, 6, "method=dpo_both", f"dpo.beta={beta}")
    assert made(store, "mix", "method").headings[1:] == ("sft", "dpo_both, beta=0.01", "dpo_both, beta=0.1")
    assert [row[0] for row in texts(made(store, "method"))] == ["sft", "dpo_both, beta=0.01", "dpo_both, beta=0.1"]


def test_too_many_unlike_runs_are_refused_with_what_they_differ_in(store):
    for overrides in (["mix=0"], ["mix=10"], ["mix=10", "sft.epochs=9", "sft.learning_rate=1e-3"]):
        scored(store, 4, *overrides)
    with pytest.raises(KirjoError, match=r"too many unlike runs .*mix: 0, 10; sft.*choose with --where mix=VALUE"):
        made(store, "model")


def test_seeds_of_a_setting_share_a_cell(store):
    for seed, correct in ((1, 4), (2, 8), (3, 6)):
        scored(store, correct, "mix=0", seed=seed)
    assert texts(made(store, "mix"))[0][1] == "30.00 ± 10.00 (3 seeds)"
    assert texts(made(store, "seed"))[2][1] == "30.00 (6/20)"


def test_any_row_can_be_the_baseline(store):
    for mix, correct in (("0", 2), ("10", 8), ("100", 18)):
        scored(store, correct, f"mix={mix}")
    assert [row[3].split()[0] for row in texts(made(store, "mix", baseline="10pct"))] == ["-30.0", "baseline", "+50.0"]
    with pytest.raises(KirjoError, match="--baseline 50: no row has mix=50; rows: 0; 10; 100"):
        made(store, "mix", baseline="50")


def test_runs_with_other_limits_compare_only_where_the_limit_is_told(store):
    scored(store, 4, "mix=0")
    scored(store, 6, "mix=10", "benchmark.max_new_tokens=64")
    with pytest.raises(
        KirjoError, match=r"benchmark.max_new_tokens: (128 and 64|64 and 128).*--rows benchmark.max_new"
    ):
        made(store, "mix")
    assert len(texts(made(store, "benchmark.max_new_tokens", "mix"))) == 2


def test_a_run_that_is_not_scored_yet_names_its_command(store):
    scored(store, 4, "mix=0")
    record(store, plan("mix=10"))
    table = made(store, "mix")
    assert texts(table)[1][1] == "missing"
    assert "  python -m experiment mix=10 store=here" in table.notes


def test_the_command_line(store, capsys, tmp_path):
    for mix in ("0", "100"):
        fill(store, plan(f"mix={mix}"))
    arguments = ["compare", "--rows", "mix", "--columns", "method", "--metric", "ifeval_fi.instruction_strict"]
    code, out, err = ask(capsys, *arguments, "--where", "model=demo", "--store", str(store.root))
    assert (code, err) == (0, "")
    assert "ifeval_fi.instruction_strict by mix and method" in out
    code, out, _ = ask(capsys, *arguments, "--format", "csv", "--store", str(store.root))
    rows = list(csv.DictReader(io.StringIO(out)))
    measured = [row for row in rows if row["column"] == "sft"]
    assert len(measured) == 2
    assert all(float(row["low"]) <= float(row["percent"]) <= float(row["high"]) for row in measured)
    assert all("python -m experiment mix=" in row["command"] for row in measured)
    code, _, err = ask(capsys, *arguments, "--out", str(tmp_path / "made"), "--store", str(store.root))
    assert code == 0
    assert {path.name for path in (tmp_path / "made").iterdir()} == {
        f"compare.{ending}" for ending in ("txt", "md", "tex", "csv", "html")
    }
    assert str(tmp_path / "made" / "compare.tex") in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "--rows", "mix"], "required: --metric"),
        (
            ["compare", "--rows", "mx", "--metric", "ifeval_fi.prompt_strict"],
            "no run has a setting 'mx' .did you mean mix",
        ),
        (["compare", "--rows", "mix", "--columns", "mix", "--metric", "ifeval_fi.prompt_strict"], "are both mix"),
        (["compare", "--rows", "mix", "--metric", "ifeval_fi.f1"], "there is no metric 'ifeval_fi.f1'"),
        (
            ["compare", "--rows", "mix", "--metric", "ifeval_fi.prompt_strict@dutch"],
            "no verdicts by a rule set 'dutch'",
        ),
        (
            ["compare", "--rows", "mix", "--metric", "ifeval_fi.instruction_strict/x"],
            "no instruction is of the category",
        ),
        (["compare", "--rows", "mix", "--metric", "ifeval_fi.prompt_strict/keywords"], "cannot be told by category"),
        (
            ["compare", "--rows", "mix", "--metric", "ifeval_fi.prompt_strict", "--out", "/dev/null/x"],
            "cannot write to",
        ),
    ],
)
def test_a_wrong_comparison_says_what_is_allowed(store, capsys, arguments, message):
    fill(store, plan("mix=0"))
    code, _, err = ask(capsys, *arguments, "--store", str(store.root))
    assert code == 2
    assert re.search(message, err), err


def test_an_empty_store_says_how_to_fill_it(store, capsys):
    code, _, err = ask(
        capsys, "compare", "--rows", "mix", "--metric", "ifeval_fi.prompt_strict", "--store", str(store.root)
    )
    assert code == 2
    assert "python -m experiment" in err


# One setting by itself


def test_figure_1_counts_instructions_by_category(store, capsys, tmp_path):
    run = plan("mix=100")
    fill(store, run, prompts=60)
    code, out, _ = ask(capsys, "figure1", "--store", str(store.root), "--out", str(tmp_path), "--format", "csv")
    assert code == 0
    verdicts, _, _ = imagined("fi", prompts=60, level=0.4, in_language=0.9, seed=42)
    keywords = [row for row in verdicts if row.instruction_id.startswith("keywords:")]
    (found,) = [
        row
        for row in csv.DictReader(io.StringIO(out))
        if (row["panel"], row["row"], row["column"]) == ("Finnish: instruction strict", "keywords", "accuracy")
    ]
    assert int(found["total"]) == len(keywords)
    assert int(found["correct"]) == sum(row.strict["paper"] for row in keywords)
    assert any(
        row["panel"] == "Finnish: instruction strict, rule set finnish" for row in csv.DictReader(io.StringIO(out))
    )
    for ending, magic in (("pdf", b"%PDF"), ("svg", b"<?xml"), ("png", b"\x89PNG")):
        assert (tmp_path / f"figure1.{ending}").read_bytes().startswith(magic)


def test_figure_1_is_of_the_papers_run_if_nothing_is_chosen(store, capsys):
    for overrides in (["mix=0"], ["mix=100"], ["method=dpo_en"]):
        fill(store, plan(*overrides), prompts=12)
    code, out, _ = ask(capsys, "figure1", "--store", str(store.root))
    assert code == 0
    assert "(demo/demo/100pct/sft)" in out


def test_seeds_scored_by_other_versions_are_not_shown_as_one(store, capsys):
    fill(store, plan("mix=100"), prompts=12)
    run = with_seed(plan("mix=100"), 2)
    fill(store, run, prompts=12)
    stage, fingerprint = run.steps["score.fi"].split("/")
    manifest = store.artifact(stage, fingerprint) / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"lm_eval": "0.4.13"', '"lm_eval": "0.4.9"'))
    for name in ("figure1", "rules"):
        code, _, err = ask(capsys, name, "--store", str(store.root))
        assert code == 2
        assert "lm_eval=0.4.9" in err


def test_figure_1_of_several_settings_asks_which(store, capsys):
    for override in ("method=sft_masked", "method=dpo_en"):
        record(store, plan(override))
    code, _, err = ask(capsys, "figure1", "--store", str(store.root))
    assert code == 2
    assert "2 settings fit: choose one with --where" in err
    assert "demo/demo/100pct/dpo_en" in err


def test_rule_sets_are_compared_by_instruction(store, capsys):
    run = plan("mix=100")
    record(store, run)
    rows = [
        verdict(1, 0, True),
        verdict(2, 0, False),
        verdict(2, 1, False, instruction_id="change_case:english_capital"),
    ]
    rows[2].strict["finnish"] = rows[2].strict["finnish_inflected"] = True
    rows[1].strict["finnish_inflected"] = True
    publish_verdicts(store, run, "fi", rows)
    code, out, _ = ask(capsys, "rules", "--store", str(store.root), "--format", "csv")
    assert code == 0
    table = {(row["row"], row["column"]): row["text"] for row in csv.DictReader(io.StringIO(out))}
    columns = ("paper", "finnish", "finnish_inflected", "verdicts that differ")
    assert [table["change_case:english_capital", column] for column in columns] == ["0", "1", "1", "1"]
    assert [table["keywords:existence", column] for column in columns] == ["1", "1", "2", "1"]
    assert [table["all", column] for column in columns] == ["1", "2", "3", "2"]
