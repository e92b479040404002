"""status and cancel against jobs of a real cluster, submitted with sbatch itself and recorded by hand."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from experiment.plan import Step, make_step
from experiment.store import Store
from launchers.__main__ import main
from launchers.slurm import ledger
from launchers.slurm.queue import Ended, cancel_jobs, ended, read_queue
from launchers.states import StepState, in_flight, look
from tests import submitted
from tests.submitted import WHEN, save_run, say

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(
        shutil.which("squeue") is None or subprocess.run(["squeue"], capture_output=True, check=False).returncode != 0,
        reason="no SLURM cluster answers (tests/slurm/cluster-up.sh starts one)",
    ),
]


class Cluster:
    """Submits small jobs and cancels what is left of them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.jobs: list[str] = []

    def submit(self, tasks: Sequence[Sequence[Step]], script: str, *options: str) -> ledger.Submission:
        found = submitted.submit(self.store, tasks, [None] * len(tasks))
        array = [f"--array=0-{len(tasks) - 1}"] if len(tasks) > 1 else []
        job = sbatch(script, f"--comment={found.comment}", *array, *options)
        self.jobs.append(job)
        found = ledger.numbered(found, [f"{job}_{n}" for n in range(len(tasks))] if array else [job])
        ledger.write(self.store, found)
        return found


def sbatch(script: str, *options: str) -> str:
    command = ["sbatch", "--parsable", "--time=5", "--mem=50", "--output=/dev/null", *options, "--wrap", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    found = Cluster(submitted.opened(tmp_path))
    yield found
    cancel_jobs(found.jobs)


def alone(name: str) -> Step:
    return make_step("mix", settings={"name": name}, label=name)


def after(step: Step, name: str) -> Step:
    return make_step("sft", settings={"name": name}, inputs={"rows": step.key}, label=name)


def until(
    cluster: Cluster, steps: Sequence[Step], seen: Callable[[dict[str, StepState]], bool]
) -> dict[str, StepState]:
    end = time.monotonic() + 60
    while True:
        states = look(cluster.store, {step.key: step for step in steps}, read_queue())
        if seen(states):
            return states
        assert time.monotonic() < end, states
        time.sleep(0.5)


def test_what_real_jobs_look_like(cluster):
    runs, fails, held, killed, dies = (alone(name) for name in ("runs", "fails", "held", "killed", "dies"))
    never, waits, also = after(fails, "never"), after(runs, "waits"), after(runs, "also")
    steps = [runs, fails, held, killed, dies, never, waits, also]
    first = cluster.submit([[runs]], "sleep 120")
    bad = cluster.submit([[fails]], "sleep 1; exit 3")
    cluster.submit([[held]], "true", "--hold")
    gone = cluster.submit([[killed]], "sleep 120")
    cluster.submit([[dies]], "kill -9 $$")
    cluster.submit([[never]], "true", f"--dependency=afterok:{bad.tasks[0].job}")
    array = cluster.submit([[waits], [also]], "true", f"--dependency=afterok:{first.tasks[0].job}")
    say(cluster.store, first, {runs.key: {"state": "running", "since": WHEN}})
    until(cluster, steps, lambda states: states[killed.key].state == "running")
    cancel_jobs([gone.tasks[0].job or ""])
    states = until(
        cluster, steps, lambda states: [states[step.key].state for step in (killed, dies, fails)] == ["failed"] * 3
    )
    assert {step.label: states[step.key].state for step in steps} == {
        "runs": "running",
        "fails": "failed",
        "held": "held",
        "killed": "failed",
        "dies": "failed",
        "never": "blocked",
        "waits": "waiting",
        "also": "waiting",
    }
    assert "exit code 3" in states[fails.key].reason
    assert "cancelled by" in states[killed.key].reason
    assert "signal 9" in states[dies.key].reason
    assert "scontrol release" in states[held.key].reason
    assert states[also.key].job == array.tasks[1].job
    assert set(in_flight(states)) == {runs.key, held.key, waits.key, also.key}


def test_a_requeued_job_is_queued_and_counts_its_restarts(cluster):
    step = alone("requeued")
    found = cluster.submit([[step]], "sleep 120", "--requeue")
    until(cluster, [step], lambda states: states[step.key].state == "running")
    say(cluster.store, found, {step.key: {"state": "stopped", "since": WHEN}}, restarts=0)
    subprocess.run(["scontrol", "requeue", found.tasks[0].job or ""], check=True)
    states = until(cluster, [step], lambda states: states[step.key].state == "queued")
    assert states[step.key].restarts == 1
    assert "requeue" in states[step.key].reason


def test_a_job_held_for_a_failed_one_is_blocked(cluster):
    fails = alone("fails")
    never = after(fails, "never")
    bad = cluster.submit([[fails]], "exit 1")
    cluster.submit([[never]], "true", f"--dependency=afterok:{bad.tasks[0].job}", "--kill-on-invalid-dep=yes")
    states = until(cluster, [fails, never], lambda states: states[never.key].state == "blocked")
    assert states[fails.key].state == "failed"
    # Also where the parent is made meanwhile by somebody else, it takes a retry.
    submitted.finish(cluster.store, fails)
    states = until(cluster, [fails, never], lambda states: "retry" in states[never.key].reason)
    assert states[never.key].state == "blocked"


def test_cancelling_a_run_ends_its_jobs_alone(cluster, capsys):
    shared = alone("shared")
    one, two = after(shared, "one"), after(shared, "two")
    save_run(cluster.store, "demo/one", {"mix": shared, "score.fi": one})
    save_run(cluster.store, "demo/two", {"mix": shared, "score.fi": two})
    parent = cluster.submit([[shared]], "sleep 120")
    cluster.submit([[one], [two]], "true", f"--dependency=afterok:{parent.tasks[0].job}")
    steps = [shared, one, two]
    until(cluster, steps, lambda states: states[shared.key].state == "running")
    for dry, told in ((["--dry-run"], "would cancel 1 job, 1 step"), ([], "cancelled 1 job, 1 step")):
        with pytest.raises(SystemExit) as finished:
            main(["cancel", "demo/one", *dry, "--store", str(cluster.store.root)])
        assert finished.value.code == 0
        assert told in capsys.readouterr().out
    states = until(cluster, steps, lambda states: states[one.key].state == "cancelled")
    assert [states[step.key].state for step in steps] == ["running", "cancelled", "waiting"]
    with pytest.raises(SystemExit):
        main(["cancel", "--all", "--store", str(cluster.store.root)])
    states = until(cluster, steps, lambda states: states[shared.key].state == "cancelled")
    assert [states[step.key].state for step in steps] == ["cancelled"] * 3
    assert in_flight(states) == {}


def test_an_array_cancelled_before_it_started_is_told_for_each_task(cluster):
    steps = [alone("first"), alone("second")]
    found = cluster.submit([[step] for step in steps], "true", "--hold")
    states = look(cluster.store, {step.key: step for step in steps}, read_queue())
    assert {state.state for state in states.values()} == {"held"}
    cancel_jobs([(found.tasks[0].job or "").partition("_")[0]])
    states = until(cluster, steps, lambda states: states[steps[1].key].state == "failed")
    assert all("cancelled by" in states[step.key].reason for step in steps)


def test_users_who_are_gone_do_not_stop_a_look_at_the_others(cluster):
    job = sbatch("true", "--hold")
    cluster.jobs.append(job)
    assert job in (read_queue(["no-such-user", "daemon"]) or {})


def test_a_job_that_ended_is_known_for_a_while(cluster):
    job = sbatch("exit 5")
    end = time.monotonic() + 30
    while True:
        found = ended([job, "99999999"])
        if isinstance(found.get(job), Ended):
            break
        assert time.monotonic() < end
        time.sleep(0.5)
    assert set(found) == {job}
    assert (found[job].state, found[job].exit) == ("FAILED", 5)  # type: ignore[union-attr]
