"""reference: log-probabilities of chosen and rejected replies under the checkpoint that DPO starts from.

Computed once per checkpoint and preference data, and shared by every beta.
"""

from __future__ import annotations

from typing import Any

from datasets import Dataset

from experiment.errors import KirjoError
from experiment.stages.pair import read_pairs
from experiment.task import Task
from experiment.training.models import MODEL, load_whole
from experiment.training.preference import LOGPS, TOKENS, encode_pairs, make_trainer, pair_arguments
from experiment.training.preflight import check_pairs

ROWS = "reference.parquet"


def run(task: Task) -> dict[str, Any]:
    """Write the tokenised pairs with their log-probabilities (natural log, summed over the reply's tokens)."""
    settings = task.settings
    model, tokenizer = load_whole(task.input("model") / MODEL)
    rows = encode_pairs(tokenizer, read_pairs(task), settings["max_length"], settings["max_prompt_length"])
    usable = [row for row in rows if row["chosen_ids"] and row["rejected_ids"]]
    if not usable:
        raise KirjoError(
            f"no pair is left: every prompt fills max_length={settings['max_length']} tokens; "
            "lower dpo.max_prompt_length or raise dpo.max_length"
        )
    found = check_pairs(usable, tokenizer.eos_token_id, task.how("preflight").get("max_truncated", 1.0))
    # Pairs of like length together: less padding, and each row's log-probability does not depend on its neighbours.
    usable.sort(
        key=lambda row: (-len(row["prompt_ids"]) - max(len(row["chosen_ids"]), len(row["rejected_ids"])), row["id"])
    )
    columns = ("id", *TOKENS)
    arguments = {
        "output_dir": str(task.work / "checkpoints"),
        "per_device_train_batch_size": task.how("reference")["micro_batch"],
        "bf16": settings["precision"] == "bf16",
        "report_to": [],
        "disable_tqdm": True,
        "gradient_checkpointing": False,
    }
    trainer = make_trainer(
        model,
        tokenizer,
        Dataset.from_dict({name: [row[name] for row in usable] for name in columns}),
        pair_arguments(arguments),
        progress=task.progress,
    )
    with_logps = trainer.train_dataset.select_columns([*columns, *LOGPS]).to_dict()
    order = sorted(range(len(usable)), key=lambda index: with_logps["id"][index])
    Dataset.from_dict({name: [values[index] for index in order] for name, values in with_logps.items()}).to_parquet(
        task.work / ROWS
    )
    found.write(task.work)
    return {"pairs": len(usable), "pairs_dropped": len(rows) - len(usable), "warnings": found.warnings}
