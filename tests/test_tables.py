"""The tables word for word, what is missing in them, and what is refused."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from analysis import figures
from analysis.render import render
from analysis.request import tables_of
from analysis.safely import write_safely
from analysis.tables import layouts, make_tables
from experiment.plan import Run
from experiment.results import VERDICTS, load_results
from experiment.stages import STAGES
from experiment.store import Store
from experiment.sweep import expand, quote_numbers
from tests.asked import ask
from tests.stores import fill, plan, publish, publish_verdicts, record, verdict, with_seed

GOLDEN = Path(__file__).parent / "golden"
PAPERS_METHODS = ["sft", "sft_masked", "sft_neftune", "dpo_en", "dpo_fi", "dpo_both"]


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(tmp_path / "store", create=True)


def scored(store: Store, run: Run, language: str, correct: int, right_language: int, total: int = 8) -> Path:
    """Publish a score: `total` prompts of one instruction, the first `correct` followed."""
    rows = [
        verdict(n, 0, n < correct, language=language if n < right_language else "sv", asked=language)
        for n in range(total)
    ]
    return publish_verdicts(store, run, language, rows)


def tables(store: Store, name: str) -> list[str]:
    return [render(table, "markdown") for table in make_tables(name, load_results(store), "here")]


def commands(text: str) -> list[str]:
    return re.findall(r"python -m experiment .*", text)


def run_of(command: str) -> Run:
    """The run that a command printed for a missing cell asks for."""
    python, dash_m, package, *overrides = shlex.split(command)
    assert (python, dash_m, package) == ("python", "-m", "experiment")
    return plan(*quote_numbers(overrides))


def filled(store: Store) -> None:
    """Two mixes done, one half done, one not begun; two methods done."""
    for number, overrides in enumerate((["mix=0"], ["mix=10pct"], ["mix=100"], ["method=dpo_both", "dpo_beta=0.1"])):
        run = plan(*overrides)
        record(store, run)
        scored(store, run, "en", 3 + number, 8)
        scored(store, run, "fi", 1 + number, 5 + number)
    half = plan("mix=40", "seed=42")
    record(store, half)
    scored(store, half, "en", 7, 8)
    record(store, plan("method=dpo_fi"))


@pytest.mark.parametrize("name", ["table1", "table2", "betas"])
def test_a_table_word_for_word(store, name):
    """``KIRJO_GOLDEN=write pytest tests/test_tables.py`` writes tests/golden/*.md anew."""
    filled(store)
    found, golden = "\n".join(tables(store, name)), GOLDEN / f"{name}.md"
    if os.environ.get("KIRJO_GOLDEN") == "write":
        golden.write_text(found, encoding="utf-8")
    assert found == golden.read_text(encoding="utf-8")


def rows_of(text: str, panel: str) -> list[list[str]]:
    """The cells of a panel's rows, from Markdown."""
    (part,) = [part for part in re.split(r"\n#+ ", text) if part.partition("\n")[0].partition(" (")[0] == panel]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in part.splitlines()
        if line.startswith("| en-fi")
    ]


def test_beside_a_published_value_a_percentage_is_cut_and_elsewhere_rounded(store):
    run = plan("mix=0")
    record(store, run)
    for language in ("en", "fi"):
        scored(store, run, language, 2, 2, total=3)
    (text,) = tables(store, "table1")
    assert rows_of(text, "English accuracy")[0][2] == "66.66 (2/3)"
    assert rows_of(text, "Finnish accuracy, by rules for Finnish")[0][2] == "66.67 (2/3)"


def test_a_row_that_cannot_be_told_from_the_baseline_says_so(store):
    for mix, correct in ((0, 20), (10, 24), (20, 95)):
        run = plan(f"mix={mix}")
        record(store, run)
        for language in ("en", "fi"):
            scored(store, run, language, correct, 90, total=100)
    (text,) = tables(store, "table1")
    baseline, near, far, *_ = rows_of(text, "Finnish accuracy, by the paper's rules")
    assert (baseline[5], baseline[7]) == ("baseline", "")
    # 4 prompts gained and none lost: the sign test's 2 / 2^4, times the 5 comparisons that are not beyond doubt.
    assert (near[5].split()[0], near[6], near[7]) == ("+4.0", "0.62", "no")
    assert (far[5].split()[0], far[6], far[7]) == ("+75.0", "&lt;0.001", "yes")


def test_told_apart_goes_by_the_corrected_p(store):
    """7 prompts gained, none lost: p = 2 / 2^7; with six such rows Holm makes 0.094 of it."""
    for mix, correct in ((0, 20), (10, 27), (20, 27), (40, 27), (60, 27), (80, 27), (100, 27)):
        run = plan(f"mix={mix}")
        record(store, run)
        scored(store, run, "en", correct, 0, total=100)
    (table,) = make_tables("table1", load_results(store), "here")
    row = table.panels[0].rows[1]
    assert row[6].numbers["p"] == pytest.approx(2 / 2**7)
    assert row[6].numbers["p_holm"] == pytest.approx(12 / 2**7)
    assert row[7].text == "no"
    alone = [run for run in load_results(store) if run.axes["mix"] in (0, 10)]
    # Comparisons that are missing, or not chosen, make the others no surer.
    for chosen in ((), ("mix",)):
        (table,) = make_tables("table1", alone, "here", where=chosen)
        row = table.panels[0].rows[1]
        assert row[6].numbers["p_holm"] == pytest.approx(12 / 2**7)
        assert row[7].text == "no"
        assert any("Holm-corrected for 6 comparisons" in note for note in table.notes)


def test_of_chosen_rows_the_others_are_not_missing(store, capsys):
    filled(store)
    code, out, _ = ask(capsys, "table1", "--store", str(store.root), "--markdown", "--where", "mix=10,40")
    assert code == 0
    assert [row[0] for row in rows_of(out, "English accuracy")] == ["en-fi-10pct", "en-fi-40pct"]
    assert [run_of(command).axes["mix"] for command in commands(out)] == [40]


def test_a_seed_that_all_runs_share_is_kept_for_the_gaps(store):
    for mix in (0, 10):
        record(store, plan(f"mix={mix}", "seed=7"))
    (text,) = tables(store, "table1")
    assert {run_of(command).axes["seed"] for command in commands(text)} == {7}


def test_where_the_data_lie_is_no_part_of_a_title(store):
    record(store, plan("mix=0", "benchmark.nltk_data=/somewhere", "launcher.workers=2", "sft.epochs=9"))
    assert tables(store, "table1")[0].splitlines()[0].endswith("(model demo, data demo, benchmark demo, sft.epochs=9)")


def test_a_beta_is_chosen_by_runs_scored_in_both_languages(store):
    for seed, languages in ((1, ("en", "fi")), (2, ("en",))):
        run = with_seed(plan("method=dpo_both", "dpo.beta=0.05"), seed)
        record(store, run)
        for language in languages:
            scored(store, run, language, 30, 40, total=40)
    (table,) = make_tables("betas", load_results(store), "here")
    assert table.notes[0].startswith("Chosen: beta 0.05 (75.00 %)")


def test_two_experiments_write_files_of_their_own(store, tmp_path, capsys):
    for epochs in (2, 9):
        for mix in (0, 10):
            fill(store, plan(f"mix={mix}", f"sft.epochs={epochs}"), prompts=12)
    code, _, _ = ask(capsys, "table1", "--store", str(store.root), "--out", str(tmp_path / "made"))
    assert code == 0
    names = {path.name for path in (tmp_path / "made").iterdir()}
    assert {"table1-1.csv", "table1-2.csv", "mixes-1.pdf", "mixes-2.pdf"} <= names
    assert not any(name.endswith(".partial") for name in names)


@pytest.mark.parametrize(("benchmark", "shown"), [("ifeval", {0.0: 36.398, 100.0: 39.974}), ("demo", None)])
def test_published_levels_stand_in_a_figure_of_the_same_benchmark_alone(store, monkeypatch, benchmark, shown):
    run = plan("mix=0", f"benchmark.name={benchmark}")
    record(store, run)
    for language in ("en", "fi"):
        scored(store, run, language, 3, 8)
    drawn = {}
    monkeypatch.setattr(figures, "mixes_figure", lambda *curves: drawn.update(zip("abcd", curves, strict=True)))
    (made,) = tables_of("table1", load_results(store), "here")
    made.draw()
    assert [(at, estimate and estimate.share) for at, estimate in drawn["a"][0].points][:2] == [
        (0.0, 3 / 8),
        (10.0, None),
    ]
    if shown is None:
        assert (drawn["b"], drawn["d"]) == (None, None)
    else:
        assert {mix: drawn["b"]["English"][mix] for mix in shown} == pytest.approx(shown, abs=0.01)
        assert drawn["d"]["responses in Finnish"][10.0] == pytest.approx(90.0)


def test_uncommitted_changes_are_told(store):
    run = plan("mix=0")
    record(store, run)
    path = scored(store, run, "en", 3, 8)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["provenance"]["git"]["dirty"] = True
    (path / "manifest.json").write_text(json.dumps(manifest))
    (table,) = make_tables("table1", load_results(store), "here")
    assert table.origins[0].versions["git"].endswith("0+changes")


def test_a_difference_to_the_published_value_is_tested_on_the_published_benchmark_alone(store):
    for mix, total in ((0, 783), (10, 780)):
        run = plan(f"mix={mix}")
        record(store, run)
        scored(store, run, "en", 285 + 80, 0, total=total)
    (table,) = make_tables("table1", [run for run in load_results(store) if run.axes["mix"] == 0], "here")
    cell = table.panels[0].rows[0][4]
    assert cell.text.startswith("+10.2 [")
    assert cell.text.endswith("]*")
    assert cell.numbers["p"] < 0.001
    (table,) = make_tables("table1", [run for run in load_results(store) if run.axes["mix"] == 10], "here")
    cell = table.panels[0].rows[1][4]
    assert not cell.text.endswith("*")
    assert "p" not in cell.numbers


def test_seeds_are_one_row_with_their_mean_spread_and_runs(store):
    for seed in (1, 2, 3):
        run = with_seed(plan("mix=0"), seed)
        record(store, run)
        for language in ("en", "fi"):
            scored(store, run, language, 3 + seed, 8)
    (table,) = make_tables("table1", load_results(store), "here")
    measured = table.panels[0].rows[0][2]
    assert measured.text == "62.50 ± 12.50 (3 seeds)"
    assert measured.numbers["correct"] == [4, 5, 6]
    assert len(measured.runs) == len(table.origins) == 3
    assert any(note.startswith("Several seeds: mean ±") for note in table.notes)
    (alone,) = make_tables("table1", load_results(store)[:1], "here")
    assert any(note.startswith("One seed: ") for note in alone.notes)
    # Three seeds that differ say more than any one of them: the interval is no narrower than that of the prompts.
    assert measured.numbers["high"] - measured.numbers["low"] > 25


def test_every_number_leads_to_its_run(store):
    filled(store)
    for name in layouts():
        (table,) = make_tables(name, load_results(store), "here")
        origins = {origin.run: origin for origin in table.origins}
        cells = [cell for panel in table.panels for row in panel.rows for cell in row if cell.kind == "measured"]
        assert cells
        for cell in cells:
            for run in cell.runs:
                origin = origins[run]
                assert dict(run_of(origin.command).steps) == dict(origin.fingerprints)
                assert origin.settings["benchmark.max_new_tokens"] == 128
                assert origin.versions["lm_eval"] == "0.4.13"
                assert len(origin.versions["git"]) == 40


def test_the_beta_is_chosen_by_a_rule_that_is_told(store):
    for beta, correct in (("0.01", 30), ("0.05", 34), ("0.1", 34)):
        run = plan("method=dpo_both", f"dpo.beta={beta}")
        record(store, run)
        for language in ("en", "fi"):
            scored(store, run, language, correct, 40, total=40)
    (table,) = make_tables("betas", load_results(store), "here")
    assert table.notes[0].startswith("Chosen: beta 0.05 (85.00 %) by the highest mean")
    assert "cannot be told from 0.1 (" in table.notes[0]


def test_other_metrics_can_be_asked_for(store, capsys):
    filled(store)
    code, out, err = ask(
        capsys, "table1", "--store", str(store.root), "--markdown", "--metric", "ifeval_fi.prompt_loose@finnish"
    )
    assert (code, err) == (0, "")
    assert "Finnish: prompt loose, rule set finnish" in out
    assert "English" not in out


def test_a_missing_cell_names_the_command_that_fills_it(store):
    filled(store)
    results = {run.name: run for run in load_results(store)}
    for name, missing in (("table1", 4), ("table2", 5), ("betas", 2)):
        (text,) = tables(store, name)
        found = commands(text)
        assert len(found) == missing
        rows = {line.split("|")[1] for line in text.splitlines() if line.startswith("|") and "missing" in line}
        assert len(rows) == missing
        for command in found:
            run = run_of(command)
            assert all(run.steps[f"score.{language}"] for language in ("en", "fi"))
            if run.name in results:
                assert dict(results[run.name].steps) == dict(run.steps)


def test_the_command_makes_the_very_run_that_belongs_there(store):
    """What all runs of a table were asked for holds for its gaps, too."""
    for mix in (0, 10):
        run = plan(f"mix={mix}", "benchmark.max_new_tokens=16", "data_mix.name=my data")
        record(store, run)
        scored(store, run, "en", 1, 1)
        scored(store, run, "fi", 1, 1)
    (text,) = tables(store, "table1")
    # `my data` is no file of conf/data_mix, so that part of the command is left out here.
    command = commands(text)[0].replace("'data_mix=my data'", "")
    assert run_of(command).steps == plan("mix=20", "benchmark.max_new_tokens=16").steps


def test_an_empty_store_still_says_how_to_fill_the_table(store):
    (text,) = tables(store, "table1")
    assert [run_of(command).axes["mix"] for command in commands(text)] == [0, 10, 20, 40, 60, 80, 100]
    (text,) = tables(store, "table2")
    assert [run_of(command).axes["method"] for command in commands(text)] == PAPERS_METHODS
    (text,) = tables(store, "betas")
    assert [run_of(command).axes["beta"] for command in commands(text)] == [0.01, 0.05, 0.1]
    assert all(command.endswith("store=here") for command in commands(text))


def test_a_language_that_was_not_asked_for_is_no_gap(store):
    run = plan("mix=0", "benchmark.languages=[en]")
    record(store, run)
    scored(store, run, "en", 3, 8)
    (text,) = tables(store, "table1")
    assert rows_of(text, "English accuracy")[0][1:3] == ["36.39 (285/783)", "37.50 (3/8)"]
    assert "Finnish accuracy" not in text
    assert not any("mix=0 " in command for command in commands(text))
    # Where another run was asked for in both, the panel is there, and its gap is none of this run's.
    record(store, plan("mix=10"))
    (text,) = [text for text in tables(store, "table1") if "Finnish accuracy" in text]
    assert rows_of(text, "English accuracy")[1][2] == "missing"


def test_a_mix_that_was_not_published_has_its_row(store):
    run = plan("mix=12.5")
    record(store, run)
    scored(store, run, "en", 3, 8)
    scored(store, run, "fi", 2, 4)
    (text,) = tables(store, "table1")
    assert [row[0] for row in rows_of(text, "English accuracy")][1:3] == ["en-fi-10pct", "en-fi-12.5pct"]
    assert rows_of(text, "English accuracy")[2][1:3] == ["-", "37.50 (3/8)"]
    assert rows_of(text, "Responses in Finnish")[2][1:3] == ["-", "50.00 (4/8)"]


def test_two_experiments_are_two_tables(store):
    for overrides in (["mix=0"], ["mix=0", "benchmark.name=other", "seed=7"]):
        record(store, plan(*overrides))
    titles = [text.splitlines()[0] for text in tables(store, "table1")]
    assert titles == [
        "### Table 1: SFT data mixes (model demo, data demo, benchmark demo)",
        "### Table 1: SFT data mixes (model demo, data demo, benchmark other, benchmark.name=other, seed=7)",
    ]


# What is refused


def test_runs_of_other_settings_stand_in_a_table_of_their_own(store, capsys):
    changed = ("sft.epochs=2", "benchmark.max_new_tokens=64", "launcher.workers=2")
    for mix in ("mix=0", "mix=40"):
        record(store, plan(mix))
        record(store, plan(mix, *changed))
    scored(store, plan("mix=0"), "en", 3, 8)
    code, out, err = ask(capsys, "table1", "--store", str(store.root), "--markdown")
    assert (code, err) == (0, "")
    titles = [line for line in out.splitlines() if line.startswith("### ")]
    assert sorted(titles) == [
        "### Table 1: SFT data mixes (model demo, data demo, benchmark demo)",
        "### Table 1: SFT data mixes (model demo, data demo, benchmark demo, sft.epochs=2, "
        "benchmark.max\\_new\\_tokens=64)",
    ]
    assert out.count("37.50 (3/8)") == 1
    code, out, _ = ask(capsys, "table1", "--store", str(store.root), "--markdown", "--where", "sft.epochs=2")
    assert code == 0
    assert "mix=10 store=" in out
    assert out.count("### Table") == 1
    assert "3/8" not in out


def test_an_option_given_at_its_default_is_the_same_experiment(store, capsys):
    record(store, plan("mix=0"))
    record(store, plan("mix=40", "seed=42"))
    code, out, _ = ask(capsys, "table1", "--store", str(store.root), "--markdown")
    assert (code, out.count("### Table")) == (0, 1)


def test_of_one_run_by_two_versions_the_last_asked_for_counts(store, capsys):
    run = plan("mix=0")
    older = dataclasses.replace(run, steps={role: key[:-4] + "0000" for role, key in run.steps.items()})
    record(store, older, asked_for="2025-01-01T00:00:00.000+00:00")
    record(store, run)
    scored(store, older, "en", 7, 8)
    scored(store, run, "en", 3, 8)
    code, out, _ = ask(capsys, "table1", "--store", str(store.root), "--markdown")
    assert code == 0
    assert "37.50 (3/8)" in out
    assert "(7/8)" not in out
    assert "1 older results of the same settings" in out


def test_a_file_that_is_no_run_record_is_named(store, capsys):
    record(store, plan("mix=0"))
    (store.root / "runs" / "x.json").write_text('{"id": "x"}')
    code, out, err = ask(capsys, "table1", "--store", str(store.root))
    assert (code, out) == (2, "")
    assert "x.json is not a run record" in err


@pytest.mark.parametrize(
    "change",
    [
        {"axes": {}},
        {"asked_for": 5},
        {"steps": {"score.en": "nowhere"}},
        {"axes": {**plan("mix=0").axes, "mix": "much"}},
        {"overrides": None},
    ],
)
def test_a_record_of_another_shape_is_an_error_with_its_file(store, capsys, change):
    run = plan("mix=0")
    record(store, run)
    path = store.root / "runs" / f"{run.id}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    code, _, err = ask(capsys, "table1", "--store", str(store.root))
    assert code == 2
    assert f"{path} is not a run record" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_output_that_cannot_be_written_is_an_error(store):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "analysis", "table1", "--store", str(store.root)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=GOLDEN.parents[1])
    assert done.returncode == 2
    assert done.stderr.startswith("error: the output: No space left")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", ["changed", "shortened", "gone", "manifest"])
def test_a_damaged_score_is_an_error_not_a_number(store, capsys, kind):
    run = plan("mix=0")
    record(store, run)
    scored(store, run, "en", 3, 8)
    folder = scored(store, run, "fi", 3, 8)
    rows = folder / VERDICTS
    if kind == "changed":
        rows.write_text(rows.read_text().replace("false", "true ", 1))
    elif kind == "shortened":
        rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:-1]))
    elif kind == "gone":
        rows.unlink()
    else:
        (folder / "manifest.json").write_text("{")
    code, out, err = ask(capsys, "table1", "--store", str(store.root))
    assert (code, out) == (2, "")
    assert str(folder) in err
    assert "again" in err


def test_a_score_by_an_earlier_version_is_missing_and_its_command_scores_anew(store):
    run = plan("mix=0")
    record(store, run)
    rows = [{"key": 1, "instruction": 0, "instruction_id": "a:b", "strict": True, "loose": True, "language": "fi"}]
    publish(store, run.steps["score.fi"], VERDICTS, rows, version=1)
    (text,) = tables(store, "table1")
    assert rows_of(text, "Finnish accuracy")[0][2] == "missing"
    assert dict(run_of(commands(text)[0]).steps) == dict(run.steps)


def test_rows_of_another_form_are_an_error(store, capsys):
    run = plan("mix=0")
    record(store, run)
    version = STAGES["score"].version
    publish(store, run.steps["score.fi"], VERDICTS, [{"key": 1, "passed": True}], version=version)
    code, _, err = ask(capsys, "table1", "--store", str(store.root))
    assert code == 2
    assert "verdicts.jsonl: not the rows that this version reads" in err
    assert "python -m experiment mix=0 " in err


def test_a_folder_that_is_no_store(tmp_path, capsys):
    code, out, err = ask(capsys, "table1", "--store", str(tmp_path))
    assert (code, out) == (2, "")
    assert err.startswith(f"error: no store at {tmp_path}")
    assert list(tmp_path.iterdir()) == []


def test_a_store_of_a_newer_kirjo(store, capsys):
    (store.root / "store.json").write_text('{"format": 99}')
    code, out, err = ask(capsys, "table1", "--store", str(store.root))
    assert (code, out) == (2, "")
    assert "was written by a newer Kirjo (format 99)" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table9"], "there is no table 'table9' .did you mean table2"),
        (["table1", "compare"], "compare comes first and alone"),
        ([], "required: table"),
        (["table1", "--formt", "csv"], "unrecognized arguments: --formt"),
        (["table1", "--format", "word"], "invalid choice: 'word'"),
        (["table1", "--where", "seed"], "--where seed: expected SETTING=VALUE"),
        (["table1", "--where", "seed=9"], "has seed=9; its runs have .*method: sft; mix: 0; model: demo; seed: 42"),
        (["table1", "--where", "planet=mars"], "no run has a setting 'planet' .*; its runs have "),
        (["table1", "--where", "mix=0", "--where", "mix=10"], "--where mix is given twice"),
        (["table1", "--metric", "ifeval_fi.strict"], "there is no metric 'ifeval_fi.strict'"),
        (["figure1", "--metric", "ifeval_fi.instruction_strict"], "figure1 has its own metrics"),
        (["rules"], "rules: demo/demo/0pct/sft is not scored yet; this command does it:\n  python -m experiment mix=0"),
        (["figure1"], "figure1: demo/demo/0pct/sft is not scored yet"),
    ],
)
def test_a_wrong_request_says_what_is_allowed(store, capsys, arguments, message):
    record(store, plan("mix=0"))
    code, out, err = ask(capsys, *arguments, "--store", str(store.root))
    assert (code, out) == (2, "")
    assert re.search(message, err), err


def test_a_broken_record_is_named(store, capsys):
    (store.root / "runs").mkdir()
    (store.root / "runs" / "x.json").write_text('{"id": "y"}')
    code, _, err = ask(capsys, "table1", "--store", str(store.root))
    assert code == 2
    assert "x.json: expected a record" in err


def test_the_terminal_shows_every_number_at_every_width(store, capsys, monkeypatch):
    filled(store)
    for width in ("80", "160"):
        monkeypatch.setenv("COLUMNS", width)
        code, out, _ = ask(capsys, *layouts(), "--store", str(store.root))
        assert code == 0
        for number in ("36.39", "(285/783)", "37.50", "(3/8)", "47.45", "en-fi-100pct", "sft_neftune"):
            assert number in out
        assert "…" not in out


def test_a_file_that_cannot_be_written_whole_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("before")

    def full(self, content):
        with self.open("wb") as out:
            out.write(content[:3])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_safely(path, b"after all")
    assert path.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def test_gaps_of_an_experiment_file_that_sets_options_name_the_file(store):
    first = expand([["experiment=translated"]])[-1]
    record(store, plan(*first.overrides))
    (table,) = make_tables("table2", load_results(store), "S")
    commands = [note for note in table.notes if "method=dpo_both" in note]
    assert commands, table.notes
    assert "experiment=translated 'sweep.grids=[]'" in commands[0]
    (asked,) = expand([shlex.split(commands[0].split("python -m experiment ")[1])])
    assert asked.config.data_mix.target == "translate"
