"""The rows that sources give and stages pass on, one dataclass per kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True)
class Conversation:
    """A conversation for SFT; ``id`` is the same in every language it was translated to."""

    id: str
    messages: tuple[Message, ...]


@dataclass(frozen=True)
class Reply:
    """One reply to a prompt; a higher ``score`` is a better reply."""

    content: str
    score: float


@dataclass(frozen=True)
class ReplyGroup:
    """A prompt (one or more turns, the last by the user) with its scored replies."""

    id: str
    prompt: tuple[Message, ...]
    replies: tuple[Reply, ...]


@dataclass(frozen=True)
class BenchmarkPrompt:
    """A prompt in IFEval's form: the i-th instruction is checked with the i-th kwargs."""

    key: int
    prompt: str
    instruction_ids: tuple[str, ...]
    kwargs: tuple[dict[str, Any], ...]
