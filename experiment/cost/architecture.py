"""The shape of a language model: its parameters and the arithmetic of a token, from its configuration alone."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

LLAMA_LIKE = ("llama", "mistral")


@dataclass(frozen=True)
class Shape:
    """Layers, widths and vocabulary; ``tied``: the output weights are the input embedding."""

    family: Literal["bloom", "llama"]
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_width: int
    inner: int
    vocabulary: int
    tied: bool

    @property
    def embedding(self) -> int:
        """Parameters of one embedding, vocabulary x hidden."""
        return self.vocabulary * self.hidden

    @property
    def layer(self) -> int:
        """Parameters of one layer.

        BLOOM: query, key, value and output 4 h^2 + 4 h, the two products of the MLP 8 h^2 + 5 h, two layer norms with
        bias 4 h: 12 h^2 + 13 h. Llama: query and output 2 h a d, key and value 2 h k d, the gated MLP 3 h f, two norms
        without bias 2 h (h hidden, a heads of width d, k key-value heads, f inner width).
        """
        h = self.hidden
        if self.family == "bloom":
            return 12 * h * h + 13 * h
        attention = 2 * h * self.heads * self.head_width + 2 * h * self.kv_heads * self.head_width
        return attention + 3 * h * self.inner + 2 * h

    @property
    def parameters(self) -> int:
        """All parameters: layers, embeddings and the norms around them (BLOOM has two with bias, Llama one without)."""
        norms = 4 * self.hidden if self.family == "bloom" else self.hidden
        return self.layers * self.layer + self.embedding * (1 if self.tied else 2) + norms

    def forward_flops(self, length: int) -> float:
        """Operations of a token's forward pass in a sequence of ``length``: 2 N + 4 L h s.

        N counts the parameters that a token is multiplied with: all but an input embedding of its own. The attention's
        scores and their weighted sum are 2 h s each and layer, not halved for the causal mask: Chowdhery et al. 2022
        (PaLM, arXiv 2204.02311), appendix B.
        """
        multiplied = self.parameters - (0 if self.tied else self.embedding)
        return 2.0 * multiplied + 4.0 * self.layers * self.heads * self.head_width * length

    def training_flops(self, length: int) -> float:
        """Operations of a token in training, 6 N + 12 L h s: the backward pass is twice the forward pass (ibid.).

        What recomputation adds is not counted: utilization is of the model's own operations.
        """
        return 3.0 * self.forward_flops(length)

    def cache_bytes(self, bytes_per_value: int) -> int:
        """Key-value cache of one token: 2 L k d values."""
        return 2 * self.layers * self.kv_heads * self.head_width * bytes_per_value


def bloom(*, hidden_size: int, n_layer: int, n_head: int, vocab_size: int) -> Shape:
    """A BLOOM model, as a config's ``architecture`` or ``dimensions`` describes it; its embeddings are tied."""
    return Shape(
        "bloom", n_layer, hidden_size, n_head, n_head, hidden_size // n_head, 4 * hidden_size, vocab_size, True
    )


def from_document(document: Mapping[str, Any]) -> Shape | None:
    """The shape that a model's ``config.json`` tells of; None for a family that is not known here."""
    try:
        if document.get("model_type") == "bloom":
            return bloom(
                hidden_size=document.get("hidden_size") or document["n_embed"],
                n_layer=document.get("n_layer") or document["num_hidden_layers"],
                n_head=document.get("n_head") or document["num_attention_heads"],
                vocab_size=document["vocab_size"],
            )
        if document.get("model_type") in LLAMA_LIKE:
            return _llama(document)
    except (KeyError, TypeError):
        return None
    return None


def _llama(document: Mapping[str, Any]) -> Shape | None:
    if document.get("attention_bias") or document.get("mlp_bias"):
        return None
    heads, hidden = document["num_attention_heads"], document["hidden_size"]
    return Shape(
        "llama",
        document["num_hidden_layers"],
        hidden,
        heads,
        document.get("num_key_value_heads") or heads,
        document.get("head_dim") or hidden // heads,
        document["intermediate_size"],
        document["vocab_size"],
        bool(document.get("tie_word_embeddings", False)),
    )


def shape_of(config: Mapping[str, Any]) -> Shape | None:
    """The shape of a run's model, from its config as plain values; None if nothing here tells it."""
    model = config["model"]
    if model["start"] == "pretrain":
        pretrain = config.get("pretrain")
        return bloom(**pretrain["architecture"]) if pretrain else None
    if model.get("dimensions"):
        return bloom(**model["dimensions"])
    if model["start"] == "folder":
        return _read(str(Path(model["path"]) / "config.json")) if model["path"] else None
    return _cached(model["hub"], model["revision"])


@functools.lru_cache(maxsize=64)
def _read(path: str) -> Shape | None:
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return from_document(document) if isinstance(document, dict) else None


@functools.lru_cache(maxsize=64)
def _cached(hub: str, revision: str | None) -> Shape | None:
    """From the hub's cache on this machine; nothing is fetched."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(hub, "config.json", revision=revision)
    return _read(found) if isinstance(found, str) else None
