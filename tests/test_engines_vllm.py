"""The engine vllm against a stand-in with vLLM's own signatures: what it is given, and what is made of its answers.

vLLM itself needs a GPU. The stand-in answers with a real model, one request at a time, and takes only what vLLM takes.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from experiment.engines.endings import cut_at_stop
from experiment.engines.engine import Answer, Request
from experiment.engines.open import open_engine
from experiment.engines.settings import Engines, Vllm
from experiment.errors import KirjoError
from experiment.sources.records import Message
from experiment.training.chat import add_chat_format
from tests import models

pytestmark = pytest.mark.usefixtures("alone")

CONTEXT = 128


@dataclass(kw_only=True)
class SamplingParams:
    """vllm.SamplingParams: the fields that are asked for, with vLLM's defaults."""

    temperature: float = 1.0
    stop: list[str] | None = None
    stop_token_ids: list[int] | None = None
    max_tokens: int | None = 16
    skip_special_tokens: bool = True
    include_stop_str_in_output: bool = False


@dataclass
class CompletionOutput:
    """vllm.CompletionOutput: the token ids hold the end token, the text holds neither it nor the stop text."""

    text: str
    token_ids: tuple[int, ...]
    finish_reason: str
    stop_reason: int | str | None = None


@dataclass
class RequestOutput:
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput] = field(default_factory=list)


class LLM:
    """vllm.LLM: its named arguments, and those that it passes on to its engine."""

    made: tuple[LLM, ...] = ()

    def __init__(
        self,
        model: str,
        *,
        dtype: str = "auto",
        revision: str | None = None,
        tokenizer_revision: str | None = None,
        tensor_parallel_size: int = 1,
        gpu_memory_utilization: float = 0.9,
        enable_prefix_caching: bool | None = None,
        max_num_seqs: int | None = None,
        generation_config: str = "auto",
    ) -> None:
        assert isinstance(model, str)
        self.given = {
            "dtype": dtype,
            "prefix": enable_prefix_caching,
            "rows": max_num_seqs,
            "gpus": tensor_parallel_size,
        }
        assert generation_config == "vllm", "else a model's own penalties and end tokens would count"
        self.model = AutoModelForCausalLM.from_pretrained(model)
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.ended = False
        core = types.SimpleNamespace(shutdown=lambda: setattr(self, "ended", True))
        config = types.SimpleNamespace(max_model_len=CONTEXT)
        self.llm_engine = types.SimpleNamespace(model_config=config, engine_core=core)
        LLM.made += (self,)

    def generate(
        self, prompts: Sequence[dict[str, Any]], sampling_params: Sequence[SamplingParams], *, use_tqdm: bool = True
    ) -> list[RequestOutput]:
        assert not use_tqdm
        assert len(prompts) == len(sampling_params)
        return [self._one(prompt, how) for prompt, how in zip(prompts, sampling_params, strict=True)]

    @torch.no_grad()
    def _one(self, prompt: dict[str, Any], how: SamplingParams) -> RequestOutput:
        assert list(prompt) == ["prompt_token_ids"]
        assert how.temperature == 0
        assert how.max_tokens is not None
        ids, new = list(prompt["prompt_token_ids"]), []
        assert 0 < len(ids) < CONTEXT
        while len(new) < how.max_tokens:
            new.append(int(self.model(torch.tensor([ids + new]), use_cache=False).logits[0, -1].argmax()))
            text = self.tokenizer.decode(new, skip_special_tokens=True)
            text, stopped = cut_at_stop(text, how.stop or ())
            if stopped or new[-1] in (self.tokenizer.eos_token_id, *(how.stop_token_ids or ())):
                return RequestOutput(ids, [CompletionOutput(text, tuple(new), "stop")])
        return RequestOutput(ids, [CompletionOutput(text, tuple(new), "length")])


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> type[LLM]:
    """A module of that name."""
    module = types.ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SamplingParams  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setattr(LLM, "made", ())
    return LLM


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = models.toy_tokenizer()
    model = models.toy_llama(tokenizer)
    add_chat_format(tokenizer, model)
    return models.save_model(tmp_path_factory.mktemp("model"), model, tokenizer)


REQUESTS = [
    *(Request(f"text {at}", 6 + at, prompt=f"The fisher {'is ' * at}in the harbour") for at in range(5)),
    Request("chat", 9, messages=(Message("user", "Is it cold?"),)),
    Request("stop", 9, prompt="The baker", stop=("e", "a", "i")),
    Request("none", 0, prompt="The baker"),
]


def answers(name: Any, folder: Path, requests: Sequence[Request] = REQUESTS, **options: Any) -> dict[str, Answer]:
    found: dict[str, Answer] = {}
    settings = Engines(vllm=Vllm(options=options))
    with open_engine(name, settings, model=folder, batch_rows=7, work=folder) as engine:
        engine.answer(requests, found.__setitem__)
        engine.answer(requests[:1], lambda id, answer: None)
    return found


def test_it_gives_what_the_engine_in_process_gives(vllm: type[LLM], folder: Path) -> None:
    assert answers("vllm", folder, tensor_parallel_size=2) == answers("transformers", folder)
    (made,) = vllm.made
    assert made.given == {"dtype": "float32", "prefix": True, "rows": 7, "gpus": 2}
    assert made.ended


def test_options_win(vllm: type[LLM], folder: Path) -> None:
    answers("vllm", folder, max_num_seqs=3, dtype="bfloat16")
    assert vllm.made[0].given == {"dtype": "bfloat16", "prefix": True, "rows": 3, "gpus": 1}


def test_a_prompt_must_leave_room(vllm: type[LLM], folder: Path) -> None:
    with pytest.raises(KirjoError, match=f"request long has .* the model holds {CONTEXT}"):
        answers("vllm", folder, [Request("long", 5, prompt="harbour " * 100)])
    cut = answers("vllm", folder, [Request("cut", 500, prompt="harbour")])["cut"]
    assert cut.finished or 0 < cut.tokens < CONTEXT


def test_it_may_be_missing(folder: Path) -> None:
    with open_engine("vllm", Engines(), model=folder, batch_rows=1, work=folder) as engine:
        assert engine.count_tokens([""]) == [0]
        with pytest.raises(KirjoError, match=r"pip install kirjo\[vllm\]"):
            engine.answer(REQUESTS, lambda id, answer: None)


def test_the_model_must_be_named(folder: Path) -> None:
    for name in ("vllm", "transformers"):
        with pytest.raises(KirjoError, match=f"the engine {name} needs the model itself"):
            open_engine(name, Engines(), model=None, batch_rows=1, work=folder)  # type: ignore[arg-type]
