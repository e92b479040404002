"""transformers in this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import GenerationConfig

from experiment.engines.decoding import Budget, Decoder, Passes, Row
from experiment.engines.endings import StopSearch, cut_at_stop
from experiment.engines.engine import Answer, Done, Request
from experiment.engines.open import ModelPlace
from experiment.engines.plain import PlainDecoder
from experiment.engines.settings import InProcess
from experiment.engines.slots import plain_layers
from experiment.engines.tokens import check_length, context_of, count, encode, load_tokenizer, special_stops
from experiment.engines.trial import agrees
from experiment.errors import KirjoError
from experiment.training.models import load_whole


class InProcessEngine:
    """Greedy decoding by our own loop where the model's cache allows it, else by transformers' generate."""

    def __init__(self, settings: InProcess, model: ModelPlace, batch_rows: int) -> None:
        self.settings, self.place, self.batch_rows = settings, model, batch_rows
        self._tokenizer: Any = None
        self._model: Any = None
        self._decoder: Decoder | PlainDecoder | None = None
        self._special: dict[tuple[str, ...], list[int]] = {}

    def __enter__(self) -> InProcessEngine:
        return self

    def __exit__(self, *exception: object) -> None:
        self._model = self._decoder = None

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
        """Answer all requests; memory that ends makes batches smaller, and loses no answer.

        Raises:
            KirjoError: a prompt leaves no room for an answer, or not even a single one fits in memory.
        """
        if self._decoder is None:
            self._decoder = self._load()
        decoder, context = self._decoder, context_of(self._model.config)
        rows = []
        for request in requests:
            ids = encode(self.tokenizer, request)
            check_length(request.id, len(ids), context)
            limit = request.max_new_tokens if context is None else min(request.max_new_tokens, context - len(ids))
            if limit > 0:
                rows.append(Row(request.id, ids, limit, request.stop))
            else:
                done(request.id, Answer("", 0, False))
        with torch.inference_mode():
            decoder.answer(rows, lambda row: done(row.id, self._answer_of(row)))

    def _load(self) -> Decoder | PlainDecoder:
        model, tokenizer = self._load_whole()
        if torch.cuda.is_available() and getattr(model, "hf_device_map", None) is None:
            model = model.to(_device())
        model.eval()
        model.generation_config = GenerationConfig()  # a hub model's own may penalise repetitions or sample
        self._model, self._tokenizer = model, tokenizer
        self._search = StopSearch(self._text)
        pad = next((int(token) for token in (tokenizer.pad_token_id, tokenizer.eos_token_id) if token is not None), 0)
        budget = Budget(self.batch_rows, self.settings.batch_tokens)
        layers = plain_layers(model)
        if layers is not None and agrees(passes := Passes(model, layers, pad)):
            return Decoder(passes, budget, self._ended)
        print(
            f"{type(model).__name__} keeps what it has read in a way that our own batches cannot hold: answers come "
            "from transformers' generate, a batch after the other",
            file=sys.stderr,
            flush=True,
        )
        return PlainDecoder(model, pad, self._ends, budget, self._ended)

    def _load_whole(self) -> tuple[Any, Any]:
        try:
            return load_whole(self.place.name, dtype="auto", revision=self.place.revision)
        except (OSError, ValueError, SafetensorError) as error:
            words = " ".join((str(error).strip().splitlines() or [type(error).__name__])[:2])
            raise KirjoError(
                f"cannot load the model in {self.place.name}: {words} (expected what save_pretrained writes: weights, "
                "config.json and a tokenizer)"
            ) from error

    @property
    def _ends(self) -> list[int]:
        end = self.tokenizer.eos_token_id
        return [] if end is None else [int(end)]

    def _text(self, tokens: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text

    def _ended(self, row: Row) -> bool:
        return self._at_end(row) or len(row.new) >= row.limit or self._search.reached(row.new, row.stop)

    def _at_end(self, row: Row) -> bool:
        if row.stop not in self._special:
            self._special[row.stop] = special_stops(self.tokenizer, row.stop)
        return row.new[-1] in self._ends or row.new[-1] in self._special[row.stop]

    def _answer_of(self, row: Row) -> Answer:
        ended = self._at_end(row)
        kept = row.new[:-1] if ended else row.new
        text, stopped = cut_at_stop(self._text(kept), row.stop)
        return Answer(text, len(kept), ended or stopped)


def _device() -> str:
    """The GPU of this rank: the first one it sees, unless its launcher lets all ranks of a node see all of them."""
    local = int(os.environ.get("LOCAL_RANK", "0"))
    return f"cuda:{local if local < torch.cuda.device_count() else 0}"
