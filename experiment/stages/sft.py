"""sft: supervised fine-tuning of all parameters with TRL, on all tokens or on the assistant's alone."""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from transformers import set_seed
from trl import SFTConfig, SFTTrainer

from experiment.config import Sft
from experiment.stages.mix import read_mix
from experiment.task import Task
from experiment.training.chat import add_chat_format, encode_conversation
from experiment.training.loop import train, trainer_arguments
from experiment.training.models import load_base, save_trained
from experiment.training.packing import refuse_leaking_packs
from experiment.training.parallel import EvenRanks, teach_nothing
from experiment.training.preflight import check_first_batch, check_sft


class MixTrainer(EvenRanks, SFTTrainer):  # type: ignore[misc]
    """TRL's trainer, over any number of ranks."""


def run(task: Task) -> dict[str, Any]:
    """Write the checkpoint; report rows, supervised tokens and warnings."""
    settings = task.section(Sft)
    # Before the model: see parallel_arguments.
    arguments = SFTConfig(
        **trainer_arguments(task, settings),
        max_length=settings.max_length,
        packing=settings.packing,
        neftune_noise_alpha=task.settings.get("neftune_alpha"),
        # The rows are tokenised, labelled and cut already: what preflight saw is what is trained on.
        dataset_kwargs={"skip_prepare_dataset": not settings.packing},
    )
    model, tokenizer = load_base(task)
    set_seed(task.settings["seed"])  # new tokens' embeddings are drawn at random
    add_chat_format(tokenizer, model)
    rows = task.prepare("rows", lambda: encode(task, tokenizer, settings.max_length))
    found = check_sft(rows, task.how("preflight")["max_truncated"])
    learned = [row for row in rows if any(label != -100 for label in row["labels"])]
    columns = ("input_ids", "labels")
    if settings.packing:
        refuse_leaking_packs(model, learned)
    trainer = MixTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict({column: [row[column] for row in learned] for column in columns}),
        processing_class=tokenizer,
    )
    trainer.fill_with(teach_nothing)
    check_first_batch(trainer, found)
    summary = train(trainer, task)
    if task.ranks.first:
        found.write(task.work)
    save_trained(trainer, tokenizer, task, settings.precision)
    return {
        **summary,
        "rows": found.rows,
        "tokens": found.tokens,
        "supervised_tokens": found.supervised_tokens,
        "warnings": found.warnings,
    }


def encode(task: Task, tokenizer: Any, max_length: int) -> list[dict[str, Any]]:
    """Token ids and labels of every conversation of the mix."""
    return [
        encode_conversation(tokenizer, row.messages, task.settings["loss_on"], max_length) for row in read_mix(task)
    ]
