"""The settings of the generation engines: all of them say how answers are made, none what is asked for."""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from experiment.door import DOOR, NOT_HASHED

EngineName = Literal["transformers", "vllm", "openai"]


@dataclass(frozen=True, kw_only=True, config=DOOR)
class InProcess:
    """transformers in this process; ``batch_tokens`` bounds the tokens (prompts and answers) that are held at once."""

    batch_tokens: PositiveInt = field(default=65536, metadata=NOT_HASHED)


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Vllm:
    """vLLM's offline engine; ``options`` are arguments of ``vllm.LLM`` (tensor_parallel_size, gpu_memory_utilization)."""

    options: dict[str, Any] = field(default_factory=dict, metadata=NOT_HASHED)


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Server:
    """A server that speaks OpenAI's API: one that runs at ``url`` and serves ``model``, or one that the step starts.

    ``start`` is a command in which ``{model}`` stands for the step's model folder and ``{port}`` for a free port. The key, if
    the server wants one, is read from the environment variable ``key_variable``. Times in seconds.
    """

    url: str | None = field(default=None, metadata=NOT_HASHED)
    model: str | None = field(default=None, metadata=NOT_HASHED)
    start: str | None = field(default=None, metadata=NOT_HASHED)
    start_timeout_s: PositiveFloat = field(default=600.0, metadata=NOT_HASHED)
    concurrency: PositiveInt = field(default=64, metadata=NOT_HASHED)
    timeout_s: PositiveFloat = field(default=600.0, metadata=NOT_HASHED)
    retries: NonNegativeInt = field(default=8, metadata=NOT_HASHED)
    key_variable: str = field(default="OPENAI_API_KEY", metadata=NOT_HASHED)


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Engines:
    """The settings of each engine; a stage names the one it uses (``generate.engine``, ``translate.engine``)."""

    transformers: InProcess = field(default_factory=InProcess, metadata=NOT_HASHED)
    vllm: Vllm = field(default_factory=Vllm, metadata=NOT_HASHED)
    openai: Server = field(default_factory=Server, metadata=NOT_HASHED)
