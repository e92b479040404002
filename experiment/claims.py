"""One process at a time works on a step, also between hosts on a shared file system.

A claim on the step `sft/<fp>` is a folder beside it, `<fp>.claim-<n>`, where n is its generation. Needed of the
file system: mkdir and exclusive creation are atomic, rename replaces. No locks, no clocks compared between hosts.

To acquire: (1) list the claim folders and note each one's token; all must be dead. (2) mkdir generation
highest + 1. (3) Create its `owner.json`, exclusively. (4) List again: there must be the noted folders, with the
noted tokens, and the own one with the own token, and nothing else; else back off. (5) Write `beat`: now it is held.

Why two live processes never both hold. Say P holds generation p, and Q holds q > p. When P listed in (4), its
owner.json was there and folder q was not (P would have backed off), so all of q came later, also Q's own (4).
Q then read P's token in folder p, and so had judged P dead in (1): but P lives. Folder p had not been removed: only
its owner and a later holder remove it, and for the first such holder the same argument holds. Say p = q:
owner.json is created exclusively, so a process that stalls after (2) and wakes when the folder has been removed
and made again by another finds either the other's owner.json and backs off, or writes first and the other backs
off. A claim without an owner has no token to compare; if its maker only stalled, then whichever of its (3) and
the other's (2) came second is seen by the later (4). Backing off may hit both of two contenders: they try again.

Taking over needs all generations dead, not only the highest: somebody who judged an earlier owner of p dead may
make p + 1 while P holds p, and be killed before backing off. For the same reason a higher generation only counts
as lost to (`still_held`) once it has its `beat`.

What is dead? On this host, in this process namespace: the process is gone, or its number belongs to another;
otherwise it lives, however old its beat (a suspended laptop is not dead). Elsewhere: the beat has not changed for
`stale_after_s` of this process's own clock. Such a judgement can be wrong, as any lease can (a host cut off for
minutes that comes back): hence `check` before anything that others see. At worst work is done twice, and the
store publishes atomically.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

from experiment.errors import ClaimLost, StoreError
from experiment.provenance import Process, is_gone, this_process

# NFS clients may show a folder's old content for a while, so who dawdles in acquiring must not rely on what it
# sees: it gives up well before another could judge its claim abandoned.
_ABANDONED_AFTER_S = 10.0
_ACQUIRE_WITHIN_S = 5.0


@dataclass(frozen=True)
class Owner(Process):
    """The process that made a claim. `job` is the SLURM job, `since` is for people (no decision reads it)."""

    token: str
    generation: int
    job: str | None = None
    since: str | None = None


class Observer:
    """Judges claims by what it has itself seen of them; a waiting process keeps one between its looks."""

    def __init__(self, stale_after_s: float = 120.0, abandoned_after_s: float = _ABANDONED_AFTER_S) -> None:
        self._stale_after_s = stale_after_s
        self._abandoned_after_s = min(abandoned_after_s, stale_after_s)
        self._seen: dict[Path, tuple[object, float]] = {}

    def is_dead(self, claim_dir: Path) -> bool:
        """Whether the claim may be taken over; never at the first look if its owner is on another host."""
        try:
            owner, beat, names = _read_owner(claim_dir), _read(claim_dir / "beat"), sorted(claim_dir.iterdir())
        except OSError:
            # Vanished, or a passing fault of the file system: no ground to judge on.
            self._seen.pop(claim_dir, None)
            return False
        gone = None if owner is None else is_gone(owner)
        if gone is not None:
            return gone
        now, looks = time.monotonic(), (owner, beat, names)
        before, since = self._seen.get(claim_dir, (None, now))
        if before != looks:
            self._seen[claim_dir] = (looks, now)
            return False
        bare = owner is None and beat is None
        return now - since >= (self._abandoned_after_s if bare else self._stale_after_s)


class Claim:
    """The right to work on a step, from `acquire` until `release`; a context manager that releases."""

    def __init__(self, base: Path, owner: Owner, lower: dict[int, str | None], beat_every_s: float) -> None:
        self.base, self.owner, self.folder = base, owner, _folder(base, owner.generation)
        self._lower, self._beat_every_s = lower, beat_every_s
        self._beats, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, name=f"beat {base.name}", daemon=True)

    @classmethod
    def acquire(
        cls,
        base: Path,
        *,
        stale_after_s: float = 120.0,
        beat_every_s: float = 10.0,
        observer: Observer | None = None,
    ) -> Claim | None:
        """Claim the step at `base`; None while another holds it (then try again later, with the same observer).

        Without an observer, only owners on this host can be found dead. StoreError if the file system refuses.
        """
        try:
            return cls._attempt(base, observer or Observer(stale_after_s), beat_every_s)
        except OSError as error:
            raise StoreError(
                f"cannot claim {base}: {error.strerror or error}; free space or correct the permissions of "
                f"{base.parent}, then run the same command again"
            ) from error

    def still_held(self) -> bool:
        """Whether the claim is still there and nobody has taken it over; StoreError if the disk does not answer."""
        try:
            higher = [folder for n, folder in _generations(self.base).items() if n > self.owner.generation]
            if any(_read(folder / "beat") is not None for folder in higher):
                return False
            return _token(self.folder) == self.owner.token
        except OSError as error:
            raise StoreError(
                f"cannot read {self.folder}: {error.strerror or error}; run the same command again"
            ) from error

    def check(self) -> None:
        """Raise ClaimLost unless the claim is still held: call it before anything that others will see."""
        if not self.still_held():
            now = holder(self.base)
            by = f"by process {now.pid} on {now.host}" if now else "by a process that has since ended"
            raise ClaimLost(
                f"the claim on {self.base} was taken over {by}: this process was thought dead. Nothing is lost; "
                "leave the step to the other process, or run the same command again"
            )

    def release(self) -> None:
        """Give the step up; harmless when repeated or when the claim was lost."""
        # A forked child has a copy of this object but not the claim.
        if os.getpid() != self.owner.pid:
            return
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        # Ascending, own last: until then nobody else can hold (see above).
        for generation, token in sorted(self._lower.items()):
            _remove(_folder(self.base, generation), token)
        _remove(self.folder, self.owner.token)

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    @classmethod
    def _attempt(cls, base: Path, observer: Observer, beat_every_s: float) -> Claim | None:
        began = time.monotonic()
        base.parent.mkdir(parents=True, exist_ok=True)
        found = _generations(base)
        # Tokens before judgements: if the owner changes in between, the noted token no longer matches in (4).
        lower = {generation: _token(folder) for generation, folder in found.items()}
        dead = [observer.is_dead(folder) for folder in found.values()]
        if not all(dead):
            return None
        generation = max(found, default=0) + 1
        try:
            _folder(base, generation).mkdir()
        except FileExistsError:
            return None
        claim = cls(base, _owner(generation), lower, beat_every_s)
        try:
            if claim._sign() and claim._confirm(began):
                claim._beat()
                claim._thread.start()
                return claim
        except BaseException:
            _remove(claim.folder, claim.owner.token)
            raise
        _remove(claim.folder, claim.owner.token)
        return None

    def _sign(self) -> bool:
        path = self.folder / "owner.json"
        try:
            file = path.open("x", encoding="utf-8")
        except (FileExistsError, FileNotFoundError):
            return False
        try:
            with file:
                file.write(json.dumps(asdict(self.owner)))
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            # The text is not there, so nobody can tell by a token whose folder it is: remove it here.
            path.unlink(missing_ok=True)
            self.folder.rmdir()
            raise
        return True

    def _confirm(self, began: float) -> bool:
        now = _generations(self.base)
        if now.keys() != {*self._lower, self.owner.generation}:
            return False
        if any(_token(now[generation]) != token for generation, token in self._lower.items()):
            return False
        return _token(self.folder) == self.owner.token and time.monotonic() - began < _ACQUIRE_WITHIN_S

    def _beat(self) -> None:
        new = self.folder / ".beat.new"
        new.write_text(f"{self._beats}\n", encoding="utf-8")
        new.replace(self.folder / "beat")
        self._beats += 1

    def _keep_beating(self) -> None:
        while not self._stop.wait(self._beat_every_s):
            # A full disk or a stale handle passes; a folder that is another's now must not seem alive by our beats.
            with suppress(OSError):
                if _token(self.folder) == self.owner.token:
                    self._beat()


def holder(base: Path) -> Owner | None:
    """Who holds the claim on a step, for people to read; None if nobody, or if it is known to be dead."""
    found: list[tuple[bool, int, Owner]] = []
    for generation, folder in _generations(base).items():
        with suppress(OSError):
            owner = _read_owner(folder)
            if owner is not None and not is_gone(owner):
                found.append((_read(folder / "beat") is not None, generation, owner))
    return max(found, key=lambda entry: entry[:2])[2] if found else None


def is_claimed(base: Path, observer: Observer) -> bool:
    """Whether somebody who is not known to be dead has a claim on the step."""
    dead = [observer.is_dead(folder) for folder in _generations(base).values()]
    return not all(dead)


def _owner(generation: int) -> Owner:
    return Owner(
        **asdict(this_process()),
        token=secrets.token_hex(16),
        generation=generation,
        job=os.environ.get("SLURM_JOB_ID"),
        since=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _folder(base: Path, generation: int) -> Path:
    return base.with_name(f"{base.name}.claim-{generation}")


def _generations(base: Path) -> dict[int, Path]:
    prefix = f"{base.name}.claim-"
    try:
        names = [path.name for path in base.parent.iterdir()]
    except FileNotFoundError:
        return {}
    ends = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
    return {int(end): _folder(base, int(end)) for end in ends if end.isdecimal()}


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _read_owner(folder: Path) -> Owner | None:
    try:
        content = json.loads(_read(folder / "owner.json") or b"")
        return Owner(**{field.name: content[field.name] for field in fields(Owner) if field.name in content})
    except (ValueError, TypeError):
        return None


def _token(folder: Path) -> str | None:
    owner = _read_owner(folder)
    return owner.token if owner else None


def _remove(folder: Path, token: str | None) -> None:
    with suppress(OSError):
        if _token(folder) != token:
            return
        # The owner last: who is killed half-way leaves a claim that can be judged at once.
        for path in sorted(folder.iterdir(), key=lambda path: path.name == "owner.json"):
            path.unlink()
        folder.rmdir()
