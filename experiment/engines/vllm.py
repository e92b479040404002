"""vLLM in this process, on CUDA or ROCm: an optional dependency."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Sequence
from typing import Any

from experiment.engines.endings import cut_at_stop
from experiment.engines.engine import Answer, Done, Request
from experiment.engines.open import ModelPlace
from experiment.engines.settings import Vllm
from experiment.engines.tokens import check_length, count, encode, load_tokenizer, special_stops
from experiment.errors import KirjoError
from experiment.ranks import unlaunched


class VllmEngine:
    """Hands all requests over at once; vLLM makes the batches, and keeps what prompts have in common."""

    def __init__(self, settings: Vllm, model: ModelPlace, batch_rows: int) -> None:
        self.settings, self.place, self.batch_rows = settings, model, batch_rows
        self._llm: Any = None
        self._tokenizer: Any = None

    def __enter__(self) -> VllmEngine:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._llm is None:
            return
        with contextlib.suppress(AttributeError):  # of its versions not all have a process of their own to end
            self._llm.llm_engine.engine_core.shutdown()
        self._llm = None
        gc.collect()

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer, loaded when first asked for."""
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self.place)
        return self._tokenizer

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The length of each text in the model's tokens, without special ones."""
        return count(self.tokenizer, texts)

    def answer(self, requests: Sequence[Request], done: Done) -> None:
        """Answer all requests; they are told when the last one is there.

        Raises:
            KirjoError: vLLM is not installed, or a prompt leaves no room for an answer.
        """
        vllm = _installed()
        if self._llm is None:
            self._llm = self._load(vllm)
        context = _context_of(self._llm)
        prompts, parameters = [], []
        for request in requests:
            if request.max_new_tokens <= 0:
                done(request.id, Answer("", 0, False))
        requests = [request for request in requests if request.max_new_tokens > 0]
        for request in requests:
            # The same token ids as in every other engine: a template or a start token applied twice changes answers.
            ids = encode(self.tokenizer, request)
            check_length(request.id, len(ids), context)
            prompts.append({"prompt_token_ids": ids})
            parameters.append(
                vllm.SamplingParams(
                    temperature=0.0,
                    max_tokens=min(request.max_new_tokens, context - len(ids)),
                    stop=list(request.stop),
                    stop_token_ids=special_stops(self.tokenizer, request.stop),
                    include_stop_str_in_output=False,
                    skip_special_tokens=True,
                )
            )
        for request, found in zip(
            requests, self._llm.generate(prompts, sampling_params=parameters, use_tqdm=False), strict=True
        ):
            done(request.id, self._answer_of(request, found.outputs[0]))

    def _load(self, vllm: Any) -> Any:
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(self.place.name, revision=self.place.revision)
        arguments: dict[str, Any] = {
            "model": str(self.place.name),
            "revision": self.place.revision,
            "tokenizer_revision": self.place.revision,
            # Left alone vLLM would make float16 of float32.
            "dtype": str(config.dtype).removeprefix("torch.") if config.dtype is not None else "auto",
            "enable_prefix_caching": True,
            "max_num_seqs": self.batch_rows,
            "generation_config": "vllm",  # not the model's own, with its penalties and end tokens
        }
        with unlaunched():  # it would take itself for one of our ranks
            return vllm.LLM(**{**arguments, **self.settings.options})

    def _answer_of(self, request: Request, found: Any) -> Answer:
        finished = found.finish_reason != "length"
        tokens = list(found.token_ids)
        if tokens and tokens[-1] in (self.tokenizer.eos_token_id, *special_stops(self.tokenizer, request.stop)):
            tokens.pop()
        text, stopped = cut_at_stop(found.text, request.stop)
        return Answer(text, len(tokens), finished or stopped)


def _context_of(llm: Any) -> int:
    config = getattr(llm, "model_config", None) or llm.llm_engine.model_config
    return int(config.max_model_len)


def _installed() -> Any:
    try:
        import vllm
    except ImportError as error:
        raise KirjoError(
            f"the engine vllm is not installed ({error}): pip install kirjo[vllm] (for ROCm: vLLM's own index, or its "
            "container), or take the engine transformers"
        ) from None
    return vllm
