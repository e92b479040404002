"""The test cluster itself: two nodes with GPUs to count, and a node that dies as one does."""

from __future__ import annotations

import subprocess

import pytest

from tests import clusters
from tests.clusters import Cluster
from tests.launched import slurm, wait_for

TELL = """#!/bin/bash
echo "$SLURMD_NODENAME after ${SLURM_RESTART_COUNT:-0} restarts"
[ -n "$SLURM_RESTART_COUNT" ] || sleep 600
"""


def test_where_there_is_no_cluster_the_reason_says_how_to_start_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = clusters.find()
    assert isinstance(reason, str)
    assert reason.startswith("no SLURM commands here")
    assert "cluster-up.sh" in reason


@pytest.mark.slurm
@pytest.mark.usefixtures("cluster")
def test_a_controller_that_does_not_answer_is_a_reason_too(tmp_path, monkeypatch):
    configuration = tmp_path / "slurm.conf"
    # Nobody listens on port 1.
    configuration.write_text(
        "ClusterName=gone\nSlurmctldHost=localhost(127.0.0.1)\nSlurmctldPort=1\nMessageTimeout=2\n"
    )
    monkeypatch.setenv("SLURM_CONF", str(configuration))
    reason = clusters.find()
    assert isinstance(reason, str)
    assert "sinfo" in reason


@pytest.mark.slurm
def test_ranks_on_both_nodes_each_see_the_gpus_they_asked_for(cluster: Cluster):
    said = slurm("srun", "-N2", "--ntasks-per-node=2", "--gpus-per-node=4", "-t1", "printenv", "SLURMD_NODENAME")
    assert sorted(said.split()) == sorted(cluster.nodes[:2] * 2)
    if cluster.ours and (clusters.FOLDER / "gpu0").is_char_device():
        seen = slurm("srun", "--gpus=2", "-t1", "printenv", "CUDA_VISIBLE_DEVICES")
        assert len(set(seen.strip().split(","))) == 2


@pytest.mark.slurm
def test_starting_the_cluster_again_leaves_its_daemons_alone(cluster: Cluster):
    def daemons() -> list[str]:
        return [path.read_text() for path in sorted(clusters.FOLDER.glob("run/*.pid"))]

    before = daemons()
    found = subprocess.run([clusters.SCRIPTS / "cluster-up.sh"], text=True, capture_output=True, timeout=60)
    assert found.returncode == 0, found.stderr
    assert "idle" in found.stdout or "mix" in found.stdout or "alloc" in found.stdout
    assert daemons() == before
    assert cluster.ours == bool(before)


@pytest.mark.slurm
def test_a_job_on_a_node_that_dies_starts_again_on_the_other(cluster: Cluster, tmp_path):
    if not cluster.ours:
        pytest.skip("the cluster is not one of cluster-up.sh: its nodes are not killed")
    script, log = tmp_path / "tell.sh", tmp_path / "log"
    script.write_text(TELL)
    command = ("sbatch", "--parsable", "--requeue", "--open-mode=append", "-t5", f"-o{log}", str(script))
    job = slurm(*command).strip()
    try:
        wait_for(lambda: log.exists() and log.read_text())
        node = log.read_text().split()[0]
        assert len(cluster.processes(node)) > 1
        cluster.crash(node)
        assert cluster.processes(node) == []
        # A silent node is DOWN after SlurmdTimeout (30 s); the job then waits for its old credential's end (20 s).
        wait_for(lambda: "after 1 restarts" in log.read_text(), seconds=180)
        assert log.read_text().splitlines()[-1].split()[0] != node
    finally:
        slurm("scancel", job)
        for node in cluster.nodes:
            cluster.start(node)
    wait_for(lambda: isinstance(clusters.find(), Cluster))
