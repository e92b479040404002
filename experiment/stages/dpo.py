"""dpo: direct preference optimization with TRL, on pairs whose reference log-probabilities are there already."""

from __future__ import annotations

from typing import Any

from datasets import Dataset, concatenate_datasets

from experiment.config import Dpo
from experiment.stages.reference import ROWS
from experiment.task import Task
from experiment.training.loop import train, trainer_arguments
from experiment.training.models import MODEL, load, save_trained
from experiment.training.preference import LOGPS, TOKENS, make_trainer, pair_arguments, same_replies
from experiment.training.preflight import DPO_START, check_first_batch, check_pairs

# How far a pair's margin may be from 0 at the start, in nats: rounding only, which bf16 has much more of. Around 0 the
# loss changes by beta/2 per nat.
ROUNDING = {"float32": 0.02, "bf16": 2.0}


def run(task: Task) -> dict[str, Any]:
    """Write the checkpoint; report pairs and warnings."""
    settings = task.section(Dpo)
    # Before the model: see parallel_arguments.
    arguments = pair_arguments(trainer_arguments(task, settings), settings)
    model, tokenizer = load(task.input("model") / MODEL)
    rows = Dataset.from_list(task.prepare("pairs", lambda: read_rows(task)))
    # Cutting was judged where it happened, in the reference step.
    found = check_pairs([{**row, "cut": False} for row in rows], tokenizer.eos_token_id, max_truncated=1.0)
    trainer = make_trainer(model, tokenizer, rows, arguments)
    trainer.fill_with(same_replies)
    check_first_batch(trainer, found, expected=DPO_START, tolerance=settings.beta * ROUNDING[settings.precision] / 2)
    summary = train(trainer, task)
    if task.ranks.first:
        found.write(task.work)
    save_trained(trainer, tokenizer, task, settings.precision)
    return {**summary, "pairs": len(rows), "warnings": found.warnings}


def read_rows(task: Task) -> list[dict[str, Any]]:
    """The tokenised pairs of all languages with their log-probabilities."""
    roles = [role for role in task.step.inputs if role.startswith("reference.")]
    rows = concatenate_datasets([Dataset.from_parquet(str(task.input(role) / ROWS)) for role in roles])
    found: list[dict[str, Any]] = rows.select_columns([*TOKENS, *LOGPS]).to_list()
    return found
