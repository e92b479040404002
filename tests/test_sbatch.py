"""Batch scripts, word for word. ``KIRJO_GOLDEN=write pytest tests/test_sbatch.py`` writes tests/golden/sbatch/ anew.

docs/lumi.md and docs/sites.md go through these files line by line.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import submitit

from experiment.resources import resources_of
from launchers.slurm import sbatch
from tests.test_sites import compose

GOLDEN = Path(__file__).resolve().parent / "golden" / "sbatch"
PROJECT = "project_462000001"
PORO = ("model=poro-34b", f"launcher.account={PROJECT}")
IMAGE = f"launcher.container=/project/{PROJECT}/kirjo.sif"
ROIHU = ("launcher.resources.sft.ranks=32", "launcher.resources.dpo.ranks=32")
CASES = {
    "lumi-sft-34b": ("sft", ("launcher=lumi", *PORO)),
    "lumi-generate-34b": ("generate", ("launcher=lumi", *PORO)),
    "lumi-score": ("score", ("launcher=lumi", *PORO)),
    "lumi-container-sft-34b": ("sft", ("launcher=lumi-container", IMAGE, *PORO)),
    "roihu-sft-34b": ("sft", ("launcher=roihu", *ROIHU, *PORO)),
    "roihu-generate-34b": ("generate", ("launcher=roihu", *ROIHU, *PORO)),
}


def script(stage: str, overrides: tuple[str, ...]) -> str:
    """What submitit would hand to sbatch for a job of this stage that waits for job 1001."""
    config = compose(*overrides)
    store = Path(f"/scratch/{PROJECT}/kirjo/store")
    place = sbatch.Place(store / "jobs" / "20250101T000000-abc123", store / "code" / "0123456789abcdef", store)
    allocation = resources_of(stage, config.model.resources, config.launcher)
    wanted = sbatch.parameters(
        stage, allocation, config.launcher, place, ["1001"], "kirjo:20250101T000000-abc123", False
    )
    executor = submitit.SlurmExecutor(place.folder, python=config.launcher.python)
    executor.update_parameters(**wanted)
    return str(executor._make_submission_file_text(executor._submitit_command_str, "uid")) + "\n"


@pytest.mark.parametrize("name", CASES)
def test_a_batch_script_is_word_for_word_what_was_reviewed(name):
    stage, overrides = CASES[name]
    found = script(stage, overrides)
    path = GOLDEN / f"{name}.sh"
    if os.environ.get("KIRJO_GOLDEN") == "write":
        GOLDEN.mkdir(parents=True, exist_ok=True)
        path.write_text(found)
    assert found == path.read_text()


def options(text: str) -> dict[str, str]:
    lines = [line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH --")]
    return {key: value.strip("'") for key, _, value in (line.partition("=") for line in lines)}


def test_the_34b_training_job_on_lumi_asks_for_what_the_guide_says():
    asked = options(script(*CASES["lumi-sft-34b"]))
    assert {key: asked[key] for key in ("nodes", "ntasks-per-node", "gpus-per-node", "cpus-per-task", "mem")} == {
        "nodes": "8",
        "ntasks-per-node": "8",
        "gpus-per-node": "8",
        "cpus-per-task": "7",
        "mem": "480G",
    }
    assert (asked["account"], asked["partition"]) == (PROJECT, "standard-g")
    assert "exclusive" in asked
    assert "gres" not in asked


def test_binding_stands_only_where_nodes_are_whole():
    assert "--cpu-bind=mask_cpu:fe000000000000," in script(*CASES["lumi-sft-34b"])
    shared = script(*CASES["lumi-generate-34b"])
    assert "--cpu-bind" not in shared
    assert "exclusive" not in options(shared)


def test_a_site_without_amd_gets_none_of_its_words():
    text = script(*CASES["roihu-sft-34b"])
    assert options(text)["gres"] == "gpu:gh200:4"
    assert "gpus-per-node" not in text
    for word in ("ROCR", "MIOPEN", "HSA_", "hsn0", "FI_CXI", "cpu-bind", "singularity"):
        assert word not in text


@pytest.mark.parametrize("name", CASES)
def test_bash_reads_the_script(name):
    bash = shutil.which("bash")
    assert bash
    checked = subprocess.run([bash, "-n"], input=script(*CASES[name]), text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
