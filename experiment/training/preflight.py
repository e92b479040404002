"""Checks on the real training rows and the first real batch, before any time is spent on training."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from experiment.errors import KirjoError

# At the first step of DPO the policy is the reference, so the sigmoid loss is -log(1/2).
DPO_START = math.log(2)


@dataclass
class Preflight:
    """What was looked at and found; ``warnings`` are shown with the results."""

    rows: int
    tokens: int
    supervised_tokens: int
    cut_rows: int
    rows_without_end: int
    first_loss: float | None = None
    warnings: list[str] = field(default_factory=list)

    def write(self, work: Path) -> None:
        """Leave the findings in the artifact."""
        text = json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False)
        (work / "preflight.json").write_text(text + "\n", encoding="utf-8")


def check_sft(rows: Sequence[Mapping[str, Any]], max_truncated: float) -> Preflight:
    """Look at every tokenised row: is anything learned, is the end of each answer, and how much was cut.

    Raises:
        KirjoError: nothing is supervised, no answer's end-of-turn token is in a label, or too many rows are cut.
    """
    tokens = sum(len(row["input_ids"]) for row in rows)
    supervised = sum(sum(label != -100 for label in row["labels"]) for row in rows)
    # Not simply whether the token is in a label: with loss on all tokens, the user's turns have it there too.
    ends, answers = sum(row["ends"] for row in rows), sum(row["answers"] for row in rows)
    without_end = sum(row["ends"] < row["answers"] for row in rows)
    found = Preflight(len(rows), tokens, supervised, sum(bool(row["cut"]) for row in rows), without_end)
    if supervised == 0:
        raise KirjoError("preflight: no token is supervised, so nothing would be learned; check the chat template")
    if ends == 0:
        raise KirjoError(
            "preflight: no answer has its end-of-turn token among the labels, so the model would never learn to stop; "
            "check the chat template and max_length"
        )
    _refuse_cuts(found, max_truncated)
    if without_end:
        found.warnings.append(
            f"{without_end} of {len(rows)} rows have an answer without its end-of-turn token among the labels "
            f"({answers - ends} of {answers} answers)"
        )
    empty = sum(all(label == -100 for label in row["labels"]) for row in rows)
    if empty:
        found.warnings.append(f"{empty} of {len(rows)} rows have no supervised token left and are passed over")
    return found


def check_pairs(rows: Sequence[Mapping[str, Any]], turn_end: int, max_truncated: float) -> Preflight:
    """Look at every tokenised pair: was a reply cut away, do the two still differ, does the end of the turn remain.

    Raises:
        KirjoError: no pair can teach anything, or too many are cut.
    """
    replies = [reply for row in rows for reply in (row["chosen_ids"], row["rejected_ids"])]
    tokens = sum(2 * len(row["prompt_ids"]) + len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in rows)
    without_end = sum(turn_end not in row["chosen_ids"] for row in rows)
    found = Preflight(len(rows), tokens, sum(map(len, replies)), sum(bool(row["cut"]) for row in rows), without_end)
    same = sum(row["chosen_ids"] == row["rejected_ids"] for row in rows)
    if same == len(rows):
        raise KirjoError("preflight: chosen and rejected are the same in every pair (after cutting); nothing to learn")
    _refuse_cuts(found, max_truncated)
    if same:
        found.warnings.append(f"{same} of {len(rows)} pairs are the same after cutting and teach nothing")
    if without_end:
        found.warnings.append(f"{without_end} of {len(rows)} chosen replies lost their end-of-turn token to cutting")
    return found


def _refuse_cuts(found: Preflight, max_truncated: float) -> None:
    share = found.cut_rows / found.rows
    if share > max_truncated:
        raise KirjoError(
            f"preflight: {found.cut_rows} of {found.rows} rows ({share:.0%}) are longer than max_length and would be "
            f"cut; raise max_length, or allow it with preflight.max_truncated={math.ceil(share * 100) / 100}"
        )
    if found.cut_rows:
        found.warnings.append(
            f"{found.cut_rows} of {found.rows} rows are longer than max_length (or a prompt than max_prompt_length) "
            "and were cut"
        )


def check_first_batch(trainer: Any, found: Preflight, expected: float | None = None, tolerance: float = 0.0) -> None:
    """Run the first batch that training will see forward, without learning from it.

    With several ranks this happens when training begins, each with its own batch: only then do the shards of a model
    make a whole that can be run. What goes on from a checkpoint was looked at before.

    Raises:
        KirjoError: the loss is NaN or infinite, or not what it must be at the start.
    """

    def check(model: Any) -> None:
        found.first_loss = _first_loss(trainer, model)
        _judge(found.first_loss, expected, tolerance)

    if trainer.args.world_size == 1 and not trainer.is_deepspeed_enabled:
        check(trainer.model)
    else:
        trainer.add_callback(_AtTheStart(trainer, found, check))


class _AtTheStart(TrainerCallback):  # type: ignore[misc]
    """Checks the first batch when all ranks have their part of the model; a later attempt finds what came out."""

    def __init__(self, trainer: Any, found: Preflight, check: Callable[[Any], None]) -> None:
        self.trainer, self.found, self.check = trainer, found, check

    def on_train_begin(self, args: Any, state: Any, _control: Any, **_kwargs: Any) -> None:
        note = Path(args.output_dir).parent / ".first_loss.json"
        if state.global_step == 0:
            self.check(self.trainer.model_wrapped)
            if args.process_index == 0:
                note.write_text(json.dumps(self.found.first_loss), encoding="utf-8")
        elif note.exists():
            self.found.first_loss = json.loads(note.read_text(encoding="utf-8"))


def _first_loss(trainer: Any, model: Any) -> float:
    rng = torch.get_rng_state()  # drawing a batch takes from it too
    loader = trainer.get_train_dataloader()
    batch = next(iter(loader))
    was_training = trainer.model.training
    # In training mode TRL would count this batch among its metrics.
    model.eval()
    with torch.no_grad():
        loss = trainer.compute_loss(model, trainer._prepare_inputs(batch)).mean()
    model.train(was_training)
    if trainer.args.world_size > 1:
        loss = trainer.accelerator.gather(loss).mean()
        loader.end()
    torch.set_rng_state(rng)
    return float(loss)


def _judge(loss: float, expected: float | None, tolerance: float) -> None:
    if not math.isfinite(loss):
        raise KirjoError(f"preflight: the loss of the first batch is {loss}; check the model's weights and precision")
    if expected is not None and abs(loss - expected) > tolerance:
        raise KirjoError(
            f"preflight: the loss of the first batch is {loss:.4f}, expected {expected:.4f}: "
            "the reference log-probabilities are not those of the checkpoint that training starts from"
        )
