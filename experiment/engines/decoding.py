"""Greedy decoding in a batch that waits for nobody: a finished row leaves at once, and the next takes its place."""

from __future__ import annotations

import gc
import inspect
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import Cache
from transformers.cache_utils import DynamicLayer

from experiment.engines.slots import Slots, expanded
from experiment.errors import KirjoError

# Prompt tokens of one pass: enough to keep any device busy, few enough for what a pass holds beside the cache.
PASS_TOKENS = 4096
# New rows wait until so large a share of the batch is free: a pass for each alone would cost as much as for several.
FREE_SHARE = 1 / 8


@dataclass
class Row:
    """A request on its way: the tokens of its prompt, and those that came."""

    id: str
    prompt: list[int]
    limit: int
    stop: tuple[str, ...] = ()
    new: list[int] = field(default_factory=list)

    @property
    def most(self) -> int:
        """The most tokens that it may hold in the end."""
        return len(self.prompt) + self.limit


@dataclass
class Budget:
    """How much may be held at once: rows, and tokens (each row counted as if it were the longest)."""

    rows: int
    tokens: int
    pass_tokens: int = PASS_TOKENS
    told: bool = False

    def allows(self, most: int) -> int:
        """How many rows of at most so many tokens."""
        return max(1, min(self.rows, self.tokens // most))

    def halve(self, rows: int, most: int) -> None:
        """So many rows did not fit.

        Raises:
            KirjoError: it was a single one.
        """
        if rows == 1:
            raise KirjoError(
                f"out of memory with a single answer in work, of up to {most} tokens with its prompt: lower "
                "max_new_tokens, take shorter prompts, or more memory (gpus_per_rank, or another machine)"
            )
        self.tokens = max(most, most * rows // 2)
        self.pass_tokens = max(1, self.pass_tokens // 2)
        if not self.told:
            print(
                f"out of memory with {rows} answers in work: going on with half as many, none is lost "
                f"(engine.transformers.batch_tokens={self.tokens} avoids it)",
                file=sys.stderr,
                flush=True,
            )
        self.told = True


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ended, on the device or, in torch's words for it, on the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    words = str(error)
    return isinstance(error, RuntimeError) and ("can't allocate memory" in words or "out of memory" in words)


# Told after each token of a row; whether the row has come to its end.
Ended = Callable[[Row], bool]


class Passes:
    """Calls of a model with what its forward takes: positions where it knows them, the last logits only."""

    def __init__(self, model: Any, layers: int, pad: int) -> None:
        self.model, self.layers, self.pad = model, layers, pad
        takes = inspect.signature(model.forward).parameters
        self._positions = "position_ids" in takes
        self._last_only = "logits_to_keep" in takes

    def __call__(self, ids: torch.Tensor, mask: torch.Tensor, cache: Cache) -> torch.Tensor:
        """Logits behind the last column, [rows, vocabulary].

        Args:
            ids: [rows, new columns]; padding comes first.
            mask: [rows, all columns], 1 where a token is.
            cache: what came before the new columns.
        """
        more: dict[str, Any] = {}
        if self._positions:
            more["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        if self._last_only:
            more["logits_to_keep"] = 1
        out = self.model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **more)
        logits: torch.Tensor = out.logits[:, -1]
        return logits

    def prefix(self, tokens: Sequence[int]) -> Cache:
        """What the tokens leave in the cache, for one row."""
        cache = Cache(layers=[DynamicLayer() for _ in range(self.layers)])
        if tokens:
            ids = torch.tensor([list(tokens)], device=self.model.device)
            self(ids, torch.ones_like(ids), cache)
        return cache

    def prompts(self, prefix: Cache, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, Cache]:
        """(logits behind each row, the cache), of rows that go on after the prefix."""
        width = max(map(len, rows))
        device = self.model.device
        ids = torch.tensor([[self.pad] * (width - len(row)) + list(row) for row in rows], device=device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
        shared = mask.new_ones((len(rows), prefix.get_seq_length()))
        cache = expanded(prefix, len(rows))
        return self(ids, torch.cat([shared, mask], 1), cache), cache

    def token(self, slots: Slots, tokens: Sequence[int]) -> torch.Tensor:
        """Logits behind one more token of each row in its slot."""
        device = self.model.device
        lengths = torch.tensor(slots.lengths, device=device)
        cache = slots.next_token()
        mask = (torch.arange(max(slots.lengths), device=device) <= lengths[:, None]).long()
        ids = torch.tensor(tokens, device=device)[:, None]
        return self(ids, mask, cache)


class Decoder:
    """Answers rows with one model, within a budget."""

    def __init__(self, passes: Passes, budget: Budget, ended: Ended) -> None:
        self.passes, self.budget, self.ended = passes, budget, ended

    def answer(self, rows: Sequence[Row], done: Callable[[Row], None]) -> None:
        """Let each row grow until it has come to its end, then tell it; those that may get longest begin."""
        waiting = deque(sorted(rows, key=lambda row: (-row.most, row.id)))
        common = common_prefix([row.prompt for row in waiting])
        while waiting:
            batch = _Batch(self, waiting, done)
            try:
                batch.run(common)
                return
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            # Behind the handler: the error held on to what was computed. Rows go on from the tokens they have.
            waiting.extendleft(reversed(batch.rows))
            tried, most = max(1, len(batch.rows)), max(row.most for row in batch.rows or waiting)
            del batch
            release_memory()
            self.budget.halve(tried, most)


def common_prefix(prompts: Sequence[list[int]]) -> list[int]:
    """The tokens with which all prompts begin; each keeps at least one of its own."""
    if not prompts:
        return []
    first, last = min(prompts), max(prompts)  # what these two share, all between them share
    most = min(map(len, prompts)) - 1
    length = next((at for at in range(most) if first[at] != last[at]), most)
    return list(first[:length])


def release_memory() -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class _Batch:
    """The rows in work, until all are done or memory ends."""

    def __init__(self, decoder: Decoder, waiting: deque[Row], done: Callable[[Row], None]) -> None:
        self.passes, self.budget, self.ended = decoder.passes, decoder.budget, decoder.ended
        self.waiting, self.done = waiting, done
        self.rows: list[Row] = []  # as they lie in the slots

    def run(self, common: Sequence[int]) -> None:
        """Answer all that wait."""
        slots = Slots(self.passes.prefix(common))
        while self.waiting or self.rows:
            while new := self._next_rows(slots.shared):
                self.rows += new
                tokens = [(row.prompt + row.new)[slots.shared :] for row in new]
                logits, cache = self.passes.prompts(slots.prefix, tokens)
                slots.put(cache, [slots.shared + len(row) for row in tokens])
                del cache
                self._grow(slots, new, logits)
            if self.rows:
                logits = self.passes.token(slots, [row.new[-1] for row in self.rows])
                self._grow(slots, self.rows, logits)

    def _next_rows(self, shared: int) -> list[Row]:
        """Those for whom there is room now, as many as one pass takes."""
        new: list[Row] = []
        most = max((row.most for row in self.rows), default=0)
        width = 0
        while self.waiting:
            row = self.waiting[0]
            most = max(most, row.most)
            width = max(width, len(row.prompt) + len(row.new) - shared)
            allowed = self.budget.allows(most)
            free = allowed - len(self.rows)
            if len(new) >= free or (new and width * (len(new) + 1) > self.budget.pass_tokens):
                break
            if self.rows and not new and free < allowed * FREE_SHARE:
                break
            new.append(self.waiting.popleft())
        return new

    def _grow(self, slots: Slots, rows: Sequence[Row], logits: torch.Tensor) -> None:
        """Give each row its most likely token; those that end with it leave."""
        for row, token in zip(rows, logits.argmax(-1).tolist(), strict=True):
            row.new.append(token)
        ending = {id(row) for row in rows if self.ended(row)}
        if not ending:
            return
        before = self.rows
        kept = [at for at, row in enumerate(before) if id(row) not in ending]
        self.rows = [before[at] for at in kept]
        for row in before:
            if id(row) in ending:
                self.done(row)
        if kept or self.waiting:
            self.rows = [before[at] for at in slots.keep(kept)]
