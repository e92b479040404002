"""Which steps make the data, and what they depend on: translated once, whatever is trained on it."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path

import pytest

from experiment import data_steps
from experiment.errors import KirjoError
from experiment.plan import Plan, targets
from experiment.sweep import expand
from tests.test_config import compose
from tests.test_plan import plan_of, steps_of

TRANSLATE = "data_mix.target=translate"
SERVER = ("translate.engine=openai", "engine.openai.url=http://host:1/v1", "engine.openai.model=one")


def stages(plan: Plan) -> Counter[str]:
    return Counter(step.stage for step in plan.steps.values())


def test_a_sweep_translates_and_cleans_once():
    plan = plan_of("experiment=table1", TRANSLATE)
    assert stages(plan) == {
        "pretrain": 1,
        "translate": 1,
        "clean": 1,
        "mix": 7,
        "sft": 7,
        "generate": 14,
        "score": 14,
    }


def test_pairs_are_made_before_they_are_translated_and_the_cleaned_ones_are_referred_to():
    plan = plan_of("method=dpo_both", TRANSLATE)
    (run,) = plan.runs
    assert stages(plan)["pair"] == 1
    assert plan.steps[run.steps["translate.preference"]].inputs["pairs"] == run.steps["pair.en"]
    assert plan.steps[run.steps["reference.fi"]].inputs["pairs"] == run.steps["clean.preference"]
    assert plan.steps[run.steps["reference.en"]].inputs["pairs"] == run.steps["pair.en"]
    assert plan.steps[run.steps["mix"]].inputs == {"target": run.steps["clean.sft"]}


def test_without_target_language_rows_nothing_is_translated():
    plan = plan_of("mix=0", TRANSLATE)
    assert not stages(plan)["translate"]
    assert steps_of(compose("mix=0", TRANSLATE)) == steps_of(compose("mix=0"))


def test_the_source_language_is_what_it_is_without_translation():
    one, other = steps_of(compose("method=dpo_en", "mix=0")), steps_of(compose("method=dpo_en", "mix=0", TRANSLATE))
    assert one == other


ALL = {"translate.sft", "clean.sft", "mix", "sft", "generate.en", "generate.fi", "score.en", "score.fi"}


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("translate.batch_size=3", set()),
        ("translate.shard_rows=3", set()),
        ("translate.engine=vllm", set()),
        ("generate.engine=vllm", set()),
        ("engine.transformers.batch_tokens=100", set()),
        ("launcher.workers=2", set()),
        ("clean.language.least=0.8", ALL - {"translate.sft"}),
        ("clean.code=null", ALL - {"translate.sft"}),
        ("translate.keep_markers=false", ALL),
        ("translate.growth=2", ALL),
        ("translate=plain", ALL),
        ("translate.instructions.sv='Käännä ruotsiksi nyt'", set()),
        ("translate.instructions.fi='Suomenna'", ALL),
    ],
)
def test_what_a_setting_changes(override, changed):
    plain = "translate.shots.all.count=0" if override == "translate=plain" else "seed=42"
    before, after = steps_of(compose(TRANSLATE)), steps_of(compose(TRANSLATE, override, plain))
    assert {role for role in before if before[role] != after[role]} == changed


def test_cleaning_settings_change_nothing_where_nothing_is_cleaned():
    assert steps_of(compose("clean.language.least=0.8", "translate=plain")) == steps_of(compose())


def test_a_servers_model_is_the_translator():
    base, served = steps_of(compose(TRANSLATE)), steps_of(compose(TRANSLATE, *SERVER))
    assert base["translate.sft"] != served["translate.sft"]
    assert base["pretrain"] == served["pretrain"]
    elsewhere = steps_of(compose(TRANSLATE, *SERVER[:1], "engine.openai.url=http://other:2/v1", SERVER[2]))
    assert elsewhere == served
    assert steps_of(compose(TRANSLATE, *SERVER[:2], "engine.openai.model=two"))["mix"] != served["mix"]


def test_a_run_that_trains_nothing_exists_for_its_data():
    plan = plan_of("method=data", TRANSLATE)
    (run,) = plan.runs
    assert set(stages(plan)) == {"pretrain", "pair", "translate", "clean", "mix"}
    assert set(targets(run.steps)) == {run.steps[role] for role in ("mix", "pair.en", "clean.sft", "clean.preference")}
    assert run.name == "demo/demo/100pct/data,data_mix.target=translate"
    assert run.axes["beta"] is None


def test_a_round_trip_goes_back_from_the_translation():
    plan = plan_of("method=data", "method.preference=[]", TRANSLATE, "translate.round_trip=true")
    (run,) = plan.runs
    forward = run.steps["translate.sft"]
    back = plan.steps[run.steps["translate.sft.back"]]
    assert back.inputs["translated"] == forward
    assert (back.settings["source_language"], back.settings["target_language"]) == ("fi", "en")
    assert plan.steps[run.steps["quality.sft.round_trip"]].inputs == {"translated": back.key, "original": forward}
    with_it, without = (steps_of(compose(TRANSLATE, f"translate.round_trip={x}")) for x in ("true", "false"))
    assert without.items() <= with_it.items()


def test_test_sets_are_translated_in_each_direction_with_each_number_of_examples(tmp_path: Path):
    for name in ("en", "fi"):
        (tmp_path / name).write_text("one\n" * 9)
    files = [f"quality.tests.flores.lines.{name}.path={tmp_path / name}" for name in ("en", "fi")]
    shots = [f"quality.template.shots.all.examples.{name}.path={tmp_path / name}" for name in ("en", "fi")]
    (run,) = plan_of("quality=flores", *files, *shots).runs
    asked = {f"flores.{direction}.{count}shot" for direction in ("en-fi", "fi-en") for count in (0, 8)}
    assert {role.removeprefix("quality.") for role in run.steps if role.startswith("quality.")} == asked
    assert {role.removeprefix("translate.") for role in run.steps if role.startswith("translate.")} == asked
    assert {run.steps[f"quality.{name}"] for name in asked} <= set(run.targets())


def test_measuring_quality_changes_nothing_else():
    with_it, without = steps_of(compose(TRANSLATE, "quality=demo")), steps_of(compose(TRANSLATE))
    assert without.items() <= with_it.items()
    wide = steps_of(compose(TRANSLATE, "quality=demo", "translate.batch_size=3", "quality.gpus=2"))
    assert wide == with_it


@pytest.mark.parametrize(
    "override",
    [
        "translate.shot=\"'{src} {trg}'\"",
        "translate.joiner=x",
        "translate.instructions.en=Translate",
        "translate.language_names.fi=Finnish",
        "translate.shots.all.rows=[1,2]",
        "'translate.shots.all.pairs=[{en: a, fi: b}]'",
    ],
)
def test_what_no_prompt_holds_decides_nothing(override):
    (asked,) = shlex.split(override)
    assert steps_of(compose(TRANSLATE, asked)) == steps_of(compose(TRANSLATE))


def test_of_examples_only_those_before_a_line_decide():
    def asked(pairs: str, count: int = 1) -> dict[str, str]:
        return steps_of(compose(TRANSLATE, f"translate.shots.all.count={count}", f"translate.shots.all.pairs={pairs}"))

    one = asked("[{en: a, fi: b}]")
    assert one == asked("[{en: a, fi: b, eu: c}, {en: d, fi: e}]")
    assert one != asked("[{en: a, fi: x}]")
    assert one != asked("[{en: a, fi: b}, {en: d, fi: e}]", count=2)


def test_an_identifier_that_is_asked_is_part_of_cleaning(monkeypatch):
    def cleaned(*overrides: str) -> str:
        return steps_of(compose(TRANSLATE, *overrides))["clean.sft"]

    off = ("clean.language=null", "clean.copy=null")
    before = cleaned("clean.language=null"), cleaned("clean.copy=null"), cleaned(*off)
    monkeypatch.setattr(data_steps, "package_version", lambda _name: "another")
    after = cleaned("clean.language=null"), cleaned("clean.copy=null"), cleaned(*off)
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, False, True]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("generate.engine=openai", "generate.engine=openai needs engine.openai.start"),
        (f"{TRANSLATE} translate.engine=openai", "translate.engine=openai needs a server"),
        (f"{TRANSLATE} translate.engine=openai engine.openai.url=http://h/v1", "needs a server"),
        ("quality=demo translate.engine=openai", "translate.engine=openai needs a server"),
        ("engine.openai.url=host:8000/v1", "url must begin with http:// or https://"),
        ("engine.openai.url=nonsense://x", "url must begin with http:// or https://"),
        ("engine.openai.url=\"'http://[x'\"", "url must begin with http:// or https://"),
        ("engine.openai.url=http://h/v1 engine.openai.start=\"'a {model} {port}'\"", "are both set"),
        ("engine.openai.start=\"'vllm serve {model}'\"", "start must hold {port}"),
        ("engine.openai.start=\"'vllm serve --port {port}'\"", "start must hold {model}"),
        (
            f"{TRANSLATE} data_mix.source_language=xx '+data_mix.sft.xx=${{data_mix.sft.en}}' "
            "translate.query=\"'{source_language}: {src}'\"",
            "needs a word for 'xx': +translate.language_names.xx=WORD",
        ),
        ("translate.engine=openia", "translate.engine: Input should be 'transformers', 'vllm' or 'openai'"),
        (f"{TRANSLATE} data_mix.target_language=en", "from 'en' into itself"),
        ("data_mix.target=translated", "data_mix.target: Input should be 'source' or 'translate'"),
        (f"{TRANSLATE} data_mix.source_language=sv", "has no SFT data in 'sv'"),
        (f"{TRANSLATE} method=dpo_fi ~data_mix.preference.en", "needs preference data in 'fi'"),
        ("quality=demo quality.shots=[3]", "quality.shots asks for 3 examples, quality.template.shots.all has 0"),
        ("quality=demo quality.tests.demo.directions=[en-sv]", "a direction is two of the languages en, fi"),
        ("quality=demo quality.shots=[]", "quality.shots is empty"),
        ("engine.openai.url=http://me:secret@host/v1", "looks like a secret"),
    ],
)
def test_what_does_not_go_together_is_refused(asked, told):
    with pytest.raises(KirjoError) as refused:
        expand([shlex.split(asked)])
    assert told in str(refused.value)
    assert "(came: 'http://me" not in str(refused.value)
