"""A job's batch script: what submitit is told, from the job's allocation and the launcher's config. Pure functions."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiment.resources import Allocation, Launcher

# The exit code of a rank that stopped in good order and is to be started again (EX_TEMPFAIL of sysexits.h).
STOPPED = 75


@dataclass(frozen=True)
class Place:
    """Where a submission lives: its folder in the store, the code it runs, and the store itself (absolute paths)."""

    folder: Path
    code: Path
    store: Path


def parameters(
    name: str, allocation: Allocation, launcher: Launcher, place: Place, needs: Sequence[str], comment: str, array: bool
) -> dict[str, Any]:
    """submitit's parameters, in the names of its ``SlurmExecutor.update_parameters``, without the ``slurm_`` prefix."""
    site = launcher.site
    partition = site.partitions.get(allocation.partition or "") if site else None
    whole = bool(partition and partition.whole_nodes)
    logs = place.folder / ("%A_%a.log" if array else "%j.log")
    more: dict[str, Any] = {
        "requeue": True,
        # Without it a job whose parent failed waits for ever, or is refused.
        "kill-on-invalid-dep": "yes",
        "output": str(logs),
        **{option: value for option, value in launcher.sbatch.items() if value is not False},
    }
    found: dict[str, Any] = {
        "job_name": name,
        "time": allocation.walltime_min,
        "nodes": allocation.nodes,
        "ntasks_per_node": allocation.ranks_per_node,
        "cpus_per_task": allocation.cpus_per_rank,
        "signal_delay_s": _signal_before(launcher, allocation),
        "comment": comment,
        "wckey": None,
        "stderr_to_stdout": True,
        "setup": setup(launcher, allocation, place),
        "teardown": teardown(launcher, place),
        "srun_args": srun_args(launcher, allocation, logs, whole),
        "additional_parameters": more,
    }
    # LUMI-G's nodes come whole: all their GPUs are asked for, whatever of them the ranks use.
    gpus = site.gpus_per_node if whole and site and site.gpus_per_node else allocation.gpus_per_node
    if gpus and site and site.gres:
        found["gres"] = f"{site.gres}:{gpus}"
    elif gpus:
        found["gpus_per_node"] = gpus
    if allocation.mem_gb:
        found["mem"] = f"{allocation.mem_gb:g}G"
    if allocation.partition:
        found["partition"] = allocation.partition
    if launcher.account:
        found["account"] = launcher.account
    if whole:
        found["exclusive"] = True
    if needs:
        found["dependency"] = "afterok:" + ":".join(needs)
    return found


def setup(launcher: Launcher, allocation: Allocation, place: Place) -> list[str]:
    """Shell lines before srun, on the first node and outside any container."""
    quoted = shlex.quote
    lines = [
        f"cd {quoted(str(place.code))} || exit 1",
        f"export PYTHONPATH={quoted(str(place.code))}",
        # A batch step's own binding would be inherited by srun and put all ranks on one core.
        "unset SLURM_CPU_BIND SLURM_CPU_BIND_VERBOSE SLURM_CPU_BIND_TYPE SLURM_CPU_BIND_LIST",
    ]
    lines += [f"export {name}={quoted(value)}" for name, value in launcher.environment.items()]
    lines += launcher.setup
    if allocation.ranks > 1:
        lines += [
            'export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
            # SLURM's name for a node need not be one that the network knows; the batch script runs on the first node.
            'getent hosts "$MASTER_ADDR" > /dev/null || export MASTER_ADDR=$(hostname)',
            # Jobs that share a node must not share a port.
            "export MASTER_PORT=$((10000 + SLURM_JOB_ID % 10000))",
        ]
    return lines


def teardown(launcher: Launcher, place: Place) -> list[str]:
    """Shell lines after srun: here, because a container has neither scontrol nor sbatch."""
    folder, task = shlex.quote(str(place.folder)), "${SLURM_ARRAY_TASK_ID:-0}"
    return [
        "code=$?",
        f"cd {folder} || exit $code",
        f'echo "$code" > "exit-{task}"',
        f'if [ "$code" != 0 ] && [ -e "requeue-{task}" ]; then',
        f'  rm -f "requeue-{task}"',
        '  scontrol requeue "$SLURM_JOB_ID" && exit 0',
        f'  echo "scontrol requeue failed: give python -m launchers retry --store {place.store}" >&2',
        "fi",
        # What did not fit into the queue is submitted as soon as a job has ended.
        f"if [ -e {shlex.quote(str(place.store / 'jobs' / WAITING))} ]; then",
        f"  {resubmit(launcher, place)} || true",
        "fi",
        "exit $code",
    ]


# The variable in which a job that submits more says which it is: it is still in the queue, and counts no more.
ENDING_JOB = "KIRJO_ENDING_JOB"
# Stands in store/jobs while there are steps that found no room in the queue.
WAITING = "waiting-for-room"


def resubmit(launcher: Launcher, place: Place) -> str:
    """The command that submits what found no room, with the Python of whoever launched."""
    wanted = (launcher.submit_python or "python3", place.code, place.store)
    python, code, store = (shlex.quote(str(one)) for one in wanted)
    # sbatch hands its environment on: a job must not take the numbers of the one that submitted it for its own.
    keep = "SLURM_CONF|SLURM_CLUSTERS"
    each = f'case $name in {keep}) ;; *) unset "$name" ;; esac'
    clean = f'for name in "${{!SLURM_@}}" "${{!SUBMITIT_@}}" "${{!SBATCH_@}}"; do {each}; done'
    again = f"cd {code} && {python} -m launchers retry --waiting --store {store}"
    return f"(export {ENDING_JOB}=$SLURM_JOB_ID; {clean}; {again})"


def srun_args(launcher: Launcher, allocation: Allocation, logs: Path, whole: bool) -> list[str]:
    """Options of srun; those of the site come last and win."""
    return [
        f"--output={logs}",
        "--open-mode=append",
        # Since SLURM 22.05 srun does not take it over from sbatch.
        f"--cpus-per-task={allocation.cpus_per_rank}",
        "--kill-on-bad-exit=1",
        # A rank that has left without the others brings the job down instead of leaving it hanging.
        "--wait=60",
        *launcher.srun,
        *(launcher.srun_whole_nodes if whole else ()),
    ]


def _signal_before(launcher: Launcher, allocation: Allocation) -> int:
    """Seconds before the end at which SLURM warns; at most half of a very short walltime."""
    return min(launcher.stop_before_s, allocation.walltime_min * 30)
