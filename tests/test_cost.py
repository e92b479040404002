"""Costs before launch: formulas against hand calculations and real models, bounds, measurements, and refusals."""

from __future__ import annotations

import functools
import inspect
import json
import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import cost as benchmark
from experiment.compile import compile_run
from experiment.config import Config
from experiment.cost.architecture import bloom, from_document, shape_of
from experiment.cost.display import duration
from experiment.cost.estimate import Costs, billed_an_hour, estimate_plan
from experiment.cost.fits import refuse_unfit
from experiment.cost.memory import Setup, generating, layer_activations, scoring, training
from experiment.cost.throughput import decoding_seconds, forward_seconds, training_seconds, utilization
from experiment.cost.walltime import interval_of, refuse_short
from experiment.cost.work import source_rows
from experiment.errors import KirjoError
from experiment.launch import plan_document, step_states
from experiment.plan import Plan, Step, merge
from experiment.resources import Allocation, Partition, Site
from experiment.show import show_plan
from experiment.store import Store
from experiment.sweep import expand
from tests import stores

ROOT = Path(__file__).resolve().parent.parent
PORO = bloom(hidden_size=7168, n_layer=54, n_head=56, vocab_size=128_000)
SFT = Setup(PORO, "bf16", "zero3", "none", 64, 2, 1, 2048, True, False, 128)
PAPER = ("model=poro-34b", "data_mix=en-fi", "benchmark=ifeval")
LUMI = ("launcher=lumi", "launcher.account=project_1")
N = 34_216_949_760
WHOLE = ("experiment=paper", *PAPER, *LUMI, "launcher.resources.sft.walltime_min=1440")


@functools.cache
def planned(*overrides: str) -> tuple[Plan, Config]:
    points = expand([list(overrides)])
    return merge(compile_run(point.config, point.overrides) for point in points), points[0].config


def costs(*overrides: str, store: Store | None = None) -> tuple[Plan, Config, dict[str, str], Costs]:
    plan, config = planned(*overrides)
    states = step_states(plan, store)
    return plan, config, states, estimate_plan(plan, states, config, store)


def of_stage(plan: Plan, found: Costs, stage: str) -> list[Any]:
    return [estimate for key, estimate in found.steps.items() if plan.steps[key].stage == stage]


# Parameters and operations


def test_the_parameters_of_poro_by_hand() -> None:
    layer = 3 * 7168**2 + 3 * 7168 + 7168**2 + 7168  # query, key, value; output
    layer += 7168 * 28672 + 28672 + 28672 * 7168 + 7168  # the MLP
    layer += 2 * 2 * 7168  # two layer norms
    assert PORO.layer == layer == 616_655_872
    assert PORO.parameters == 128_000 * 7168 + 2 * 7168 + 54 * layer + 2 * 7168 == N


def real_model(document: dict[str, Any], dtype: str = "float32", device: str = "meta") -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    known = {key: value for key, value in document.items() if key != "model_type"}
    with torch.device(device):
        return AutoModelForCausalLM.from_config(
            AutoConfig.for_model(document["model_type"], **known), dtype=getattr(torch, dtype)
        )


BLOOM = {"model_type": "bloom", "hidden_size": 64, "n_layer": 3, "n_head": 4, "vocab_size": 300}
LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 176,
    "vocab_size": 300,
    "tie_word_embeddings": False,
}


@pytest.mark.parametrize(
    "document",
    [
        BLOOM,
        {**BLOOM, "hidden_size": 96, "n_layer": 1},
        LLAMA,
        {**LLAMA, "tie_word_embeddings": True},
        {**LLAMA, "head_dim": 32},
        {**LLAMA, "model_type": "mistral", "num_key_value_heads": 4},
    ],
    ids=["bloom", "bloom wide", "llama", "llama tied", "llama heads", "mistral"],
)
def test_a_shape_has_the_parameters_of_the_real_model(document: dict[str, Any]) -> None:
    model = real_model(document)
    for told in (document, json.loads(model.config.to_json_string(use_diff=False))):
        shape = from_document(told)
        assert shape is not None
        assert shape.parameters == model.num_parameters()


@pytest.mark.parametrize("document", [{}, {"model_type": "gpt2"}, {"model_type": "bloom"}, {**LLAMA, "mlp_bias": True}])
def test_a_model_that_is_not_known_has_no_shape(document: dict[str, Any]) -> None:
    assert from_document(document) is None


def test_the_shape_of_a_local_folder_and_of_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    model = {"start": "folder", "path": str(tmp_path), "dimensions": None}
    assert shape_of({"model": model}) == from_document(LLAMA)
    for path in (None, str(tmp_path / "none")):
        assert shape_of({"model": {**model, "path": path}}) is None
    absent = {"start": "hub", "hub": "nobody/nothing", "revision": "0" * 40, "dimensions": None}
    assert shape_of({"model": absent}) is None


def test_the_demo_and_poro_have_the_shapes_of_their_configs() -> None:
    _, _, _, found = costs(*PAPER, *LUMI)
    assert found.shapes == {"poro-34b": PORO}
    demo = stores.plan().config
    assert shape_of(demo) == bloom(**demo["pretrain"]["architecture"])


def test_the_published_throughput_gives_the_utilization_that_lumi_uses() -> None:
    a_token = 6 * N + 12 * 54 * 7168 * 2048
    by_hand = 174_378 / 1024 * a_token / 191.5e12
    assert utilization(PORO, 2048, 174_378, 1024, 191.5) == pytest.approx(by_hand)
    site = planned(*PAPER, *LUMI)[1].launcher.site
    assert site is not None
    assert site.model_flops_utilization == round(by_hand, 3)
    # And back: with it, a million tokens take as long as they did.
    seconds = training_seconds(PORO, 1e6, 2048, 1024, 191.5, by_hand)
    assert seconds == pytest.approx(1e6 / 174_378)
    assert 3 * forward_seconds(PORO, 1e6, 2048, 191.5, by_hand) == pytest.approx(1024 * seconds)


def test_an_input_embedding_of_its_own_multiplies_nothing() -> None:
    shape = from_document(LLAMA)
    assert shape is not None
    tied = replace(shape, tied=True)
    assert shape.parameters - tied.parameters == 300 * 64
    assert shape.forward_flops(100) == tied.forward_flops(100)


def test_decoding_reads_weights_and_cache_for_each_token() -> None:
    read = 2 * N + 32 * 640 * 2 * 54 * 7168 * 2  # the cache is half full on average
    assert decoding_seconds(PORO, "bf16", 510, 32, 1280, 1.6) == pytest.approx(16 * 1280 * read / 1.6e12)


def test_the_document_holds_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    benchmark.main()
    assert capsys.readouterr().out.rstrip() in (ROOT / "docs" / "cost.md").read_text()


# Memory


def test_states_by_hand() -> None:
    zero3 = training(SFT)
    assert (zero3.weights, zero3.gradients, zero3.optimizer) == (2 * N / 64, 2 * N / 64, 12 * N / 64)
    zero2 = training(replace(SFT, parallel="zero2"))
    assert (zero2.weights, zero2.gradients, zero2.optimizer) == (2 * N, 2 * N / 64, 12 * N / 64)
    alone = training(replace(SFT, parallel="single", ranks=1))
    assert (alone.weights, alone.gradients, alone.optimizer) == (6 * N, 4 * N, 8 * N)
    full = training(replace(SFT, parallel="single", ranks=1, precision="float32"))
    assert (full.weights, full.gradients, full.optimizer) == (4 * N, 4 * N, 8 * N)
    away = training(replace(SFT, offload="optimizer"))
    assert (away.optimizer, away.host) == (0, 12 * N / 64)


def test_activations_of_poro_by_hand() -> None:
    def entering(rows: int) -> int:
        return 54 * 2 * 2048 * rows * 7168

    gathered = 2e9  # 10^9 weights (DeepSpeed's limit)
    # With two rows the end of the model is the most: its weights' gradient in bf16 and, as TRL sums it, in float32.
    end = 2 * PORO.embedding + 4 * (PORO.embedding + 2 * 2048 * 7168)
    assert training(SFT).activations == entering(2) + gathered + end
    # Where the logits are made whole, they and their gradient in float32.
    logits = 2 * PORO.embedding + 2 * 4 * 2 * 2048 * 128_000
    assert training(replace(SFT, whole_logits=True)).activations == entering(2) + gathered + logits
    # With four rows one layer at work, with its gradients.
    layer = 2 * PORO.layer + 2048 * 4 * 7168 * (32 + 6 * 56 * 2048 / 7168)
    assert training(replace(SFT, micro_batch=4)).activations == entering(4) + gathered + layer


def test_generation_and_reference_by_hand() -> None:
    found = generating(PORO, "bf16", 32, 1280)
    assert (found.weights, found.activations) == (2 * N, 32 * 1280 * 2 * 54 * 7168 * 2)
    assert scoring(PORO, "bf16", 2, 1024).weights == 6 * N
    assert scoring(PORO, "float32", 2, 1024).weights == 4 * N


@pytest.mark.parametrize("length", [72, 168])
@pytest.mark.parametrize("kind", ["float32", "bf16", "autocast"])
@pytest.mark.parametrize("document", [BLOOM, LLAMA, {**LLAMA, "intermediate_size": 320, "num_key_value_heads": 4}])
def test_a_layer_keeps_what_autograd_really_keeps(document: dict[str, Any], kind: str, length: int) -> None:
    rows = 2
    sizes = {}
    for layers in (2, 4):
        name = "n_layer" if document["model_type"] == "bloom" else "num_hidden_layers"
        sizes[layers] = kept_by_autograd({**document, name: layers}, kind, rows, length)
    shape = from_document(document)
    assert shape is not None
    precision = "float32" if kind == "float32" else "bf16"
    counted = layer_activations(shape, rows, length, precision, autocast=kind == "autocast")
    # What norms keep of a token (mean, scale) is small only against wide models; these are not.
    assert (sizes[4] - sizes[2]) / 2 == pytest.approx(counted, rel=0.03)


def kept_by_autograd(document: dict[str, Any], kind: str, rows: int, length: int) -> int:
    """Bytes that a forward pass leaves for the backward pass, without parameters and autocast's copies of them."""
    import torch

    model = real_model(document, "bfloat16" if kind == "bf16" else "float32", "cpu")
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    shapes = {parameter.shape for parameter in model.parameters()} | {
        p.mT.shape for p in model.parameters() if p.ndim == 2
    }
    seen = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own and not (tensor.dtype == torch.bfloat16 and tensor.shape in shapes):
            seen[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    ids = torch.zeros(rows, length, dtype=torch.long)
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=kind == "autocast"),
    ):
        kept_alive = model.base_model(ids, use_cache=False)
    assert kept_alive is not None
    return sum(size for size, _ in seen.values())


def test_trl_makes_no_whole_logits() -> None:
    from trl.kernels.chunked_logprob import ChunkedLogProbFunction

    forward = inspect.signature(ChunkedLogProbFunction.forward).parameters
    assert "chunk_size" in forward
    for trainer in ("sft_trainer", "dpo_trainer"):
        source = Path(str(find_spec(f"trl.trainer.{trainer}").origin)).read_text()  # type: ignore[union-attr]
        assert "add_fused_lm_head(" in source


SETUPS = st.builds(
    Setup,
    shape=st.builds(
        lambda width, layers, heads, vocabulary: bloom(
            hidden_size=width * heads, n_layer=layers, n_head=heads, vocab_size=vocabulary
        ),
        st.integers(4, 128),
        st.integers(1, 80),
        st.integers(1, 64),
        st.integers(256, 256_000),
    ),
    precision=st.sampled_from(["float32", "bf16"]),
    parallel=st.sampled_from(["single", "ddp", "zero2", "zero3"]),
    offload=st.sampled_from(["none", "optimizer"]),
    ranks=st.integers(2, 1024),
    micro_batch=st.integers(1, 16),
    sequences=st.sampled_from([1, 2]),
    length=st.integers(16, 4096),
    recompute=st.booleans(),
    whole_logits=st.booleans(),
    global_batch=st.just(128),
)


@given(SETUPS, st.integers(2, 8))
def test_more_ranks_need_less_memory_each_under_zero_and_no_less_without(setup: Setup, times: int) -> None:
    few, many = training(setup), training(replace(setup, ranks=setup.ranks * times))
    if setup.parallel in ("single", "ddp"):
        assert many == few
    else:
        assert many.total + many.host < few.total + few.host


@given(SETUPS)
def test_what_saves_memory_saves_memory(setup: Setup) -> None:
    def total(**changes: Any) -> float:
        return training(replace(setup, **changes)).total

    assert total(recompute=True) <= total(recompute=False) * (1 + 1e-9) or setup.shape.layers == 1
    many = setup.ranks * 3 + 1  # several passes in each case
    sizes = [total(micro_batch=rows, global_batch=many) for rows in (1, 2, 3)]
    assert sizes[0] <= sizes[1] < sizes[2]
    assert total(micro_batch=1, global_batch=setup.ranks) <= sizes[0]
    assert total(parallel="zero3", offload="optimizer") < total(parallel="zero3", offload="none")
    assert total(parallel="single") <= total(parallel="ddp")
    here, away = (training(replace(setup, parallel="zero2", offload=how)) for how in ("none", "optimizer"))
    assert away.host >= here.optimizer
    assert (away.weights, away.activations) == (here.weights, here.activations)


# Work: rows and tokens


def test_the_papers_rows_and_the_bound_of_its_tokens() -> None:
    plan, _, _, found = costs(*WHOLE)
    rows = sorted({estimate.work.rows for estimate in of_stage(plan, found, "sft")})
    finnish = [0, 439, 879, 1759, 2639, 3519, 4399]  # floor(X % of 4,399)
    assert rows == [4692 + kept for kept in finnish]
    full = max(of_stage(plan, found, "sft"), key=lambda estimate: estimate.work.tokens)
    assert (full.work.tokens, full.work.tokens_are, full.bound) == (9091 * 3 * 2048, "bound", "most")
    assert full.seconds == pytest.approx(9091 * 3 * 2048 * PORO.training_flops(2048) / (64 * 191.5e12 * 0.191))
    both = max(of_stage(plan, found, "dpo"), key=lambda estimate: estimate.work.tokens)
    assert both.work.tokens == (7221 + 6037) * 5 * 2 * 1024
    assert {estimate.work.rows for estimate in of_stage(plan, found, "generate")} == {510}
    assert {estimate.bound for estimate in of_stage(plan, found, "generate")} == {"least"}


def test_rows_of_a_source(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"a": 1}\n\n{"a": 2}\n')
    told = {"reader": "conversations", "path": str(file), "rows": None, "expected_rows": 9}
    assert source_rows(told) == 2
    assert source_rows({**told, "reader": "scored_pairs"}) == 9  # two rows a pair, ties dropped: not counted
    assert source_rows({**told, "path": str(tmp_path / "none.jsonl")}) == 9
    assert source_rows({**told, "rows": 5}) == 5
    assert source_rows({**told, "path": None, "expected_rows": None}) is None


# Bills


@pytest.mark.parametrize(
    ("nodes", "ranks_per_node", "gpus", "partition", "an_hour"),
    [
        (8, 8, 1, "standard-g", 32.0),
        (1, 1, 1, "standard-g", 4.0),  # a whole node all the same
        (1, 1, 4, "small-g", 2.0),
        (1, 1, 0, "small-g", 0.0),
        (1, 2, 1, None, 1.0),
    ],
)
def test_lumi_bills_whole_nodes_where_it_gives_them(
    nodes: int, ranks_per_node: int, gpus: int, partition: str | None, an_hour: float
) -> None:
    site = planned(*PAPER, *LUMI)[1].launcher.site
    assert site is not None
    assert billed_an_hour(Allocation(nodes, ranks_per_node, gpus, 7, None, 60, partition), site) == an_hour


def test_totals_are_the_sums_and_the_walltime_is_the_upper_bound() -> None:
    plan, _, _, found = costs(*WHOLE)
    sft = of_stage(plan, found, "sft")
    assert {estimate.billed_most for estimate in sft} == {24 * 32.0}
    assert all(estimate.billed == pytest.approx(estimate.seconds / 3600 * 32) for estimate in sft)
    assert found.billed == pytest.approx(sum(estimate.billed or 0 for estimate in found.steps.values()))
    assert found.billed_most is not None
    assert found.billed is not None
    assert found.billed < found.billed_most
    # A walltime that is too short is no upper bound: the job is queued again.
    short, _, _, again = costs(*PAPER, *LUMI, "launcher.resources.sft.walltime_min=10")
    (one,) = of_stage(short, again, "sft")
    assert one.billed_most == one.billed


# What finished steps tell


def finish(store: Store, step: Step, *, seconds: float, summary: Mapping[str, Any], **timings: Any) -> None:
    """Publish a step of a real plan, as executed in ``seconds``."""
    stores.publish(
        store,
        step.key,
        "rows.jsonl",
        [],
        settings=step.settings,
        inputs=step.inputs,
        execution={"threads": 1, **step.execution},
        timings={**stores.TIMINGS, "seconds": seconds, "attempts": 1, **timings},
        summary=summary,
    )


def of(plan: Plan, stage: str) -> Step:
    return next(step for step in plan.steps.values() if step.stage == stage)


def measured(tmp_path: Path, *site: str, trained_on: tuple[str, ...] = (), **timings: Any) -> Any:
    """The estimate of SFT on another mix, where SFT on mix=0 has taken 600 s for 4,692 rows of 1,000 tokens."""
    store = Store.open(tmp_path / "store", create=True)
    done, _ = planned("mix=0", *PAPER, *(trained_on or site))
    summary = {"rows": 4692, "tokens": 4_692_000}
    finish(store, of(done, "sft"), seconds=600, summary=summary, **timings)
    plan, _, states, found = costs("mix=100", *PAPER, *site, store=store)
    assert set(states.values()) == {"missing"}
    (estimate,) = of_stage(plan, found, "sft")
    return estimate


def test_a_finished_step_gives_the_time_and_the_tokens_of_others(tmp_path: Path) -> None:
    found = measured(tmp_path, *LUMI)
    assert (found.basis, found.bound, found.work.tokens_are) == ("measured", None, "measured")
    assert found.work.tokens == pytest.approx(9091 * 1000 * 3)
    assert found.seconds == pytest.approx(600 * 9091 / 4692)
    assert found.billed == pytest.approx(found.seconds / 3600 * 32)


def test_other_resources_give_tokens_but_no_time(tmp_path: Path) -> None:
    found = measured(tmp_path, *LUMI, trained_on=(*LUMI, "launcher.resources.sft.ranks=32"))
    assert (found.basis, found.work.tokens_are, found.bound) == ("formula", "measured", None)
    expected = training_seconds(PORO, 9091 * 1000 * 3, 2048, 64, 191.5, 0.191)
    assert found.seconds == pytest.approx(expected)


def test_an_interrupted_step_is_no_measure_of_time(tmp_path: Path) -> None:
    assert measured(tmp_path, *LUMI, attempts=2).basis == "formula"


def test_another_model_is_no_measure_at_all(tmp_path: Path) -> None:
    found = measured(tmp_path, *LUMI, trained_on=(*LUMI, "model.hub=LumiOpen/Viking-33B"))
    assert (found.basis, found.work.tokens_are) == ("formula", "bound")


def demo(tmp_path: Path) -> Store:
    """A store in which the demo has run on mix=0, by its manifests."""
    store = Store.open(tmp_path / "store", create=True)
    plan, _ = planned("mix=0")
    told: dict[str, tuple[float, dict[str, Any]]] = {
        "pretrain": (40, {"documents": 8000, "tokens": 600_000}),
        "mix": (0.5, {"rows": 469}),
        "sft": (30, {"rows": 469, "tokens": 100_000}),
        "generate": (6, {"prompts": 120}),
        "score": (1, {}),
    }
    for step in plan.steps.values():
        finish(store, step, seconds=told[step.stage][0], summary=told[step.stage][1])
    return store


def test_the_demo_is_timed_by_what_ran_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = demo(tmp_path)
    plan, _, states, found = costs("mix=100", store=store)
    assert states[of(plan, "pretrain").key] == "done"
    expected = 0.5 * 909 / 469 + 30 * 909 / 469 + 2 * 6 + 2 * 1
    assert found.seconds == pytest.approx(expected)
    assert found.billed is None
    show_plan(plan, states, store.root, found)
    out = capsys.readouterr().out
    assert f"about {duration(expected)} of work" in out
    assert not {"Cost", "Memory"} & set(out.split())
    document = plan_document(plan, states, found)
    assert document["cost"]["seconds"] == pytest.approx(expected, abs=0.1)  # type: ignore[index]


def test_without_a_site_and_timings_the_plan_is_as_short_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    plan, _, states, found = costs("mix=100")
    show_plan(plan, states, Path("store"), found)
    with_costs = capsys.readouterr().out
    show_plan(plan, states, Path("store"))
    assert capsys.readouterr().out == with_costs
    assert plan_document(plan, states, found) == plan_document(plan, states)


def test_what_is_done_costs_nothing(tmp_path: Path) -> None:
    store = demo(tmp_path)
    _, _, states, found = costs("mix=0", store=store)
    assert set(states.values()) == {"done"}
    assert (found.steps, found.seconds) == ({}, None)


# What is shown


def test_the_plan_shows_nodes_time_bill_and_memory(capsys: pytest.CaptureFixture[str]) -> None:
    plan, _, states, found = costs(*WHOLE)
    show_plan(plan, states, Path("store"), found, jobs=45)
    out = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in out.splitlines() if line[:1] == "│"]
    sft = [row for row in rows if row[0] == "sft"]
    assert [row[:5] for row in sft if len(row) == 8] == [["sft", "9", "8", "64", "24:00 h"]]
    (memory,) = (row for row in sft if len(row) == 7)
    assert [float(cell) for cell in memory[1:]] == [1.1, 1.1, 6.4, 10.8, 19.3, 64]
    (total,) = (row for row in rows if row[0] == "total")
    assert found.billed is not None
    assert total[1] == "81"
    assert float(total[6].replace(",", "")) == round(found.billed)
    assert "45 jobs; " in out
    assert f"{N:,} parameters" in out
    assert "pair, mix, score ride along" in out


def test_the_document_for_programs_has_the_same_numbers() -> None:
    plan, _, states, found = costs(*WHOLE)
    document = json.loads(json.dumps(plan_document(plan, states, found, jobs=45)))
    bare = json.loads(json.dumps(plan_document(plan, states)))
    assert [{key: step[key] for key in step if key != "estimate"} for step in document["steps"]] == bare["steps"]
    assert document["runs"] == bare["runs"]
    told = [step["estimate"] for step in document["steps"]]
    billed = sum(estimate["billed_gpu_hours"] or 0 for estimate in told)
    assert document["cost"]["billed_gpu_hours"] == pytest.approx(billed, abs=0.1)
    assert document["cost"]["jobs"] == 45
    for estimate in told:
        if estimate["memory_gb"]:
            parts = [estimate["memory_gb"][name] for name in ("weights", "gradients", "optimizer", "activations")]
            assert estimate["memory_gb"]["total"] == pytest.approx(sum(parts), abs=0.05)


@given(st.floats(0, 1e6))
def test_a_duration_reads_as_what_it_is(seconds: float) -> None:
    text = duration(seconds)
    number, unit = text.split()
    if unit == "h":
        hours, minutes = map(int, number.split(":"))
        assert minutes < 60
        value = 3600.0 * hours + 60 * minutes
    else:
        value = float(number) * {"s": 1, "min": 60}[unit]
    assert math.isclose(value, seconds, rel_tol=0.01, abs_tol=31)


# What cannot fit

ALONE = ("parallel=single", "launcher.resources.sft.ranks=1")


def test_34_billion_parameters_on_one_gcd_are_refused_with_what_to_change() -> None:
    plan, config, states, _ = costs(*PAPER, *LUMI, *ALONE)
    with pytest.raises(KirjoError) as error:
        refuse_unfit(plan, states, config)
    text = str(error.value)
    assert "sft on 1 x 1 GPUs needs 626.1 GB" in text
    assert "optimizer 273.7" in text
    assert "has 64.0" in text
    advice = [part.split(" (")[0].split() for part in text.split("would fit with ")[1].split("; or ")]
    assert advice == [
        ["parallel=zero3", "launcher.resources.sft.ranks=16"],
        ["parallel=zero3", "parallel.offload=optimizer", "launcher.resources.sft.ranks=16"],
    ]
    for changes in advice:
        refuse_unfit(*(arranged(*PAPER, *LUMI, *changes)))
    half = [item.replace("ranks=16", "ranks=8") for item in advice[0]]
    with pytest.raises(KirjoError, match=r"sft on 8 x 1 GPUs"):
        refuse_unfit(*arranged(*PAPER, *LUMI, *half))


def arranged(*overrides: str) -> tuple[Plan, dict[str, str], Config]:
    plan, config, states, _ = costs(*overrides)
    return plan, states, config


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        (
            "launcher.resources.generate.gpus_per_rank=2",
            "launcher.resources.generate.gpus_per_rank=3; or generate.batch",
        ),
        ("launcher.resources.generate.gpus_per_rank=1", "would fit with launcher.resources.generate.gpus_per_rank=3"),
        ("sft.gradient_checkpointing=false", "sft.gradient_checkpointing=true"),
    ],
)
def test_advice_for_other_stages_and_settings(change: str, advice: str) -> None:
    with pytest.raises(KirjoError) as error:
        refuse_unfit(*arranged(*PAPER, *LUMI, change))
    assert advice in str(error.value)


def test_what_is_offloaded_must_fit_on_the_node() -> None:
    options = ("parallel.offload=optimizer", "launcher.resources.sft.ranks=16")
    refuse_unfit(*arranged(*PAPER, *LUMI, *options))  # 274 of 480 GB
    # Weights, mean, variance and the sums of several passes: 16 bytes a parameter, a sixteenth of them.
    with pytest.raises(KirjoError, match=r"needs 34.2 GB of the node's memory a rank .*, has 30.0"):
        refuse_unfit(*arranged(*PAPER, *LUMI, *options, "launcher.resources.sft.mem_gb=240"))


@pytest.mark.parametrize("parallel", ["zero2", "zero3"])
def test_gradients_of_several_passes_are_added_up_in_float32(parallel: Literal["zero2", "zero3"]) -> None:
    setup = replace(SFT, parallel=parallel, micro_batch=1)
    assert (training(replace(setup, global_batch=64)).gradients, training(setup).gradients) == (2 * N / 64, 4 * N / 64)
    away = replace(setup, offload="optimizer")
    assert training(away).host - training(replace(away, global_batch=64)).host == pytest.approx(4 * N / 64)
    single = replace(setup, precision="float32")
    assert training(single).gradients == training(replace(single, global_batch=64)).gradients


def test_the_paper_fits_and_what_is_not_known_is_not_checked() -> None:
    refuse_unfit(*arranged(*WHOLE))
    refuse_unfit(*arranged("mix=100"))
    refuse_unfit(*arranged(*PAPER, *LUMI, *ALONE, "launcher.site.gpu_memory_gb=null"))
    refuse_unfit(*arranged(*PAPER, *LUMI, *ALONE, "model.dimensions=null"))


def test_a_misfit_is_shown_and_does_not_keep_the_plan_back(capsys: pytest.CaptureFixture[str]) -> None:
    plan, _, states, found = costs(*PAPER, *LUMI, *ALONE)
    show_plan(plan, states, Path("store"), found)
    assert "would fit with parallel=zero3 launcher.resources.sft.ranks=16" in " ".join(capsys.readouterr().out.split())
    (estimate,) = of_stage(plan, found, "sft")
    assert estimate.document()["fits"] is False


def test_a_site_that_says_nothing_gets_no_estimates(capsys: pytest.CaptureFixture[str]) -> None:
    plan, _, states, found = costs("launcher=slurm")
    assert (found.seconds, found.billed) == (None, None)
    show_plan(plan, states, Path("store"), found)
    assert "Memory" not in capsys.readouterr().out


def test_where_a_node_is_not_known_the_gpus_asked_for_are_billed() -> None:
    site = Site(partitions={"whole": Partition(whole_nodes=True)})
    assert billed_an_hour(Allocation(2, 4, 1, 1, None, 60, "whole"), site) == 8.0


def test_a_walltime_shorter_than_a_measured_checkpoint_interval_is_refused(tmp_path: Path) -> None:
    """4,692 rows x 3 epochs in batches of 128 are 110 optimizer steps, so a checkpoint is due after 20 of them."""
    plan, config = planned(*PAPER, *LUMI)
    found = measured(tmp_path, *LUMI)
    interval = interval_of(of(plan, "sft"), found)
    assert interval is not None
    optimizer_steps = found.work.rows * 3 / 128
    assert math.isclose(interval, found.seconds * 20 / optimizer_steps)
    key = of(plan, "sft").key
    stop = config.launcher.stop_before_s
    for minutes, refused in ((int((interval + stop) / 60) + 1, False), (int((interval + stop) / 60) - 1, True)):
        allocation = replace(found.allocation, walltime_min=minutes)
        with pytest.raises(KirjoError, match=r"sft.checkpoint_every") if refused else nullcontext():
            refuse_short(plan, {key: replace(found, allocation=allocation)}, config.launcher)


def test_a_time_by_formula_refuses_no_walltime() -> None:
    plan, config, _, found = costs(*PAPER, *LUMI, "launcher.resources.sft.walltime_min=1")
    refuse_short(plan, found.steps, config.launcher)
