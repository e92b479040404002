"""Answers that outlive a kill: requests are cut into shards, and each shard is written whole when it is answered.

The shards are cut from all requests, in an order that does not depend on the one they come in, whatever is there
already. So the same requests stand together in a batch whether or not the work was interrupted, and the answers are the
same to the last byte. A shard is one line of a file, one file a rank: a torn line is a shard that is not there.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from experiment import stop
from experiment.engines.engine import Answer, Engine, Request
from experiment.errors import KirjoError
from experiment.sources.jsonl import json_line, read_jsonl
from experiment.task import Progress, Task

# One file a rank. Dotfiles are no part of the artifact, and go only once its manifest is written: a kill before that
# loses no answer.
FILE = ".answers.{}.jsonl"

# So many answers of a server are written together: a launcher that is interrupted ends its workers outright.
PIECE = 16

# A parallel file system may show only after a while what another node has written.
SHOWN_WITHIN_S = 60.0
LOOK_AGAIN_S = 1.0


def answer_in_shards(
    task: Task, requests: Sequence[Request], engine: Engine, shard_rows: int, progress: Progress
) -> dict[str, Answer]:
    """The answer to each request, by id, in the order of the requests; on ranks other than the first nothing.

    What the work folder holds is not answered again; if it holds everything, the engine is not asked, and loads no
    model. With several ranks each answers its share of the shards, and all come back when all are done; every rank must
    be given the same requests. A stage may ask several times, with other ids.

    Args:
        task: the step; its work folder keeps the answers, also after a kill.
        requests: what to answer; ids must differ.
        engine: an open engine.
        shard_rows: requests a shard, the most that a kill can lose. Another number than before does no harm.
        progress: told how many requests are answered; with several ranks as if all were as far as the first.

    Raises:
        KirjoError: two requests have the same id, or another rank's answers do not appear.
    """
    shards = cut(requests, shard_rows)
    name = _digest([request.id for shard in shards for request in shard])
    there = _those_there(task, shards, name)
    left = [missing for shard in shards if (missing := [request for request in shard if request.id not in there])]
    mine = left[task.ranks.rank :: task.ranks.size]
    # One process can stop anywhere already; of several ranks only here, where each keeps what it has by itself.
    with stop.at_once():
        if mine:
            told = _told(progress, len(requests), sum(map(len, left)), task.ranks.size)
            _answer_shards(mine, engine, task.work / FILE.format(task.ranks.rank), told)
        task.ranks.meet(f"answered {name}")
        return _gather(task.work, requests) if task.ranks.first else {}


def cut(requests: Sequence[Request], shard_rows: int) -> list[list[Request]]:
    """The shards: longest requests first, then by id."""
    twice = [id for id, count in Counter(request.id for request in requests).items() if count > 1]
    if twice:
        raise KirjoError(f"{len(twice)} ids stand for several requests, the first is {twice[0]!r}: ids must differ")
    ordered = sorted(requests, key=lambda request: (-_characters(request), request.id))
    return [ordered[start : start + shard_rows] for start in range(0, len(ordered), shard_rows)]


def _characters(request: Request) -> int:
    return len(request.prompt) + sum(len(message.content) for message in request.messages)


def _digest(ids: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(ids).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def read_answers(work: Path) -> dict[str, Answer]:
    """What the ranks of this attempt and of earlier ones have written whole."""
    found: dict[str, Answer] = {}
    for path in sorted(work.glob(FILE.format("*"))):
        for _, shard in read_jsonl(path):
            found |= {id: Answer(**answer) for id, answer in shard.items()}
    return found


def _those_there(task: Task, shards: Sequence[Sequence[Request]], name: str) -> set[str]:
    """Which requests are answered, as the first rank sees it before any rank writes: all must share out the same."""
    ids = [request.id for shard in shards for request in shard]

    def look() -> str:
        for path in sorted(task.work.glob(FILE.format("*"))):
            _cut_torn_line(path)
        there = read_answers(task.work)
        return "".join("1" if id in there else "0" for id in ids)

    marks: str = task.ranks.agree(f"there {name}", look)
    return {id for id, mark in zip(ids, marks, strict=True) if mark == "1"}


def _cut_torn_line(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(file.read().rfind(b"\n") + 1)


def _answer_shards(
    shards: Sequence[Sequence[Request]], engine: Engine, path: Path, told: Callable[[int], None]
) -> None:
    finished = 0
    told(finished)
    # An answer that does not depend on who is in the same batch is worth keeping before its shard is whole.
    piecewise = getattr(engine, "piecewise", False)
    with path.open("ab") as out:
        for shard in shards:
            answered = _Answered(out.fileno(), shard)

            def done(id: str, answer: Answer, answered: _Answered = answered, before: int = finished) -> None:
                answered.answers[id] = answer
                told(before + len(answered.answers))
                if piecewise:
                    answered.keep(PIECE)

            try:
                engine.answer(shard, done)
            except BaseException:
                if piecewise:
                    answered.keep(1)
                raise
            if lacking := [request.id for request in shard if request.id not in answered.answers]:
                raise KirjoError(f"the engine gave no answer to {len(lacking)} requests, the first is {lacking[0]!r}")
            answered.keep(1)
            stop.obey()
            finished += len(shard)


class _Answered:
    """The answers to a shard, and which of them are on the disk."""

    def __init__(self, file: int, shard: Sequence[Request]) -> None:
        self.file, self.shard = file, shard
        self.answers: dict[str, Answer] = {}
        self.kept: set[str] = set()

    def keep(self, least: int) -> None:
        """Write those that are not on the disk yet, in the order of the shard, if they are at least so many."""
        if len(self.answers) - len(self.kept) < least:
            return
        new = [request.id for request in self.shard if request.id in self.answers and request.id not in self.kept]
        with stop.deferred():
            _write(self.file, json_line({id: asdict(self.answers[id]) for id in new}))
        self.kept.update(new)


def _write(file: int, line: bytes) -> None:
    """Append the line, or nothing, and have it on the disk."""
    before = os.lseek(file, 0, os.SEEK_END)
    try:
        rest = memoryview(line)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
    except OSError:
        os.ftruncate(file, before)
        raise


def _told(progress: Progress, total: int, left: int, ranks: int) -> Callable[[int], None]:
    return lambda finished: progress(total - left + min(left, finished * ranks), total)


def _gather(work: Path, requests: Sequence[Request]) -> dict[str, Answer]:
    end = time.monotonic() + SHOWN_WITHIN_S
    while True:
        found: Mapping[str, Answer] = read_answers(work)
        lacking = [request.id for request in requests if request.id not in found]
        if not lacking:
            return {request.id: found[request.id] for request in requests}
        if time.monotonic() > end:
            raise KirjoError(
                f"{len(lacking)} of {len(requests)} answers that other ranks wrote do not appear in {work}: do all "
                "nodes see the same store? Give the same command again"
            )
        time.sleep(LOOK_AGAIN_S)
