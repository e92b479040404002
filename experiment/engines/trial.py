"""A trial before a model is trusted to our own batches: they must give the logits of each row alone."""

from __future__ import annotations

import torch

from experiment.engines.decoding import Passes
from experiment.engines.slots import Slots

PREFIX = 3
LENGTHS = (5, 1, 9)  # of what follows: padding of every kind, and rows that are not equally long
TOKENS = 3
# Mean difference over the logits' own spread. bf16 gives about 0.01, a mask or a position that is wrong above 0.3.
TOLERANCE = 0.1


@torch.inference_mode()
def agrees(passes: Passes) -> bool:
    """Whether a few made-up rows get the same logits in slots, behind a shared prefix, as alone."""
    model = passes.model
    size = int(model.get_input_embeddings().weight.shape[0])
    made_up = [(17 * at * at + 7 * at + 3) % size for at in range(PREFIX + sum(LENGTHS) + TOKENS * len(LENGTHS))]
    prefix, rest = made_up[:PREFIX], made_up[PREFIX:]
    rows = [[rest.pop() for _ in range(length)] for length in LENGTHS]
    try:
        slots = Slots(passes.prefix(prefix))
        logits, cache = passes.prompts(slots.prefix, rows)
        slots.put(cache, [PREFIX + len(row) for row in rows])
        for _ in range(TOKENS):
            if not _same(logits, [_alone(passes, prefix + row) for row in rows]):
                return False
            tokens = [rest.pop() for _ in rows]
            logits = passes.token(slots, tokens)
            rows = [[*row, token] for row, token in zip(rows, tokens, strict=True)]
    except (TypeError, ValueError, AttributeError, IndexError):  # a cache of another form, or a forward that takes none
        return False
    return _same(logits, [_alone(passes, prefix + row) for row in rows])


def _alone(passes: Passes, tokens: list[int]) -> torch.Tensor:
    ids = torch.tensor([tokens], device=passes.model.device)
    found: torch.Tensor = passes.model(input_ids=ids, use_cache=False).logits[0, -1]
    return found


def _same(batch: torch.Tensor, alone: list[torch.Tensor]) -> bool:
    expected = torch.stack(alone).float()
    difference = (batch.float() - expected.to(batch.device)).abs().mean()
    return bool(difference <= TOLERANCE * expected.std())
