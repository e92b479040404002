"""What a rank is told, what a task says of itself, and the question before a costly launch."""

from __future__ import annotations

import errno
import os
import pty
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiment.confirm import confirm
from experiment.errors import KirjoError
from experiment.execute import Outcome
from experiment.plan import make_step
from experiment.store import Store
from launchers.slurm import ledger, report
from launchers.slurm.node import Rank, gpus_of_its_own, own_gpus, rank_environment
from launchers.slurm.report import Reporter, read_step
from tests import submitted
from tests.submitted import chain, finish

RUN = chain("10pct")
MIX, SFT = RUN["mix"], RUN["sft"]


@pytest.fixture(autouse=True)
def no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are no job, wherever they run."""
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return submitted.opened(tmp_path)


def record(store: Store, visible: str | None = None, gpus: int = 0, ranks: int = 1) -> ledger.Submission:
    allocation = {**submitted.ALLOCATION, "gpus_per_rank": gpus, "ranks_per_node": ranks}
    return ledger.record(
        store,
        submission="one",
        name="mix",
        tasks=[[MIX, SFT]],
        allocation=allocation,
        needs=[],
        code="",
        folder=str(store.root),
        max_restarts=1,
        visible_devices=visible,
    )


def started(store: Store, restarts: int = 0) -> Reporter:
    os.environ["SLURM_RESTART_COUNT"] = str(restarts)
    try:
        return Reporter(store, "one", 0)
    finally:
        del os.environ["SLURM_RESTART_COUNT"]


def said(store: Store) -> ledger.TaskState:
    found = ledger.read_state(store, "one", 0)
    assert found
    return found


@pytest.mark.parametrize(
    ("visible", "gpus", "local", "expected"),
    [
        (None, 1, 3, {}),
        ("ROCR_VISIBLE_DEVICES", 0, 3, {}),
        ("ROCR_VISIBLE_DEVICES", 1, 0, {"ROCR_VISIBLE_DEVICES": "0"}),
        ("ROCR_VISIBLE_DEVICES", 1, 7, {"ROCR_VISIBLE_DEVICES": "7"}),
        ("CUDA_VISIBLE_DEVICES", 4, 1, {"CUDA_VISIBLE_DEVICES": "4,5,6,7"}),
    ],
)
def test_each_rank_has_its_own_gpus(store, visible, gpus, local, expected):
    assert own_gpus(record(store, visible, gpus), local) == expected


def test_the_gpus_of_a_nodes_ranks_are_all_and_none_twice(store):
    found = record(store, "V", gpus=2, ranks=4)
    assert [gpu for local in range(4) for gpu in own_gpus(found, local)["V"].split(",")] == list("01234567")


@pytest.mark.parametrize(
    ("stage", "gpus", "visible", "seen", "expected"),
    [
        ("translate", 2, None, None, {"CUDA_VISIBLE_DEVICES": "2,3", "LOCAL_RANK": "0"}),
        ("generate", 1, None, "4,5,6,7", {"CUDA_VISIBLE_DEVICES": "5", "LOCAL_RANK": "0"}),
        ("translate", 1, None, "3", {}),
        ("translate", 2, "ROCR_VISIBLE_DEVICES", None, {}),
        ("translate", 0, None, None, {}),
        ("sft", 1, None, None, {}),
    ],
)
def test_ranks_that_work_alone_do_not_share_gpus(store, monkeypatch, stage, gpus, visible, seen, expected):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if seen:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    found = record(store, visible, gpus=gpus, ranks=4)
    rank = Rank(store, found, 0, rank=5, size=8, local=1, reporter=Reporter(store, "one", 0))
    assert gpus_of_its_own(make_step(stage, settings={}), rank) == expected


@pytest.mark.parametrize(("visible", "local_rank"), [("ROCR_VISIBLE_DEVICES", "0"), (None, "3")])
def test_what_the_training_libraries_are_told(store, monkeypatch, visible, local_rank):
    monkeypatch.setenv("MASTER_PORT", "12345")
    found = record(store, visible, gpus=1, ranks=8)
    rank = Rank(store, found, 0, rank=11, size=16, local=3, reporter=Reporter(store, "one", 0))
    assert rank_environment(rank) == {
        "RANK": "11",
        "WORLD_SIZE": "16",
        "LOCAL_RANK": local_rank,
        "LOCAL_WORLD_SIZE": "8",
        "CONTROL_PORT": "22345",
    }
    assert not rank.first


def test_a_task_says_when_a_step_begins_how_far_it_is_and_how_it_ends(store, monkeypatch):
    record(store)
    reporter = started(store)
    reporter.start()
    assert (said(store).steps, said(store).ended) == ({}, "")
    reporter.begin(MIX)
    assert said(store).steps[MIX.key]["state"] == "running"
    progress = reporter.progress_of(MIX)
    progress(1, 9)
    assert "progress" not in said(store).steps[MIX.key]  # not so soon
    monkeypatch.setattr(report, "WRITE_EVERY_S", -1.0)
    progress(2, 9)
    assert said(store).steps[MIX.key]["progress"] == [2, 9]
    reporter.finish(MIX, Outcome("failed", "no rows", seconds=1.23456, warnings=("odd",)))
    found = said(store).steps[MIX.key]
    assert {name: found[name] for name in ("state", "reason", "seconds", "warnings")} == {
        "state": "failed",
        "reason": "no rows",
        "seconds": 1.235,
        "warnings": ["odd"],
    }
    assert "progress" not in found
    reporter.end("failed", "why")
    assert (said(store).ended, said(store).reason) == ("failed", "why")
    assert MIX.key in said(store).steps


def test_the_job_is_named_as_squeue_names_it(store, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    assert Reporter(store, "one", 0).state.job == "8"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    assert Reporter(store, "one", 0).state.job == "7_1"


def test_an_older_start_does_not_overwrite_a_newer_one(store):
    record(store)
    older, newer = started(store), started(store, 1)
    older.begin(MIX)
    newer.start()
    assert said(store).restarts == 1
    older.finish(MIX, Outcome("failed", "lost"))
    assert (said(store).restarts, said(store).steps) == (1, {})
    newer.finish(MIX, Outcome("done"))
    assert said(store).steps[MIX.key]["state"] == "done"


def test_another_process_of_the_same_start_goes_on_with_what_was_said(store, monkeypatch):
    record(store)
    first = started(store)
    first.finish(MIX, Outcome("done"))
    second = Reporter.joined(store, "one", 0)
    second.finish(SFT, Outcome("failed", "no"))
    assert {key: words["state"] for key, words in said(store).steps.items()} == {MIX.key: "done", SFT.key: "failed"}
    assert said(store).started == first.state.started
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert Reporter.joined(store, "one", 0).steps == {}


def test_what_an_earlier_start_left_is_cleared_away_for_this_task_alone(store):
    record(store)
    folder = ledger.folder_of(store, "one")
    for name in ("exit-0", "requeue-0", "exit-1", "requeue-1"):
        (folder / name).write_text("1")
    started(store, 1).start()
    assert {path.name for path in folder.iterdir() if "-" in path.name} == {"exit-1", "requeue-1", "state-0.json"}


def test_read_step_hears_only_this_start(store):
    record(store)
    assert read_step(store, "one", 0, 0, MIX.key) is None
    reporter = started(store, 1)
    reporter.begin(MIX)
    assert read_step(store, "one", 0, 1, MIX.key) is None
    reporter.finish(MIX, Outcome("failed"))
    assert read_step(store, "one", 0, 1, MIX.key) == "failed"
    assert read_step(store, "one", 0, 2, MIX.key) is None
    assert read_step(store, "one", 0, 1, SFT.key) is None


def test_ranks_that_wait_go_on_when_the_artifact_is_there_though_nothing_was_said(store):
    record(store)
    started(store).begin(MIX)
    finish(store, MIX)
    assert read_step(store, "one", 0, 0, MIX.key) == "done"
    (ledger.folder_of(store, "one") / "state-0.json").write_text('{"format": 1, "ste')  # read while it is rewritten
    assert read_step(store, "one", 0, 0, MIX.key) == "done"
    assert read_step(store, "one", 0, 0, SFT.key) is None


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk without room for a new file."""

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ledger, "write_json_atomic", refuse)


def test_on_a_full_disk_the_state_is_rewritten_in_place(store, request):
    record(store)
    reporter = started(store)
    reporter.begin(MIX)
    path = ledger.folder_of(store, "one") / "state-0.json"
    inode = path.stat().st_ino
    request.getfixturevalue("full")
    reporter.finish(MIX, Outcome("failed", "No space left on device"))
    assert said(store).steps[MIX.key]["reason"] == "No space left on device"
    assert path.stat().st_ino == inode
    assert reporter.written


def test_where_not_even_that_can_be_done_the_work_goes_on_and_the_log_says_so_once(store, full, capsys):
    record_path = ledger.folder_of(store, "one")
    record_path.mkdir(parents=True)
    reporter = started(store)
    reporter.begin(MIX)
    reporter.finish(MIX, Outcome("failed", "no"))
    assert not reporter.written
    assert capsys.readouterr().err == "the task's state cannot be written: No space left on device\n"
    assert list(record_path.iterdir()) == []


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The keyboard's end of a terminal that standard input is."""
    keyboard, screen = pty.openpty()
    with os.fdopen(screen, "r") as file:
        monkeypatch.setattr(sys, "stdin", file)
        yield keyboard
    os.close(keyboard)


@pytest.mark.parametrize(("cost", "limit"), [(None, 10.0), (1e9, None), (9.9, 10.0), (10.0, 10.0)])
def test_nothing_is_asked_where_it_is_cheap_or_no_limit_is_set(cost, limit, capsys, terminal):
    confirm(cost, limit)
    assert capsys.readouterr().err == ""


def test_without_a_terminal_a_costly_launch_is_refused(monkeypatch, tmp_path):
    (tmp_path / "in").write_text("y\n")
    with (tmp_path / "in").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        with pytest.raises(KirjoError, match=r"up to 1,234 GPU-hours .*launcher\.confirm_above=10: raise that option"):
            confirm(1234.0, 10.0)


@pytest.mark.parametrize("answer", ["y", "yes", "Y", " YES "])
def test_yes_launches(terminal, capsys, answer):
    os.write(terminal, f"{answer}\n".encode())
    confirm(11.0, 10.0)
    assert capsys.readouterr().err.endswith("Launch? [y/N] ")


@pytest.mark.parametrize("answer", [b"n\n", b"\n", b"yess\n", b"\x04"])
def test_all_else_does_not(terminal, answer):
    os.write(terminal, answer)
    with pytest.raises(KirjoError, match="not launched"):
        confirm(11.0, 10.0)
