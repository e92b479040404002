"""What every generation engine takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from experiment.sources.records import Message


@dataclass(frozen=True)
class Request:
    """Something to go on from, greedily: a text (``prompt``), or a conversation to which the assistant answers.

    ``stop`` are texts before which the answer ends; ``max_new_tokens`` is where it is cut off.
    """

    id: str
    max_new_tokens: int
    prompt: str = ""
    messages: tuple[Message, ...] = ()
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What an engine gives back.

    ``text`` ends before the first stop text; ``tokens`` counts what was generated, a stop text too but not the end
    token; ``finished``: it ended by itself or at a stop text, and was not cut off at the limit.
    """

    text: str
    tokens: int
    finished: bool


# Told of each answer as it is there, in any order.
Done = Callable[[str, Answer], None]


class Engine(Protocol):
    """Answers requests. A context manager: what the first request starts (a model, a server) ends with it."""

    def answer(self, requests: Sequence[Request], done: Done) -> None:
        """Answer all requests; ``done(id, answer)`` is called once for each, in any order."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The length of each text in tokens, without special ones; an upper estimate where they are not known."""
        ...

    def __enter__(self) -> Engine:
        """The engine, ready to answer."""
        ...

    def __exit__(self, *exception: object) -> None:
        """End what was started."""
        ...
