"""The keys and values of a running batch: a slot for each answer, in which it grows from column 0 on, without padding.

transformers' own cache keeps all rows of a batch equally long, so no row can leave it or come to it, and copies all of
it for every token. Here a token is written to its row's next column; what lies behind that is masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

# Room is made for so many tokens at once.
COLUMNS = 64


class _Step:
    """Which rows take part in a step, and in which column each writes its token; shared by all layers."""

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self._columns: dict[torch.device, torch.Tensor] = {}

    def begin(self, lengths: Sequence[int]) -> None:
        self.lengths, self._columns = list(lengths), {}

    @property
    def width(self) -> int:
        return max(self.lengths) + 1

    def columns(self, device: torch.device) -> torch.Tensor:
        if device not in self._columns:
            self._columns[device] = torch.tensor(self.lengths, device=device)
        return self._columns[device]


class _SlotLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values, [slots, heads, columns, head size], of which a step sees the part in use."""

    def __init__(self, step: _Step, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.step = step
        self.dtype, self.device = keys.dtype, keys.device
        self.keys, self.values = keys, values
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: Any, **_more: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write each row's token, [rows, heads, 1, head size]; all that is there, [rows, heads, width, head size]."""
        rows, columns = key_states.shape[0], self.step.columns(self.device)
        places = torch.arange(rows, device=self.device)
        self.keys[places, :, columns] = key_states[:, :, 0]
        self.values[places, :, columns] = value_states[:, :, 0]
        width = self.step.width
        return self.keys[:rows, :, :width], self.values[:rows, :, :width]

    def get_seq_length(self) -> int:
        """How many columns lie before the step's own."""
        return self.step.width - 1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:  # noqa: ARG002
        """(columns, offset) that a mask must cover."""
        return self.step.width, 0


class Slots:
    """The slots of a batch. The first ``shared`` columns hold what all requests begin with; it was computed once."""

    def __init__(self, prefix: Cache) -> None:
        self.prefix = prefix
        self.shared = int(prefix.get_seq_length())
        self.lengths: list[int] = []  # of the rows in use, in tokens
        self.rows = self.columns = 0
        self._step = _Step()
        self._layers: list[_SlotLayer] = []

    def next_token(self) -> Cache:
        """The cache of a step in which every row gets a token."""
        self._step.begin(self.lengths)
        if self._step.width > self.columns:
            self._resize(self.rows, self._step.width)
        self.lengths = [length + 1 for length in self.lengths]
        return Cache(layers=list(self._layers))

    def put(self, found: Cache, lengths: Sequence[int]) -> None:
        """Add rows.

        Args:
            found: the prefix, then the rest of each row with padding before it.
            lengths: the tokens of each row, those of the prefix included.
        """
        if not self._layers:
            self._layers = [_SlotLayer(self._step, _none(layer.keys), _none(layer.values)) for layer in found.layers]
        own = found.layers[0].keys.shape[-2] - self.shared
        used, rows, width = len(self.lengths), len(self.lengths) + len(lengths), self.shared + own
        if rows > self.rows or width > self.columns:
            self._resize(max(rows, self.rows), max([width, *self.lengths]))
        # Each row moves to the left by its padding. What is copied beyond its end stays masked.
        padding = torch.tensor([width - length for length in lengths])
        sources = (torch.arange(own) + padding[:, None]).clamp(max=own - 1)
        for layer, new in zip(self._layers, found.layers, strict=True):
            for mine, theirs in ((layer.keys, new.keys), (layer.values, new.values)):
                rest = theirs[:, :, self.shared :]
                index = sources.to(rest.device)[:, None, :, None].expand(rest.shape)
                mine[used:rows, :, self.shared : width] = rest.gather(2, index)
        self.lengths += lengths

    def keep(self, kept: Sequence[int]) -> list[int]:
        """Drop all other rows; rows from the end fill the holes. Returns which of the old rows is where now."""
        order = list(range(len(kept)))
        holes = sorted(set(order) - set(kept))
        movers = [row for row in kept if row >= len(kept)]
        for hole, mover in zip(holes, movers, strict=True):
            order[hole] = mover
        width = max(self.lengths)
        for layer in self._layers if holes else ():
            for tensor in (layer.keys, layer.values):
                tensor[holes, :, :width] = tensor[movers, :, :width]
        self.lengths = [self.lengths[row] for row in order]
        return order

    def _resize(self, rows: int, columns: int) -> None:
        """Make room, a layer after the other: for a moment one of them is there twice."""
        columns = -(-columns // COLUMNS) * COLUMNS
        prefixes = self.prefix.layers if self.shared else [None] * len(self._layers)
        for layer, prefix in zip(self._layers, prefixes, strict=True):
            layer.keys = self._resized(layer.keys, prefix and prefix.keys, rows, columns)
            layer.values = self._resized(layer.values, prefix and prefix.values, rows, columns)
        self.rows, self.columns = rows, columns

    def _resized(self, old: torch.Tensor, prefix: torch.Tensor | None, rows: int, columns: int) -> torch.Tensor:
        # Zeros: what was in memory before may be NaN, and a NaN that is masked makes NaN all the same.
        new = old.new_zeros((rows, old.shape[1], columns, old.shape[3]))
        if prefix is not None:
            new[:, :, : self.shared] = prefix
        used, kept = len(self.lengths), min(columns, old.shape[2])
        new[:used, :, :kept] = old[:used, :, :kept]
        return new


def _none(like: torch.Tensor) -> torch.Tensor:
    return like.new_zeros((0, like.shape[1], 0, like.shape[3]))


def expanded(prefix: Cache, rows: int) -> Cache:
    """A cache of transformers' own kind in which each of the rows begins with the prefix."""
    found = []
    for shared in prefix.layers:
        layer = DynamicLayer()
        if shared.is_initialized:
            layer.lazy_initialization(shared.keys, shared.values)
            layer.keys = shared.keys.expand(rows, -1, -1, -1)
            layer.values = shared.values.expand(rows, -1, -1, -1)
        found.append(layer)
    return Cache(layers=found)


def plain_layers(model: Any) -> int | None:
    """How many layers the cache has, if each is of the plain kind that keeps every token; else None."""
    if getattr(model, "_is_stateful", False) or model.config.is_encoder_decoder:
        return None
    layers = DynamicCache(config=model.config).layers
    return len(layers) if layers and all(type(layer) is DynamicLayer for layer in layers) else None
