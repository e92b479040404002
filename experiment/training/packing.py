"""Whether a model keeps samples that are packed into one row apart."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from experiment.errors import KirjoError


def refuse_leaking_packs(model: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Compare a sample's logits behind another one with its logits alone: attention must not reach across.

    Raises:
        KirjoError: the model cannot be told where a sample starts, or attends to its neighbour all the same.
    """
    advice = "use sft.packing=false"
    if "position_ids" not in inspect.signature(model.forward).parameters:
        raise KirjoError(f"{type(model).__name__} takes no position ids, so packed samples would mix; {advice}")
    first, second = rows[0]["input_ids"][:64], rows[-1]["input_ids"][:64]
    positions = [*range(len(first)), *range(len(second))]
    model.eval()
    with torch.no_grad():
        # Without a cache, as in training: with one, transformers does not look for packed samples.
        packed = model(
            input_ids=torch.tensor([[*first, *second]], device=model.device),
            position_ids=torch.tensor([positions], device=model.device),
            use_cache=False,
        ).logits[0, len(first) :]
        alone = model(input_ids=torch.tensor([second], device=model.device), use_cache=False).logits[0]
    model.train()
    gap = float((packed - alone).abs().max())
    # Float noise between two shapes of the same product is far below this; a leak is far above.
    if gap > 1e-2 * float(alone.abs().max()):
        raise KirjoError(
            f"{type(model).__name__} lets packed samples attend to each other (logits differ by {gap:.2g}); {advice}"
        )
