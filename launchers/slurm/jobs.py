"""From steps to jobs: which steps share a job, which jobs form an array, and what each waits for.

A task is what one job, or one task of an array, runs: a linear chain of steps with the same resources, each the only
user of the one before it. Light steps (mix, pair, score) ride along in the job of the one step that needs them or that
they need; light steps that several jobs need run together in one. Tasks that are alike become an array.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from experiment.plan import Step
from experiment.resources import LIGHT, Allocation, Site


@dataclass(frozen=True)
class Task:
    """Steps that one process, or one set of ranks, runs in this order; ``needs``: steps of other jobs, by key."""

    steps: tuple[Step, ...]
    needs: frozenset[str]
    allocation: Allocation

    @property
    def name(self) -> str:
        """The stage that the task is about, which is the job's name."""
        return next((step.stage for step in self.steps if step.stage not in LIGHT), self.steps[0].stage)


@dataclass(frozen=True)
class Job:
    """What one call of sbatch submits: one task, or an array of tasks that are alike and wait for the same."""

    tasks: tuple[Task, ...]

    @property
    def name(self) -> str:
        """The job's name: a stage."""
        return self.tasks[0].name

    @property
    def needs(self) -> frozenset[str]:
        """The steps, by key, that must be done before any task of it starts."""
        return self.tasks[0].needs

    @property
    def allocation(self) -> Allocation:
        """What each task gets."""
        return self.tasks[0].allocation

    def first(self, count: int) -> Job:
        """The job with its first tasks only."""
        return Job(self.tasks[:count])


def allocation_of(step: Step) -> Allocation:
    """What the step's config asked for."""
    return Allocation(**step.execution["resources"])


def make_jobs(
    steps: Mapping[str, Step], todo: Collection[str], site: Site | None = None, in_flight: Collection[str] = ()
) -> list[Job]:
    """Group the steps ``todo`` (keys of ``steps``, which stand in order of work) into jobs, in order of submission.

    A step's inputs that are not in ``todo`` are done, or in other jobs already: they stand in no ``needs`` that this
    function makes up, but are kept there for the caller, who knows which are done.
    """
    pending = {*todo, *in_flight}
    chains = _chains(steps, todo, pending)
    tasks = [_task(chain, site) for chain in _pack_light_roots(chains, steps, todo, pending)]
    return _ordered([Job(tuple(group)) for group in _alike(tasks, site)])


def count_jobs(steps: Mapping[str, Step], todo: Collection[str], site: Site | None) -> int:
    """How many jobs stand in the queue for the steps: a task of an array counts as one."""
    return sum(len(job.tasks) for job in make_jobs(steps, todo, site))


def _chains(steps: Mapping[str, Step], todo: Collection[str], pending: Collection[str]) -> list[list[Step]]:
    users: dict[str, list[str]] = {key: [] for key in todo}
    for key in todo:
        for needed in set(steps[key].inputs.values()) & users.keys():
            users[needed].append(key)
    chain_of: dict[str, list[Step]] = {}
    chains: list[list[Step]] = []
    for key, step in steps.items():
        if key not in users:
            continue
        joined = [
            chain_of[needed]
            for needed in dict.fromkeys(step.inputs.values())
            if needed in users
            and len(users[needed]) == 1
            and _may_follow(step, chain_of[needed], chain_of, users, pending)
        ]
        chain = _merge(joined, chains)
        chain.append(step)
        for member in chain:
            chain_of[member.key] = chain
    return chains


def _may_follow(
    step: Step,
    chain: Sequence[Step],
    chain_of: Mapping[str, list[Step]],
    users: Mapping[str, Sequence[str]],
    pending: Collection[str],
) -> bool:
    """Whether the step may run in the chain's job without making its heavy steps wait for others."""
    heavy = [member for member in chain if member.stage not in LIGHT]
    if not heavy:
        return True
    if step.stage not in LIGHT and _shape(allocation_of(step)) != _shape(allocation_of(heavy[0])):
        return False
    waited_for = {needed for member in chain for needed in member.inputs.values()}
    own = {member.key for member in chain}
    # Light steps that only this one needs and that wait for nothing come along.
    along = {
        needed
        for needed in step.inputs.values()
        if needed in users and len(users[needed]) == 1 and _waits_for_nothing(chain_of[needed], pending)
    }
    return all(needed in own | waited_for | along for needed in step.inputs.values() if needed in pending)


def _waits_for_nothing(chain: Sequence[Step], pending: Collection[str]) -> bool:
    """Whether these are light steps without an input that other jobs must make first."""
    if any(step.stage not in LIGHT for step in chain):
        return False
    return not any(needed in pending for step in chain for needed in step.inputs.values() if needed not in _keys(chain))


def _merge(joined: list[list[Step]], chains: list[list[Step]]) -> list[Step]:
    """One chain of several: of two with heavy work only the first is taken, so that neither waits for the other."""
    heavy = [chain for chain in joined if any(step.stage not in LIGHT for step in chain)]
    light = [chain for chain in joined if chain not in heavy]
    taken = [*light, *heavy[:1]]
    if not taken:
        chains.append([])
        return chains[-1]
    place = chains.index(taken[0])
    merged = [step for chain in taken for step in chain]
    chains[place] = merged
    for chain in taken[1:]:
        chains.remove(chain)
    return merged


def _pack_light_roots(
    chains: list[list[Step]], steps: Mapping[str, Step], todo: Collection[str], pending: Collection[str]
) -> list[list[Step]]:
    """Light chains that wait for nothing, and that nothing waits for, run one after another in one job.

    One that others wait for stays alone: were it packed, the failure of another would stop what needs it.
    """
    waited_for = {needed for key in todo for needed in steps[key].inputs.values()}
    roots = [chain for chain in chains if _waits_for_nothing(chain, pending) and chain[-1].key not in waited_for]
    if len(roots) < 2:
        return chains
    packed = [step for chain in roots for step in chain]
    return [packed, *(chain for chain in chains if chain not in roots)]


def _task(chain: Sequence[Step], site: Site | None) -> Task:
    heavy = [allocation_of(step) for step in chain if step.stage not in LIGHT]
    found = _for_all(heavy or [allocation_of(step) for step in chain])
    walltime = sum(allocation.walltime_min for allocation in heavy) or found.walltime_min
    partition = site.partitions.get(found.partition or "") if site else None
    if partition and partition.max_walltime_min:
        walltime = min(walltime, partition.max_walltime_min)
    needs = {needed for step in chain for needed in step.inputs.values()} - _keys(chain)
    return Task(tuple(chain), frozenset(needs), dataclasses.replace(found, walltime_min=walltime))


def _for_all(asked: Sequence[Allocation]) -> Allocation:
    """What is enough for each of several steps that run one after another."""
    memory = [allocation.mem_gb for allocation in asked]
    return dataclasses.replace(
        asked[0],
        gpus_per_rank=max(allocation.gpus_per_rank for allocation in asked),
        cpus_per_rank=max(allocation.cpus_per_rank for allocation in asked),
        mem_gb=max((one for one in memory if one is not None), default=None),
        walltime_min=max(allocation.walltime_min for allocation in asked),
    )


def _alike(tasks: Sequence[Task], site: Site | None) -> list[list[Task]]:
    most = site.max_array if site else 1
    groups: dict[object, list[list[Task]]] = {}
    for task in tasks:
        stages = tuple(step.stage for step in task.steps if step.stage not in LIGHT)
        found = groups.setdefault((stages or task.name, task.needs, task.allocation), [[]])
        if len(found[-1]) >= most:
            found.append([])
        found[-1].append(task)
    return [group for found in groups.values() for group in found]


def _ordered(jobs: list[Job]) -> list[Job]:
    """Jobs behind the jobs they wait for."""
    maker = {step.key: job for job in jobs for task in job.tasks for step in task.steps}
    ordered: list[Job] = []
    placed: set[int] = set()

    def place(job: Job) -> None:
        if id(job) in placed:
            return
        placed.add(id(job))
        for needed in sorted(job.needs):
            if needed in maker:
                place(maker[needed])
        ordered.append(job)

    for job in jobs:
        place(job)
    return ordered


def _shape(allocation: Allocation) -> Allocation:
    """The allocation but for its walltime."""
    return dataclasses.replace(allocation, walltime_min=0)


def _keys(chain: Sequence[Step]) -> set[str]:
    return {step.key for step in chain}
