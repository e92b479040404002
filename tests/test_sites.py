"""conf/launcher: every site's file composes, its limits refuse, and each stage gets what the file says."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from experiment.combinations import accumulation, world_size
from experiment.config import Config
from experiment.errors import KirjoError
from experiment.resources import (
    LIGHT,
    MANY_RANKS,
    SHARED_OUT,
    Allocation,
    Launcher,
    Partition,
    Resources,
    Site,
    resources_of,
    unset_options,
)
from experiment.stages import STAGES
from experiment.sweep import expand

CONF = Path(__file__).resolve().parent.parent / "conf"
LAUNCHERS = sorted(path.stem for path in (CONF / "launcher").glob("*.yaml"))
SITES = ["lumi", "lumi-container", "roihu"]
MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
# 64 ranks of the 34B model are 16 nodes of four GPUs.
DOES_NOT_FIT = {("roihu", "poro-34b"): "16 nodes, gpularge allows 10"}
MADE_TO_FIT = {("roihu", "poro-34b"): ["launcher.resources.sft.ranks=32", "launcher.resources.dpo.ranks=32"]}


@functools.cache
def compose(*overrides: str) -> Config:
    (point,) = expand([list(overrides)])
    return point.config


def allocation(config: Config, stage: str) -> Allocation:
    return resources_of(stage, config.model.resources, config.launcher)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_every_launcher_takes_every_model(launcher, model):
    pair = (launcher, model)
    asked = [f"launcher={launcher}", f"model={model}", "method=dpo_both"]
    if pair in DOES_NOT_FIT:
        with pytest.raises(KirjoError, match=DOES_NOT_FIT[pair]):
            compose(*asked)
    config = compose(*asked, *MADE_TO_FIT.get(pair, []))
    assert config.launcher.name == launcher
    if config.launcher.site:
        for stage in STAGES:
            found = allocation(config, stage)
            assert found.ranks == 1 or stage in (*MANY_RANKS, *SHARED_OUT)


def test_the_34b_model_trains_on_lumi_as_in_the_paper():
    config = compose("launcher=lumi", "model=poro-34b", "method=dpo_both", "launcher.account=project_1")
    for stage, section, rows in (("sft", config.sft, 2), ("dpo", config.dpo, 1)):
        found = allocation(config, stage)
        assert (found.nodes, found.ranks_per_node, found.gpus_per_rank, found.cpus_per_rank) == (8, 8, 1, 7)
        assert (found.partition, found.mem_gb) == ("standard-g", 480)
        assert world_size(config, stage) == 64
        assert (section.micro_batch, accumulation(section.global_batch, rows, 64)) == (rows, 1)
    assert config.parallel.name == "zero3"
    assert config.sft.gradient_checkpointing
    assert config.sft.precision == "bf16"


def test_what_each_stage_gets_on_lumi():
    config = compose("launcher=lumi", "model=poro-34b")
    found = {stage: allocation(config, stage) for stage in STAGES}
    shared = {stage: item for stage, item in found.items() if stage not in ("sft", "dpo")}
    assert {item.partition for item in shared.values()} == {"small-g"}
    assert {stage: item.gpus_per_node for stage, item in shared.items()} == {
        "pretrain": 1,
        "mix": 1,
        "pair": 1,
        "translate": 4,
        "clean": 1,
        "quality": 1,
        "reference": 4,
        "generate": 4,
        "score": 1,
    }
    # 60 GB and 7 cores with each GCD are billed as that GCD alone (by slices of 64 GB and 8 cores).
    assert all(item.mem_gb == 60 * item.gpus_per_node for item in shared.values())
    assert {found[stage].walltime_min for stage in LIGHT} == {60}


def test_what_needs_one_gpu_shares_a_node_and_a_full_node_is_whole():
    one = allocation(compose("launcher=lumi", "model=demo"), "sft")
    assert (one.partition, one.nodes, one.gpus_per_node, one.mem_gb) == ("small-g", 1, 1, 60)
    wide = ("launcher.resources.sft.ranks=8", "parallel=ddp", "sft.micro_batch=1", "sft.global_batch=8")
    full = allocation(compose("launcher=lumi", "model=demo", *wide), "sft")
    assert (full.partition, full.nodes, full.gpus_per_node, full.mem_gb) == ("standard-g", 1, 8, 480)


def test_roihu_takes_single_nodes_on_gpumedium_and_more_on_gpularge():
    fits = MADE_TO_FIT["roihu", "poro-34b"]
    config = compose("launcher=roihu", "model=poro-34b", "method=dpo_both", *fits)
    sft, generate = allocation(config, "sft"), allocation(config, "generate")
    assert (sft.partition, sft.nodes, sft.ranks_per_node, sft.cpus_per_rank) == ("gpularge", 8, 4, 72)
    assert accumulation(config.sft.global_batch, config.sft.micro_batch, world_size(config, "sft")) == 2
    assert (generate.partition, generate.nodes, generate.gpus_per_node) == ("gpumedium", 1, 4)
    assert {sft.mem_gb, generate.mem_gb} == {None}, "memory comes with the GPUs there"


REFUSED = [
    ("lumi", ["launcher.resources.sft.walltime_min=4320"], "4320 minutes, standard-g allows 2880"),
    ("lumi", ["launcher.resources.sft.cpus_per_rank=8"], "64 cores a node, a node has 56"),
    (
        "lumi",
        ["launcher.resources.sft.ranks=9", "launcher.resources.sft.nodes=1", "sft.global_batch=18"],
        "9 GPUs a node, a node has 8",
    ),
    ("lumi", ["launcher.partition=standard"], "no partition standard at this site; it has: standard-g, small-g, dev-g"),
    (
        "lumi",
        [
            "launcher.partition=dev-g",
            "launcher.resources.sft.walltime_min=180",
            "launcher.resources.sft.ranks=264",
            "sft.global_batch=528",
        ],
        "33 nodes, dev-g allows 32",
    ),
    ("lumi", ["launcher.partition=dev-g"], "720 minutes, dev-g allows 180"),
    ("lumi", ["launcher.partition=small-g"], "8 nodes, small-g allows 4"),
    ("lumi", ["launcher.resources.sft.mem_gb=512"], "512 GB a node, a node has 480"),
    ("lumi", ["launcher.resources.sft.ranks=60"], "60 ranks cannot be spread evenly over 8 nodes"),
    ("lumi", ["launcher.resources.sft.ranks=48"], "cannot be made of micro_batch=2 on 48 ranks"),
    ("lumi", ["parallel=single"], "64 ranks, each training alone"),
    (
        "roihu",
        ["launcher.resources.sft.ranks=8", "launcher.resources.sft.partition=gpumedium"],
        "8 GPUs, gpumedium allows 4 a job",
    ),
    ("roihu", ["launcher.resources.sft.ranks=32", "launcher.resources.sft.walltime_min=2161"], "gpularge allows 2160"),
]


@pytest.mark.parametrize(("launcher", "options", "said"), REFUSED, ids=[said for _, _, said in REFUSED])
def test_what_a_site_does_not_allow_is_refused_before_anything_is_planned(launcher, options, said):
    with pytest.raises(KirjoError, match=said):
        compose(f"launcher={launcher}", "model=poro-34b", *options)


@pytest.mark.parametrize("launcher", SITES)
def test_what_a_site_must_be_told_is_named(launcher):
    lines = unset_options(compose(f"launcher={launcher}").launcher)
    assert lines[0].startswith(f"launcher.account is not set: launcher={launcher} needs launcher.account=project_<id>")
    assert len(lines) == (2 if launcher == "lumi-container" else 1)
    told = compose(f"launcher={launcher}", "launcher.account=project_1", "launcher.container=/project/x.sif")
    assert unset_options(told.launcher) == []


@pytest.mark.parametrize("launcher", SITES)
def test_paths_name_the_project_and_nobody(launcher):
    config = compose(f"launcher={launcher}", "launcher.account=project_462000001")
    assert config.launcher.environment["HF_HOME"] == "/scratch/project_462000001/huggingface"
    assert config.launcher.environment["HF_HUB_OFFLINE"] == "1"
    words = "\n".join([*config.launcher.setup, config.launcher.python or "", *config.launcher.environment.values()])
    assert "project_462000001" in words
    assert "None" not in words.replace("None python", "")
    assert "${" not in words, "an interpolation was left"


def test_the_container_is_named_in_what_starts_python():
    image = "/project/project_1/kirjo.sif"
    config = compose("launcher=lumi-container", "launcher.account=project_1", f"launcher.container={image}")
    assert config.launcher.python == (
        "singularity exec "
        "-B /scratch/project_1,/project/project_1,/opt/cray,/usr/lib64/libcxi.so.1,/var/spool/slurmd "
        f"{image} python"
    )
    assert not any("module" in line for line in config.launcher.setup)


def test_lumis_masks_give_each_rank_seven_cores_of_its_own():
    """Rank r's cores: the eight of one L3 region without the first, which low-noise mode takes from jobs."""
    launcher = compose("launcher=lumi").launcher
    (option,) = launcher.srun_whole_nodes
    masks = [int(mask, 16) for mask in option.removeprefix("--cpu-bind=mask_cpu:").split(",")]
    cores = [[core for core in range(64) if mask >> core & 1] for mask in masks]
    # The first core of each region, in the guide's map_cpu for one core a rank.
    assert [found[0] for found in cores] == [49, 57, 17, 25, 1, 9, 33, 41]
    assert all(len(found) == 7 for found in cores)
    every = [core for found in cores for core in found]
    site = launcher.site
    assert site is not None
    assert len(set(every)) == len(every) == site.cpus_per_node == 56


def test_an_environment_takes_numbers_as_typed():
    config = compose("launcher=lumi", "launcher.environment.HF_HUB_OFFLINE=0", "+launcher.environment.X=1")
    assert config.launcher.environment["HF_HUB_OFFLINE"] == "0"
    assert config.launcher.environment["X"] == "1"


@given(
    ranks=st.integers(1, 64),
    gpus=st.integers(0, 4),
    cores=st.integers(1, 20),
    small=st.integers(0, 8),
    whole=st.booleans(),
    max_gpus=st.none() | st.integers(1, 64),
)
def test_an_allocation_never_goes_over_its_site(ranks, gpus, cores, small, whole, max_gpus):
    limits = Partition(max_nodes=4, max_walltime_min=100, whole_nodes=whole, max_gpus=max_gpus)
    site = Site(
        gpus_per_node=8,
        cpus_per_node=56,
        mem_gb_per_node=480,
        mem_gb_per_gpu=60,
        partitions={"big": limits, "small": Partition()},
    )
    asked = {"sft": Resources(ranks=ranks, gpus_per_rank=gpus, cpus_per_rank=cores)}
    launcher = Launcher(
        name="x", target="x", site=site, resources=asked, partition="big", small_partition="small", small_gpus=small
    )
    try:
        found = resources_of("sft", {}, launcher)
    except KirjoError:
        return
    assert found.ranks == ranks
    assert found.gpus_per_node <= 8
    assert found.ranks_per_node * found.cpus_per_rank <= 56
    assert (found.mem_gb or 0) <= 480
    fits_small = found.nodes == 1 and found.gpus_per_node <= small
    assert found.partition == ("small" if fits_small else "big")
    if found.partition == "big":
        assert found.nodes <= 4
        assert max_gpus is None or found.nodes * found.gpus_per_node <= max_gpus
        if whole:
            assert found.mem_gb == 480


def test_a_launcher_without_a_small_partition_uses_its_own():
    launcher = Launcher(name="x", target="x", site=Site(), partition="p", small_gpus=8)
    assert resources_of("mix", {}, launcher).partition == "p"
    assert resources_of("mix", {}, dataclasses.replace(launcher, partition=None)).partition is None


SECRET = [
    ("environment", {"WANDB_API_KEY": "0123"}, "WANDB_API_KEY"),
    ("environment", {"MY_KEY": "0123"}, "MY_KEY"),
    ("environment", {"HTTPS_PROXY": "http://me:0123@proxy:3128"}, "http://"),
    ("setup", ["module load x", "export HF_TOKEN=0123"], "HF_TOKEN"),
    ("setup", ["hf auth login --token 0123"], "--token"),
    ("setup", ["wandb login --relogin 0123"], "wandb login"),
    ("setup", ["echo hf_0123456789abcdefABCD0123 > x"], "hf_"),
    ("sbatch", {"export": "ALL,OPENAI_API_KEY=0123"}, "OPENAI_API_KEY"),
    ("sbatch", {"db_password": "0123"}, "db_password"),
    ("srun", ["--export=ALL,HF_TOKEN=0123"], "HF_TOKEN"),
    ("srun_whole_nodes", ["--export=AWS_SECRET=0123"], "AWS_SECRET"),
    ("python", "env SOME_TOKEN=0123 python3", "SOME_TOKEN"),
    ("submit_python", "env DB_PASSWORD='0123' python3", "DB_PASSWORD"),
]


@pytest.mark.parametrize(("name", "value", "said"), SECRET, ids=[f"{name} {said}" for name, _, said in SECRET])
def test_a_secret_in_the_config_is_refused_and_not_repeated(name, value, said):
    with pytest.raises(ValidationError) as refused:
        Launcher(name="x", target="x", **{name: value})
    (fault,) = refused.value.errors()
    assert f"{said} looks like a secret" in fault["msg"]
    assert "0123" not in fault["msg"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("environment", {"TOKENIZERS_PARALLELISM": "false", "HF_TOKEN_PATH": "/scratch/x/token", "HF_HOME": "/a"}),
        ("environment", {"HTTPS_PROXY": "http://proxy:3128", "KEYS": "3", "MONKEY": "1"}),
        ("setup", ["source /project/p/kirjo/bin/activate", "export MIOPEN_USER_DB_PATH=/tmp/$USER-$SLURM_JOB_ID"]),
        ("setup", ["export HF_TOKEN=$(cat ~/.token)", "hf auth login --token $HF_TOKEN", "wandb login || true"]),
        ("setup", ["wandb login --host https://wandb.example", "module load hf_transfer"]),
        ("sbatch", {"exclude": "nid[1-2]", "mail-type": "END", "exclusive": True}),
        ("srun", ["--cpu-bind=mask_cpu:fe,fe00", "--kill-on-bad-exit=1", "--export=ALL"]),
        ("srun_whole_nodes", ["--cpu-bind=mask_cpu:fe000000000000,fe00000000000000"]),
        ("python", "singularity exec -B /scratch/p,/opt/cray /project/p/kirjo.sif python"),
        ("submit_python", "/project/p/kirjo/bin/python3"),
    ],
)
def test_what_is_no_secret_is_taken(name, value):
    launcher = Launcher(name="x", target="x", **{name: value})
    assert type(value)(getattr(launcher, name)) == value
