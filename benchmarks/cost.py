"""The formulas of the estimates at Poro 34B: parameters, utilization from the published throughput, memory by set-up.

python -m benchmarks.cost
"""

from __future__ import annotations

from dataclasses import replace

from experiment.cost.architecture import bloom
from experiment.cost.memory import GB, Memory, Setup, generating, scoring, training
from experiment.cost.throughput import utilization

PORO = bloom(hidden_size=7168, n_layer=54, n_head=56, vocab_size=128_000)  # arXiv 2404.01856
# Poro's pretraining (arXiv 2404.01856): 128 LUMI-G nodes of 8 GCDs, sequences of 2048.
TOKENS_PER_S, RANKS, LENGTH = 174_378, 1024, 2048
GCD_TFLOPS = 191.5
SFT = Setup(PORO, "bf16", "zero3", "none", 64, 2, 1, 2048, True, False, 128)
DPO = replace(SFT, micro_batch=1, sequences=2, length=1024, global_batch=64)


def row(name: str, found: Memory) -> str:
    """One line of the memory table, GB."""
    parts = "".join(f"{value / GB:12.1f}" for value in (*found.parts().values(), found.total, found.host))
    return f"{name:36}{parts}"


def main() -> None:
    """Print the derivation and the table."""
    print(f"one layer: {PORO.layer:,}; embedding: {PORO.embedding:,}; all: {PORO.parameters:,} parameters")
    flops = PORO.training_flops(LENGTH)
    share = utilization(PORO, LENGTH, TOKENS_PER_S, RANKS, GCD_TFLOPS)
    attention = flops - 6 * PORO.parameters
    print(f"a token at {LENGTH}: 6 N = {6 * PORO.parameters:.4g}, 12 L h s = {attention:.4g}, in all {flops:.4g} FLOP")
    print(f"a rank: {TOKENS_PER_S / RANKS:.1f} tokens/s = {TOKENS_PER_S / RANKS * flops / 1e12:.2f} TFLOP/s")
    print(f"of {GCD_TFLOPS} TFLOP/s: {share:.4f}\n")
    headings = ("weights", "gradients", "optimizer", "activations", "total", "on the host")
    print(f"{'GB a rank':36}" + "".join(f"{heading:>12}" for heading in headings))
    print(row("SFT, 1 rank", training(replace(SFT, ranks=1))))
    print(row("SFT, ddp, 64 ranks", training(replace(SFT, parallel="ddp"))))
    print(row("SFT, zero2, 64 ranks", training(replace(SFT, parallel="zero2"))))
    for ranks in (8, 16, 32, 64):
        print(row(f"SFT, zero3, {ranks} ranks", training(replace(SFT, ranks=ranks))))
    print(row("SFT, zero3, 8 ranks, offload", training(replace(SFT, ranks=8, offload="optimizer"))))
    print(row("SFT, zero3, 64 ranks, no recomputing", training(replace(SFT, recompute=False))))
    print(row("DPO, zero3, 64 ranks", training(DPO)))
    print(row("reference", scoring(PORO, "bf16", 2, 1024)))
    print(row("generate, batch 32, 1280 tokens", generating(PORO, "bf16", 32, 1280)))


if __name__ == "__main__":
    main()
