"""Which steps share a job, which form an array, what waits for what."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from functools import lru_cache

from hypothesis import given, settings
from hypothesis import strategies as st

from experiment.compile import compile_run
from experiment.plan import Plan, merge
from experiment.resources import LIGHT, Site
from experiment.sweep import expand
from launchers.slurm.jobs import Job, allocation_of, make_jobs
from tests.tiny import TINY

SITE = Site()


@lru_cache(maxsize=4)
def plan_of(*overrides: str) -> Plan:
    return merge(compile_run(point.config, point.overrides) for point in expand([list(overrides)]))


def paper() -> Plan:
    return plan_of("experiment=paper", "launcher=slurm", *TINY)


def jobs_of(plan: Plan, todo: set[str] | None = None, site: Site = SITE) -> list[Job]:
    return make_jobs(plan.steps, plan.steps if todo is None else todo, site)


def test_the_paper_takes_46_tasks_in_few_calls_for_82_steps():
    jobs = jobs_of(paper())
    tasks = [task for job in jobs for task in job.tasks]
    assert sum(len(task.steps) for task in tasks) == 82
    assert Counter(task.name for task in tasks) == {
        "pretrain": 1,
        "mix": 1,
        "sft": 9,
        "reference": 2,
        "dpo": 5,
        "generate": 28,
    }
    # One array of the six mixes, one of the three that share the full mix, and so on.
    assert Counter(job.name for job in jobs)["sft"] == 2


def test_scores_ride_with_their_answers_and_a_mix_with_its_only_training():
    tasks = [task for job in jobs_of(paper()) for task in job.tasks]
    chains = Counter(tuple(step.stage for step in task.steps) for task in tasks)
    assert chains[("generate", "score")] == 28
    assert chains[("mix", "sft")] == 6  # the seventh mix has three trainings and runs first, alone
    assert chains[("pair", "reference")] == 2


def test_light_steps_that_wait_for_nothing_share_one_job():
    plan = paper()
    mixes = {key for key in plan.steps if key.startswith(("mix/", "pair/"))}
    (job,) = jobs_of(plan, mixes)
    assert {step.key for step in job.tasks[0].steps} == mixes


def test_a_chain_of_the_same_resources_is_one_job_with_the_walltimes_added():
    plan = plan_of(
        "mix=100", "benchmark.languages=[en]", "launcher=slurm", "launcher.resources.pretrain.cpus_per_rank=1", *TINY
    )
    (job,) = jobs_of(plan)
    assert [step.stage for step in job.tasks[0].steps] == ["mix", "pretrain", "sft", "generate", "score"]
    assert job.allocation.walltime_min == 3 * 60


def test_two_references_do_not_wait_for_each_other():
    plan = plan_of("mix=100", "method=dpo_both", "benchmark.languages=[en]", "launcher=slurm", *TINY)
    chains = {tuple(step.stage for step in task.steps) for job in jobs_of(plan) for task in job.tasks}
    assert chains == {
        ("pretrain",),
        ("mix", "sft"),
        ("pair", "reference"),
        ("dpo", "generate", "score"),
    }


def test_light_steps_that_others_wait_for_stay_alone_so_that_one_failure_stops_no_others():
    plan = plan_of("experiment=paper", "launcher=slurm", *TINY)
    generated = {
        key for key in plan.steps if key.startswith(("generate/", "score/", "dpo/", "reference/", "pretrain/"))
    }
    tasks = [task for job in jobs_of(plan, set(plan.steps) - generated) for task in job.tasks]
    assert [len(task.steps) for task in tasks if task.name == "mix"] == [1]
    (pairs,) = [task for task in tasks if task.name == "pair"]
    assert len(pairs.steps) == 2  # nothing waits for these here


def test_a_light_step_behind_a_job_in_flight_holds_no_others_back():
    plan = paper()
    score = next(key for key in plan.steps if key.startswith("score/"))
    flight = set(plan.steps[score].inputs.values())
    pairs = {key for key in plan.steps if key.startswith("pair/")}
    jobs = make_jobs(plan.steps, {score, *pairs}, SITE, flight)
    assert {job.needs & flight == flight for job in jobs if job.name == "score"} == {True}
    (packed,) = [job for job in jobs if job.name == "pair"]
    assert not packed.needs


def test_light_steps_in_one_job_get_what_is_enough_for_each():
    asked = ("launcher=slurm", "launcher.resources.mix.mem_gb=8", "launcher.resources.pair.mem_gb=64")
    plan = plan_of("mix=100", "method=dpo_en", *asked, "launcher.resources.mix.cpus_per_rank=3", *TINY)
    light = {key for key in plan.steps if key.startswith(("mix/", "pair/"))}
    (job,) = jobs_of(plan, light)
    assert (job.allocation.mem_gb, job.allocation.cpus_per_rank) == (64, 3)


def test_other_resources_are_another_job():
    plan = plan_of("mix=100", "benchmark.languages=[en]", "launcher=slurm", "launcher.resources.sft.mem_gb=7", *TINY)
    assert [job.name for job in jobs_of(plan)] == ["pretrain", "sft", "generate"]


def test_a_walltime_over_the_partitions_is_cut_to_it():
    site = {"partitions": {"p": {"max_walltime_min": 100}}}
    plan = plan_of(
        "mix=100",
        "benchmark.languages=[en]",
        "launcher=slurm",
        "launcher.partition=p",
        "+launcher.site.partitions.p.max_walltime_min=100",
        "launcher.resources.pretrain.cpus_per_rank=1",
        *TINY,
    )
    (job,) = jobs_of(plan, site=Site(**site))
    assert job.allocation.walltime_min == 100


def test_an_array_holds_no_more_than_the_site_allows():
    jobs = jobs_of(paper(), site=dataclasses.replace(SITE, max_array=2))
    assert max(len(job.tasks) for job in jobs) == 2
    assert sum(len(task.steps) for job in jobs for task in job.tasks) == 82


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_part_of_a_plan_becomes_jobs_that_can_run(data):
    plan = paper()
    todo = set(data.draw(st.lists(st.sampled_from(list(plan.steps)), unique=True)))
    jobs = jobs_of(plan, todo)
    keys = [step.key for job in jobs for task in job.tasks for step in task.steps]
    assert sorted(keys) == sorted(todo)  # each step once
    done: set[str] = set()
    for job in jobs:
        for task in job.tasks:
            assert (task.needs, task.allocation) == (job.needs, job.allocation)
            assert task.needs & todo <= done  # only jobs submitted before are waited for
            own: set[str] = set()
            for step in task.steps:
                assert set(step.inputs.values()) & todo <= own | task.needs
                own.add(step.key)
        done |= {step.key for task in job.tasks for step in task.steps}


@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_heavy_steps_of_one_task_are_one_chain_of_one_shape(data):
    plan = paper()
    todo = set(data.draw(st.lists(st.sampled_from(list(plan.steps)), unique=True)))
    for job in jobs_of(plan, todo):
        for task in job.tasks:
            heavy = [step for step in task.steps if step.stage not in LIGHT]
            for before, after in itertools.pairwise(heavy):
                assert before.key in after.inputs.values()
                assert allocation_of(before) == allocation_of(after)
