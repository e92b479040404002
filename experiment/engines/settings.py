"""The settings of the generation engines: all say how answers are made, none what is asked for. No step hashes them."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from experiment.door import DOOR, no_secrets

EngineName = Literal["transformers", "vllm", "openai"]


@dataclass(frozen=True, kw_only=True, config=DOOR)
class InProcess:
    """transformers in this process; ``batch_tokens`` bounds the tokens (prompts and answers) that are held at once."""

    batch_tokens: PositiveInt = 65536


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Vllm:
    """vLLM in this process; ``options`` are arguments of ``vllm.LLM``, such as tensor_parallel_size."""

    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Server:
    """A server that speaks OpenAI's API: one that runs at ``url`` and serves ``model``, or one that the step starts.

    ``start`` is a command in which ``{model}`` stands for the step's model folder and ``{port}`` for a free port. The
    key, if the server wants one, is read from the environment variable ``key_variable``. Times in seconds.
    """

    url: Annotated[str | None, BeforeValidator(no_secrets)] = None
    model: str | None = None
    start: Annotated[str | None, BeforeValidator(no_secrets)] = None
    start_timeout_s: PositiveFloat = 600.0
    concurrency: PositiveInt = 64
    timeout_s: PositiveFloat = 600.0
    retries: NonNegativeInt = 8
    key_variable: str = "OPENAI_API_KEY"

    def __post_init__(self) -> None:
        """Refuse an address that is none, and a command whose server would not be found or has another model."""
        if self.url is not None and not _is_address(self.url):
            raise ValueError(f"url must begin with http:// or https://, as in http://host:8000/v1; came: {self.url}")
        for name in ("{model}", "{port}"):
            if self.start is not None and name not in self.start:
                raise ValueError(f"start must hold {name}, as in: vllm serve {{model}} --port {{port}}")


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:  # brackets that hold no address
        return False


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Engines:
    """The settings of each engine; a stage names the one it uses (``generate.engine``, ``translate.engine``)."""

    transformers: InProcess = field(default_factory=InProcess)
    vllm: Vllm = field(default_factory=Vllm)
    openai: Server = field(default_factory=Server)
