"""Load and save base models and checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiment.errors import DataError, KirjoError
from experiment.sources.source import folder_digest
from experiment.task import Task

MODEL = "model"  # the folder of an artifact that holds the model and its tokenizer


def load(folder: Path | str, dtype: str = "float32", revision: str | None = None) -> tuple[Any, Any]:
    """(model, tokenizer) from a checkpoint folder or, with a revision, from the hub.

    Args:
        folder: where ``save_pretrained`` wrote, or a hub name.
        dtype: ``float32`` to train, whatever the checkpoint holds: in bf16 a step at a learning rate of 5e-7 is smaller
            than most weights can resolve, so the optimizer would change next to nothing. ``auto`` takes what was saved.
        revision: the commit of a hub model.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, revision=revision, dtype=dtype)
    return model, AutoTokenizer.from_pretrained(folder, revision=revision)


def load_base(task: Task) -> tuple[Any, Any]:
    """(model, tokenizer) of the step's base model: an input of the plan, a local folder, or the hub.

    Raises:
        KirjoError: the hub model cannot be had, or the folder is no longer what was planned.
    """
    if "base" in task.step.inputs:
        return load(task.input("base") / MODEL)
    base = task.settings["base"]
    if "folder" in base:
        folder = task.step.execution["base_folder"]
        if folder_digest(folder) != base["folder"]:
            raise DataError(f"the model in {folder} has changed since this step was planned; give the command again")
        return load(folder)
    try:
        return load(base["hub"], revision=base["revision"])
    except OSError as error:
        raise KirjoError(
            f"cannot load {base['hub']} at revision {base['revision']}: {str(error).splitlines()[0]} "
            "Load it once where there is network (the cache is in HF_HOME), or use a local copy: "
            "model=folder model.path=FOLDER"
        ) from None


def save(model: Any, tokenizer: Any, work: Path, precision: str) -> None:
    """Write model and tokenizer where later stages look for them, the weights in the precision of the training."""
    import torch

    model.to({"float32": torch.float32, "bf16": torch.bfloat16}[precision]).save_pretrained(work / MODEL)
    tokenizer.save_pretrained(work / MODEL)
