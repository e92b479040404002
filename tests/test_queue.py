"""What SLURM prints, read; and what is said when it does not answer."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path

import pytest

from experiment.errors import KirjoError
from launchers.slurm import queue
from launchers.slurm.queue import Ended, QueueEntry, parse_accounts, parse_queue

# As squeue 22.05.8 printed them.
LINES = """\
6|6|root|PENDING|DependencyNeverSatisfied|0|0|N/A||afterok:5(failed)|(null)|
7_1|8|root|PENDING|Dependency|0|0|N/A||afterok:4(unfulfilled)|kirjo:b|x|
10|10|root|PENDING|BeginTime|0|1|2026-11-21T07:56:41||(null)|(null)|
28|28|root|FAILED|NonZeroExitCode|768|0|2026-11-21T08:07:26|nid000002|(null)|(null)|
4|4|root|RUNNING|None|0|0|2026-11-21T07:54:37|nid000002|(null)|kirjo:a
slurm_load_jobs: a warning in the middle
"""


def test_lines_of_squeue_become_entries():
    found = parse_queue(LINES)
    assert list(found) == ["6", "7_1", "10", "28", "4"]
    assert (found["6"].reason, found["6"].dependency, found["6"].start) == (
        "DependencyNeverSatisfied",
        "afterok:5(failed)",
        None,
    )
    assert (found["7_1"].number, found["7_1"].comment) == ("8", "kirjo:b|x")
    assert found["10"].restarts == 1
    assert found["28"].exit == 3
    started = datetime(2026, 11, 21, 7, 54, 37).astimezone(timezone.utc).isoformat()
    assert found["4"] == QueueEntry(
        job="4",
        number="4",
        user="root",
        state="RUNNING",
        start=started,
        nodes="nid000002",
        comment="kirjo:a",
        exit=0,
    )


def test_the_accounting_names_who_cancelled_and_the_last_of_several_starts():
    text = (
        "4|PREEMPTED|0:15|Preempted|nid000001\n"
        "4|CANCELLED by 1000|0:15|None|nid000001\n"
        "7_1|OUT_OF_MEMORY|0:125|None|nid000002\n"
        "8|RUNNING|0:0|None|nid000002\n"
    )
    assert parse_accounts(text) == {
        "4": Ended("CANCELLED by 1000", 143, "", "nid000001"),
        "7_1": Ended("OUT_OF_MEMORY", 253, "", "nid000002"),
    }


def commands(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    """SLURM commands that go wrong as real ones do; nothing else of SLURM can be found."""
    for name, script in scripts.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin" if scripts else str(folder))


def test_no_slurm_here_is_none_and_not_an_empty_queue(tmp_path, monkeypatch):
    commands(tmp_path, monkeypatch)
    assert queue.read_queue() is None
    assert queue.ended(["1"]) == {}


def test_a_failing_squeue_is_told_in_its_own_words(tmp_path, monkeypatch):
    words = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
    commands(tmp_path, monkeypatch, squeue=f"echo '{words}' >&2; exit 1")
    with pytest.raises(KirjoError, match="squeue failed: slurm_load_jobs error: Unable to contact slurm controller"):
        queue.read_queue()


def test_a_hanging_squeue_is_not_waited_for_for_ever(tmp_path, monkeypatch):
    commands(tmp_path, monkeypatch, squeue="exec sleep 60")
    monkeypatch.setattr(queue, "TIME_LIMIT_S", 0.3)
    with pytest.raises(KirjoError, match=r"did not answer within 0\.3 seconds"):
        queue.read_queue()


def test_what_a_user_told_squeue_to_print_does_not_matter(tmp_path, monkeypatch):
    commands(tmp_path, monkeypatch, squeue='test -z "$SQUEUE_STATES$SLURM_TIME_FORMAT" && test "$LC_ALL" = C')
    monkeypatch.setenv("SQUEUE_STATES", "RUNNING")
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")
    assert queue.read_queue() == {}
    assert os.environ["SQUEUE_STATES"] == "RUNNING"


def test_a_job_that_has_ended_meanwhile_can_be_cancelled_and_a_foreign_one_not(tmp_path, monkeypatch):
    gone = "scancel: error: Kill job error on job id 4: Invalid job id specified"
    commands(tmp_path, monkeypatch, scancel=f"echo '{gone}' >&2; exit 1")
    queue.cancel_jobs(["4"])
    commands(tmp_path, monkeypatch, scancel="echo 'scancel: error: Access/permission denied' >&2; exit 1")
    with pytest.raises(KirjoError, match=r"scancel failed: .*permission denied"):
        queue.cancel_jobs(["4"])
