"""Which runs stand together in a table, and which are refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from analysis.metric_name import MetricName
from analysis.places import Place, ordered
from analysis.selection import (
    NOT_HASHED,
    differing,
    newest,
    refuse_incomparable,
    same_settings,
    select,
    settings_of,
    shown,
)
from experiment import config
from experiment.errors import KirjoError
from experiment.results import RunResult, load_results
from experiment.store import Store
from tests.stores import compiled, fill, plan, publish_verdicts, record, verdict, with_seed


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store", create=True)


def runs(store: Store) -> dict[str, RunResult]:
    return {run.name: run for run in load_results(store)}


def by_mix(store: Store):
    return settings_of((run.axes["mix"], run) for run in load_results(store))


def test_the_names_of_what_is_not_hashed_are_those_of_the_config():
    marked = {
        field.name
        for kind in vars(config).values()
        if dataclasses.is_dataclass(kind)
        for field in dataclasses.fields(kind)
        if not field.metadata.get("hashed", True)
    }
    # The place of a data file decides nothing, but is all there is to tell two of them apart by; no name decides.
    assert marked - {"path", "name"} == NOT_HASHED


def test_runs_that_differ_in_their_seed_are_one_setting(store):
    for seed in (3, 1, 2):
        record(store, with_seed(plan("mix=0"), seed))
    record(store, plan("mix=10"))
    settings, left_out = by_mix(store)
    assert [run.axes["seed"] for run in settings[0].runs] == [1, 2, 3]
    assert settings[0].name == "demo/demo/0pct/sft, 3 seeds"
    assert (len(settings[10].runs), settings[10].name) == (1, "demo/demo/10pct/sft")
    assert left_out == 0


def test_of_the_same_settings_and_seed_the_last_asked_for_counts(store):
    run = plan("mix=0")
    older = dataclasses.replace(run, steps={role: key[:-4] + "0000" for role, key in run.steps.items()})
    record(store, older, asked_for="2025-01-01T00:00:00.000+00:00")
    record(store, run)
    settings, left_out = by_mix(store)
    assert [dict(each.steps) for each in settings[0].runs] == [dict(run.steps)]
    assert left_out == 1


def test_runs_of_one_place_that_differ_otherwise_are_refused_with_the_setting(store):
    record(store, plan("mix=0"))
    record(store, plan("mix=0", "sft.epochs=7"))
    with pytest.raises(KirjoError, match=r"differ in sft.epochs: (7 and 3|3 and 7).*--where sft.epochs=VALUE"):
        by_mix(store)


def test_how_a_run_was_carried_out_does_not_tell_it_apart(store):
    record(store, plan("mix=0"))
    record(store, with_seed(plan("mix=0", "launcher.workers=2", "sft.micro_batch=1", "generate.batch_size=3"), 5))
    first, second = runs(store).values()
    assert differing(first, second) == {}
    assert len(by_mix(store)[0][0].runs) == 2


def test_the_same_file_with_another_content_is_another_setting(store, tmp_path):
    """Settings are compared by content: that a file was edited where it lay is no version of the code."""
    source = tmp_path / "prompts.jsonl"
    for number, text in enumerate(("one", "two")):
        row = {"key": 1, "prompt": text, "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
        source.write_text(json.dumps(row) + "\n")
        compiled.cache_clear()
        option = "benchmark=ifeval", "benchmark.languages=[en]", f"benchmark.prompts.en.path={source}"
        record(store, plan("mix=0", *option), asked_for=f"2026-01-0{number + 1}T00:00:00.000+00:00")
    first, second = load_results(store)
    assert first.axes["settings"] != second.axes["settings"]
    assert list(differing(first, second)) == ["data"]
    assert len({run.axes["settings"] for run in same_settings([first, second])}) == 2
    assert len(newest([first, second])) == 2
    with pytest.raises(KirjoError, match=r"differ in data: \w+ and \w+"):
        by_mix(store)


def test_an_axis_tells_two_runs_apart_before_the_settings_behind_it(store):
    record(store, plan("method=dpo_both", "dpo_beta=0.1"))
    record(store, plan("method=dpo_both", "dpo_beta=0.01"))
    record(store, plan("method=dpo_both", "dpo_beta=0.01", "dpo.epochs=9"))
    found = runs(store)
    one = found["demo/demo/100pct/dpo_both/beta=0.1"]
    other = found["demo/demo/100pct/dpo_both/beta=0.01"]
    third = found["demo/demo/100pct/dpo_both/beta=0.01,dpo.epochs=9"]
    assert differing(one, other) == {"beta": (0.1, 0.01)}
    assert set(differing(other, third)) == {"dpo.epochs"}


def test_a_record_of_an_earlier_version_stands_with_the_later_one_of_the_same_settings(store):
    run = plan("mix=0")
    steps = {role: key[:-4] + "0000" for role, key in run.steps.items()}
    config = {**run.config, "benchmark": {k: v for k, v in run.config["benchmark"].items() if k != "max_new_tokens"}}
    older = dataclasses.replace(run, axes={**run.axes, "settings": "000000"}, steps=steps, config=config)
    record(store, older, asked_for="2025-01-01T00:00:00.000+00:00")
    record(store, run)
    record(store, plan("mix=0", "sft.epochs=9"))
    found = same_settings(load_results(store))
    assert {each.axes["settings"] for each in found if each.settings["sft.epochs"] == 3} == {run.axes["settings"]}
    assert len({each.axes["settings"] for each in found}) == 2
    assert {each.id for each in newest(found)} == {run.id, plan("mix=0", "sft.epochs=9").id}


def test_what_an_old_record_lacks_still_tells_newer_ones_apart(store):
    """A setting that came with a later version: the old record could be either of the two, and makes them no one."""
    runs = [plan("mix=0", f"benchmark.max_new_tokens={limit}") for limit in (64, 32)]
    config = {**runs[0].config, "benchmark": dict(runs[0].config["benchmark"])}
    del config["benchmark"]["max_new_tokens"]
    steps = {role: key[:-4] + "0000" for role, key in runs[0].steps.items()}
    old = dataclasses.replace(runs[0], axes={**runs[0].axes, "settings": "000000"}, steps=steps, config=config)
    record(store, old, asked_for="2025-01-01T00:00:00.000+00:00")
    for run in runs:
        record(store, run)
    found = load_results(store)
    assert len({run.axes["settings"] for run in same_settings(found)}) == 3
    assert len(newest(found)) == 3


def test_values_that_look_like_numbers_and_are_none_are_listed(store):
    record(store, plan("mix=0", "model.name=1.2.3"))
    with pytest.raises(KirjoError, match=r"model: 1\.2\.3"):
        select(load_results(store), {"mix": "5"}, "s")


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ({"mix": "0"}, {"demo/demo/0pct/sft"}),
        ({"mix": "0pct,10pct", "method": "sft"}, {"demo/demo/0pct/sft", "demo/demo/10pct/sft"}),
        ({"dpo.beta": "0.1"}, {"demo/demo/100pct/dpo_both/beta=0.1"}),
        ({"benchmark.languages": "[en, fi]", "mix": "0.0"}, {"demo/demo/0pct/sft"}),
        ({"dpo.beta": "1e-1"}, {"demo/demo/100pct/dpo_both/beta=0.1"}),
    ],
)
def test_runs_are_chosen_by_axes_and_by_any_setting(store, where, names):
    for overrides in (["mix=0"], ["mix=10"], ["method=dpo_both", "dpo_beta=0.1"]):
        record(store, plan(*overrides))
    assert {run.name for run in select(load_results(store), where, "s")} == names


def test_an_unknown_setting_or_value_says_what_there_is(store):
    record(store, plan("mix=0"))
    with pytest.raises(KirjoError, match=r"no run has a setting 'sft.epoch' \(did you mean sft.epochs"):
        select(load_results(store), {"sft.epoch": "1"}, "s")
    with pytest.raises(KirjoError, match=r"no run in s has mix=50; its runs have .*mix: 0;"):
        select(load_results(store), {"mix": "50"}, "s")


def test_values_are_shown_as_they_are_typed():
    values = (0.05, 1.0, 5e-7, True, None, [1, 2.5], "x")
    assert [shown(value) for value in values] == ["0.05", "1", "5e-07", "true", "none", "[1,2.5]", "x"]


def test_places_stand_in_the_order_of_numbers_then_of_the_paper():
    mixed = [Place("zeta"), Place("dpo_en"), Place(10), Place("sft"), Place(2.5), Place("alpha")]
    assert [place.value for place in ordered(mixed)] == [2.5, 10, "sft", "dpo_en", "alpha", "zeta"]
    assert str(Place("dpo_both", (("beta", 0.1),))) == "dpo_both, beta=0.1"


# What must not stand in one table


def settings(store: Store):
    return settings_of(((run.name,), run) for run in load_results(store))[0].values()


def test_the_same_benchmark_compares(store):
    fill(store, plan("mix=0"))
    fill(store, plan("mix=10", "launcher.workers=2"))
    refuse_incomparable(settings(store), "fi")


def test_other_limits_prompts_and_exclusions_do_not_compare(store):
    fill(store, plan("mix=0"))
    for number, override in enumerate(
        ("benchmark.max_new_tokens=64", "benchmark.prompts.fi.rows=24", "benchmark.exclude_instructions=['a:b']")
    ):
        other = Store.open(store.root.parent / f"other-{number}", create=True)
        fill(other, plan("mix=0"))
        fill(other, plan("mix=10", override))
        with pytest.raises(KirjoError) as refused:
            refuse_incomparable(settings(other), "fi")
        message = str(refused.value)
        assert message.startswith("these runs cannot stand in one table, for their 'fi' answers differ in more than")
        assert override.split("=")[0].split(".")[1] in message
        assert "demo/demo/0pct/sft" in message
        swept = ["benchmark.max_new_tokens"]
        if number == 0:
            refuse_incomparable(settings(other), "fi", swept)


def test_other_scorer_versions_do_not_compare(store, monkeypatch):
    fill(store, plan("mix=0"))
    run = plan("mix=10")
    record(store, run)
    path = publish_verdicts(store, run, "fi", [verdict(key, 0, True) for key in range(1000, 1024)])
    text = (path / "manifest.json").read_text()
    assert text.count('"lm_eval": "0.4.13"') >= 2
    (path / "manifest.json").write_text(text.replace('"lm_eval": "0.4.13"', '"lm_eval": "0.4.9"'))
    with pytest.raises(KirjoError, match=r"scorers: .*lm_eval=0.4.13.* and .*lm_eval=0.4.9.*only scored"):
        refuse_incomparable(settings(store), "fi")


def test_part_of_the_prompts_does_not_compare_with_all(store):
    for mix, count in (("0", 24), ("10", 20)):
        run = plan(f"mix={mix}")
        record(store, run)
        publish_verdicts(store, run, "fi", [verdict(key, 0, True) for key in range(count)])
    with pytest.raises(KirjoError, match="4 prompts are scored in one and not in the other"):
        refuse_incomparable(settings(store), "fi")


# Names of metrics


@pytest.mark.parametrize(
    "text",
    [
        "ifeval_fi.instruction_strict",
        "ifeval_en.prompt_loose",
        "ifeval_fi.instruction_strict@finnish",
        "ifeval_fi.instruction_strict@finnish/keywords",
        "ifeval_fi.instruction_loose/keywords:existence",
    ],
)
def test_a_metric_is_read_and_written_the_same(text):
    assert str(MetricName.parse(text, {"en", "fi"})) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ifeval_fi.instruction_stric", r"did you mean ifeval_fi.instruction_strict\?"),
        ("accuracy", "there is no metric 'accuracy'.*there are: ifeval_en.instruction_strict"),
        ("ifeval_sv.instruction_strict", "nothing is scored in 'sv'; languages: en, fi"),
        ("mmlu_fi.instruction_strict", "there is no metric 'mmlu_fi.instruction_strict'"),
        ("ifeval_fi.instruction_strict@", "there is no metric"),
        ("", "there is no metric ''"),
    ],
)
def test_an_unknown_metric_says_which_there_are(text, message):
    with pytest.raises(KirjoError, match=message):
        MetricName.parse(text, {"en", "fi"})
