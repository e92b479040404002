"""What an engine answers, for the tests of the engines."""

from __future__ import annotations

from collections.abc import Sequence

from experiment.engines.engine import Answer, Engine, Request


def answers_of(engine: Engine, requests: Sequence[Request]) -> dict[str, Answer]:
    """The answers by id; each is told once."""
    found: dict[str, Answer] = {}

    def done(id: str, answer: Answer) -> None:
        assert id not in found
        found[id] = answer

    engine.answer(requests, done)
    return found
