"""The processes that carry out one step together, and what they tell each other outside of training.

Small JSON values travel over a key-value server in rank 0's process (torch's TCPStore). It is not the process group of
the training, whose time-outs are made for gradients: here a rank may wait for hours while rank 0 prepares data. Who
waits looks every half second whether a rank has said that it leaves, and notices when rank 0 is gone. Another rank that
dies without a word is not noticed here: the launcher ends the others (srun --kill-on-bad-exit).
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from experiment.errors import KirjoError
from experiment.stop import Stopped

POLL_S = 0.5
# Until all ranks are up: on a busy parallel file system the imports alone take minutes.
CONNECT_S = 600
LOOK_AGAIN_S = 0.2
# One answer of rank 0's server, whose thread answers even while rank 0 computes.
ANSWER_S = 120

# Under this name rank 0's server says which step it is for.
SERVED = "step"

# What torch, accelerate and DeepSpeed take for the word of a launcher of many ranks. accelerate itself sets the last
# one where a training uses DeepSpeed, and would have every later one of the process use it too.
ENVIRONMENT = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "ACCELERATE_USE_DEEPSPEED")


class Channel:
    """The values that ranks tell each other, kept apart by step and by attempt at it (:meth:`begin`)."""

    def __init__(self, store: Any, size: int, where: str) -> None:
        self.store, self.size, self.where = store, size, where
        self.begun = 0
        self.scope = "/0"

    def begin(self, step: str = "") -> None:
        """A new step, or another attempt at one: names are free again."""
        self.begun += 1
        self.scope = f"{step}/{self.begun}"

    def put(self, name: str, value: Any) -> None:
        """Say something to all who will ask for it."""
        with self._connected():
            self.store.set(f"{self.scope}/{name}", json.dumps(value))

    def wait(self, name: str) -> Any:
        """What was put under the name, now or later.

        Raises:
            Stopped, KirjoError: a rank left before that (:meth:`leave`), or rank 0 cannot be reached any more.
        """
        pause = 0.01
        while not self._has(name):
            if left := self.left():
                raise Stopped if left["state"] == "stopped" else KirjoError(_words(left))
            time.sleep(pause)
            pause = min(2 * pause, POLL_S)
        with self._connected():
            return json.loads(self.store.get(f"{self.scope}/{name}"))

    def count(self, name: str, more: int = 1) -> int:
        """Add to a number that all ranks share; returns the sum."""
        with self._connected():
            return int(self.store.add(f"{self.scope}/{name}", more))

    def leave(self, rank: int, state: str, reason: str) -> None:
        """Say that this rank will not come any further; the first to say so is heard."""
        with contextlib.suppress(KirjoError):
            if self.count("leaving") == 1:
                self.put("left", {"rank": rank, "state": state, "reason": reason})

    def left(self) -> dict[str, Any] | None:
        """Who was the first to leave, in which state and why; None if nobody has."""
        if not self._has("left"):
            return None
        with self._connected():
            found: dict[str, Any] = json.loads(self.store.get(f"{self.scope}/left"))
        return found

    def _has(self, name: str) -> bool:
        with self._connected():
            return bool(self.store.check([f"{self.scope}/{name}"]))

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # torch's own kinds of network errors are RuntimeErrors
            raise KirjoError(
                f"rank 0 at {self.where} cannot be reached any more: it died, or its node did; look at the end of its "
                f"log ({_first_line(error)})"
            ) from None


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this one is; alone it needs no channel."""

    rank: int = 0
    size: int = 1
    channel: Channel | None = None

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which prepares, reports and publishes."""
        return self.rank == 0

    @staticmethod
    def from_environment(step: str = "") -> Ranks:
        """Read RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT (or CONTROL_PORT), and find the others.

        Args:
            step: the key of the step that these processes carry out. Those of the step before may still be ending, on
                the same port: a rank talks only to a rank 0 that was given the same key.

        Raises:
            KirjoError: a variable is missing or senseless, or the ranks do not find each other.
        """
        try:
            rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
            if size == 1:
                return ALONE
            host = os.environ["MASTER_ADDR"]
            port = int(os.environ.get("CONTROL_PORT") or int(os.environ["MASTER_PORT"]) + 1)
        except KeyError as error:
            raise KirjoError(f"{error.args[0]} is not set: several ranks need it to find each other") from None
        except ValueError as error:
            raise KirjoError(f"RANK, WORLD_SIZE, MASTER_PORT and CONTROL_PORT must be numbers: {error}") from None
        if not 0 <= rank < size:
            raise KirjoError(f"RANK={rank} is none of the {size} ranks of WORLD_SIZE (0 to {size - 1})")
        return Ranks(rank, size, _connect(rank, size, host, port, step))

    def begin(self, step: str = "") -> None:
        """Every rank calls it at the start of every attempt at a step, with the step's key."""
        if self.channel:
            self.channel.begin(step)

    def tell(self, name: str, value: Any) -> None:
        """Rank 0 tells the others a JSON value."""
        if self.channel:
            self.channel.put(name, value)

    def hear(self, name: str) -> Any:
        """What rank 0 tells; waits as long as it takes, and fails when rank 0 is gone."""
        assert self.channel is not None  # who is alone has nobody to hear
        return self.channel.wait(name)

    def agree(self, name: str, make: Callable[[], Any]) -> Any:
        """What ``make`` returns on rank 0, for all; it runs there alone. A JSON value."""
        if not self.first:
            return self.hear(name)
        value = make()
        self.tell(name, value)
        return value

    def meet(self, name: str) -> None:
        """Wait until every rank has come here."""
        if self.channel:
            if self.channel.count(f"{name} met") == self.size:
                self.channel.put(name, True)
            self.channel.wait(name)

    def leave(self, state: str, reason: str) -> None:
        """Tell those who wait, now or later, that this rank will not come any further."""
        if self.channel:
            self.channel.leave(self.rank, state, reason)
            if self.first:
                time.sleep(2 * POLL_S)  # the others' connections end with this process

    def failure(self) -> str | None:
        """What another rank said before it left: the reason why a connection to it broke a moment ago."""
        with contextlib.suppress(KirjoError):
            left = self.channel.left() if self.channel else None
            return _words(left) if left and left["state"] == "failed" and left["rank"] != self.rank else None
        return None

    def part(self, seconds: float = 60.0) -> None:
        """Every rank calls it last; rank 0 stays (for a while at most) until all others have heard everything."""
        if self.channel is None:
            return
        if not self.first:
            self.channel.count("parted")
            return
        end = time.monotonic() + seconds
        while self.channel.count("parted", 0) < self.size - 1 and time.monotonic() < end:
            time.sleep(0.01)


ALONE = Ranks()


def _words(left: dict[str, Any]) -> str:
    return f"rank {left['rank']} failed: {left['reason']}"


@contextlib.contextmanager
def unlaunched() -> Iterator[None]:
    """Hide a launcher's variables: libraries would set up a process group for what one process does alone.

    What is set of them within does not last.
    """
    hidden = {name: os.environ.pop(name) for name in ENVIRONMENT if name in os.environ}
    try:
        yield
    finally:
        for name in ENVIRONMENT:
            os.environ.pop(name, None)
        os.environ.update(hidden)


def _connect(rank: int, size: int, host: str, port: int, step: str) -> Channel:
    store = _serve(host, port, size, step) if rank == 0 else _reach(host, port, size, step)
    return Channel(store, size, f"{host}:{port}")


def _serve(host: str, port: int, size: int, step: str) -> Any:
    try:
        store = _store(host, port, size, CONNECT_S, server=True)
    except (RuntimeError, ValueError) as error:
        raise KirjoError(
            f"rank 0 cannot listen on port {port}: another process may have the port ({_first_line(error)})"
        ) from None
    store.set(SERVED, step)
    return store


def _reach(host: str, port: int, size: int, step: str) -> Any:
    """A connection to this step's server; that of the step before may still answer at first, or break off."""
    end = time.monotonic() + CONNECT_S
    found = "no time was left"
    while (seconds := end - time.monotonic()) > 0:
        try:
            store = _store(host, port, size, seconds)
            serves = store.get(SERVED).decode() if store.check([SERVED]) else "no step yet"
            if serves == step:
                return store
            found = f"who answers there serves {serves or 'an unnamed step'}, not {step or 'an unnamed one'}"
            del store
        except (RuntimeError, ValueError) as error:
            found = _first_line(error)
        time.sleep(LOOK_AGAIN_S)
    raise KirjoError(
        f"rank 0 does not answer at {host}:{port}: another process may have the port, or rank 0 did not start ({found})"
    )


def _store(host: str, port: int, size: int, seconds: float, server: bool = False) -> Any:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    store = TCPStore(host, port, size, server, timedelta(seconds=seconds), wait_for_workers=False)
    store.set_timeout(timedelta(seconds=ANSWER_S))
    return store


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
