"""transformers' own generate, a batch after the other: for models whose cache the continuous batch cannot hold."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from experiment.engines.decoding import Budget, Ended, Row, out_of_memory, release_memory


class PlainDecoder:
    """Answers rows as :class:`Decoder` does; a batch takes as long as its longest answer."""

    def __init__(self, model: Any, pad: int, ends: Sequence[int], budget: Budget, ended: Ended) -> None:
        self.model, self.pad, self.ends, self.budget, self.ended = model, pad, list(ends), budget, ended
        # Attention can mask padding; a state that runs along cannot everywhere, and takes only prompts of one length.
        self.may_pad = all(
            type(layer) in (DynamicLayer, DynamicSlidingWindowLayer)
            for layer in DynamicCache(config=model.config).layers
        ) and not getattr(model, "_is_stateful", False)

    def answer(self, rows: Sequence[Row], done: Callable[[Row], None]) -> None:
        """Let each row grow until it has come to its end, then tell it; the longest prompts first."""
        waiting = deque(sorted(rows, key=lambda row: (-len(row.prompt), row.id)))
        while waiting:
            batch = self._next_rows(waiting)
            try:
                self._run(batch)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                full = True
            else:
                full = False
            if full:  # behind the handler: the error held on to what was computed
                for row in batch:
                    row.new.clear()
                waiting.extendleft(reversed(batch))
                release_memory()
                self.budget.halve(len(batch), max(row.most for row in batch))
            else:
                for row in batch:
                    done(row)

    def _next_rows(self, waiting: deque[Row]) -> list[Row]:
        batch: list[Row] = []
        most = 0
        while waiting:
            row = waiting[0]
            most = max(most, row.most)
            if batch and len(batch) >= self.budget.allows(most):
                break
            if batch and not self.may_pad and len(row.prompt) != len(batch[0].prompt):
                break
            batch.append(waiting.popleft())
        return batch

    def _run(self, batch: Sequence[Row]) -> None:
        width = max(len(row.prompt) for row in batch)
        device = self.model.device
        ids = torch.tensor([[self.pad] * (width - len(row.prompt)) + row.prompt for row in batch], device=device)
        mask = torch.tensor([[0] * (width - len(row.prompt)) + [1] * len(row.prompt) for row in batch], device=device)
        self.model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max(row.limit for row in batch),
            do_sample=False,
            eos_token_id=self.ends,
            pad_token_id=self.pad,
            stopping_criteria=StoppingCriteriaList([_Follow(batch, self.ended)]),
        )


class _Follow(StoppingCriteria):  # type: ignore[misc]
    """Gives each row its tokens as they come, and ends it where it has come to its end."""

    def __init__(self, rows: Sequence[Row], ended: Ended) -> None:
        self.rows = rows
        self.over = [False] * len(rows)
        self.ended = ended

    def __call__(self, input_ids: torch.Tensor, _scores: Any, **_more: Any) -> torch.Tensor:
        for at, token in enumerate(input_ids[:, -1].tolist()):
            if not self.over[at]:
                self.rows[at].new.append(token)
                self.over[at] = self.ended(self.rows[at])
        return torch.tensor(self.over, device=input_ids.device)
