"""Sweeps on a real SLURM cluster of two nodes."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path

import pytest

from experiment.store import Store
from launchers.slurm import ledger
from tests import sweeps
from tests.launched import jobs, launch, launchers, settled, slurm, status, until, wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("cluster")]

TABLE1 = ("experiment=table1", "mix=0,10,100", "-m")


@pytest.fixture(scope="module")
def local_scores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the same sweep gives on this machine, without SLURM."""
    store = tmp_path_factory.mktemp("local") / "store"
    found = sweeps.run(*TABLE1, store=store)
    assert found.returncode == 0, found.stderr
    return sweeps.scores(store)


def test_a_sweep_gives_the_scores_of_a_local_run_and_does_each_step_once(tmp_path, local_scores):
    store = tmp_path / "store"
    said = launch(*TABLE1, store=store)
    assert "submitted in" in said.stdout
    found = settled(store)
    assert {run["state"] for run in found["runs"]} == {"done"}, found
    assert sweeps.scores(store) == local_scores
    assert set(sweeps.endings(store).values()) == {1}
    again = launch(*TABLE1, store=store)
    assert "0 steps submitted" in again.stdout
    found = Store(store)
    tasks = [(one.id, task) for one in ledger.submissions(found) for task in range(len(one.tasks))]
    assert {ledger.exit_code(found, *task) for task in tasks} == {0}


def test_two_shells_that_launch_overlapping_sweeps_at_once_submit_shared_steps_once(tmp_path, local_scores):
    store = tmp_path / "store"
    shells = [
        subprocess.Popen(
            sweeps.command("launcher=slurm", f"mix={mixes}", "-m", store=store),
            cwd=sweeps.ROOT,
            env=sweeps.ENVIRONMENT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for mixes in ("0,10", "10,100")
    ]
    for shell in shells:
        out, err = shell.communicate(timeout=120)
        assert shell.returncode == 0, out + err
    submitted = [key for one in ledger.submissions(Store(store)) for task in one.tasks for key in task.steps]
    assert len(submitted) == len(set(submitted))
    settled(store)
    assert sweeps.scores(store) == local_scores
    assert set(sweeps.endings(store).values()) == {1}


def test_a_cancelled_job_stops_what_needs_it_and_one_retry_completes_the_sweep(tmp_path, local_scores):
    store = tmp_path / "store"
    launch(*TABLE1, store=store)
    step = until(store, "sft", "running")
    slurm("scancel", step["job"])
    found = settled(store)
    cancelled = next(one for one in found["steps"] if one["fingerprint"] == step["fingerprint"])
    assert cancelled["state"] == "failed"
    assert "cancel" in cancelled["reason"].lower()
    assert {one["state"] for one in found["steps"] if one["stage"] == "generate"} >= {"blocked"}
    retried = launchers("retry", store=store)
    assert retried.returncode == 0, retried.stderr
    settled(store)
    assert sweeps.scores(store) == local_scores
    assert set(sweeps.endings(store).values()) <= {1}


def test_jobs_beyond_the_limit_are_submitted_by_the_jobs_that_end(tmp_path, local_scores):
    store = tmp_path / "store"
    said = launch(*TABLE1, "launcher.max_jobs=3", store=store)
    assert "waiting for room" in said.stdout
    most = 0
    while "not submitted" in {step["state"] for step in status(store)["steps"]}:
        queued = slurm("squeue", "--me", "-r", "-h", "-o", "%i").split()
        most = max(most, len(set(queued) & set(jobs(store))))
    # The job that is ending, and submits, still stands in the queue.
    assert 0 < most <= 3 + 1
    settled(store)
    assert sweeps.scores(store) == local_scores
    assert set(sweeps.endings(store).values()) == {1}


def test_what_runs_is_the_code_of_the_launch(tmp_path):
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name in ("experiment", "launchers", "conf", "analysis", "hydra_plugins"):
        subprocess.run(["cp", "-r", str(sweeps.ROOT / name), str(checkout / name)], check=True)
    store = tmp_path / "store"
    asked = ("launcher=slurm", "mix=0", "benchmark.languages=[en]", "+launcher.sbatch.begin=now+3")
    line = sweeps.command(*asked, store=store)
    subprocess.run(line, cwd=checkout, env={**sweeps.ENVIRONMENT, "PYTHONPATH": str(checkout)}, check=True, timeout=120)
    (checkout / "launchers" / "slurm" / "node.py").write_text("raise RuntimeError('edited while jobs waited')\n")
    found = settled(store)
    assert {run["state"] for run in found["runs"]} == {"done"}, found


def test_sbatchs_own_words_reach_the_user(tmp_path):
    found = launch("mix=0", "launcher.partition=nowhere", store=tmp_path / "store", expect=2)
    assert "invalid partition" in found.stderr.lower()
    assert "launcher.partition" in found.stderr
    assert "Traceback" not in found.stderr
    assert jobs(tmp_path / "store") == []


def test_jobs_whose_launcher_died_before_it_recorded_them_are_submitted_again(tmp_path):
    store = tmp_path / "store"
    asked = ("mix=0", "benchmark.languages=[en]")
    launch(*asked, "+launcher.sbatch.hold=true", store=store)
    dead = jobs(store)
    for one in ledger.submissions(Store(store)):
        folder = ledger.folder_of(Store(store), one.id)
        ledger.write(Store(store), dataclasses.replace(one, tasks=tuple(replace_job(task) for task in one.tasks)))
        for path in folder.glob("*_submitted.pkl"):
            path.rename(folder / "0123456789abcdef.pkl")  # as submitit calls it until sbatch has answered
    launch(*asked, store=store)
    assert not set(dead) & set(jobs(store))
    assert not set(dead) & set(slurm("squeue", "--me", "-r", "-h", "-o", "%i").split())
    found = settled(store)
    assert {run["state"] for run in found["runs"]} == {"done"}, found


def replace_job(task: ledger.TaskRecord) -> ledger.TaskRecord:
    return dataclasses.replace(task, job=None)


def test_a_sweep_that_sbatch_refuses_keeps_no_other_back(tmp_path):
    store = tmp_path / "store"
    launch("mix=0", "launcher.partition=nowhere", store=store, expect=2)
    launch("mix=10", "benchmark.languages=[en]", "launcher.max_jobs=1000", store=store)
    assert launchers("retry", store=store).returncode == 0
    wait_for(lambda: "done" in {run["state"] for run in status(store)["runs"]}, seconds=300)


def test_a_job_that_is_told_its_walltime_ends_saves_is_queued_again_and_goes_on(tmp_path):
    """The signal that SLURM sends before the walltime's end, at a moment when the training is under way."""
    store = tmp_path / "store"
    launch("mix=0", "benchmark.languages=[en]", "sft.epochs=200", "sft.checkpoint_every=1000000", store=store)
    step = until(store, "sft", "running")
    log = Path(step["log"])
    wait_for(lambda: "'loss'" in log.read_text())
    slurm("scancel", "--signal=USR2", step["job"])
    found = settled(store, seconds=400)
    (training,) = [one for one in found["steps"] if one["stage"] == "sft"]
    assert (training["state"], training["restarts"]) == ("done", 1), found
    assert log.read_text().count("--- stopped") == 1
    (record,) = [json.loads(path.read_text()) for path in store.glob("sft/*/manifest.json")]
    assert record["summary"]["resumed_from"] > 0  # saved when told, not at an interval
    assert [entry["step"] for entry in curve(store) if "loss" in entry] == list(range(1, 601))


RANKS = (
    "mix=100",
    "benchmark.languages=[en]",
    "sft.micro_batch=2",
    "launcher.resources.sft.ranks=4",
    "launcher.resources.sft.nodes=2",
)


def curve(store: Path) -> list[dict[str, float]]:
    (found,) = store.glob("sft/*/history.jsonl")
    return [json.loads(line) for line in found.read_text().splitlines()]


@pytest.mark.parametrize("parallel", ["ddp", "zero3"])
def test_ranks_on_two_nodes_learn_what_one_process_learns(tmp_path, parallel):
    alone, store = tmp_path / "alone", tmp_path / "store"
    assert sweeps.run(*RANKS[:3], store=alone).returncode == 0
    launch(*RANKS, f"parallel={parallel}", store=store)
    found = settled(store, seconds=400)
    assert {run["state"] for run in found["runs"]} == {"done"}, found
    one, four = curve(alone), curve(store)
    assert len(one) == len(four) > 3
    for expected, came in zip(one, four, strict=True):
        assert came["learning_rate"] == expected["learning_rate"]
        assert came["loss"] == pytest.approx(expected["loss"], abs=2e-4)
    (record,) = [json.loads(path.read_text()) for path in store.glob("sft/*/manifest.json")]
    assert record["execution"]["resources"]["nodes"] == 2
    # The next stage, of one process, has read the weights.
    assert list(store.glob("generate/*/responses.jsonl"))


def test_a_requeued_job_of_many_ranks_goes_on_from_its_checkpoint(tmp_path):
    store = tmp_path / "store"
    launch(*RANKS, "parallel=zero3", "sft.epochs=30", "sft.checkpoint_every=5", store=store)
    step = until(store, "sft", "running")
    work = store / "sft" / f"{step['fingerprint']}.work"
    wait_for(lambda: list(work.glob("checkpoints/*/complete")))
    slurm("scontrol", "requeue", step["job"])
    found = settled(store, seconds=600)
    (training,) = [one for one in found["steps"] if one["stage"] == "sft"]
    assert (training["state"], training["restarts"]) == ("done", 1), found
    (record,) = [json.loads(path.read_text()) for path in store.glob("sft/*/manifest.json")]
    assert record["summary"]["resumed_from"] >= 5
    steps = [entry["step"] for entry in curve(store) if "loss" in entry]
    assert steps == list(range(1, len(steps) + 1))


def test_translation_shared_out_over_ranks_is_that_of_one_process(tmp_path):
    asked = ("method=data", "data_mix.target=translate", "method.preference=[]", "clean=none", "translate.shard_rows=4")
    local, store = tmp_path / "local", tmp_path / "store"
    found = sweeps.run(*asked, store=local)
    assert found.returncode == 0, found.stderr
    launch(*asked, "launcher.resources.translate.ranks=4", "launcher.resources.translate.nodes=2", store=store)
    assert {run["state"] for run in settled(store)["runs"]} == {"done"}
    (mine,), (theirs,) = (list(place.glob("translate/*/translated.jsonl")) for place in (local, store))
    assert theirs.read_bytes() == mine.read_bytes()
    manifest = json.loads(theirs.with_name("manifest.json").read_text())
    assert (manifest["execution"]["ranks"], manifest["summary"]["distinct_lines"] > 4 * 4) == (4, True)


def test_answers_shared_out_over_ranks_are_those_of_one_process(tmp_path, local_scores):
    store = tmp_path / "store"
    launch(*TABLE1, "launcher.resources.generate.ranks=2", "generate.shard_rows=2", store=store)
    assert {run["state"] for run in settled(store)["runs"]} == {"done"}
    assert sweeps.scores(store) == local_scores
