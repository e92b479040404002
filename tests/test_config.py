from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import yaml
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from experiment import config as door
from experiment.__main__ import main
from experiment.combinations import accumulation
from experiment.compile import compile_run
from experiment.config import Config
from experiment.errors import KirjoError
from experiment.sweep import Point, expand, quote_numbers

ROOT = Path(__file__).resolve().parent.parent
CONF = ROOT / "conf"
CHOICES = sorted(path.relative_to(CONF).with_suffix("") for path in CONF.rglob("*.yaml") if path.parent != CONF)


@functools.cache
def points(*overrides: str) -> tuple[Point, ...]:
    return tuple(expand([list(overrides)]))


def compose(*overrides: str) -> Config:
    (point,) = points(*overrides)
    return point.config


def ask(capsys, monkeypatch, *arguments: str) -> tuple[int, str, str]:
    """Go in by the front door, in this process: exit code, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["experiment", *arguments])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    code = 0
    try:
        main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def shell(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "experiment", *arguments]
    environment = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)


# The tree


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_every_file_of_the_tree_composes_to_the_typed_config(choice):
    group, name = choice.parent.as_posix(), choice.name
    found = points(f"{group}={name}")
    for point in found:
        assert isinstance(point.config, Config)
        assert compile_run(point.config, point.overrides)[1], "a run without steps"
        assert point.config.sweep.grids == ()
    if group == "experiment":
        written = yaml.safe_load((CONF / f"{choice}.yaml").read_text())["sweep"]["grids"]
        assert len(found) >= len(written)
    elif hasattr(getattr(found[0].config, group, None), "name"):
        assert getattr(found[0].config, group).name == name


def test_the_tree_was_walked():
    groups = {path.parent.as_posix() for path in CHOICES}
    assert {"data_mix", "method", "dpo_beta", "model", "benchmark", "experiment", "launcher", "sft", "dpo"} <= groups


@pytest.mark.parametrize("name", ["0.01", "0.05", "0.1"])
def test_a_beta_file_is_named_by_what_it_sets(name):
    assert compose(f"dpo_beta={name}").dpo.beta == float(name)


def test_the_values_of_the_paper():
    config = compose("model=poro-34b", "data_mix=en-fi", "benchmark=ifeval")
    sft, dpo = config.sft, config.dpo
    assert (sft.global_batch, dpo.global_batch) == (128, 64)
    assert (sft.learning_rate, dpo.learning_rate) == (2e-5, 5e-7)
    assert (sft.epochs, dpo.epochs) == (3, 5)
    assert (sft.max_length, dpo.max_length, dpo.max_prompt_length) == (2048, 1024, 512)
    assert sft.warmup_ratio == dpo.warmup_ratio == 0.1
    assert sft.schedule == dpo.schedule == "cosine"
    assert sft.precision == dpo.precision == "bf16"
    assert sft.gradient_checkpointing
    assert dpo.gradient_checkpointing
    assert (dpo.beta, dpo.loss) == (0.05, "sigmoid")
    assert not sft.packing
    assert config.seed == 42
    assert (config.model.hub, config.model.architecture) == ("LumiOpen/Poro-34B", "bloom")
    assert config.benchmark.max_new_tokens == 1280
    assert config.benchmark.exclude_instructions == ("language:response_language",)
    assert config.benchmark.languages == ("en", "fi")
    assert config.data_mix.sft["en"].hub == "sablo/oasst2_curated"
    assert config.data_mix.preference["en"].hub == "nvidia/HelpSteer2"
    # 8 nodes of 8 ranks, as the paper ran it
    assert accumulation(sft.global_batch, sft.micro_batch, 64) == 1
    assert accumulation(dpo.global_batch, dpo.micro_batch, 64) == 1


@pytest.mark.parametrize(
    ("method", "loss_on", "noisy", "preference"),
    [
        ("sft", "all", False, ()),
        ("sft_masked", "assistant", False, ()),
        ("sft_neftune", "all", True, ()),
        ("dpo_en", "all", False, ("en",)),
        ("dpo_fi", "all", False, ("fi",)),
        ("dpo_both", "all", False, ("en", "fi")),
    ],
)
def test_the_methods_are_those_of_table_2(method, loss_on, noisy, preference):
    found = compose(f"method={method}").method
    assert (found.loss_on, found.neftune_alpha is not None, found.preference) == (loss_on, noisy, preference)


# mix


@pytest.mark.parametrize(
    ("text", "value"), [("10", 10), ("10pct", 10), ("12.5", 12.5), ("0", 0), ("100.0", 100), ("12.5pct", 12.5)]
)
def test_mix_takes_a_number_with_or_without_pct(text, value):
    found = compose(f"mix={text}").mix
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("text", ["-1", "101", "abc", "nan", "1/3", "true", "null"])
def test_mix_refuses_what_is_no_share(text):
    with pytest.raises(KirjoError, match=r"mix: expected a (number|share) .*0 to 100") as refused:
        compose(f"mix={text}")
    assert f"in mix={text}:" in str(refused.value)


@given(st.decimals(min_value=0, max_value=100, places=3))
@example(100)
def test_mix_keeps_the_number_exactly(share):
    for text in (str(share), f"{share}pct", f" {share} "):
        assert Fraction(str(door._percent(text))) == Fraction(share)


@settings(max_examples=60)
@given(
    st.text() | st.floats() | st.booleans() | st.none() | st.from_regex(r"-?\d+[./e]?\d{0,3}(pct|%)?", fullmatch=True)
)
def test_mix_is_a_share_or_a_fault_whatever_is_typed(text):
    try:
        share = door._percent(text)
    except ValueError as error:
        share, message = 0, str(error)
        event("refused")
        assert "0 to 100" in message
    assert 0 <= share <= 100


# Types, ranges, combinations


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dpo.beta=0", "dpo.beta: expected a number above 0"),
        ("dpo.beta=-0.1", "dpo.beta: expected a number above 0"),
        ("dpo.beta=nan", "dpo.beta: "),
        ("sft.learning_rate=0", "sft.learning_rate: Input should be greater than 0"),
        ("sft.learning_rate=fast", "sft.learning_rate: Input should be a valid number"),
        ("sft.schedule=cosin", "sft.schedule: Input should be 'cosine', 'linear' or 'constant'"),
        ("sft.warmup_ratio=1.5", "sft.warmup_ratio: "),
        ("+sft.adam_beta2=1", "sft.adam_beta2: Input should be less than 1"),
        ("preflight.max_truncated=50", "preflight.max_truncated: "),
        ("sft.global_batch=1.5", "sft.global_batch: "),
        ("seed=-1", "seed: "),
        ("plan=maybe", "plan: "),
        ("~seed", "seed: is required but not set"),
        ("+colour=red", "colour: no such option"),
        ("launcher.workers=0", "launcher.workers: Input should be greater than 0"),
        ("launcher.workers=two", "launcher.workers: Input should be a valid integer"),
        ("+launcher.wrokers=2", "launcher.wrokers: no such option"),
        ("launcher.threads=many", "launcher.threads: Input should be a valid integer"),
        ("model.start=hub", "model.hub is not set"),
        ("~pretrain", "there is no pretrain section"),
        ("benchmark.languages=[]", "name at least one of en, fi"),
        ("benchmark.languages=[en,sv]", "no prompts in 'sv'; it has: en, fi"),
        ("data_mix.target_language=sv", "no SFT data in 'sv'; it has: en, fi"),
        ("data_mix.sft.en.rows=0", "data_mix.sft.en.rows: "),
        ("data_mix.sft.en.reader=csv", "data_mix.sft.en.reader: "),
    ],
)
def test_what_is_wrong_is_refused_and_named(override, message):
    with pytest.raises(KirjoError) as refused:
        compose(override)
    assert message in str(refused.value)
    assert str(refused.value).startswith(f"in {override}:\n")


def test_all_faults_of_a_point_are_listed_at_once():
    with pytest.raises(KirjoError) as refused:
        compose("mix=101", "seed=-1", "dpo.beta=0")
    assert all(f"{name}: " in str(refused.value) for name in ("mix", "seed", "dpo.beta"))


def test_a_method_whose_preference_data_the_mix_lacks():
    with pytest.raises(KirjoError, match="method dpo_both needs preference data in 'fi'; data_mix demo has it in: en"):
        compose("method=dpo_both", "~data_mix.preference.fi")
    compose("method=dpo_en", "~data_mix.preference.fi")


def test_a_mix_without_target_rows_needs_no_target_data():
    compose("mix=0", "~data_mix.sft.fi")
    with pytest.raises(KirjoError, match="data_mix demo has no SFT data in 'fi'; it has: en"):
        compose("mix=10", "~data_mix.sft.fi")


def test_packing_is_refused_where_samples_would_leak():
    with pytest.raises(KirjoError, match=r"sft.packing=true is refused for bloom"):
        compose("sft.packing=true")
    assert compose("sft.packing=true", "model.architecture=llama").sft.packing


def test_a_prompt_must_leave_room_for_a_reply():
    with pytest.raises(KirjoError, match=r"dpo.max_prompt_length=256 leaves no room"):
        compose("method=dpo_en", "dpo.max_length=256", "dpo.max_prompt_length=256")
    compose("method=sft", "dpo.max_length=256", "dpo.max_prompt_length=256")


def test_rows_are_refused_where_no_reader_heeds_them():
    with pytest.raises(KirjoError, match="the ifeval reader reads all rows"):
        compose("benchmark=ifeval", "+benchmark.prompts.en.rows=10")
    assert compose("data_mix=oasst1", "data_mix.path=x", "+data_mix.sft.en.rows=10").data_mix.sft["en"].rows == 10


def test_a_topology_that_cannot_give_the_global_batch(capsys, monkeypatch, tmp_path):
    code, _, err = ask(capsys, monkeypatch, "sft.global_batch=12", "sft.micro_batch=8", f"store={tmp_path / 's'}")
    assert code == 2
    assert (
        "sft: a global batch of 12 cannot be made of micro_batch=8 on 1 rank; micro_batch may be 1, 2, 3, 4, 6, 12"
        in err
    )
    with pytest.raises(KirjoError, match=r"dpo: a global batch of 8 .* micro_batch may be 1, 2, 4, 8"):
        compose("method=dpo_en", "dpo.micro_batch=3")
    compose("method=sft", "dpo.micro_batch=3")


@given(st.integers(1, 400), st.integers(1, 64), st.integers(1, 64))
def test_accumulation_gives_the_global_batch_or_says_what_would(global_batch, micro_batch, ranks):
    works = [m for m in range(1, global_batch + 1) if global_batch % (m * ranks) == 0]
    if micro_batch in works:
        assert accumulation(global_batch, micro_batch, ranks) * micro_batch * ranks == global_batch
        return
    advice = f"micro_batch may be {', '.join(map(str, works))}" if works else "use fewer ranks"
    with pytest.raises(KirjoError, match=f"; {advice}$"):
        accumulation(global_batch, micro_batch, ranks)


def test_the_config_is_frozen_all_the_way():
    config = compose()
    for holder, name in [(config, "mix"), (config.sft, "epochs"), (config.data_mix.sft["en"], "rows")]:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(holder, name, 7)


# Names that are not there


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("sft.learning_rat=1", "did you mean sft.learning_rate"),
        ("learning_rate=1", "did you mean .*sft.learning_rate"),
        ("sed=1", r"did you mean seed\b"),
        ("modle=demo", r"did you mean model\? "),
        ("method=dpo_bth", r"did you mean dpo_both\? \(method may be: data, dpo_both, .*sft_neftune\)"),
        ("model=poro", r"did you mean poro-34b\?"),
        ("experiment=tabel1", r"did you mean table1\?"),
        ("dpo_beta=0.2", r"dpo_beta may be: 0.01, 0.05, 0.1\)\. Any other beta: dpo.beta=0.2"),
        ("mix=0,10", "put -m in front"),
    ],
)
def test_an_unknown_name_comes_with_the_nearest(override, nearest, capsys, monkeypatch):
    code, out, err = ask(capsys, monkeypatch, override, "plan=true")
    assert (code, out) == (2, "")
    assert re.search(nearest, err), err
    assert "Traceback" not in err
    assert err.startswith("error: ")


def test_a_group_set_to_nothing_is_refused():
    with pytest.raises(KirjoError, match="sft=null: Config group override must be a string"):
        expand([["sft=null"]])


def test_an_unknown_name_inside_a_sweep_too(capsys, monkeypatch):
    code, _, err = ask(capsys, monkeypatch, "-m", "mix=0,10", "sft.epoch=1,2", "plan=true")
    assert code == 2
    assert "did you mean sft.epochs" in err


# Sweeps


def plan_names(capsys, monkeypatch, *arguments: str) -> list[str]:
    code, out, err = ask(capsys, monkeypatch, *arguments, "plan=json", "store=/nowhere/at-all")
    assert code == 0, err
    return [run["name"] for run in json.loads(out)["runs"]]


def test_the_betas_sweep_although_their_files_are_named_by_numbers(capsys, monkeypatch):
    names = plan_names(capsys, monkeypatch, "-m", "method=dpo_en", "dpo_beta=0.01,0.05,0.1")
    assert names == [f"demo/demo/100pct/dpo_en/beta={beta}" for beta in ("0.01", "0.05", "0.1")]


def test_any_beta_by_its_option_and_it_wins_over_the_group(capsys, monkeypatch):
    assert plan_names(capsys, monkeypatch, "method=dpo_en", "dpo.beta=0.2", "dpo_beta=0.1") == [
        "demo/demo/100pct/dpo_en/beta=0.2"
    ]


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("dpo_beta=0.01", "dpo_beta='0.01'"),
        ("dpo_beta=0.01,0.1", "dpo_beta='0.01','0.1'"),
        ("dpo_beta='0.01',0.1", "dpo_beta='0.01','0.1'"),
        ("dpo_beta=1e-2", "dpo_beta='1e-2'"),
        ("dpo.beta=0.2", "dpo.beta=0.2"),
        ("mix=0,10", "mix=0,10"),
        ("-m", "-m"),
    ],
)
def test_only_names_of_files_are_quoted(typed, read):
    assert quote_numbers([typed]) == [read]
    assert quote_numbers([read]) == [read]


def test_the_user_wins_over_an_axis_of_an_experiment():
    assert [point.config.mix for point in points("experiment=table1")] == [0, 10, 20, 40, 60, 80, 100]
    assert [point.config.mix for point in expand([["experiment=table1", "mix=30pct"]])] == [30]
    methods = {point.config.method.name for point in expand([["experiment=table2", "method=sft_masked"]])}
    assert methods == {"sft_masked"}
    assert [point.config.seed for point in expand([["experiment=betas", "seed=7"]])] == [7, 7, 7]


@pytest.fixture
def own_experiment(tmp_path):
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)

    def write(text: str) -> str:
        (folder / "own.yaml").write_text("# @package _global_\n" + text)
        return str(folder.parent)

    return write


def test_an_experiment_file_may_set_options_besides_its_axes(own_experiment, capsys, monkeypatch, tmp_path):
    folder = own_experiment("seed: 7\nsweep:\n  grids:\n    - {mix: '0, 10'}\n    - {method: dpo_en}\n")
    arguments = ("--config-dir", folder, "experiment=own", "plan=json", f"store={tmp_path / 's'}")
    code, out, err = ask(capsys, monkeypatch, *arguments)
    assert code == 0, err
    own = json.loads(out)
    assert len(own["runs"]) == 3
    monkeypatch.setattr("experiment.sweep._search_path", [])
    for number, point in enumerate([["mix=0"], ["mix=10"], ["method=dpo_en"]]):
        run, _ = compile_run(compose("seed=7", *point))
        assert own["runs"][number]["steps"] == [key.split("/")[1] for key in run.steps.values()]


def test_one_bad_point_of_a_sweep_and_nothing_is_launched(tmp_path):
    done = shell("-m", "mix=0,101", f"store={tmp_path / 'store'}")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: in mix=101 store={tmp_path / 'store'}:\nmix: expected a share from 0 to 100")
    assert not (tmp_path / "store").exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["store", "plan", "launcher.workers"])
def test_what_holds_for_a_whole_sweep_cannot_be_swept_over(name, capsys, monkeypatch, tmp_path):
    values = {"store": f"{tmp_path / 'a'},{tmp_path / 'b'}", "plan": "true,json", "launcher.workers": "1,2"}[name]
    code, out, err = ask(capsys, monkeypatch, "-m", f"{name}={values}", *(["plan=true"] if name != "plan" else []))
    assert (code, out) == (2, "")
    assert "must be the same for all runs of a sweep" in err


def test_a_run_that_lacks_its_pins_is_refused_with_every_option_to_set(capsys, monkeypatch, tmp_path):
    code, _, err = ask(capsys, monkeypatch, "model=poro-34b", "data_mix=en-fi", f"store={tmp_path / 'store'}")
    assert code == 2
    for option in ("model.revision=COMMIT", "data_mix.sft.en.revision=COMMIT", "data_mix.sft.fi.path=FILE"):
        assert option in err


WRONG = [
    (["nonsense"], "nonsense"),
    (["data_mix=oasst1", "data_mix.path=/nowhere/x.jsonl"], "cannot read the data file /nowhere/x.jsonl"),
    (["data_mix=oasst1", "data_mix.path=${nope}"], "nope"),
    (["model.start=folder", "+model.path=/nowhere"], "/nowhere is not a folder"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=lambda value: str(value))
def test_a_wrong_command_is_told_in_words(arguments, message, capsys, monkeypatch, tmp_path):
    code, out, err = ask(capsys, monkeypatch, *arguments, f"store={tmp_path / 'store'}")
    assert (code, out) == (2, "")
    assert "error: " in err
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "store").exists()


def test_a_wrong_command_shows_no_traceback_in_a_shell(tmp_path):
    done = shell("data_mix=oasst1", "data_mix.path=/nowhere/x.jsonl", f"store={tmp_path / 'store'}")
    assert done.returncode == 2
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert list(tmp_path.iterdir()) == []


# Hydra's own


def test_help_and_cfg_are_hydras(capsys, monkeypatch, tmp_path):
    code, told, _ = ask(capsys, monkeypatch, "--help")
    assert code == 0
    assert "data_mix: demo, en-fi" in told
    assert "method: data, dpo_both, dpo_en, dpo_fi, sft, sft_masked, sft_neftune" in told
    arguments = ("--cfg", "job", "mix=40pct", "dpo_beta=0.1", f"store={tmp_path / 'store'}")
    code, shown, _ = ask(capsys, monkeypatch, *arguments)
    assert code == 0
    document = yaml.safe_load(shown)
    assert (document["mix"], document["dpo"]["beta"]) == ("40pct", 0.1)
    assert list(tmp_path.iterdir()) == []
