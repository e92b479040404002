"""Memory of a rank in bytes: weights, gradients, optimizer and activations, under the chosen parallelism.

Formulas and their sources:

- states: Rajbhandari et al. 2020 (ZeRO, arXiv 1910.02054), section 3.1: bf16 weights 2, bf16 gradients 2 and, for Adam,
  float32 weights, mean and variance 12 bytes a parameter; stage 2 divides gradients and optimizer by the ranks, stage 3
  the weights too. Gradients of several passes are added up in float32: 4 (training/parallel.py). Without ZeRO, training
  in bf16 is autocast over float32 weights: 4 + 4 + 8, and the bf16 copies (2 bytes) that autocast keeps of the weights.
- activations: Korthikanti et al. 2022 (arXiv 2205.05198): a layer keeps s b h (34 + 5 a s / h) bytes in 16 bits; with
  full recomputation each keeps its input, 2 s b h, and one at a time needs the rest. What transformers' layers keep
  differs a little from theirs: see :func:`layer_activations`.
- the end of the model: see :func:`_head`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from experiment.cost.architecture import Shape

GB = 1e9
BYTES = {"float32": 4, "bf16": 2}
# training/parallel.py: stage3_max_live_parameters, how many gathered weights may stand at once.
MOST_GATHERED = 1e9
_ADAM = 8  # mean and variance, float32
_FLOAT32 = 4


@dataclass(frozen=True)
class Setup:
    """What decides a rank's memory in training; a row has ``sequences`` (a pair two) of ``length`` tokens."""

    shape: Shape
    precision: Literal["float32", "bf16"]
    parallel: Literal["single", "ddp", "zero2", "zero3"]
    offload: Literal["none", "optimizer"]
    ranks: int
    micro_batch: int
    sequences: int
    length: int
    recompute: bool
    whole_logits: bool  # pretraining's trainer makes them; TRL's do not
    global_batch: int


@dataclass(frozen=True)
class Memory:
    """Bytes on a rank's GPUs; ``host``: what of its states lies in the node's memory instead."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    host: float = 0.0

    @property
    def total(self) -> float:
        """All that must be on the GPUs at once."""
        return self.weights + self.gradients + self.optimizer + self.activations

    def parts(self) -> dict[str, float]:
        """The parts on the GPU by name, in bytes."""
        return {
            "weights": self.weights,
            "gradients": self.gradients,
            "optimizer": self.optimizer,
            "activations": self.activations,
        }


def training(setup: Setup) -> Memory:
    """The memory of a rank that trains all parameters with Adam, every row as long as allowed."""
    if setup.ranks == 1 and (setup.offload == "none" or not setup.parallel.startswith("zero")):
        setup = replace(setup, parallel="single")  # as training/parallel.py has it: there is nothing to spread
    weights, gradients, optimizer = _states(setup)
    share, host = setup.shape.parameters / setup.ranks, 0.0
    if setup.parallel in ("zero2", "zero3"):
        # What passes add up to: float32, beside the optimizer. One pass has nothing to add.
        sums = share * _FLOAT32 if setup.global_batch > setup.micro_batch * setup.ranks else 0.0
        if setup.offload == "optimizer":
            optimizer, host = 0.0, optimizer + sums
        else:
            gradients = max(gradients, sums)
    return Memory(weights, gradients, optimizer, _activations(setup), host)


def _states(setup: Setup) -> tuple[float, float, float]:
    size = setup.shape.parameters
    if setup.parallel in ("single", "ddp"):
        casts = BYTES["bf16"] if setup.precision == "bf16" else 0
        # DistributedDataParallel reduces gradients in buckets that are a second copy of them (gradient_as_bucket_view
        # is off by default in torch and accelerate).
        copies = 2 if setup.parallel == "ddp" else 1
        return size * (_FLOAT32 + casts), size * _FLOAT32 * copies, size * _ADAM
    value = BYTES[setup.precision]
    # Weights in float32 are their own master copy only under DeepSpeed's stage 3, on the GPU (zero/stage3.py).
    own = setup.precision == "float32" and setup.parallel == "zero3" and setup.offload == "none"
    share = size / setup.ranks
    weights = share * value if setup.parallel == "zero3" else float(size * value)
    return weights, share * value, share * (_ADAM if own else _FLOAT32 + _ADAM)


def _activations(setup: Setup) -> float:
    shape, value = setup.shape, BYTES[setup.precision]
    rows = setup.micro_batch * setup.sequences
    autocast = setup.precision == "bf16" and setup.parallel in ("single", "ddp")
    layer = layer_activations(shape, rows, setup.length, setup.precision, autocast)
    entering = setup.length * rows * shape.hidden * (_FLOAT32 if autocast else value)
    kept = shape.layers * (entering if setup.recompute else layer)
    # Under stage 3 the gradients of what is in work stand whole until they are spread.
    whole = value if setup.parallel == "zero3" else 0
    in_layer = whole * shape.layer + (layer if setup.recompute else 0)
    at_end = whole * shape.embedding + _head(setup)
    return float(kept + _gathered(setup) + max(in_layer, at_end))


def _gathered(setup: Setup) -> float:
    """Weights that stage 3 has gathered whole: the largest part at least, and others up to a limit."""
    if setup.parallel != "zero3":
        return 0.0
    largest = max(setup.shape.layer, setup.shape.embedding, MOST_GATHERED)
    return min(setup.shape.parameters, largest) * BYTES[setup.precision]


def layer_activations(shape: Shape, rows: int, length: int, precision: str, autocast: bool = False) -> float:
    """What one layer keeps for its backward pass, in bytes.

    Counted as Korthikanti et al. do (their equation 1: s b h (34 + 5 a s / h) in 16 bits), over the
    layers of transformers 5.23; tests/test_cost.py compares this with what autograd really keeps.

    BLOOM: 16 values of the hidden width and, since its attention is computed step by step, the s x s scores: float32
    from the softmax and, in bf16, a copy. 16 bits: s b h (32 + 6 a s / h); there are no dropout masks.
    Llama: both norms' inputs and outputs, query and attention's output, key and value, and four values of the gated
    MLP's inner width; the norms keep a float32 value each. Its attention keeps no scores (in blocks, in torch).
    Under autocast the residual stream and what hangs on it is float32: 4 bytes more (BLOOM), 10 (Llama).
    """
    value = BYTES[precision]
    if shape.family == "bloom":
        scores = (_FLOAT32 + (value if precision == "bf16" else 0)) * shape.heads * length / shape.hidden
        per = 16 * value + scores + (4 if autocast else 0)
    else:
        values = 6 + 2 * shape.kv_heads / shape.heads + 4 * shape.inner / shape.hidden
        per = values * value + 2 * _FLOAT32 + (10 if autocast else 0)
    return length * rows * shape.hidden * per


def _head(setup: Setup) -> float:
    """The end of the model and its loss, in bytes.

    Where the logits are made whole: b s V in float32 and their gradient. TRL's trainers never make them (since 1.16:
    trl/kernels/chunked_logprob.py, tile by tile), but gather the gradient of the output weights, V h, and of the last
    hidden states, b s h, in float32.
    """
    shape, tokens = setup.shape, setup.micro_batch * setup.sequences * setup.length
    if setup.whole_logits:
        return 2.0 * _FLOAT32 * tokens * shape.vocabulary
    return float(_FLOAT32 * (shape.embedding + tokens * shape.hidden))


def scoring(shape: Shape, precision: str, rows: int, length: int) -> Memory:
    """A forward pass alone over float32 weights (reference log-probabilities), under autocast where it is bf16."""
    casts = BYTES["bf16"] if precision == "bf16" else 0
    layer = layer_activations(shape, rows, length, precision, autocast=precision == "bf16")
    return Memory(shape.parameters * (_FLOAT32 + casts), 0.0, 0.0, layer)


def generating(shape: Shape, precision: str, batch: int, new_tokens: int) -> Memory:
    """Weights as they were saved and the key-value cache of a batch at its longest answer (prompts not counted)."""
    value = BYTES[precision]
    cache = batch * new_tokens * shape.cache_bytes(value)
    return Memory(float(shape.parameters * value), 0.0, 0.0, float(cache))
