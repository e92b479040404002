"""The cluster that the tests with the marker ``slurm`` use: is one here, and how to let one of its nodes die."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent / "slurm"
# Of the daemons of cluster-up.sh: their logs, pid files, and the devices that stand for GPUs.
FOLDER = Path(os.environ.get("CLUSTER_FOLDER", "/var/lib/kirjo-slurm"))
HOW = "as root, tests/slurm/cluster-up.sh starts one on this machine"


@dataclass(frozen=True)
class Cluster:
    """A cluster that answers. ``ours``: started by ``cluster-up.sh``, so that its nodes may be killed."""

    nodes: tuple[str, ...]
    ours: bool

    def crash(self, node: str) -> None:
        """kill -9 of all that runs on a node, as when the power goes."""
        self._node("crash", node)

    def kill_daemon(self, node: str) -> None:
        """kill -9 of a node's slurmd alone: what its jobs have started goes on, unseen by SLURM."""
        self._node("kill", node)

    def start(self, node: str) -> None:
        """Bring a node back; does nothing if it runs."""
        self._node("start", node)

    def processes(self, node: str) -> list[int]:
        """All processes of a node: slurmd, slurmstepd, and the jobs'."""
        return [int(pid) for pid in self._node("pids", node).split()]

    def _node(self, action: str, node: str) -> str:
        return _output([str(SCRIPTS / "cluster-node.sh"), action, node])


def find() -> Cluster | str:
    """The cluster here, or why there is none to test with."""
    try:
        said = _output(["sinfo", "--noheader", "--Node", "--format=%N %t"])
    except FileNotFoundError:
        return f"no SLURM commands here: {HOW}"
    except subprocess.TimeoutExpired:
        return f"sinfo does not answer: {HOW}"
    except subprocess.CalledProcessError as error:
        return f"sinfo fails ({error.stderr.strip()}): {HOW}"
    states = dict(line.split() for line in said.splitlines())
    dead = [name for name, state in states.items() if state.endswith("*") or state.startswith(("down", "drain", "unk"))]
    if dead or len(states) < 2:
        return f"two nodes are needed, and {', '.join(dead) or 'the second'} does not answer: {HOW}"
    return Cluster(tuple(states), _ours())


def _ours() -> bool:
    try:
        return "tests/slurm/cluster-up.sh" in Path("/etc/slurm/slurm.conf").read_text().partition("\n")[0]
    except OSError:
        return False


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, text=True, capture_output=True, timeout=30).stdout
