"""What becomes of submissions, judged from what the store and SLURM say; cancelling; logs; the command line."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiment.claims import Claim
from experiment.errors import KirjoError
from experiment.plan import Step, make_step
from experiment.store import Store
from launchers import facts as facts_of
from launchers import sync as syncing
from launchers.__main__ import main
from launchers.cancel import plan_cancel
from launchers.facts import Attempt, Facts, Worker, forget_cancelled, gather, mark_cancelled
from launchers.known import Known, chosen, known
from launchers.logs import last_lines
from launchers.slurm import ledger
from launchers.slurm.queue import Ended, QueueEntry
from launchers.states import IN_FLIGHT, StepState, in_flight, look, states_of
from tests import submitted
from tests.submitted import chain, finish, save_run, say, submit

RUN = chain("10pct")
MIX, SFT, GENERATE, SCORE = (RUN[role] for role in ("mix", "sft", "generate.fi", "score.fi"))
STEPS = {step.key: step for step in RUN.values()}
SAID_RUNNING = {"state": "running", "since": submitted.WHEN, "progress": [3, 9]}


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests say themselves what SLURM says."""
    monkeypatch.setattr(facts_of, "ended", lambda *_: {})
    monkeypatch.setattr(facts_of, "read_queue", lambda *_: {})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return submitted.opened(tmp_path)


def pending(job: str, reason: str = "Priority", **more: object) -> dict[str, QueueEntry]:
    return {job: QueueEntry(job, "PENDING", reason, **more)}  # type: ignore[arg-type]


def running(job: str, **more: object) -> dict[str, QueueEntry]:
    return {job: QueueEntry(job, "RUNNING", start=submitted.WHEN, **more)}  # type: ignore[arg-type]


def words(states: dict[str, StepState]) -> list[str]:
    return [states[key].state for key in STEPS if key in states]


def test_a_chain_in_one_pending_job_waits_for_its_own_first_step(store):
    submit(store, [list(RUN.values())], ["5"])
    states = look(store, STEPS, pending("5", "Resources", start="2026-01-01T10:00:00+00:00"))
    assert words(states) == ["queued", "waiting", "waiting", "waiting"]
    assert states[MIX.key].reason == "next when nodes are free"
    assert states[SFT.key].waits_for == (MIX.key,)
    assert in_flight(states) == dict.fromkeys(STEPS, "5")


def test_a_job_that_waits_for_another_says_for_which_steps(store):
    submit(store, [[MIX]], ["5"])
    submit(store, [[SFT, GENERATE], [SCORE]], ["6_0", "6_1"], needs=["5"])
    states = look(store, STEPS, {**running("5"), **pending("6_0", "Dependency"), **pending("6_1", "Dependency")})
    assert words(states) == ["running", "waiting", "waiting", "waiting"]
    assert states[SFT.key].waits_for == (MIX.key,)
    assert states[SCORE.key].job == "6_1"


def test_a_step_without_needs_waits_with_the_job_that_it_shares(store):
    pretrain = make_step("pretrain", settings={}, label="base")
    sft = make_step("sft", settings={}, inputs={"base": pretrain.key, "rows": MIX.key}, label="10pct")
    submit(store, [[pretrain]], ["5"])
    submit(store, [[MIX, sft]], ["6"], needs=["5"])
    steps = {step.key: step for step in (pretrain, MIX, sft)}
    states = look(store, steps, {**running("5"), **pending("6", "Dependency")})
    assert (states[MIX.key].state, states[MIX.key].waits_for) == ("waiting", (pretrain.key,))
    assert states[sft.key].waits_for == (pretrain.key, MIX.key)


def test_a_running_task_tells_how_far_it_is(store):
    finish(store, MIX)
    found = submit(store, [[SFT, GENERATE, SCORE]], ["5"])
    say(store, found, {SFT.key: SAID_RUNNING}, restarts=2)
    states = look(store, STEPS, running("5", restarts=2))
    assert words(states) == ["done", "running", "waiting", "waiting"]
    assert (states[SFT.key].reason, states[SFT.key].restarts, states[SFT.key].since) == ("3 of 9", 2, submitted.WHEN)


def test_what_was_said_before_a_requeue_does_not_count(store):
    finish(store, MIX)
    found = submit(store, [[SFT]], ["5"])
    say(store, found, {SFT.key: {"state": "failed", "reason": "an old one"}}, restarts=0)
    states = look(store, STEPS, pending("5", "BeginTime", restarts=1))
    assert (states[SFT.key].state, states[SFT.key].reason) == ("queued", "starts again after a requeue")
    assert look(store, STEPS, running("5", restarts=1))[SFT.key].state == "running"


def test_a_failed_step_blocks_what_needs_it_and_nothing_else(store):
    finish(store, MIX)
    found = submit(store, [[SFT, GENERATE, SCORE]], ["5"])
    failed = {"state": "failed", "since": submitted.WHEN, "reason": "OutOfMemoryError: CUDA out of memory."}
    say(store, found, {SFT.key: failed, GENERATE.key: {**failed, "reason": "its inputs are missing"}}, ended="failed")
    states = look(store, STEPS, {})
    assert words(states) == ["done", "failed", "blocked", "blocked"]
    assert "lower sft.micro_batch" in states[SFT.key].reason
    assert states[GENERATE.key].reason == "needs sft 10pct, which failed"
    assert in_flight(states) == {}


def test_a_job_whose_dependency_failed_is_blocked_while_it_is_still_queued(store):
    finish(store, MIX)
    say(store, submit(store, [[SFT]], ["5"]), {SFT.key: {"state": "failed", "reason": "no"}}, ended="failed")
    submit(store, [[GENERATE, SCORE]], ["6"], needs=["5"])
    states = look(store, STEPS, pending("6", "DependencyNeverSatisfied"))
    assert words(states) == ["done", "failed", "blocked", "blocked"]
    assert states[GENERATE.key].job == "6"
    assert in_flight(states) == {}


@pytest.mark.parametrize("reason", ["JobHeldUser", "JobHeldAdmin", "launch failed requeued held", "InvalidAccount"])
def test_a_held_job_says_what_to_do(store, reason):
    submit(store, [[MIX]], ["5"])
    state = look(store, STEPS, pending("5", reason))[MIX.key]
    assert state.state == "held"
    assert reason in state.reason
    assert len(state.reason) > len(reason) + 10


@pytest.mark.parametrize(
    ("how", "state", "told"),
    [
        (Ended("TIMEOUT", 0), "failed", "raise launcher.resources.sft.walltime_min"),
        (Ended("NODE_FAIL"), "failed", "goes on from the last checkpoint"),
        (Ended("OUT_OF_MEMORY", nodes="nid7"), "failed", "out of memory on nid7; raise launcher.resources.sft.mem_gb"),
        (Ended("CANCELLED by 1000"), "failed", "cancelled by uid 1000"),
        (Ended("CANCELLED"), "failed", "cancelled by scancel or an administrator"),
        (Ended("CANCELLED", reason="DependencyNeverSatisfied"), "blocked", "python -m launchers retry"),
        (Ended("FAILED", 3), "failed", "exit code 3"),
        (Ended("FAILED", 75), "failed", "stopped in good order"),
        (
            Ended("FAILED", 181, "JobLaunchFailure", "nid7"),
            "failed",
            "on nid7, most often because its log cannot be opened",
        ),
        (None, "failed", "left the queue without having started"),
    ],
)
def test_how_a_job_ended_that_said_nothing_itself(store, monkeypatch, how, state, told):
    finish(store, MIX)
    submit(store, [[SFT]], ["5"])
    monkeypatch.setattr(facts_of, "ended", lambda jobs, _: {job: how for job in jobs if how})
    found = look(store, STEPS, {})[SFT.key]
    assert found.state == state
    assert told in found.reason
    assert "\n" not in found.reason


def test_a_job_killed_while_it_worked_left_the_queue_without_a_word(store):
    finish(store, MIX)
    say(store, submit(store, [[SFT]], ["5"]), {SFT.key: SAID_RUNNING})
    assert look(store, STEPS, {})[SFT.key].reason.startswith("left the queue without a word")


def test_only_the_exit_code_of_the_batch_script_is_known(store):
    finish(store, MIX)
    found = submit(store, [[SFT]], ["5"])
    (ledger.folder_of(store, found.id) / "exit-0").write_text("137\n")
    assert "killed by signal 9" in look(store, STEPS, {})[SFT.key].reason


def test_a_job_that_came_after_the_queue_was_read_has_not_failed(store, monkeypatch):
    submit(store, [[MIX]], ["5"])
    monkeypatch.setattr(facts_of, "ended", lambda jobs, _: {job: QueueEntry(job, "PENDING") for job in jobs})
    assert look(store, STEPS, {})[MIX.key].state == "queued"


def test_the_newest_submission_counts(store):
    old = submit(store, [[MIX]], ["5"], name="20260101T000000-aaaaaa")
    say(store, old, {MIX.key: {"state": "failed", "reason": "once"}}, ended="failed")
    submit(store, [[MIX]], ["9"], name="20260102T000000-aaaaaa")
    state = look(store, STEPS, pending("9"))[MIX.key]
    assert (state.state, state.job) == ("queued", "9")


def test_a_job_whose_number_was_never_written_down_is_found_by_its_comment(store):
    found = submit(store, [[MIX], [SFT]], [None, None])
    entries = {f"7_{task}": QueueEntry(f"7_{task}", "PENDING", comment=found.comment) for task in (0, 1)}
    states = look(store, STEPS, entries)
    assert (states[MIX.key].job, states[SFT.key].job) == ("7_0", "7_1")
    assert look(store, STEPS, {})[MIX.key].state == "not submitted"


def test_without_slurm_the_tasks_words_are_all_there_is(store):
    submit(store, [[MIX]], ["5"])
    state = look(store, STEPS, None)[MIX.key]
    assert state.state == "queued"
    assert "no SLURM commands here" in state.reason


def test_a_claim_of_this_machine_runs_and_one_of_a_job_that_is_gone_does_not(store, monkeypatch):
    claim = Claim.acquire(store.base(MIX.stage, MIX.fingerprint))
    assert claim
    with claim:
        state = look(store, STEPS, {})[MIX.key]
        assert (state.state, state.job) == ("running", None)
        assert in_flight({MIX.key: state}) == {}
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    claim = Claim.acquire(store.base(MIX.stage, MIX.fingerprint))
    assert claim
    with claim:
        assert look(store, STEPS, {})[MIX.key].state == "not submitted"
        entry = QueueEntry("70_1", "RUNNING", number="77")
        assert look(store, STEPS, {"70_1": entry})[MIX.key].state == "running"


def test_a_local_failure_is_read_from_the_log(store):
    save_run(store, "demo/10pct", RUN)
    finish(store, MIX)
    log = store.log(SFT.stage, SFT.fingerprint)
    log.parent.mkdir()
    log.write_text(f"--- 2026-01-01 00:00:00 {SFT.key} x\nTraceback\n--- failed DataError: no rows\nat exit\n")
    steps = known(store).steps
    states = look(store, steps, {}, frozenset(steps))
    assert words(states) == ["done", "failed", "blocked", "blocked"]
    assert states[SFT.key].reason == "DataError: no rows"
    log.write_text(log.read_text() + f"--- 2026-01-01 00:01:00 {SFT.key} x\n")
    assert words(look(store, steps, {}, frozenset(steps))) == ["done", "missing", "missing", "missing"]


def test_cancelled_holds_until_the_next_submission(store):
    submit(store, [[MIX]], ["5"], name="20260101T000000-aaaaaa")
    attempts = gather(store, STEPS, {}).attempts
    mark_cancelled(store, [MIX.key, SFT.key], attempts)
    assert words(look(store, STEPS, {}))[:2] == ["cancelled", "cancelled"]
    assert look(store, STEPS, {"5": QueueEntry("5", "COMPLETING")})[MIX.key].state == "cancelled"
    submit(store, [[MIX]], ["9"], name="20260102T000000-aaaaaa")
    assert words(look(store, STEPS, pending("9")))[:2] == ["queued", "cancelled"]
    forget_cancelled(store, STEPS)
    assert words(look(store, STEPS, pending("9")))[:2] == ["queued", "not submitted"]


def test_a_mark_does_not_hide_a_job_that_is_still_in_the_queue(store):
    submit(store, [[MIX]], ["5"])
    mark_cancelled(store, [MIX.key], gather(store, STEPS, {}).attempts)
    assert look(store, STEPS, running("5"))[MIX.key].state == "running"
    assert look(store, STEPS, pending("5"))[MIX.key].state == "queued"
    assert look(store, STEPS, {"5": QueueEntry("5", "COMPLETING")})[MIX.key].state == "cancelled"


def test_a_held_step_is_in_flight_and_is_not_submitted_twice(store):
    submit(store, [[MIX]], ["5"])
    assert in_flight(look(store, STEPS, pending("5", "JobHeldUser"))) == {MIX.key: "5"}


def test_the_log_is_the_jobs_own_until_the_step_has_one(store):
    found = submit(store, [[MIX]], ["5"])
    own, other = store.log(MIX.stage, MIX.fingerprint), ledger.folder_of(store, found.id) / "5.log"
    assert look(store, STEPS, running("5"))[MIX.key].log == own
    other.write_text("setup\n")
    assert look(store, STEPS, running("5"))[MIX.key].log == other
    own.parent.mkdir()
    own.write_text("work\n")
    assert look(store, STEPS, running("5"))[MIX.key].log == own
    own.unlink()
    finish(store, MIX)
    assert look(store, STEPS, {})[MIX.key].log == own


def test_a_step_that_stopped_in_good_order_fails_by_how_its_job_ended(store, monkeypatch):
    finish(store, MIX)
    say(store, submit(store, [[SFT]], ["5"]), {SFT.key: {"state": "stopped", "since": submitted.WHEN}})
    monkeypatch.setattr(facts_of, "ended", lambda jobs, _: {job: Ended("TIMEOUT") for job in jobs})
    state = look(store, STEPS, {})[SFT.key]
    assert state.state == "failed"
    assert "its walltime ended" in state.reason


@pytest.mark.parametrize(
    ("ended", "reason", "told"),
    [("failed", "the folder cannot be entered", "the folder cannot be entered"), ("done", "", "its walltime ended")],
)
def test_why_a_task_as_a_whole_ended(store, monkeypatch, ended, reason, told):
    finish(store, MIX)
    say(store, submit(store, [[SFT]], ["5"]), {}, ended=ended, reason=reason)
    monkeypatch.setattr(facts_of, "ended", lambda jobs, _: {job: Ended("TIMEOUT") for job in jobs})
    state = look(store, STEPS, {})[SFT.key]
    assert (state.state, told in state.reason) == ("failed", True)


def test_where_a_full_disk_silenced_the_task_the_log_tells_why(store):
    finish(store, MIX)
    log = store.log(SFT.stage, SFT.fingerprint)
    log.parent.mkdir()
    log.write_text(f"--- 2026-01-01 00:00:00 {SFT.key} x\n--- failed of an earlier attempt\n")
    os.utime(log, (0, 0))
    found = submit(store, [[SFT]], ["5"])
    assert "left the queue" in look(store, STEPS, {})[SFT.key].reason
    assert look(store, STEPS, running("5"))[SFT.key].state == "running"
    why = "OSError: [Errno 28] No space left on device"
    with log.open("a") as file:
        file.write(f"--- 2026-01-01 00:01:00 {SFT.key} x\n--- failed {why}\n")
    later = (ledger.folder_of(store, found.id) / "steps.json").stat().st_mtime + 1
    os.utime(log, (later, later))
    for queue in ({}, None):  # nothing could be written at all
        assert (look(store, STEPS, queue)[SFT.key].state, look(store, STEPS, queue)[SFT.key].reason) == ("failed", why)
    say(store, found, {SFT.key: SAID_RUNNING})
    for queue in ({}, running("5")):  # only the end could not
        assert (look(store, STEPS, queue)[SFT.key].state, look(store, STEPS, queue)[SFT.key].reason) == ("failed", why)
    say(store, found, {SFT.key: {"state": "failed", "reason": "its own word"}})
    assert look(store, STEPS, {})[SFT.key].reason == "its own word"


ENTRIES = st.builds(
    QueueEntry,
    job=st.sampled_from(["1", "2_0", "2_1"]),
    state=st.sampled_from(["PENDING", "RUNNING", "COMPLETING", "REQUEUED", "SUSPENDED"]),
    reason=st.sampled_from(["", "Priority", "Dependency", "DependencyNeverSatisfied", "JobHeldUser", "BeginTime"]),
    restarts=st.integers(0, 2),
)
SAID = st.dictionaries(
    st.sampled_from(list(STEPS)),
    st.sampled_from(["running", "done", "failed", "stopped"]).map(lambda state: {"state": state}),
)
TASKS = st.builds(
    ledger.TaskState,
    job=st.just("1"),
    restarts=st.integers(0, 2),
    host=st.just(""),
    started=st.just(submitted.WHEN),
    updated=st.just(submitted.WHEN),
    steps=SAID,
)
ATTEMPTS = st.builds(
    Attempt,
    submission=st.just("a"),
    task=st.just(0),
    job=st.sampled_from(["1", "2_0", "2_1", None]),
    user=st.just("me"),
    steps=st.just(tuple(STEPS)),
    said=st.none() | TASKS,
    exit=st.none() | st.sampled_from([0, 1, 75, 137]),
)
KEYS = st.sampled_from(list(STEPS))
FACTS = st.builds(
    Facts,
    steps=st.just(STEPS),
    complete=st.frozensets(KEYS),
    queue=st.none() | st.lists(ENTRIES).map(lambda entries: {entry.job: entry for entry in entries}),
    attempts=st.dictionaries(KEYS, ATTEMPTS),
    ended=st.dictionaries(st.sampled_from(["1", "2_0"]), st.builds(Ended, st.sampled_from(["TIMEOUT", "FAILED"]))),
    claims=st.dictionaries(KEYS, st.just(Worker("process 1 on here"))),
    cancelled=st.frozensets(KEYS),
    local=st.frozensets(KEYS),
)


@given(FACTS)
def test_whatever_is_known_each_step_has_one_true_state(facts: Facts):
    states = states_of(facts)
    assert states.keys() == STEPS.keys()
    for key, state in states.items():
        assert (state.state == "done") == (key in facts.complete)
        assert "\n" not in state.reason
        if facts.queue is not None and state.state in ("queued", "waiting", "held"):
            assert state.job in facts.queue  # else nobody would ever submit it again
        if state.state in ("failed", "cancelled", "held") or (state.state == "blocked" and state.waits_for):
            assert state.reason
        for needed in state.waits_for:
            assert needed not in facts.complete
        dead = [one for one in STEPS[key].inputs.values() if states[one].state in ("failed", "cancelled", "blocked")]
        if dead:
            assert state.state not in ("queued", "waiting", "held", "missing", "not submitted")
    assert all(states[key].state in IN_FLIGHT for key in in_flight(states))


def two_runs(store: Store) -> tuple[Known, dict[str, Step], dict[str, Step]]:
    """Two runs that share their SFT step."""
    other = chain("10pct-long", base=SFT)
    save_run(store, "demo/10pct", RUN)
    save_run(store, "demo/10pct-long", {"mix": MIX, **other}, asked_for="2026-01-02T00:00:00+00:00")
    submit(store, [[MIX, SFT]], ["5"])
    submit(store, [[GENERATE, SCORE], [other["generate.fi"], other["score.fi"]]], ["6_0", "6_1"])
    return known(store), RUN, other


QUEUE = {**running("5"), **pending("6_0", "Dependency"), **pending("6_1", "Dependency")}


def test_cancelling_a_run_leaves_what_another_needs(store):
    found, _, _ = two_runs(store)
    assert [run.name for run in found.runs] == ["demo/10pct-long", "demo/10pct"]
    states = look(store, found.steps, QUEUE)
    plan = plan_cancel(found, chosen(found.runs, "demo/10pct"), states)
    assert plan.jobs == {"6_0": [GENERATE.key, SCORE.key]}
    assert any("sft 10pct is needed by other runs" in line for line in plan.kept)
    both = plan_cancel(found, chosen(found.runs, "demo/*"), states)
    assert set(both.jobs) == {"5", "6_0", "6_1"}
    assert both.kept == []


def test_when_the_other_run_is_given_up_or_done_its_steps_can_go(store):
    found, _, other = two_runs(store)
    attempts = gather(store, found.steps, QUEUE).attempts
    mark_cancelled(store, [other["generate.fi"].key, other["score.fi"].key], attempts)
    states = look(store, found.steps, {job: QUEUE[job] for job in ("5", "6_0")})
    assert set(plan_cancel(found, chosen(found.runs, "demo/10pct"), states).jobs) == {"5", "6_0"}


def test_a_job_that_also_works_for_others_is_not_cancelled(store):
    other = chain("10pct-long", base=SFT)
    save_run(store, "demo/10pct", RUN)
    save_run(store, "demo/10pct-long", {"mix": MIX, **other})
    submit(store, [[MIX, SFT, GENERATE, SCORE]], ["5"])
    submit(store, [[other["generate.fi"], other["score.fi"]]], ["6"])
    found = known(store)
    states = look(store, found.steps, {**running("5"), **pending("6", "Dependency")})
    plan = plan_cancel(found, chosen(found.runs, "demo/10pct"), states)
    assert plan.jobs == {}
    assert any(line.startswith("job 5 (generate fi, 10pct") and "not cancelled" in line for line in plan.kept)


def test_a_local_process_is_never_cancelled(store, capsys, monkeypatch):
    monkeypatch.setattr("launchers.cancel.read_queue", dict)
    save_run(store, "demo/10pct", RUN)
    claim = Claim.acquire(store.base(MIX.stage, MIX.fingerprint))
    assert claim
    with claim:
        assert run("cancel", "demo/10pct", store=store) == 0
    told = capsys.readouterr().out
    assert "end that with Ctrl-C" in told
    assert "nothing to cancel" in told


def test_cancelling_gives_failed_and_blocked_steps_up_for_good(store, capsys, monkeypatch):
    found, run_steps, other = two_runs(store)
    say(store, ledger.submissions(store)[0], {SFT.key: {"state": "failed", "reason": "no"}}, ended="failed")
    finish(store, MIX)
    monkeypatch.setattr("launchers.cancel.read_queue", dict)
    assert run("cancel", "demo/10pct", "--dry-run", store=store) == 0
    assert "would give up score fi, 10pct (blocked)" in capsys.readouterr().out
    assert look(store, found.steps, {})[GENERATE.key].state == "blocked"
    assert run("cancel", "demo/10pct", store=store) == 0
    states = look(store, found.steps, {})
    # The other run still needs what has failed.
    assert words({key: states[key] for key in STEPS}) == ["done", "failed", "cancelled", "cancelled"]
    assert run("cancel", "demo/10pct-long", store=store) == 0
    told = capsys.readouterr().out
    assert "gave up sft 10pct (failed)" in told
    assert "retry leaves them alone" in told
    states = look(store, found.steps, {})
    assert {states[step.key].state for step in (*run_steps.values(), *other.values())} == {"done", "cancelled"}
    assert run("cancel", "--all", store=store) == 0
    assert "nothing to cancel" in capsys.readouterr().out


def test_steps_are_marked_before_their_jobs_are_ended(store, monkeypatch):
    save_run(store, "demo/10pct", RUN)
    submit(store, [list(RUN.values())], ["5"])
    ended: list[str] = []

    def scancel(jobs: dict[str, list[str]]) -> None:
        ended.extend(jobs)
        assert words(look(store, STEPS, {"5": QueueEntry("5", "COMPLETING")})) == ["cancelled"] * 4

    monkeypatch.setattr("launchers.cancel.read_queue", lambda: running("5"))
    monkeypatch.setattr("launchers.cancel.cancel_jobs", scancel)
    assert run("cancel", "demo/10pct", store=store) == 0
    assert ended == ["5"]


def test_a_queued_job_of_blocked_steps_goes_too(store):
    save_run(store, "demo/10pct", RUN)
    finish(store, MIX)
    say(store, submit(store, [[SFT]], ["5"]), {SFT.key: {"state": "failed", "reason": "no"}}, ended="failed")
    submit(store, [[GENERATE, SCORE]], ["6"], needs=["5"])
    found = known(store)
    queue = pending("6", "DependencyNeverSatisfied")
    plan = plan_cancel(found, found.runs, look(store, found.steps, queue), queued=queue)
    assert (plan.jobs, plan.given_up) == ({"6": [GENERATE.key, SCORE.key]}, [SFT.key])


def test_what_failed_on_this_machine_alone_is_not_marked(store):
    save_run(store, "demo/10pct", RUN)
    log = store.log(MIX.stage, MIX.fingerprint)
    log.parent.mkdir()
    log.write_text("--- failed DataError: no rows\n")
    found = known(store)
    states = look(store, found.steps, {}, frozenset(found.steps))
    assert states[MIX.key].state == "failed"
    assert plan_cancel(found, found.runs, states).given_up == []


def run(*arguments: str, store: Store) -> int:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--store", str(store.root)])
    return int(ended.value.code or 0)


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty queue."""
    for module in ("status", "logs", "cancel"):
        monkeypatch.setattr(f"launchers.{module}.read_queue", dict)


def test_the_document_for_programs(store, capsys, quiet):
    save_run(store, "demo/10pct", RUN)
    finish(store, MIX)
    assert run("status", "--json", store=store) == 0
    document = json.loads(capsys.readouterr().out)
    assert [(one["name"], one["state"]) for one in document["runs"]] == [("demo/10pct", "missing")]
    assert [step["state"] for step in document["steps"]] == ["done", "missing", "missing", "missing"]
    first = document["steps"][0]
    assert {name: first[name] for name in ("fingerprint", "stage", "job", "restarts", "log")} == {
        "fingerprint": MIX.fingerprint,
        "stage": "mix",
        "job": None,
        "restarts": 0,
        "log": str(store.log("mix", MIX.fingerprint)),
    }


def test_a_checkpoint_deleted_after_scoring_is_not_missed(store, capsys, quiet):
    save_run(store, "demo/10pct", RUN)
    for step in (MIX, GENERATE, SCORE):
        finish(store, step)
    assert run("status", "--json", store=store) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["runs"][0]["state"] == "done"
    assert {step["stage"]: step["state"] for step in document["steps"]}["sft"] == "unneeded"


def test_status_for_people_and_its_exit_code(store, capsys, quiet):
    save_run(store, "demo/10pct", RUN)
    finish(store, MIX)
    found = submit(store, [[SFT, GENERATE, SCORE]], ["5"])
    say(store, found, {SFT.key: {"state": "failed", "reason": "DataError: no rows"}}, ended="failed")
    log = store.log("sft", SFT.fingerprint)
    log.parent.mkdir()
    log.write_text("DataError: no rows\n")
    assert run("status", store=store) == 1
    told = capsys.readouterr().out
    assert "demo/10pct  failed, 1 of 4 steps done: sft 10pct: DataError: no rows" in told
    assert str(log) in told
    assert "1 run: 1 failed; 4 steps: 1 done, 1 failed, 2 blocked" in told


def test_watching_ends_when_nothing_is_in_flight(store, capsys, quiet):
    save_run(store, "demo/10pct", RUN)
    assert run("status", "--watch", "0.1", store=store) == 1  # not done, and nothing will change that
    assert "4 missing" in capsys.readouterr().out
    assert run("status", store=store) == 0
    for step in RUN.values():
        finish(store, step)
    assert run("status", "--watch", "0.1", store=store) == 0


def test_watching_a_stalled_sweep_ends_with_1(store, capsys, quiet):
    save_run(store, "demo/10pct", RUN)
    submit(store, [list(RUN.values())], [None])
    assert run("status", "--watch", "0.1", store=store) == 1
    assert "4 not submitted" in capsys.readouterr().out


def test_wrong_requests_are_told(store, capsys, quiet, tmp_path):
    assert run("status", store=Store(tmp_path / "nowhere")) == 2
    assert "no store at" in capsys.readouterr().err
    assert run("status", store=store) == 2
    assert "no run was launched" in capsys.readouterr().err
    save_run(store, "demo/10pct", RUN)
    assert run("status", "--run", "demo/11pct", store=store) == 2
    assert "did you mean demo/10pct?" in capsys.readouterr().err
    assert run("cancel", "dmo/10pct", store=store) == 2
    assert "did you mean demo/10pct?" in capsys.readouterr().err
    assert run("cancel", store=store) == 2
    assert run("logs", store=store) == 2
    assert "has a log yet" in capsys.readouterr().err
    for seconds in ("soon", "nan", "-1"):
        assert run("status", f"--watch={seconds}", store=store) == 2
        assert f"expected seconds, from 0.1 to 86400, found '{seconds}'" in capsys.readouterr().err


def test_syncing_leaves_nothing_behind_where_wandb_runs():
    done = syncing._run(
        [sys.executable, "-c", "import os; print(os.getcwd(), os.listdir()); open('left', 'w').close()"], 60
    )
    folder, _, names = done.stdout.strip().partition(" ")
    assert names == "[]"
    assert not Path(folder).exists()


def test_logs_by_run_stage_and_fingerprint(store, capsys, quiet):
    save_run(store, "demo/10pct", RUN)
    for step in (MIX, SFT):
        log = store.log(step.stage, step.fingerprint)
        log.parent.mkdir(exist_ok=True)
        log.write_text("".join(f"{step.stage} {number}\n" for number in range(50)))
    assert run("logs", "demo/10pct", "-n", "2", store=store) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"==> {store.log('mix', MIX.fingerprint)} <==",
        "mix 48",
        "mix 49",
        f"==> {store.log('sft', SFT.fingerprint)} <==",
        "sft 48",
        "sft 49",
    ]
    for word in ("sft", SFT.fingerprint[:6], SFT.key):
        assert run("logs", word, "-n", "0", store=store) == 0
        assert capsys.readouterr().out.splitlines() == [str(store.log("sft", SFT.fingerprint))]


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), min_size=1)), st.integers(1, 5))
def test_the_last_lines_are_those_of_the_whole_file(tmp_path_factory, lines, count):
    path = tmp_path_factory.mktemp("logs") / "log"
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    assert last_lines(path, count) == lines[-count:]


def test_a_progress_bars_line_shows_its_newest_state(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"start\n" + b"\r10%" * 40000 + b"\r100%\nend\n")
    assert last_lines(path, 2) == ["100%", "end"]


def test_a_run_is_found_by_name_pattern_or_part(store):
    save_run(store, "demo/10pct", RUN)
    save_run(store, "demo/100pct,benchmark.languages=[en]", chain("100pct"))
    runs = known(store).runs
    assert [run.name for run in chosen(runs, "demo/10pct")] == ["demo/10pct"]
    assert len(chosen(runs, "demo/*")) == 2
    assert len(chosen(runs, "demo/100pct,benchmark.languages=[en]")) == 1
    assert len(chosen(runs, "*languages=[en]")) == 1
    assert len(chosen(runs, "100pct", within=True)) == 1
    with pytest.raises(KirjoError):
        chosen(runs, "100pct")
