"""What carries a plan out and what its jobs ask for: launcher, site, and the resources of a stage.

Nothing of this enters a fingerprint: where a step runs does not decide what it leaves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from experiment.door import DOOR, no_secrets
from experiment.errors import KirjoError
from experiment.stages import STAGES

DEFAULT = "default"  # the entry of a resources mapping that holds for stages without their own


def _stages(value: Any) -> Any:
    if isinstance(value, Mapping):
        unknown = sorted(set(value) - {DEFAULT, *STAGES})
        if unknown:
            raise ValueError(f"no stage is named {unknown[0]}; expected {DEFAULT}, {', '.join(STAGES)}")
    return value


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Resources:
    """What the job of a stage asks for. None: not said here; see :func:`resources_of` for who is asked next.

    ``ranks`` counts processes, on all nodes; GPUs and cores are per rank, memory (GB) per node, walltime in minutes.
    """

    ranks: PositiveInt | None = None
    nodes: PositiveInt | None = None
    gpus_per_rank: NonNegativeInt | None = None
    cpus_per_rank: PositiveInt | None = None
    mem_gb: PositiveFloat | None = None
    walltime_min: PositiveInt | None = None
    partition: str | None = None


# What launchers/slurm sets itself, and relies on.
_OURS = (
    "array", "comment", "cpus-per-task", "dependency", "error", "job-name", "kill-on-invalid-dep", "nodes", "ntasks",
    "ntasks-per-node", "open-mode", "output", "requeue", "signal", "time",
)  # fmt: skip


def _only_more(value: Any) -> Any:
    """Options of sbatch that would undo what the launcher relies on are refused."""
    names = [str(name).replace("_", "-") for name in value] if isinstance(value, Mapping) else []
    for name in names:
        if name in _OURS:
            raise ValueError(f"{name} is set by the launcher itself; see launcher.resources and docs/sites.md")
    return value


ByStage = Annotated[dict[str, Resources], BeforeValidator(_stages)]


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Partition:
    """A partition's limits: minutes, nodes and GPUs a job, jobs of one user in the queue; None: no limit, or not known.

    ``whole_nodes``: jobs get (and are billed for) all of a node.
    """

    max_walltime_min: PositiveInt | None = None
    max_nodes: PositiveInt | None = None
    max_gpus: PositiveInt | None = None
    max_jobs: PositiveInt | None = None
    whole_nodes: bool = False


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Site:
    """A cluster as its documentation describes it; a GPU is what a rank gets (on LUMI-G one GCD). None: not known.

    ``billed_gpu_hours`` is what one GPU costs in an hour in the site's unit; ``gpu_tflops`` the peak of bf16 matrix
    products; ``model_flops_utilization`` the share of it that training reaches (its source is in the config).
    """

    gpus_per_node: NonNegativeInt | None = None
    cpus_per_node: PositiveInt | None = None
    mem_gb_per_node: PositiveFloat | None = None
    mem_gb_per_gpu: PositiveFloat | None = None  # asked for with each GPU where a stage's mem_gb is not set
    gres: str | None = None  # what --gres calls a GPU (gpu:a100); None: --gpus-per-node
    partitions: dict[str, Partition] = field(default_factory=dict)
    gpu_memory_gb: PositiveFloat | None = None
    gpu_tflops: PositiveFloat | None = None
    gpu_bandwidth_tb_s: PositiveFloat | None = None
    model_flops_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    billed_gpu_hours: NonNegativeFloat = 1.0
    max_array: PositiveInt = 1001


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Launcher:
    """What carries the plan out: the function named by ``target``. ``workers`` is local, all below it is SLURM's."""

    name: str
    target: str
    count_jobs: str | None = None  # the function that says how many jobs it makes of steps
    under_way: str | None = None  # the function that says which steps of a plan have a job already
    workers: PositiveInt = 1
    threads: PositiveInt | None = None
    site: Site | None = None
    resources: ByStage = field(default_factory=dict)
    account: str | None = None
    partition: str | None = None
    # Where a job on one node with at most so many GPUs goes instead.
    small_partition: str | None = None
    small_gpus: NonNegativeInt = 0
    # Options that must be set before anything is submitted, each with what it should hold.
    required: dict[str, str] = field(default_factory=dict)
    # Seconds before the walltime's end at which a job is told to save and stop.
    stop_before_s: PositiveInt = 120
    max_restarts: NonNegativeInt = 10
    confirm_above: PositiveFloat | None = None
    max_jobs: PositiveInt | None = None  # of this user in the queue; None: the partition's own limit
    setup: Annotated[
        tuple[str, ...], BeforeValidator(no_secrets)
    ] = ()  # shell lines before the ranks start, on the first node
    environment: Annotated[
        dict[str, Annotated[str, Field(coerce_numbers_to_str=True)]], BeforeValidator(no_secrets)
    ] = field(default_factory=dict)
    # The command that starts Python on a node; None: the one that launches.
    python: Annotated[str | None, BeforeValidator(no_secrets)] = None
    # The same for submitting more from a job, outside containers.
    submit_python: Annotated[str | None, BeforeValidator(no_secrets)] = None
    container: str | None = None  # an image; ${launcher.container} in python names it
    visible_devices: str | None = None  # the variable that tells a rank its GPUs (ROCR_VISIBLE_DEVICES)
    # Further options of sbatch.
    sbatch: Annotated[dict[str, str | int | bool], BeforeValidator(_only_more), BeforeValidator(no_secrets)] = field(
        default_factory=dict
    )
    srun: Annotated[tuple[str, ...], BeforeValidator(no_secrets)] = ()  # further options of srun
    # Options of srun that hold only where a job has whole nodes (CPU binding masks).
    srun_whole_nodes: Annotated[tuple[str, ...], BeforeValidator(no_secrets)] = ()


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Parallel:
    """How a training step is spread over ranks; ``offload`` moves optimizer states to the host's memory."""

    name: Literal["single", "ddp", "zero2", "zero3"]
    offload: Literal["none", "optimizer"] = "none"


@dataclass(frozen=True)
class Allocation:
    """What a step's job gets, all settled. GPUs and cores per rank, memory in GB per node, walltime in minutes."""

    nodes: int
    ranks_per_node: int
    gpus_per_rank: int
    cpus_per_rank: int
    mem_gb: float | None
    walltime_min: int
    partition: str | None

    @property
    def ranks(self) -> int:
        """Processes of the job, on all nodes."""
        return self.nodes * self.ranks_per_node

    @property
    def gpus_per_node(self) -> int:
        """GPUs asked for on each node."""
        return self.ranks_per_node * self.gpus_per_rank


# Stages whose ranks train together; the others' work is one process's.
MANY_RANKS = ("pretrain", "sft", "dpo")
# Stages whose ranks share out their rows; none needs the others before all are done.
SHARED_OUT = ("translate", "generate")
# Stages that need no GPU and finish in minutes: they ride along in a neighbour's job.
LIGHT = ("pair", "clean", "quality", "mix", "score")
_HOUR = 60


def asked(stage: str, model: Mapping[str, Resources], launcher: Launcher) -> Resources:
    """A stage's resources, each from the first that says it: launcher's entry for the stage, model's, the defaults."""
    sources = [
        entry
        for mapping, key in (
            (launcher.resources, stage),
            (model, stage),
            (launcher.resources, DEFAULT),
            (model, DEFAULT),
        )
        if (entry := mapping.get(key)) is not None
    ]
    found: dict[str, Any] = {}
    for item in dataclasses.fields(Resources):
        said = (getattr(source, item.name) for source in sources)
        found[item.name] = next((value for value in said if value is not None), None)
    return Resources(**found)


def resources_of(stage: str, model: Mapping[str, Resources], launcher: Launcher) -> Allocation:
    """Settle what a stage's job gets at a site.

    Raises:
        KirjoError: the stage cannot run so: ranks that do not fill nodes, more than a node or a partition has.
    """
    wanted = asked(stage, model, launcher)
    site = launcher.site
    ranks = wanted.ranks or 1
    if ranks > 1 and stage not in (*MANY_RANKS, *SHARED_OUT):
        several = ", ".join((*MANY_RANKS, *SHARED_OUT))
        raise KirjoError(f"{stage} runs as one process; resources.{stage}.ranks={ranks} is for {several}")
    gpus = wanted.gpus_per_rank or 0
    nodes = wanted.nodes or _nodes_for(ranks, gpus, site)
    if ranks % nodes:
        raise KirjoError(f"{stage}: {ranks} ranks cannot be spread evenly over {nodes} nodes (resources.{stage})")
    gpus_per_node = ranks // nodes * gpus
    partition = wanted.partition or _partition(nodes, gpus_per_node, launcher)
    found = Allocation(
        nodes=nodes,
        ranks_per_node=ranks // nodes,
        gpus_per_rank=gpus,
        cpus_per_rank=wanted.cpus_per_rank or 1,
        mem_gb=wanted.mem_gb or _memory(gpus_per_node, partition, site),
        walltime_min=wanted.walltime_min or _HOUR,
        partition=partition,
    )
    if site is not None:
        _check_against(stage, found, site)
    return found


def _nodes_for(ranks: int, gpus_per_rank: int, site: Site | None) -> int:
    if site is None or not gpus_per_rank or not site.gpus_per_node:
        return 1
    return -(-ranks * gpus_per_rank // site.gpus_per_node)


def _partition(nodes: int, gpus_per_node: int, launcher: Launcher) -> str | None:
    small = nodes == 1 and gpus_per_node <= launcher.small_gpus
    return (launcher.small_partition if small else None) or launcher.partition


def _memory(gpus_per_node: int, partition: str | None, site: Site | None) -> float | None:
    """A node's memory where nodes come whole, else the share that belongs to the GPUs."""
    if site is None:
        return None
    if site.partitions.get(partition or "", Partition()).whole_nodes:
        return site.mem_gb_per_node
    return site.mem_gb_per_gpu * gpus_per_node if site.mem_gb_per_gpu and gpus_per_node else None


def unset_options(launcher: Launcher) -> list[str]:
    """What the site needs to be told and was not, a line each."""
    return [
        f"launcher.{name} is not set: launcher={launcher.name} needs launcher.{name}={what}"
        for name, what in launcher.required.items()
        if not getattr(launcher, name)
    ]


def _check_against(stage: str, found: Allocation, site: Site) -> None:
    where = f"{stage} asks for"
    if site.gpus_per_node is not None and found.gpus_per_node > site.gpus_per_node:
        raise KirjoError(
            f"{where} {found.gpus_per_node} GPUs a node, a node has {site.gpus_per_node}: "
            f"set launcher.resources.{stage}.nodes or .ranks"
        )
    cores = found.ranks_per_node * found.cpus_per_rank
    if site.cpus_per_node and cores > site.cpus_per_node:
        raise KirjoError(
            f"{where} {cores} cores a node, a node has {site.cpus_per_node} for jobs: "
            f"lower launcher.resources.{stage}.cpus_per_rank"
        )
    if found.mem_gb and site.mem_gb_per_node and found.mem_gb > site.mem_gb_per_node:
        raise KirjoError(
            f"{where} {found.mem_gb:g} GB a node, a node has {site.mem_gb_per_node:g} for jobs: "
            f"lower launcher.resources.{stage}.mem_gb"
        )
    if found.partition is None:
        return
    if site.partitions and found.partition not in site.partitions:
        raise KirjoError(f"no partition {found.partition} at this site; it has: {', '.join(site.partitions)}")
    limits = site.partitions.get(found.partition, Partition())
    if limits.max_walltime_min and found.walltime_min > limits.max_walltime_min:
        raise KirjoError(
            f"{where} {found.walltime_min} minutes, {found.partition} allows {limits.max_walltime_min}: lower "
            f"launcher.resources.{stage}.walltime_min (a job that is stopped goes on from its checkpoint)"
        )
    if limits.max_nodes and found.nodes > limits.max_nodes:
        raise KirjoError(
            f"{where} {found.nodes} nodes, {found.partition} allows {limits.max_nodes}: "
            f"set launcher.partition or launcher.resources.{stage}.partition, or lower launcher.resources.{stage}.ranks"
        )
    if limits.max_gpus and found.nodes * found.gpus_per_node > limits.max_gpus:
        raise KirjoError(
            f"{where} {found.nodes * found.gpus_per_node} GPUs, {found.partition} allows {limits.max_gpus} a job: "
            f"set launcher.partition or launcher.resources.{stage}.partition"
        )
