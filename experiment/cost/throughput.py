"""Time from arithmetic and from memory bandwidth: seconds of training, of a forward pass and of generation."""

from __future__ import annotations

import math

from experiment.cost.architecture import Shape
from experiment.cost.memory import BYTES

TERA = 1e12


def utilization(shape: Shape, length: int, tokens_per_s: float, ranks: int, peak_tflops: float) -> float:
    """The share of the peak that a published training throughput amounts to: tokens/s x (6 N + 12 L h s) / peak."""
    return tokens_per_s * shape.training_flops(length) / (ranks * peak_tflops * TERA)


def training_seconds(shape: Shape, tokens: float, length: int, gpus: int, peak_tflops: float, share: float) -> float:
    """Training on ``tokens`` (all epochs) in rows of ``length``, at ``share`` of the peak of every GPU."""
    return tokens * shape.training_flops(length) / (gpus * peak_tflops * TERA * share)


def forward_seconds(shape: Shape, tokens: float, length: int, peak_tflops: float, share: float) -> float:
    """A forward pass by one process, at training's share of the peak of ONE GPU: layers on several take turns."""
    return tokens * shape.forward_flops(length) / (peak_tflops * TERA * share)


def decoding_seconds(
    shape: Shape, precision: str, prompts: int, batch: int, new_tokens: int, bandwidth_tb_s: float
) -> float:
    """Generation bound by memory: for every token of a batch, all weights and its cache are read once.

    A lower bound on the time of a token. The cache is on average half as long as it gets; layers on several GPUs take
    turns, so the bandwidth is that of one.
    """
    value = BYTES[precision]
    read = shape.parameters * value + batch * new_tokens / 2 * shape.cache_bytes(value)
    return math.ceil(prompts / batch) * new_tokens * read / (bandwidth_tb_s * TERA)
