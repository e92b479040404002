"""What the steps of a plan that are still to run will cost: time, billed GPU-hours and memory a rank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from experiment.config import Config
from experiment.cost import memory, throughput
from experiment.cost.architecture import Shape, shape_of
from experiment.cost.calibrate import rate_of
from experiment.cost.known import Known
from experiment.cost.memory import GB, Memory, Setup
from experiment.cost.work import Work, work_of
from experiment.plan import Plan, Step
from experiment.resources import LIGHT, MANY_RANKS, Allocation, Partition, Site
from experiment.store import Store

HOUR = 3600.0
TO_RUN = ("missing", "running")


@dataclass(frozen=True)
class Estimate:
    """The cost of one step; seconds and bytes, GPU-hours in the site's unit. None: not known.

    ``basis`` of the time: ``measured`` (finished steps like it) or ``formula``. ``bound``: ``most`` (every row is taken
    as long as it may be) or ``least`` (the time of a token is a lower bound), None where neither.
    ``billed_most`` is the walltime's, which is what a job may use.
    """

    allocation: Allocation | None
    shape: Shape | None
    precision: str | None
    work: Work
    seconds: float | None
    basis: str | None
    bound: str | None
    memory: Memory | None
    available: float | None
    host_available: float | None
    billed: float | None
    billed_most: float | None

    @property
    def fits(self) -> bool | None:
        """Whether the memory is enough; None where need or supply is not known."""
        if self.memory is None or self.available is None:
            return None
        host = self.host_available is None or self.memory.host <= self.host_available
        return host and self.memory.total <= self.available

    def document(self) -> dict[str, Any]:
        """The estimate for programs: seconds, hours and GB (10^9 bytes)."""
        allocation = self.allocation
        return {
            "nodes": allocation.nodes if allocation else None,
            "ranks": allocation.ranks if allocation else None,
            "walltime_min": allocation.walltime_min if allocation else None,
            "seconds": _rounded(self.seconds, 1),
            "basis": self.basis,
            "bound": self.bound,
            "rows": self.work.rows,
            "tokens": _rounded(self.work.tokens, 0),
            "tokens_are": self.work.tokens_are,
            "billed_gpu_hours": _rounded(self.billed, 3),
            "billed_gpu_hours_by_walltime": _rounded(self.billed_most, 3),
            "memory_gb": _memory_document(self.memory),
            "available_gb": _rounded(self.available and self.available / GB, 1),
            "fits": self.fits,
        }


@dataclass(frozen=True)
class Costs:
    """The estimates of the steps that are to run, by key, and the models' shapes that they were made for, by name."""

    steps: Mapping[str, Estimate]
    shapes: Mapping[str, Shape]
    site: Site | None

    @property
    def seconds(self) -> float | None:
        """All steps one after another; steps whose time is not known are left out. None: none is known."""
        return _total(estimate.seconds for estimate in self.steps.values())

    @property
    def billed(self) -> float | None:
        """Billed GPU-hours by the estimated times; steps whose time is not known are left out. None: none is known."""
        total = _total(estimate.billed for estimate in self.steps.values())
        return total if total or not any(estimate.billed is None for estimate in self.steps.values()) else None

    @property
    def billed_most(self) -> float | None:
        """Billed GPU-hours if every step used its walltime to the end (or its estimate, where that is longer)."""
        return _total(estimate.billed_most for estimate in self.steps.values())

    @property
    def without_time(self) -> int:
        """How many steps have no estimated time."""
        return sum(estimate.seconds is None for estimate in self.steps.values())

    def document(self, jobs: int | None = None) -> dict[str, Any]:
        """The totals for programs."""
        return {
            "jobs": jobs,
            "seconds": _rounded(self.seconds, 1),
            "billed_gpu_hours": _rounded(self.billed, 3),
            "billed_gpu_hours_by_walltime": _rounded(self.billed_most, 3),
            "steps_without_time": self.without_time,
            "shapes": {name: {**asdict(shape), "parameters": shape.parameters} for name, shape in self.shapes.items()},
        }


def estimate_plan(plan: Plan, states: Mapping[str, str], config: Config, store: Store | None) -> Costs:
    """Estimate every step that is to run; ``config``: any run's, for the launcher, which all share."""
    known, site = Known(plan, store), config.launcher.site
    if site is None and store is None:  # nothing could be known
        return Costs({}, {}, None)
    configs = _configs(plan)
    shapes: dict[str, Shape] = {}
    found = {}
    for key, step in plan.steps.items():
        if states[key] in TO_RUN:
            shape = shape_of(configs[key]) if site is not None and step.stage not in LIGHT else None
            if shape is not None:
                shapes[configs[key]["model"]["name"]] = shape
            found[key] = estimate_step(step, shape, known, site)
    return Costs(found, shapes, site)


def _configs(plan: Plan) -> dict[str, Mapping[str, Any]]:
    """The config of a run that needs the step, by key: all such runs say the same of what counts here."""
    found: dict[str, Mapping[str, Any]] = {}
    for run in plan.runs:
        for key in run.steps.values():
            found.setdefault(key, run.config)
    return found


def estimate_step(step: Step, shape: Shape | None, known: Known, site: Site | None) -> Estimate:
    """Estimate one step at a site; without one only its time, where finished steps like it tell."""
    work = work_of(step, known)
    said = step.execution.get("resources")
    allocation = Allocation(**said) if said else None
    precision = known.precision(step.key) or None
    seconds, basis = _seconds(step, work, shape, precision, known, allocation, site)
    needed = memory_of(step, shape, precision) if allocation and allocation.gpus_per_rank else None
    billed, most = _billed(step, seconds, allocation, site)
    return Estimate(
        allocation=allocation,
        shape=shape,
        precision=precision,
        work=work,
        seconds=seconds,
        basis=basis,
        bound=_bound(step, work, basis),
        memory=needed,
        available=available(allocation, site),
        host_available=host_available(allocation, site),
        billed=billed,
        billed_most=most,
    )


def _bound(step: Step, work: Work, basis: str | None) -> str | None:
    if basis is None:
        return None
    if step.stage == "generate":
        return "least" if basis == "formula" else None
    return "most" if work.tokens_are == "bound" else None


def available(allocation: Allocation | None, site: Site | None) -> float | None:
    """Bytes of GPU memory that a rank has, on all its GPUs; None if that is not known."""
    if site is None or site.gpu_memory_gb is None or allocation is None or not allocation.gpus_per_rank:
        return None
    return allocation.gpus_per_rank * site.gpu_memory_gb * GB


def host_available(allocation: Allocation | None, site: Site | None) -> float | None:
    """Bytes of a node's memory that each of its ranks can have; None if that is not known."""
    if site is None or allocation is None or not (gb := allocation.mem_gb or site.mem_gb_per_node):
        return None
    return gb * GB / allocation.ranks_per_node


def setup_of(step: Step, shape: Shape) -> Setup:
    """What decides the memory of a training step, from its settings and how it runs."""
    training, how, parallel = step.settings["training"], step.execution["training"], step.execution["parallel"]
    resources = step.execution.get("resources")
    return Setup(
        shape=shape,
        precision=training["precision"],
        parallel=parallel["name"],
        offload=parallel["offload"],
        ranks=Allocation(**resources).ranks if resources else 1,
        micro_batch=how["micro_batch"],
        sequences=2 if step.stage == "dpo" else 1,
        length=training["max_length"],
        recompute=how["gradient_checkpointing"],
        whole_logits=step.stage == "pretrain",
        global_batch=training["global_batch"],
    )


def memory_of(step: Step, shape: Shape | None, precision: str | None) -> Memory | None:
    """Memory of a rank; None for what needs none worth counting, or a model that is not known."""
    if shape is None or precision is None:
        return None
    if step.stage in MANY_RANKS:
        return memory.training(setup_of(step, shape))
    if step.stage == "reference":
        rows = 2 * step.execution["reference"]["micro_batch"]
        return memory.scoring(shape, precision, rows, step.settings["max_length"])
    if step.stage == "generate":
        batch = step.execution["generate"]["batch_size"]
        return memory.generating(shape, precision, batch, step.settings["max_new_tokens"])
    if step.stage == "translate" and "served" not in step.settings:
        context = step.settings["translate"]["context"]
        most = max(1, step.execution["engine"]["transformers"]["batch_tokens"] // context)
        batch = min(step.execution["translate"]["batch_size"], most)
        return memory.generating(shape, precision, batch, context)
    return None


def _seconds(
    step: Step,
    work: Work,
    shape: Shape | None,
    precision: str | None,
    known: Known,
    allocation: Allocation | None,
    site: Site | None,
) -> tuple[float | None, str | None]:
    rate = rate_of(step, work, known) if work.units else None
    if rate is not None and work.units:
        return rate.seconds * work.units, "measured"
    if shape is None or precision is None or site is None or allocation is None or not allocation.gpus_per_rank:
        return None, None
    seconds = _by_formula(step, work, shape, precision, allocation, site)
    return seconds, None if seconds is None else "formula"


def _by_formula(
    step: Step, work: Work, shape: Shape, precision: str, allocation: Allocation, site: Site
) -> float | None:
    if step.stage == "generate":
        if site.gpu_bandwidth_tb_s is None or work.rows is None:
            return None
        batch, new = step.execution["generate"]["batch_size"], step.settings["max_new_tokens"]
        return throughput.decoding_seconds(shape, precision, work.rows, batch, new, site.gpu_bandwidth_tb_s)
    # The peak is that of bf16 products.
    if precision != "bf16" or work.tokens is None or site.gpu_tflops is None or site.model_flops_utilization is None:
        return None
    peak, share = site.gpu_tflops, site.model_flops_utilization
    if step.stage == "reference":
        return throughput.forward_seconds(shape, work.tokens, step.settings["max_length"], peak, share)
    length = step.settings["training"]["max_length"]
    return throughput.training_seconds(shape, work.tokens, length, allocation.ranks, peak, share)


def _billed(
    step: Step, seconds: float | None, allocation: Allocation | None, site: Site | None
) -> tuple[float | None, float | None]:
    """Billed GPU-hours by the estimated time and by the walltime; light steps ride along in another's job."""
    if site is None or allocation is None:
        return None, None
    if step.stage in LIGHT:
        return 0.0, 0.0
    an_hour = billed_an_hour(allocation, site)
    asked = allocation.walltime_min * 60 / HOUR
    if seconds is None:
        return None, an_hour * asked
    return an_hour * seconds / HOUR, an_hour * max(asked, seconds / HOUR)


def billed_an_hour(allocation: Allocation, site: Site) -> float:
    """What an hour of the job costs: its GPUs, or all GPUs of its nodes where the partition gives whole nodes."""
    partition = site.partitions.get(allocation.partition or "", Partition())
    gpus = site.gpus_per_node if partition.whole_nodes and site.gpus_per_node else allocation.gpus_per_node
    return allocation.nodes * gpus * site.billed_gpu_hours


def _memory_document(found: Memory | None) -> dict[str, float] | None:
    if found is None:
        return None
    parts = {**found.parts(), "total": found.total, "host": found.host}
    return {name: round(value / GB, 2) for name, value in parts.items()}


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _total(values: Any) -> float | None:
    found = [value for value in values if value is not None]
    return sum(found) if found else None
