from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from experiment.claims import Claim, Observer, holder, is_claimed
from experiment.errors import ClaimLost, StoreError

ROOT = Path(__file__).resolve().parent.parent

# Each round appends when it enters and when it leaves; anything between the two was a second one inside.
CONTEND = """
import os, sys, time
from pathlib import Path
from experiment.claims import Claim, Observer
base, journal, name, rounds, fate = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5]
def note(word):
    handle = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{word} {name}\\n".encode())
    os.close(handle)
observer = Observer()
for number in range(rounds):
    while (claim := Claim.acquire(base, observer=observer)) is None:
        time.sleep(0.001)
    note("in")
    time.sleep(0.001)
    if fate == "dies" and number == rounds - 1:
        os.kill(os.getpid(), 9)
    note("out")
    claim.release()
"""

HOLD = """
import sys, time
from pathlib import Path
from experiment.claims import Claim
claim = Claim.acquire(Path(sys.argv[1]), beat_every_s=float(sys.argv[2]))
print("held" if claim else "refused", flush=True)
time.sleep(60)
"""


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def base(tmp_path):
    return tmp_path / "store" / "sft" / "0123abcd"


@pytest.fixture
def other(base):
    """Another process that holds the claim."""
    process = python(HOLD, base, 0.05)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def as_foreign(claim_dir: Path, host: str = "node17") -> None:
    path = claim_dir / "owner.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "host": host, "boot": "another"}))


def abandoned(base: Path, host: str = "node17") -> Path:
    """A claim of a process on another host that beats no more."""
    folder = base.with_name(f"{base.name}.claim-1")
    folder.mkdir(parents=True)
    owner = {"host": host, "boot": "b", "pid": 1, "pid_ns": 1, "start": "1", "token": "t", "generation": 1}
    (folder / "owner.json").write_text(json.dumps(owner))
    (folder / "beat").write_text("7\n")
    return folder


def take_when_dead(base: Path, observer: Observer, within_s: float = 5.0) -> Claim:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if claim := Claim.acquire(base, observer=observer):
            return claim
        time.sleep(0.01)
    raise AssertionError("never taken over")


def test_contending_processes_are_never_inside_together(base, tmp_path):
    journal = tmp_path / "journal"
    processes = [python(CONTEND, base, journal, n, 30, "lives") for n in range(6)]
    processes += [python(CONTEND, base, journal, n, 5, "dies") for n in (6, 7)]
    try:
        codes = [process.wait(timeout=30) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert codes == [0] * 6 + [-signal.SIGKILL] * 2
    lines = [line.split() for line in journal.read_text().splitlines()]
    assert sum(word == "in" for word, _ in lines) == 6 * 30 + 2 * 5
    inside, died = None, []
    for word, name in lines:
        if word == "in":
            if inside is not None:
                died.append(inside)
            inside = name
        else:
            assert inside == name
            inside = None
    died += [inside] if inside else []
    # Only who was killed inside may be followed without having left.
    assert sorted(died) == ["6", "7"]


def test_a_live_holder_is_not_taken_over_and_is_named(base, other):
    observer = Observer(stale_after_s=0.0, abandoned_after_s=0.0)
    os.kill(other.pid, signal.SIGSTOP)
    time.sleep(0.2)
    assert Claim.acquire(base, observer=observer) is None
    assert Claim.acquire(base, observer=observer) is None
    assert is_claimed(base, observer)
    assert holder(base).pid == other.pid


def test_a_killed_holder_is_followed_at_once(base, other):
    other.kill()
    # Not waited for: a dead process that its parent has not collected yet is dead all the same.
    deadline = time.monotonic() + 5
    while (claim := Claim.acquire(base)) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert claim is not None
    assert claim.owner.generation == 2
    claim.release()
    assert list(base.parent.iterdir()) == []


def test_a_later_process_with_the_same_number_is_not_the_owner(base):
    claim = Claim.acquire(base)
    path = claim.folder / "owner.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "start": "1"}))
    assert Claim.acquire(base).owner.generation == 2
    assert not claim.still_held()


def test_a_claim_from_elsewhere_falls_after_its_beat_has_stood_still(base):
    abandoned(base)
    observer = Observer(stale_after_s=0.5)
    began = time.monotonic()
    claim = take_when_dead(base, observer)
    assert time.monotonic() - began >= 0.5
    assert claim.owner.generation == 2
    assert claim.still_held()
    assert holder(base) == claim.owner


def test_a_claim_from_elsewhere_stands_while_it_beats(base, other):
    as_foreign(base.with_name(f"{base.name}.claim-1"))
    observer = Observer(stale_after_s=0.8)
    end = time.monotonic() + 2.0
    while time.monotonic() < end:
        assert Claim.acquire(base, observer=observer) is None
        time.sleep(0.02)
    os.kill(other.pid, signal.SIGSTOP)
    assert take_when_dead(base, observer).owner.generation == 2


def test_the_slow_owner_learns_that_it_lost(base):
    slow = Claim.acquire(base, beat_every_s=60)
    as_foreign(slow.folder)
    new = take_when_dead(base, Observer(stale_after_s=0.1))
    assert not slow.still_held()
    with pytest.raises(ClaimLost, match=f"taken over by process {os.getpid()} on"):
        slow.check()
    slow.release()
    assert new.still_held()
    new.check()
    new.release()
    with pytest.raises(ClaimLost, match="has since ended"):
        new.check()
    assert list(base.parent.iterdir()) == []


def test_killed_between_mkdir_and_owner(base):
    folder = base.with_name(f"{base.name}.claim-1")
    folder.mkdir(parents=True)
    observer = Observer(abandoned_after_s=0.3)
    assert Claim.acquire(base, observer=observer) is None
    assert holder(base) is None
    with take_when_dead(base, observer) as claim:
        assert claim.owner.generation == 2
    assert list(base.parent.iterdir()) == []


def test_who_was_killed_while_taking_over_a_dead_claim_does_not_open_the_door_to_a_live_one(base, other):
    # The dead generation 1 was followed by a live one of the same number, and its follower-to-be died as 2.
    base.with_name(f"{base.name}.claim-2").mkdir()
    observer = Observer(stale_after_s=0.1)
    for _ in range(30):
        assert Claim.acquire(base, observer=observer) is None
        time.sleep(0.01)


def test_a_stray_higher_claim_that_never_beat_does_not_end_the_holders_claim(base):
    claim = Claim.acquire(base)
    stray = base.with_name(f"{base.name}.claim-2")
    stray.mkdir()
    claim.check()
    (stray / "beat").write_text("0\n")
    assert not claim.still_held()


class Between(Observer):
    """Runs something between judging and the mkdir that follows."""

    def __init__(self, then):
        super().__init__(stale_after_s=0.0, abandoned_after_s=0.0)
        self.then = then

    def is_dead(self, claim_dir):
        dead = super().is_dead(claim_dir) or super().is_dead(claim_dir)
        if then := self.then:
            self.then = None
            then()
        return dead


def test_a_judgement_that_is_out_of_date_takes_nothing(base):
    abandoned(base)
    held = []

    def meanwhile():
        take_when_dead(base, Observer(stale_after_s=0.0)).release()
        held.append(Claim.acquire(base))

    assert Claim.acquire(base, observer=Between(meanwhile)) is None
    assert held[0].owner.generation == 1
    held[0].check()
    assert [path.name for path in base.parent.iterdir()] == [f"{base.name}.claim-1"]


def test_who_stalls_before_signing_does_not_sign_anothers_claim(base, monkeypatch):
    real, held = Claim._sign, []

    def stalled(claim):
        monkeypatch.setattr(Claim, "_sign", real)
        claim.folder.rmdir()
        held.append(Claim.acquire(base))
        return real(claim)

    monkeypatch.setattr(Claim, "_sign", stalled)
    assert Claim.acquire(base) is None
    held[0].check()


def test_who_stalls_before_making_the_first_claim_yields_to_a_higher_one(base, monkeypatch):
    real, held = Claim._sign, []

    def stalled(claim):
        monkeypatch.setattr(Claim, "_sign", real)
        claim.folder.rmdir()
        slow = Claim.acquire(base)
        as_foreign(slow.folder)
        held.append(take_when_dead(base, Observer(stale_after_s=0.05)))
        slow.release()
        claim.folder.mkdir()
        return real(claim)

    monkeypatch.setattr(Claim, "_sign", stalled)
    assert Claim.acquire(base) is None
    assert [path.name for path in base.parent.iterdir()] == [f"{base.name}.claim-2"]
    held[0].check()


def test_beats_survive_a_fault_and_do_not_revive_what_is_anothers(base):
    claim = Claim.acquire(base, beat_every_s=0.02)
    blocker = claim.folder / ".beat.new"
    while not blocker.is_dir():
        # A beat may be under way.
        with suppress(FileExistsError):
            blocker.mkdir()
    time.sleep(0.1)
    stuck = (claim.folder / "beat").read_text()
    blocker.rmdir()
    time.sleep(0.2)
    assert (claim.folder / "beat").read_text() != stuck
    (claim.folder / "owner.json").write_text(json.dumps(vars(replace(claim.owner, token="another"))))
    time.sleep(0.1)
    stuck = (claim.folder / "beat").read_text()
    time.sleep(0.1)
    assert (claim.folder / "beat").read_text() == stuck


def test_release_twice_and_acquire_again(base):
    with Claim.acquire(base) as claim:
        assert claim.still_held()
        assert Claim.acquire(base) is None
    claim.release()
    assert holder(base) is None
    assert not is_claimed(base, Observer())
    with Claim.acquire(base) as again:
        claim.release()
        again.check()


def test_a_forked_child_does_not_release_its_parents_claim(base):
    claim = Claim.acquire(base)
    child = os.fork()
    if child == 0:
        claim.release()
        os._exit(0)
    os.waitpid(child, 0)
    assert claim.still_held()


def test_a_store_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot claim .*file/sft/0"):
        Claim.acquire(tmp_path / "file" / "sft" / "0")
