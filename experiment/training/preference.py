"""Preference pairs as token ids, and TRL's DPO trainer made to take reference log-probabilities that are there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from experiment.config import Dpo
from experiment.stages.pair import Pair
from experiment.training.chat import encode_prompt, encode_reply
from experiment.training.parallel import EvenRanks

TOKENS = ("prompt_ids", "chosen_ids", "rejected_ids")
LOGPS = ("ref_chosen_logps", "ref_rejected_logps")


def encode_pairs(
    tokenizer: Any, pairs: Sequence[Pair], max_length: int, max_prompt_length: int
) -> list[dict[str, Any]]:
    """Token ids of each pair: a long prompt keeps its end, a long reply its start.

    Returns:
        One row a pair with ``prompt_ids``, ``chosen_ids``, ``rejected_ids`` and ``cut`` (whether tokens were left off).
        The prompt is at most ``max_prompt_length`` tokens, prompt and reply together at most ``max_length``.
    """
    rows = []
    for pair in pairs:
        prompt = encode_prompt(tokenizer, pair.prompt)
        kept = prompt[-max_prompt_length:]
        room = max_length - len(kept)
        replies = [encode_reply(tokenizer, reply) for reply in (pair.chosen, pair.rejected)]
        rows.append(
            {
                "id": pair.id,
                "prompt_ids": kept,
                "chosen_ids": replies[0][:room],
                "rejected_ids": replies[1][:room],
                "cut": len(kept) < len(prompt) or any(len(reply) > room for reply in replies),
            }
        )
    return rows


class PairTrainer(EvenRanks, DPOTrainer):  # type: ignore[misc]
    """TRL's trainer on tokenised pairs; it computes reference log-probabilities only where the rows lack them.

    TRL 1.16 has no public way in for log-probabilities computed elsewhere: with ``precompute_ref_log_probs`` it always
    computes its own. The first two methods below are where it tokenises and where it computes. The others make the loss
    of an optimizer step, and the rewards and log-probabilities logged with it, the mean over its pairs however they are
    spread over passes; TRL's is the mean of the passes' means, in which the pairs of a last pass that is not full weigh
    more.

    ``progress`` is told (pairs done, of how many) while log-probabilities are computed, which the constructor does.
    """

    def __init__(self, *args: Any, progress: Callable[[int, int], None] | None = None, **kwargs: Any) -> None:
        self.progress = progress
        self.pairs_done = self.pairs = 0
        super().__init__(*args, **kwargs)

    def _prepare_dataset(self, dataset: Any, *_args: Any, **_kwargs: Any) -> Any:
        return dataset

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        if set(LOGPS) <= set(dataset.column_names):
            return dataset
        self.pairs_done, self.pairs = 0, len(dataset)
        return super()._precompute_ref_logps(dataset, name, batch_size)

    def compute_ref_log_probs(self, model: Any, inputs: Any) -> Any:
        """TRL's log-probabilities of one batch; reports it."""
        found = super().compute_ref_log_probs(model, inputs)
        # One row a reply; every process has a batch of its own, and the last ones may be filled up.
        batch = len(inputs["input_ids"]) // 2 * self.accelerator.num_processes
        self.pairs_done = min(self.pairs_done + batch, self.pairs)
        if self.progress:
            self.progress(self.pairs_done, self.pairs)
        return found

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """The passes of one optimizer step; notes how many rows they have on average, over all ranks."""
        passes, items = super().get_batch_samples(*args, **kwargs)
        rows = sum(2 * _pairs(one) for one in passes)
        self.rows_per_pass = self._mean_over_ranks(rows) / max(len(passes), 1)
        return passes, items

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """TRL's loss, in training weighted by the pairs of this pass; pairs that only fill a batch are left out."""
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        if not self.model.training:  # what wraps it may not know
            return loss
        rows, fillers = len(inputs["input_ids"]), len(inputs["input_ids"]) - 2 * _pairs(inputs)
        self._weigh_means(rows / self.rows_per_pass)
        # A filler's two replies are equal, empty in fact: its loss is log 2 wherever the weights are.
        return (
            (loss * rows - fillers * math.log(2)) / self.rows_per_pass
            if fillers
            else loss * (rows / self.rows_per_pass)
        )

    def _weigh_means(self, weight: float) -> None:
        """TRL logs the mean of the passes' means, with zeros for fillers; weighted, that is the mean of the pairs."""
        for name, values in self._metrics["train"].items():
            if name.startswith(("rewards/", "logps/")):
                values[-1] *= weight

    def _mean_over_ranks(self, number: int) -> float:
        if self.accelerator.num_processes == 1:
            return number
        found = torch.tensor(float(number), device=self.accelerator.device)
        return float(self.accelerator.reduce(found, "mean"))


def _pairs(batch: Any) -> int:
    """The pairs of a batch, without those that only fill it."""
    return int((batch["completion_mask"].sum(dim=1) > 0).sum()) // 2


def same_replies(row: dict[str, Any]) -> dict[str, Any]:
    """A pair of empty replies, from which nothing can be learned."""
    return {**row, "chosen_ids": [], "rejected_ids": [], **dict.fromkeys(LOGPS, 0.0)}


def pair_arguments(arguments: dict[str, Any], dpo: Dpo | None = None) -> DPOConfig:
    """What the trainer is told; without ``dpo`` it only serves to compute reference log-probabilities."""
    chosen = {"beta": dpo.beta, "loss_type": [dpo.loss], "max_length": dpo.max_length} if dpo else {"max_length": None}
    return DPOConfig(**arguments, **chosen, precompute_ref_log_probs=True)


def make_trainer(
    model: Any,
    tokenizer: Any,
    rows: Dataset,
    arguments: DPOConfig,
    progress: Callable[[int, int], None] | None = None,
) -> PairTrainer:
    """A trainer over tokenised pairs."""
    return PairTrainer(model=model, args=arguments, train_dataset=rows, processing_class=tokenizer, progress=progress)
