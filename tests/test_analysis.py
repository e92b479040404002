from __future__ import annotations

import dataclasses
import functools
import json
import re
import shlex
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import published
from analysis.__main__ import main
from analysis.render import markdown
from analysis.tables import layouts, make_tables
from experiment.compile import compile_run
from experiment.metrics import Count, counts
from experiment.plan import Run
from experiment.results import VERDICTS, load_results
from experiment.scorers import Verdict
from experiment.sources.jsonl import write_jsonl
from experiment.store import Store
from experiment.sweep import expand, quote_numbers

GOLDEN = Path(__file__).parent / "golden"

# As printed in arXiv 2503.09407, Tables 1 and 2: English, Finnish, response language.
PRINTED = {
    "table1": {
        0: ("36.39", "31.41", "47.45"),
        10: ("39.97", "32.69", "90.00"),
        20: ("37.67", "28.60", "93.52"),
        40: ("39.20", "30.90", "96.27"),
        60: ("39.20", "32.95", "94.90"),
        80: ("38.56", "33.84", "96.27"),
        100: ("39.97", "34.48", "95.68"),
    },
    "table2": {
        "sft": ("39.97", "34.48", "95.68"),
        "sft_masked": ("39.84", "32.56", "96.27"),
        "sft_neftune": ("38.05", "32.69", "96.47"),
        "dpo_en": ("43.55", "36.65", "94.70"),
        "dpo_fi": ("41.76", "36.01", "95.49"),
        "dpo_both": ("44.69", "37.80", "95.49"),
    },
}


# Numbers


@pytest.mark.parametrize("table", ["table1", "table2"])
def test_the_published_counts_give_what_is_printed(table):
    rows = published.rows(table)
    assert {key: (row.en.truncated, row.fi.truncated, row.response_language) for key, row in rows.items()} == PRINTED[
        table
    ]
    assert all(row.en.total == row.fi.total == 783 for row in rows.values())


def test_every_printed_response_language_is_a_count_of_510_prompts():
    possible = {Count(k, 510).truncated for k in range(511)}
    assert {row[2] for rows in PRINTED.values() for row in rows.values()} <= possible


@given(st.integers(1, 10**6).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_truncated_is_cut_not_rounded(count):
    correct, total = count
    found = Count(correct, total).truncated
    assert re.fullmatch(r"\d{1,3}\.\d\d", found)
    exact, shown = Fraction(100 * correct, total), Fraction(found)
    assert shown <= exact < shown + Fraction(1, 100)


def test_truncated_at_the_edges():
    assert [Count(k, 783).truncated for k in (0, 285, 783)] == ["0.00", "36.39", "100.00"]
    assert Count(2, 3).truncated == "66.66"
    assert Count(0, 0).truncated == "0.00"
    assert (Count(1, 4).truncated, Count(0, 0).truncated) == ("25.00", "0.00")


def verdict(key: int, index: int, strict: bool, loose: bool, language: str = "fi") -> Verdict:
    return Verdict(key, index, "keywords:existence", strict, loose, language)


def test_counts_of_verdicts_made_by_hand():
    rows = [
        verdict(1, 0, True, True),
        verdict(1, 1, False, True),
        verdict(2, 0, True, True, "en"),
        verdict(3, 0, False, False, "unknown"),
        verdict(3, 1, True, True, "unknown"),
        verdict(3, 2, True, True, "unknown"),
    ]
    assert counts(rows, "fi") == {
        "instruction_strict": Count(4, 6),
        "instruction_loose": Count(5, 6),
        "prompt_strict": Count(1, 3),
        "prompt_loose": Count(2, 3),
        "response_language": Count(1, 3),
    }
    assert counts(rows[::-1], "fi") == counts(rows, "fi")
    assert counts(rows, "en")["response_language"] == Count(1, 3)
    assert set(counts([], "fi").values()) == {Count(0, 0)}


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.booleans()), min_size=1))
def test_a_prompt_counts_only_if_all_its_instructions_do(rows):
    found = counts([verdict(key, n, strict, strict or loose) for n, (key, strict, loose) in enumerate(rows)], "fi")
    keys = {key for key, _, _ in rows}
    assert found["prompt_strict"] == Count(sum(all(s for k, s, _ in rows if k == key) for key in keys), len(keys))
    assert found["instruction_strict"] == Count(sum(strict for _, strict, _ in rows), len(rows))
    assert found["instruction_strict"].correct <= found["instruction_loose"].correct
    assert found["prompt_strict"].correct <= found["prompt_loose"].correct


# A store made by hand


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(tmp_path / "store", create=True)


@functools.cache
def plan(*overrides: str) -> Run:
    (point,) = expand([list(overrides)])
    return compile_run(point.config, point.overrides)[0]


def record(store: Store, run: Run, asked_for: str = "2026-01-01T00:00:00.000+00:00") -> None:
    store.save_run(
        {
            "id": run.id,
            "name": run.name,
            "overrides": list(run.overrides),
            "axes": dict(run.axes),
            "steps": dict(run.steps),
            "config": {},
            "asked_for": asked_for,
        }
    )


def scored(store: Store, run: Run, language: str, correct: int, right_language: int, total: int = 8) -> Path:
    """Publish a score: `total` prompts of one instruction, the first `correct` followed."""
    stage, fingerprint = run.steps[f"score.{language}"].split("/")
    work = store.work(stage, fingerprint)
    work.mkdir(parents=True)
    rows = [verdict(n, 0, n < correct, n < correct, language if n < right_language else "sv") for n in range(total)]
    write_jsonl(work / VERDICTS, map(asdict, rows))
    empty: dict[str, object] = {}
    store.publish(
        stage,
        fingerprint,
        version=1,
        settings=empty,
        inputs={},
        provenance=empty,
        timings=empty,
        execution=empty,
        summary=empty,
    )
    return store.artifact(stage, fingerprint)


def tables(store: Store, name: str, **where: str) -> list[str]:
    return [markdown(table) for table in make_tables(name, load_results(store), where, "here")]


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
    filled(store)
    assert "\n".join(tables(store, name)) == (GOLDEN / f"{name}.md").read_text()


def test_a_missing_cell_names_the_command_that_fills_it(store):
    filled(store)
    results = {run.name: run for run in load_results(store)}
    for name, missing in (("table1", 4), ("table2", 5), ("betas", 2)):
        (text,) = tables(store, name)
        found = commands(text)
        assert len(found) == missing
        rows = [line for line in text.splitlines() if line.startswith("|") and "missing" in line]
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
    assert [run_of(command).axes["method"] for command in commands(text)] == list(PRINTED["table2"])
    (text,) = tables(store, "betas")
    assert [run_of(command).axes["beta"] for command in commands(text)] == [0.01, 0.05, 0.1]
    assert all(command.endswith("store=here") for command in commands(text))


def test_a_language_that_was_not_asked_for_is_no_gap(store):
    run = plan("mix=0", "benchmark.languages=[en]")
    record(store, run)
    scored(store, run, "en", 3, 8)
    (text,) = tables(store, "table1")
    assert "| en-fi-0pct | 285 (36.39) | 3/8 (37.50) | 246 (31.41) | - | 47.45 | - |" in text
    assert not any("mix=0 " in command for command in commands(text))


def test_a_mix_that_was_not_published_has_its_row(store):
    run = plan("mix=12.5")
    record(store, run)
    scored(store, run, "en", 3, 8)
    scored(store, run, "fi", 2, 4)
    assert "| en-fi-12.5pct | - | 3/8 (37.50) | - | 2/8 (25.00) | - | 4/8 (50.00) |" in tables(store, "table1")[0]


def test_two_experiments_are_two_tables(store):
    for overrides in (["mix=0"], ["mix=0", "benchmark.name=other", "seed=7"]):
        record(store, plan(*overrides))
    titles = [text.splitlines()[0] for text in tables(store, "table1")]
    assert titles == [
        "### Table 1: SFT data mixes (demo, demo, demo)",
        "### Table 1: SFT data mixes (demo, demo, other, benchmark.name=other, seed=7)",
    ]


# What is refused


def ask(capsys, *arguments: str) -> tuple[int, str, str]:
    code = 0
    try:
        main(arguments)
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return code, out, err


def test_runs_of_other_settings_stand_in_a_table_of_their_own(store, capsys):
    changed = ("seed=2", "benchmark.max_new_tokens=64", "launcher.workers=2")
    for mix in ("mix=0", "mix=40"):
        record(store, plan(mix))
        record(store, plan(mix, *changed))
    scored(store, plan("mix=0"), "en", 3, 8)
    code, out, err = ask(capsys, "table1", "--store", str(store.root), "--markdown")
    assert (code, err) == (0, "")
    titles = [line for line in out.splitlines() if line.startswith("### ")]
    assert sorted(titles) == [
        "### Table 1: SFT data mixes (demo, demo, demo)",
        "### Table 1: SFT data mixes (demo, demo, demo, seed=2, benchmark.max_new_tokens=64)",
    ]
    assert out.count("3/8") == 1
    code, out, _ = ask(capsys, "table1", "--store", str(store.root), "--markdown", "--where", "seed=2")
    assert code == 0
    assert "mix=10 store=" in out
    assert out.count("### ") == 1
    assert "3/8" not in out


def test_an_option_given_at_its_default_is_the_same_experiment(store, capsys):
    record(store, plan("mix=0"))
    record(store, plan("mix=40", "seed=42"))
    code, out, _ = ask(capsys, "table1", "--store", str(store.root), "--markdown")
    assert (code, out.count("### ")) == (0, 1)


def test_of_one_run_by_two_versions_the_last_asked_for_counts(store, capsys):
    run = plan("mix=0")
    older = dataclasses.replace(run, steps={role: key[:-4] + "0000" for role, key in run.steps.items()})
    record(store, older, asked_for="2025-01-01T00:00:00.000+00:00")
    record(store, run)
    scored(store, older, "en", 7, 8)
    scored(store, run, "en", 3, 8)
    code, out, _ = ask(capsys, "table1", "--store", str(store.root), "--markdown")
    assert code == 0
    assert "3/8" in out
    assert "7/8" not in out
    assert "1 older results of the same settings" in out


def test_a_file_that_is_no_run_record_is_named(store, capsys):
    record(store, plan("mix=0"))
    (store.root / "runs" / "x.json").write_text('{"id": "x"}')
    code, out, err = ask(capsys, "table1", "--store", str(store.root))
    assert (code, out) == (2, "")
    assert "x.json is not a run record" in err


@pytest.mark.parametrize("kind", ["changed", "shortened", "gone", "manifest"])
def test_a_damaged_score_is_an_error_not_a_number(store, capsys, kind):
    run = plan("mix=0")
    record(store, run)
    scored(store, run, "en", 3, 8)
    folder = scored(store, run, "fi", 3, 8)
    rows = folder / VERDICTS
    if kind == "changed":
        rows.write_text(rows.read_text().replace('"strict": false', '"strict": true ', 1))
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


def test_rows_of_another_form_are_an_error(store, capsys):
    run = plan("mix=0")
    record(store, run)
    stage, fingerprint = run.steps["score.fi"].split("/")
    work = store.work(stage, fingerprint)
    work.mkdir(parents=True)
    (work / VERDICTS).write_text(json.dumps({"key": 1, "passed": True}) + "\n")
    nothing: dict[str, object] = {}
    store.publish(
        stage, fingerprint, version=1, settings={}, inputs={}, provenance=nothing, timings={}, execution={}, summary={}
    )
    code, _, err = ask(capsys, "table1", "--store", str(store.root))
    assert code == 2
    assert "verdicts.jsonl: not the rows this version reads" in err


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
        (["table9"], "invalid choice: 'table9'"),
        ([], "required: table"),
        (["table1", "--where", "seed"], "--where seed: expected AXIS=VALUE"),
        (["table1", "--where", "seed=9"], "has seed=9; its runs have .*method: sft; mix: 0; model: demo; seed: 42"),
        (["table1", "--where", "planet=mars"], "has planet=mars; its runs have "),
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
        for number in ("285", "(36.39)", "3/8", "(37.50)", "47.45", "en-fi-100pct", "sft_neftune"):
            assert number in out
        assert "…" not in out
