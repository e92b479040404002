from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment import data_steps
from experiment.compile import compile_run
from experiment.config import Config, execution, identity
from experiment.door import NOT_HASHED
from experiment.errors import KirjoError
from experiment.launch import plan_document, step_states
from experiment.plan import Plan, Run, Step, make_step, merge
from experiment.quality import versions as quality_versions
from experiment.scoring import identify, versions
from experiment.show import show_plan
from experiment.store import Store
from experiment.sweep import expand
from tests.test_config import compose, points

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = Path(__file__).parent / "golden" / "fingerprints.json"
SCORERS = {"ifeval": {"lm_eval": "0.4.13"}, "response_language": {"langdetect": "1.0.9", "seed": 0}}
# What is installed here must not matter: (module, function, what it is to say).
FIXED_VERSIONS = (
    (versions, "identity", lambda _language: SCORERS),
    (quality_versions, "identity", lambda: {"sacrebleu": "2.6.0"}),
    (data_steps, "package_version", lambda _package: "0.4.0"),
)
# Settings that nobody tunes, unlike those of the demo.
PAPER = ("sft=paper", "dpo=paper")
METHODS = ("sft", "sft_masked", "sft_neftune", "dpo_en", "dpo_fi", "dpo_both")


@pytest.fixture(autouse=True)
def _fixed_scorers(monkeypatch):
    for place, name, value in FIXED_VERSIONS:
        monkeypatch.setattr(place, name, value)


def plan_of(*overrides: str) -> Plan:
    return merge(compile_run(point.config, point.overrides) for point in points(*overrides))


def steps_of(config: Config) -> dict[str, str]:
    return dict(compile_run(config)[0].steps)


@pytest.fixture(scope="module")
def configs() -> dict[str, Config]:
    """The demo with every method; other points are made from these without Hydra, which is fast."""
    points = expand([[f"method={method}", *PAPER] for method in METHODS])
    return {point.config.method.name: point.config for point in points}


# What the experiments of the paper come to


def test_the_paper_is_fourteen_runs_of_shared_steps():
    plan = plan_of("experiment=paper")
    found = Counter(step.stage for step in plan.steps.values())
    assert len(plan.runs) == 14
    # 7 mixes, masked, NEFTune; DPO on en, fi and both at 0.05, and on both at 0.01 and 0.1
    assert found == {
        "pretrain": 1,
        "mix": 7,
        "sft": 9,
        "pair": 2,
        "reference": 2,
        "dpo": 5,
        "generate": 28,
        "score": 28,
    }
    assert sum(len(run.steps) for run in plan.runs) == 119


def test_table1_is_seven_sft_steps():
    found = Counter(step.stage for step in plan_of("experiment=table1").steps.values())
    assert (found["sft"], found["mix"], found["pretrain"], found["dpo"]) == (7, 7, 1, 0)


def test_every_beta_shares_the_reference(configs):
    base = configs["dpo_both"]
    runs = [steps_of(replace(base, dpo=replace(base.dpo, beta=beta))) for beta in (0.01, 0.05, 0.1)]
    assert len({run["dpo"] for run in runs}) == 3
    assert len({run["reference.en"] for run in runs} | {run["reference.fi"] for run in runs}) == 2


# Fingerprints. tests/golden/fingerprints.json holds the role -> fingerprint of these points. Where this test fails,
# artifacts in people's stores are no longer found and everything is trained again. If that is meant, because a stage
# now leaves another result, bump its version in experiment/stages/__init__.py (or the reader's, or the demo's),
# and only then write the file again:   python -m tests.test_plan
# All that the embedded demo may be tuned in is fixed here: tuning it makes other steps, which is as it should be.

FIXED = (
    *PAPER,
    *(f"pretrain.{name}" for name in ("global_batch=16", "micro_batch=16", "learning_rate=3e-3", "schedule=cosine")),
    *(f"pretrain.{name}" for name in ("warmup_ratio=0.05", "epochs=1", "max_length=128", "precision=float32")),
    *(f"pretrain.{name}" for name in ("weight_decay=0.01", "adam_beta2=0.95")),
    *(f"pretrain.architecture.{name}" for name in ("hidden_size=128", "n_layer=4", "n_head=4", "vocab_size=1024")),
    *(f"pretrain.texts.{language}.{name}" for language in ("en", "fi") for name in ("rows=4000", "seed=1")),
    *(f"data_mix.sft.{language}.{name}" for language in ("en", "fi") for name in ("rows=400", "seed=2")),
    *(f"data_mix.preference.{language}.{name}" for language in ("en", "fi") for name in ("rows=200", "seed=3")),
    *(f"benchmark.prompts.{language}.{name}" for language in ("en", "fi") for name in ("rows=120", "seed=4")),
    "benchmark.max_new_tokens=128",
)
POINTS = (
    "method=sft",
    "method=sft mix=0",
    "method=sft_masked mix=12.5",
    "method=sft_neftune mix=10pct seed=7",
    "method=dpo_both dpo_beta=0.1",
    "model=poro-34b data_mix=en-fi benchmark=ifeval method=dpo_fi",
    "method=dpo_both data_mix.target=translate translate.round_trip=true quality=demo",
    "model=poro-34b data_mix=en-fi benchmark=ifeval method=dpo_fi data_mix.target=translate translate=paper",
)


def golden() -> dict[str, dict[str, str]]:
    found = {}
    for point in POINTS:
        overrides = point.split() if "model=" in point else [*FIXED, *point.split()]
        found[point] = {role: key.split("/")[1] for role, key in steps_of(compose(*overrides)).items()}
    return found


def test_fingerprints_are_those_of_the_stores_that_exist():
    assert golden() == json.loads(GOLDEN.read_text())


BELOW_DPO = {"dpo", "generate.en", "generate.fi", "score.en", "score.fi"}
BELOW_SFT = {"sft", "reference.en", "reference.fi", *BELOW_DPO}
ANSWERS = {"generate.en", "generate.fi", "score.en", "score.fi"}


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        # how and where
        ("sft.micro_batch=8", set()),
        ("sft.checkpoint_every=7", set()),
        ("sft.gradient_checkpointing=false", set()),
        ("dpo.micro_batch=2", set()),
        ("dpo.checkpoint_every=3", set()),
        ("pretrain.micro_batch=1", set()),
        ("generate.batch_size=3", set()),
        ("launcher.workers=3", set()),
        ("launcher.threads=2", set()),
        ("model.threads.default=2", set()),
        ("store=/elsewhere", set()),
        ("plan=true", set()),
        ("preflight.max_truncated=0.9", set()),
        ("benchmark.nltk_data=/elsewhere", set()),
        # names
        ("model.name=other", set()),
        ("data_mix.name=other", set()),
        ("method.name=other", set()),
        # a setting that is written out at its default
        ("+sft.max_grad_norm=1.0", set()),
        ("sft.epochs=3.0", set()),
        ("mix=100pct", set()),
        # what decides a result
        ("+sft.max_grad_norm=0.5", BELOW_SFT),
        ("sft.learning_rate=1e-3", BELOW_SFT),
        ("sft.global_batch=32", BELOW_SFT),
        ("sft.epochs=2", BELOW_SFT),
        ("sft.max_length=2047", BELOW_SFT),
        ("sft.weight_decay=0.1", BELOW_SFT),
        ("method.loss_on=assistant", BELOW_SFT),
        ("method.neftune_alpha=5", BELOW_SFT),
        ("pretrain.epochs=0.123", {"pretrain", *BELOW_SFT}),
        ("pretrain.texts.fi.rows=3999", {"pretrain", *BELOW_SFT}),
        ("pretrain.architecture.n_layer=9", {"pretrain", *BELOW_SFT}),
        ("mix=40", {"mix", *BELOW_SFT}),
        ("data_mix.sft.fi.seed=9", {"mix", *BELOW_SFT}),
        ("seed=43", {"pretrain", "mix", *BELOW_SFT}),
        ("dpo.beta=0.1", BELOW_DPO),
        ("dpo_beta=0.01", BELOW_DPO),
        ("dpo.learning_rate=1e-5", BELOW_DPO),
        ("dpo.epochs=0.5", BELOW_DPO),
        ("dpo.max_length=1023", {"reference.en", "reference.fi", *BELOW_DPO}),
        ("dpo.max_prompt_length=64", {"reference.en", "reference.fi", *BELOW_DPO}),
        ("data_mix.preference.fi.rows=200", {"pair.fi", "reference.fi", *BELOW_DPO}),
        ("data_mix.pairs=all", {"pair.en", "pair.fi", "reference.en", "reference.fi", *BELOW_DPO}),
        ("benchmark.max_new_tokens=77", ANSWERS),
        ("benchmark.exclude_instructions=[x]", ANSWERS),
        ("benchmark.prompts.fi.rows=119", {"generate.fi", "score.fi"}),
    ],
)
def test_an_override_changes_exactly_the_steps_it_decides(override, changed, configs):
    before = steps_of(configs["dpo_both"])
    after = steps_of(compose("method=dpo_both", *PAPER, *override.split()))
    assert list(after) == list(before)
    assert {role for role in before if before[role] != after[role]} == changed


def test_the_scorers_identity_decides_scores_only(configs, monkeypatch):
    before = steps_of(configs["dpo_en"])
    monkeypatch.setattr(versions, "identity", lambda _language: {**SCORERS, "ifeval": {"lm_eval": "0.4.14"}})
    after = steps_of(configs["dpo_en"])
    assert {role for role in before if before[role] != after[role]} == {"score.en", "score.fi"}


def test_the_scorers_identity_tells_the_installed_versions(monkeypatch):
    monkeypatch.undo()
    found = versions.identity("fi")
    assert set(found["ifeval"]) == {"lm_eval", "nltk", "seed"}
    assert found["response_language"]["seed"] == identify.LANGDETECT_SEED


def test_a_local_file_counts_by_its_content_not_by_its_place(tmp_path):
    row = {"message_id": "a", "parent_id": None, "role": "prompter", "rank": None, "text_en": "Hi", "text_fi": "Hei"}
    here, there = tmp_path / "here.jsonl", tmp_path / "far" / "there.jsonl"
    here.write_text(json.dumps(row) + "\n")
    there.parent.mkdir()
    shutil.copy(here, there)
    one, two = (compile_run(compose("data_mix=oasst1", f"data_mix.path={path}")) for path in (here, there))
    assert one[0].steps == two[0].steps
    assert one[0].id == two[0].id
    assert len(merge([one, two]).runs) == 1
    there.write_text(json.dumps({**row, "text_fi": "Moi"}) + "\n")
    other = steps_of(compose("data_mix=oasst1", f"data_mix.path={there}"))
    assert other["mix"] != one[0].steps["mix"]
    assert other["pretrain"] == one[0].steps["pretrain"]


def test_mix_0_does_not_depend_on_the_target_source(configs):
    base = configs["sft"]
    fi = replace(base.data_mix.sft["fi"], seed=99)
    changed = replace(base, data_mix=replace(base.data_mix, sft={**base.data_mix.sft, "fi": fi}))
    assert steps_of(replace(base, mix=0)) == steps_of(replace(changed, mix=0))
    assert steps_of(replace(base, mix=1))["mix"] != steps_of(replace(changed, mix=1))["mix"]


@dataclasses.dataclass(frozen=True)
class Inner:
    size: int
    shape: str = "round"


@dataclasses.dataclass(frozen=True)
class Old:
    rate: float
    inner: Inner
    names: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class New:
    rate: float
    inner: Inner
    names: tuple[str, ...] = ()
    extra: float = 0.5
    table: dict[str, int] = field(default_factory=dict)
    threads: int = field(default=1, metadata=NOT_HASHED)


@given(st.floats(allow_nan=False), st.integers(), st.sampled_from(["round", "flat"]), st.integers())
def test_a_new_setting_at_its_default_leaves_identities_as_they_were(rate, size, shape, threads):
    inner = Inner(size, shape)
    assert identity(New(rate, inner, threads=threads)) == identity(Old(rate, inner))
    assert identity(New(rate, inner, extra=0.25)) == {**identity(Old(rate, inner)), "extra": 0.25}
    assert identity(New(rate, inner, table={"a": 1})) == {**identity(Old(rate, inner)), "table": {"a": 1}}
    assert execution(New(rate, inner, threads=threads)) == {"threads": threads}


def test_an_identity_goes_as_deep_as_the_value():
    assert identity([Inner(1), {"a": (Inner(2, "flat"),)}]) == [{"size": 1}, {"a": [{"size": 2, "shape": "flat"}]}]


def test_a_hashed_and_a_not_hashed_part_make_up_every_training_section(configs):
    for section in (configs["dpo_en"].sft, configs["dpo_en"].dpo, configs["dpo_en"].pretrain):
        hashed = {item.name for item in dataclasses.fields(section) if item.metadata.get("hashed", True)}
        assert hashed | set(execution(section)) == {item.name for item in dataclasses.fields(section)}
        assert set(identity(section)) <= hashed
        assert not hashed & set(execution(section))


# The graph


AXES = st.tuples(
    st.lists(st.sampled_from([0, 10, 12.5, 100]), min_size=1, max_size=3, unique=True),
    st.lists(st.sampled_from(METHODS), min_size=1, max_size=4, unique=True),
    st.lists(st.sampled_from([0.01, 0.05, 0.1]), min_size=1, max_size=2, unique=True),
    st.lists(st.sampled_from([1, 2]), min_size=1, max_size=2, unique=True),
)


def product(configs: dict[str, Config], mixes, methods, betas, seeds) -> Plan:
    def made():
        for mix, method, beta, seed in itertools.product(mixes, methods, betas, seeds):
            base = configs[method]
            config = replace(base, mix=mix, seed=seed, dpo=replace(base.dpo, beta=beta))
            yield compile_run(config, (f"mix={mix}", f"method={method}", f"dpo.beta={beta}", f"seed={seed}"))

    return merge(made())


@settings(max_examples=40)
@given(axes=AXES)
def test_steps_come_after_their_inputs_and_nothing_stands_twice(configs, axes):
    plan = product(configs, *axes)
    seen: set[str] = set()
    for key, step in plan.steps.items():
        assert key == step.key
        assert set(step.inputs.values()) <= seen
        seen.add(key)
    assert seen == {key for run in plan.runs for key in run.steps.values()}
    for run in plan.runs:
        order = list(run.steps.values())
        assert all(
            order.index(needed) < order.index(key) for key in order for needed in plan.steps[key].inputs.values()
        )


@settings(max_examples=40)
@given(axes=AXES)
def test_names_and_ids_are_the_runs_own(configs, axes):
    plan = product(configs, *axes)
    mixes, methods, betas, seeds = axes
    with_beta = sum(method.startswith("dpo") for method in methods)
    runs = len(mixes) * len(seeds) * (len(methods) - with_beta + with_beta * len(betas))
    assert len(plan.runs) == runs
    assert len({run.name for run in plan.runs}) == runs
    assert len({run.id for run in plan.runs}) == runs
    assert len({tuple(run.steps.values()) for run in plan.runs}) == runs


def test_names_tell_what_a_sweep_varies():
    points = [["mix=40pct", f"seed={seed}", f"sft.learning_rate={rate}"] for seed in (1, 2) for rate in (1e-4, 2e-4)]
    runs = [compile_run(point.config, point.overrides)[0] for point in expand(points)]
    assert [run.name for run in runs] == [
        f"demo/demo/40pct/sft,seed={seed},sft.learning_rate={rate}" for seed in (1, 2) for rate in (1e-4, 2e-4)
    ]
    assert len({run.id for run in runs}) == 4
    assert all("/" not in run.id and run.id.startswith("demo_demo_40pct_sft-") for run in runs)


def test_places_are_no_part_of_a_name(configs):
    run, _ = compile_run(configs["sft"], ("store=/x", "plan=true", "launcher.workers=2", "benchmark.nltk_data=/n"))
    assert run.name == "demo/demo/100pct/sft"
    assert run.overrides == ("launcher.workers=2", "benchmark.nltk_data=/n")


def test_two_runs_that_a_name_cannot_tell_apart_get_different_names(configs):
    base = configs["sft"]
    other = replace(base, seed=7)
    plan = merge([compile_run(base), compile_run(other), compile_run(base)])
    assert [run.name.split("#")[0] for run in plan.runs] == ["demo/demo/100pct/sft"] * 2
    assert len({run.name for run in plan.runs}) == 2


def test_a_run_keeps_its_id_whatever_it_is_planned_with(configs):
    alone = merge([compile_run(replace(configs["sft"], seed=7))])
    beside = merge([compile_run(configs["sft"]), compile_run(replace(configs["sft"], seed=7))])
    assert alone.runs[0].id == beside.runs[1].id


def test_a_sweep_without_runs_is_refused():
    with pytest.raises(KirjoError, match="no runs"):
        merge([])


@settings(max_examples=40)
@given(axes=AXES)
def test_a_step_is_the_same_after_a_trip_through_json(configs, axes):
    for step in product(configs, *axes).steps.values():
        back = Step.from_json(json.loads(json.dumps(step.to_json())))
        assert back.fingerprint == step.fingerprint
        assert back.to_json() == json.loads(json.dumps(step.to_json()))


def test_an_edited_step_is_another_step(configs):
    step = compile_run(configs["sft"])[1][-1]
    document = json.loads(json.dumps(step.to_json()))
    document["settings"]["exclude_instructions"] = ["x"]
    assert Step.from_json(document).fingerprint != step.fingerprint
    document = json.loads(json.dumps(step.to_json()))
    document["execution"]["threads"], document["label"], document["unmet"] = 64, "other", ["later"]
    assert Step.from_json(document).fingerprint == step.fingerprint


# What must run


def toy() -> tuple[Plan, dict[str, Step]]:
    """Base -> sft -> two answers with a score each; steps by role."""
    base = make_step("pretrain", settings={})
    sft = make_step("sft", settings={}, inputs={"base": base.key})
    roles = {"pretrain": base, "sft": sft}
    for language in ("en", "fi"):
        answers = make_step("generate", settings={"language": language}, inputs={"model": sft.key})
        roles[f"generate.{language}"] = answers
        roles[f"score.{language}"] = make_step("score", settings={}, inputs={"responses": answers.key})
    run = Run("toy", (), {}, {role: step.key for role, step in roles.items()}, {})
    return merge([(run, roles.values())]), roles


@given(st.sets(st.sampled_from(sorted(toy()[1]))))
def test_a_step_is_needed_if_a_needed_step_or_a_table_lacks_it(complete):
    plan, roles = toy()
    needed = plan.needed({step.key: role in complete for role, step in roles.items()})
    expected = set()
    for language in ("en", "fi"):
        if f"score.{language}" not in complete:
            expected.add(f"score.{language}")
            if f"generate.{language}" not in complete:
                expected.add(f"generate.{language}")
    if any(role.startswith("generate") for role in expected) and "sft" not in complete:
        expected |= {"sft"} if "pretrain" in complete else {"sft", "pretrain"}
    assert needed == {roles[role].key for role in expected}


def finish(store: Store, step: Step) -> None:
    work = store.work(step.stage, step.fingerprint)
    work.mkdir(parents=True)
    (work / "result.txt").write_text("done")
    nothing: dict[str, object] = {}
    store.publish(
        step.stage,
        step.fingerprint,
        version=1,
        settings=step.settings,
        inputs=step.inputs,
        provenance=nothing,
        timings=nothing,
        execution=nothing,
        summary=nothing,
    )


def test_a_deleted_artifact_is_not_redone_while_its_scores_are_there(tmp_path):
    plan, roles = toy()
    assert set(step_states(plan, None).values()) == {"missing"}
    store = Store.open(tmp_path / "store", create=True)
    for step in plan.steps.values():
        finish(store, step)
    assert set(step_states(plan, store).values()) == {"done"}
    for role in ("pretrain", "sft"):
        shutil.rmtree(store.artifact(*roles[role].key.split("/")))
    states = step_states(plan, store)
    assert {role for role, step in roles.items() if states[step.key] == "unneeded"} == {"pretrain", "sft"}
    assert "missing" not in states.values()
    shutil.rmtree(store.artifact(*roles["score.fi"].key.split("/")))
    states = step_states(plan, store)
    assert {role for role, step in roles.items() if states[step.key] == "missing"} == {"score.fi"}
    shutil.rmtree(store.artifact(*roles["generate.fi"].key.split("/")))
    states = step_states(plan, store)
    missing = {role for role, step in roles.items() if states[step.key] == "missing"}
    assert missing == {"score.fi", "generate.fi", "sft", "pretrain"}


def test_the_shown_plan_counts_what_is_to_run_and_names_what_is_unset(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    (point,) = expand([["model=poro-34b", "method=dpo_en"]])
    plan = merge([compile_run(point.config, point.overrides)])
    show_plan(plan, dict.fromkeys(plan.steps, "missing"), Path("somewhere"))
    told = capsys.readouterr().out
    assert f"{len(plan.steps)} distinct steps for 1 run (" in told
    assert f"0 in somewhere, {len(plan.steps)} to run" in told
    assert (
        "model.revision=COMMIT must be a full commit hash, 40 hex digits; see https://huggingface.co/LumiOpen/Poro-34B/commits"
        in told
    )
    show_plan(plan, dict.fromkeys(plan.steps, "unneeded"), Path("somewhere"))
    assert "To be set" not in capsys.readouterr().out


# For programs


def test_the_document_tells_states_and_how_many_runs_share_a_step(configs):
    plan = product(configs, [100], ["sft", "dpo_en"], [0.05], [1])
    document = plan_document(plan, dict.fromkeys(plan.steps, "missing"))
    shares = {item["stage"]: item["runs"] for item in document["steps"]}
    assert (shares["pretrain"], shares["mix"], shares["sft"], shares["dpo"]) == (2, 2, 2, 1)


# Through the front door a few points, for each takes Hydra 70 ms; then a hundred, composed by hand.
HUNDRED = """
import sys
from dataclasses import replace
from experiment.__main__ import main
from experiment.compile import compile_run
from experiment.plan import merge
from experiment.sweep import expand
sys.argv = ["experiment", "-m", "mix=0,25pct,100", "method=sft,dpo_both", "plan=json", sys.argv[1]]
try:
    main()
finally:
    methods = ("sft", "sft_masked", "dpo_en", "dpo_both")
    four = [point.config for point in expand([[f"method={name}"] for name in methods])]
    plan = merge(compile_run(replace(config, mix=mix)) for config in four for mix in range(25))
    print(len(plan.runs), file=sys.stderr)
    heavy = [name for name in ("torch", "transformers", "trl", "datasets", "lm_eval", "nltk") if name in sys.modules]
    print("heavy:", heavy, file=sys.stderr)
"""


def test_a_hundred_runs_are_planned_as_one_document_and_without_torch(tmp_path):
    command = [sys.executable, "-c", HUNDRED, f"store={tmp_path / 'store'}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (0, "100\nheavy: []\n")
    document = json.loads(done.stdout)
    assert list(document) == ["runs", "steps"]
    assert len(document["runs"]) == 6
    fingerprints = [step["fingerprint"] for step in document["steps"]]
    assert len(set(fingerprints)) == len(fingerprints)
    used = Counter()
    for run in document["runs"]:
        assert {key: type(value) for key, value in run.items()} == {"name": str, "overrides": list, "steps": list}
        assert set(run["steps"]) <= set(fingerprints)
        used.update(set(run["steps"]))
    for step in document["steps"]:
        kinds = {key: type(value) for key, value in step.items()}
        assert kinds == {"fingerprint": str, "stage": str, "state": str, "runs": int}
        assert step["runs"] == used[step["fingerprint"]]
        assert step["state"] == "missing"
    assert Counter(step["stage"] for step in document["steps"])["sft"] == 3
    assert list(tmp_path.iterdir()) == []


if __name__ == "__main__":
    for place, name, value in FIXED_VERSIONS:
        setattr(place, name, value)
    GOLDEN.write_text(json.dumps(golden(), indent=1) + "\n")
