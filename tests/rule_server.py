"""The server of the tests as a translator by rule: every word is turned round and marked.

The rule is known, so a test can say what every line must become.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from tests.completion_server import Reply, Server, as_json, running

MODEL = "rules"


def translated(line: str) -> str:
    """The line by the rule: words in order, each with its letters turned round, ``ä`` before and after."""
    return " ".join(f"ä{word[::-1]}ä" for word in line.split())


def line_of(prompt: str) -> str:
    """The line that a prompt of the template ``plain`` without examples asks for."""
    return prompt.removesuffix("=")


def by_rule(prompt: str) -> str:
    """The translation that a prompt asks for."""
    return translated(line_of(prompt))


@contextlib.contextmanager
def serving(answer: Callable[[str], str] = by_rule, pause_s: float = 0.0) -> Iterator[Server]:
    """A server in threads of this process, for as long as it is needed; ``answer`` is given the prompt."""

    def behave(number: int, asked: dict[str, Any]) -> Reply | None:
        if number < 0:  # which models there are
            return None
        choice = {"index": 0, "text": answer(asked["prompt"]), "finish_reason": "stop"}
        return as_json({"object": "text_completion", "choices": [choice], "usage": {"completion_tokens": 1}})

    with running(Server(behave, models=(MODEL,), pause_s=pause_s)) as server:
        yield server


def asked_for(server: Server) -> Counter[str]:
    """How often each prompt came."""
    return Counter(asked["prompt"] for asked in server.asked)
