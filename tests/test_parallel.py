"""Processes beside each other: the verdicts of one process, and none that hangs, is lost or outlives its parent."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from experiment.errors import DataError, KirjoError
from experiment.scoring import parallel
from experiment.scoring.score import score, verdicts
from tests.answers import (
    answers,
    prompts,
    without_punkt,
)
from tests.fresh import ROOT, run_python


class Odd(Exception):
    def __init__(self, one: int, of: int) -> None:
        super().__init__(f"{one} of {of}")


class Unreadable:
    def __reduce__(self) -> Any:
        return refuse, ()


def refuse() -> None:
    raise ValueError("not again")


def odd(index: int) -> int:
    if index:
        raise Odd(7, 9)
    return index


def leave(index: int) -> int:
    if index:
        raise SystemExit(5)
    return index


def open_pipes() -> int:
    """How many ends of pipes this process has open."""
    found = 0
    for name in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found += str(name.readlink()).startswith("pipe:")
    return found


class TestTheSameAgain:
    def test_in_any_order_and_number_of_processes(self) -> None:
        """20 times, shuffled, by one process and by four."""
        asked = without_punkt(prompts(1))
        given = {prompt.key: next(iter(answers(prompt, 1))) for prompt in asked}
        expected = {prompt.key: score(prompt, given[prompt.key], "fi") for prompt in asked}
        rng = random.Random(0)
        for repetition in range(20):
            rng.shuffle(asked)
            found = list(verdicts(asked, given, "fi", processes=(1, 4)[repetition % 2]))
            assert found == [verdict for prompt in asked for verdict in expected[prompt.key]]

    def test_what_fails_in_another_process_fails_here(self) -> None:
        def work(index: int) -> int:
            if index == 3:
                raise DataError(f"prompt {index}: no")
            return index

        found = parallel.in_order(work, 8, 2)
        assert [next(found) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(DataError, match="prompt 3: no"):
            next(found)

    def test_an_error_that_cannot_be_pickled_is_told(self) -> None:
        with pytest.raises(KirjoError, match="Odd: 7 of 9"):
            list(parallel.in_order(odd, 2, 2))

    def test_a_result_that_cannot_be_pickled_is_told(self) -> None:
        with pytest.raises(KirjoError, match=r"the result of work\(1\), a function, cannot be handed over"):
            list(parallel.in_order(lambda index: lambda: index, 2, 2))

    def test_a_result_that_cannot_be_read_is_told(self) -> None:
        with pytest.raises(KirjoError, match="cannot be read here: ValueError: not again"):
            list(parallel.in_order(lambda index: Unreadable(), 2, 2))

    def test_a_process_that_leaves_tells_its_status(self) -> None:
        with pytest.raises(KirjoError, match=r"ended early \(exit status 1;"):
            list(parallel.in_order(leave, 2, 2))

    def test_a_process_that_is_killed_is_told(self) -> None:
        def work(index: int) -> int:
            if index == 3:
                os.kill(os.getpid(), 9)
            return index

        found = parallel.in_order(work, 8, 2)
        assert [next(found) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(KirjoError, match=r"ended early \(killed by SIGKILL;"):
            next(found)

    def test_processes_end_with_the_work_left_lying(self, monkeypatch: pytest.MonkeyPatch) -> None:
        children, fork = [], os.fork

        def noted() -> int:
            child = fork()
            children.append(child)
            return child

        monkeypatch.setattr(os, "fork", noted)
        found = parallel.in_order(lambda index: "x" * 100_000, 100, 3)
        assert len(next(found)) == 100_000
        found.close()
        assert len(children) == 2
        for child in children:
            with pytest.raises(ChildProcessError):
                os.waitpid(child, os.WNOHANG)


class TestEnding:
    def test_no_child_holds_the_pipes_of_its_elders(self) -> None:
        """The third child has its own end of its own pipe open, and nothing of the other two."""
        before = open_pipes()
        found = list(parallel.in_order(lambda index: open_pipes(), 4, 4))
        assert found[1:] == [before + 1] * 3
        assert open_pipes() == before

    def test_a_child_that_does_not_listen_is_killed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        children, fork = [], os.fork
        monkeypatch.setattr(os, "fork", lambda: children.append(fork()) or children[-1])

        def work(index: int) -> int:
            if index:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                time.sleep(600)
            time.sleep(0.2)
            return index

        found = parallel.in_order(work, 2, 2)
        assert next(found) == 0
        found.close()
        with pytest.raises(ChildProcessError):
            os.waitpid(children[0], os.WNOHANG)

    def test_a_thread_that_scores_all_the_time_hangs_nobody(self) -> None:
        """It holds the lock around lm_eval's guesses at about every fork."""
        program = (
            "import threading\n"
            "from experiment.scoring.score import score, verdicts\n"
            "from tests.answers import prompts, without_punkt\n"
            "from experiment.scoring import lm_checks\n"
            "asked = without_punkt(prompts(1))[::4]\n"
            "def all_the_time():\n"
            "    while True:\n"
            "        with lm_checks._same_guesses(): sum(range(20_000))\n"
            "threading.Thread(target=all_the_time, daemon=True).start()\n"
            "given = {prompt.key: 'Yes.' for prompt in asked}\n"
            "found = [len(list(verdicts(asked, given, 'en', processes=2, identify=False))) for _ in range(10)]\n"
            "print(json.dumps(found))\n"
        )
        found = run_python(program, "", timeout=120)
        assert len(found) == 10

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_children_do_not_outlive_a_parent_that_is_killed(self, number: signal.Signals) -> None:
        program = (
            "import os, time\n"
            "from experiment.scoring import parallel\n"
            "def work(index):\n"
            "    if index: time.sleep(600)\n"
            "    return os.getpid()\n"
            "fork = os.fork\n"
            "def noted():\n"
            "    pid = fork()\n"
            "    if pid: print(pid, flush=True)\n"
            "    return pid\n"
            "os.fork = noted\n"
            "list(parallel.in_order(work, 3, 3))\n"
        )
        with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
            assert parent.stdout is not None
            children = [int(parent.stdout.readline()) for _ in range(2)]
            time.sleep(0.3)
            parent.send_signal(number)
        deadline = time.monotonic() + 20
        while running := [pid for pid in children if is_running(pid)]:
            assert time.monotonic() < deadline, running
            time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
