"""Answers that outlive kills: whatever happens on the way, the result is that of an undisturbed run."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiment import stop
from experiment.engines.engine import Answer, Done, Engine, Request
from experiment.engines.shards import FILE, answer_in_shards, cut, read_answers
from experiment.errors import KirjoError
from experiment.plan import make_step
from experiment.ranks import ALONE, Ranks
from experiment.sources.records import Message
from experiment.store import Store
from experiment.task import Task
from tests import ranked


class Shout:
    """An engine whose answers say what stood in the same batch, and which writes down whom it has answered."""

    def __init__(self, log: Path | None = None, pause_s: float = 0.0, fail_at: str = "") -> None:
        self.log, self.pause_s, self.fail_at = log, pause_s, fail_at
        self.asked: list[str] = []

    def answer(self, requests: Sequence[Request], done: Done) -> None:
        batch = hash_of(request.id for request in requests)
        for request in reversed(requests):  # the order of the answers says nothing
            if request.id == self.fail_at:
                raise KirjoError("the engine broke")
            time.sleep(self.pause_s)
            self.asked.append(request.id)
            done(request.id, Answer(f"{request.prompt.upper()}\n\u2028ä {batch}", len(request.prompt), True))
        if self.log:
            with self.log.open("a") as log:
                log.write("".join(f"{request.id}\n" for request in requests))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exception: object) -> None:
        return None


class Piecewise(Shout):
    """One whose answers do not depend on each other, as those of a server."""

    piecewise = True


def hash_of(ids: Iterable[str]) -> str:
    return str(sum(hash_one(id) for id in ids) % 10**9)


def hash_one(id: str) -> int:
    return int.from_bytes(id.encode().rjust(12, b"x"), "big") ** 2 % 10**9


def requests_of(count: int) -> list[Request]:
    return [Request(f"q{at}", 5, prompt=f"{'long ' * (at * 7 % 11)}question {at}") for at in range(count)]


def task_in(folder: Path, ranks: Ranks = ALONE) -> Task:
    store = Store.open(folder / "store", create=True)
    step = make_step("generate", settings={"toy": "shards"})
    work = store.work(step.stage, step.fingerprint)
    work.mkdir(parents=True, exist_ok=True)
    return Task(step, store, work, lambda done, of: None, ranks)


def quiet(_done: int, _of: int) -> None:
    """Progress that nobody watches."""


def as_bytes(answers: dict[str, Answer]) -> bytes:
    return json.dumps({id: [one.text, one.tokens, one.finished] for id, one in answers.items()}).encode()


@given(st.lists(st.text(max_size=8), unique=True, max_size=30), st.integers(1, 9), st.randoms(use_true_random=False))
def test_shards_hold_all_and_do_not_depend_on_the_order(ids: list[str], size: int, chance: random.Random) -> None:
    requests = [Request(id, 5, prompt="x" * (len(id) * 3 % 5), messages=(Message("user", id),)) for id in ids]
    shards = cut(requests, size)
    assert sorted(request.id for shard in shards for request in shard) == sorted(ids)
    assert all(len(shard) == size for shard in shards[:-1])
    lengths = [len(request.prompt) + len(request.messages[0].content) for shard in shards for request in shard]
    assert lengths == sorted(lengths, reverse=True)
    chance.shuffle(requests)
    assert cut(requests, size) == shards


def test_ids_must_differ() -> None:
    with pytest.raises(KirjoError, match="2 ids stand for several requests, the first is 'q0'"):
        cut([*requests_of(3), *requests_of(2)], 2)


def test_answers_come_in_the_order_of_the_requests_and_say_nothing_of_it(tmp_path: Path) -> None:
    requests = requests_of(25)
    told: list[tuple[int, int]] = []
    first = answer_in_shards(task_in(tmp_path / "1"), requests, Shout(), 4, lambda done, of: told.append((done, of)))
    assert list(first) == [request.id for request in requests]
    assert told[0] == (0, 25)
    assert told[-1] == (25, 25)
    assert told == sorted(told)
    second = answer_in_shards(task_in(tmp_path / "2"), requests[::-1], Shout(), 4, quiet)
    assert list(second) == [request.id for request in requests[::-1]]
    assert second == first
    assert answer_in_shards(task_in(tmp_path / "3"), [], Shout(), 4, quiet) == {}


@pytest.mark.parametrize("shard_rows", [1, 4, 5, 100])
def test_what_is_there_is_not_answered_again(tmp_path: Path, shard_rows: int) -> None:
    requests, task = requests_of(25), task_in(tmp_path)
    with pytest.raises(KirjoError, match="the engine broke"):
        answer_in_shards(task, requests, Shout(fail_at="q5"), 4, quiet)
    there = read_answers(task.work)
    assert 0 < len(there) < 25
    assert len(there) % 4 == 0
    engine = Shout()
    told: list[int] = []
    found = answer_in_shards(task, requests, engine, shard_rows, lambda done, of: told.append(done))
    assert sorted(engine.asked) == sorted({request.id for request in requests} - set(there))
    assert told[0] == len(there)
    assert {id: found[id] for id in there} == there
    if shard_rows == 4:
        assert found == answer_in_shards(task_in(tmp_path / "calm"), requests, Shout(), 4, quiet)
    asked_again = Shout()
    assert answer_in_shards(task, requests, asked_again, shard_rows, quiet) == found
    assert asked_again.asked == []


def test_a_stage_may_ask_several_times(tmp_path: Path) -> None:
    task, requests = task_in(tmp_path), requests_of(20)
    first = answer_in_shards(task, requests[:9], Shout(), 4, quiet)
    second = answer_in_shards(task, requests[9:], Shout(), 4, quiet)
    assert [*first, *second] == [request.id for request in requests]
    assert read_answers(task.work) == {**first, **second}


def test_half_a_shard_is_kept_only_where_answers_stand_for_themselves(tmp_path: Path) -> None:
    for engine, kept in ((Shout(fail_at="q1"), False), (Piecewise(fail_at="q1"), True)):
        task = task_in(tmp_path / str(kept))
        with pytest.raises(KirjoError, match="the engine broke"):
            answer_in_shards(task, requests_of(25), engine, 100, quiet)
        assert bool(read_answers(task.work)) == kept
        if kept:
            again = Piecewise()
            assert len(answer_in_shards(task, requests_of(25), again, 100, quiet)) == 25
            assert not set(again.asked) & set(engine.asked)


def test_an_engine_that_leaves_one_out_is_found_out(tmp_path: Path) -> None:
    class Lazy(Shout):
        def answer(self, requests: Sequence[Request], done: Done) -> None:
            super().answer(requests[1:], done)

    with pytest.raises(KirjoError, match="the engine gave no answer to 1 requests, the first is"):
        answer_in_shards(task_in(tmp_path), requests_of(5), Lazy(), 3, quiet)


@given(st.data())
def test_a_file_torn_anywhere_is_gone_on_with(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("torn")
    requests, task = requests_of(11), task_in(folder)
    whole = answer_in_shards(task, requests, Shout(), 3, quiet)
    path = task.work / FILE.format(0)
    content = path.read_bytes()
    kept = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:kept])
    lines = content[:kept].count(b"\n")
    engine = Shout()
    assert answer_in_shards(task, requests, engine, 3, quiet) == whole
    assert len(engine.asked) == len(requests) - min(3 * lines, len(requests))
    assert path.read_bytes() == content


def test_a_request_to_stop_is_heard_at_once_and_loses_no_whole_shard(tmp_path: Path) -> None:
    task, requests = task_in(tmp_path), requests_of(12)

    def progress(done: int, _of: int) -> None:
        if done == 8:
            stop.request()

    try:
        with pytest.raises(stop.Stopped), stop.deferred():
            answer_in_shards(task, requests, Shout(), 3, progress)
    finally:
        stop._requested = False
    assert len(read_answers(task.work)) == 6


def test_a_full_disk_is_told_and_costs_only_the_shard(tmp_path: Path) -> None:
    """A real limit on the size of files: writes come out short, then fail, as on a full disk."""
    code = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom tests import test_engines_shards as t\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"task = t.task_in(Path({str(tmp_path)!r}))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900))\n"
        "t.answer_in_shards(task, t.requests_of(25), t.Shout(), 4, t.quiet)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ranked.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert os.strerror(errno.EFBIG) in done.stderr
    task = task_in(tmp_path)
    assert len(read_answers(task.work)) in (4, 8)
    assert (task.work / FILE.format(0)).read_bytes().endswith(b"\n"), "nothing torn is left"
    calm = answer_in_shards(task_in(tmp_path / "calm"), requests_of(25), Shout(), 4, quiet)
    assert answer_in_shards(task, requests_of(25), Shout(), 4, quiet) == calm
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


ROWS, COUNT = 5, 60


def worker(folder: Path) -> list[str]:
    return ["-m", "tests.test_engines_shards", str(folder)]


def kill_and_go_on(folder: Path, kills: int, chance: random.Random) -> None:
    """The same command until it comes to its end, killed at random moments so many times."""
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    for _ in range(kills):
        process = subprocess.Popen([sys.executable, *worker(folder)], cwd=ranked.ROOT, env=environment)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0.25, 0.7))
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([sys.executable, *worker(folder)], cwd=ranked.ROOT, env=environment, check=True, timeout=60)


@pytest.mark.parametrize("kills", [6, pytest.param(40, marks=pytest.mark.slow)])
def test_kills_at_random_moments_change_nothing(tmp_path: Path, kills: int) -> None:
    calm = answer_in_shards(task_in(tmp_path / "calm"), requests_of(COUNT), Shout(), ROWS, quiet)
    folder = tmp_path / "killed"
    kill_and_go_on(folder, kills, random.Random(kills))
    assert (folder / "result.json").read_bytes() == as_bytes(calm)
    answered = (folder / "answered.0").read_text().split()
    assert len(answered) <= COUNT + kills * ROWS, "no more than a shard is answered again for each kill"


@pytest.mark.parametrize(
    "sizes", [(2, 1), pytest.param((2,), marks=pytest.mark.slow), pytest.param((1, 3, 2), marks=pytest.mark.slow)]
)
def test_ranks_share_out_the_shards(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    """Several ranks, killed on the way as long as there is another attempt to come, with another number of them."""
    calm = answer_in_shards(task_in(tmp_path / "calm"), requests_of(COUNT), Shout(), ROWS, quiet)
    folder = tmp_path / "ranks"
    folder.mkdir()
    for attempt, size in enumerate(sizes):
        started = ranked.start([worker(folder)] * size, folder)
        try:
            if attempt == len(sizes) - 1:
                for one in started:
                    assert one.wait(timeout=60) == 0, (folder / "0.log").read_text()
            else:
                end = time.monotonic() + 60
                while not all((folder / f"answered.{rank}").exists() for rank in range(size)):
                    assert time.monotonic() < end, (folder / "0.log").read_text()
                    time.sleep(0.01)
        finally:
            for one in started:
                one.kill()
                one.wait()
    assert (folder / "result.json").read_bytes() == as_bytes(calm)
    answered = [id for path in folder.glob("answered.*") for id in path.read_text().split()]
    assert set(answered) == {request.id for request in requests_of(COUNT)}
    assert len(answered) <= COUNT + ROWS * sum(sizes[:-1])
    assert len(list(folder.glob("answered.*"))) == max(sizes)


def main(folder: str) -> None:
    """One process that answers slowly, alone or as a rank."""
    signal.signal(signal.SIGTERM, lambda _signal, _frame: stop.request())
    ranks = Ranks.from_environment("step") if "RANK" in os.environ else ALONE
    task = task_in(Path(folder), ranks)
    ranks.begin("step")
    engine = Shout(Path(folder) / f"answered.{ranks.rank}", pause_s=0.004)
    answers: Any = answer_in_shards(task, requests_of(COUNT), engine, ROWS, quiet)
    assert bool(answers) == ranks.first
    if ranks.first:
        (Path(folder) / "result.json").write_bytes(as_bytes(answers))
    ranks.part()


if __name__ == "__main__":
    main(*sys.argv[1:])
