"""Load and save base models and checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiment.errors import KirjoError
from experiment.task import Task

MODEL = "model"  # the folder of an artifact that holds the model and its tokenizer


def load(folder: Path | str, precision: str = "as saved", revision: str | None = None) -> tuple[Any, Any]:
    """(model, tokenizer) from a checkpoint folder or, with a revision, from the hub."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    dtype = {"float32": torch.float32, "bf16": torch.bfloat16, "as saved": "auto"}[precision]
    model = AutoModelForCausalLM.from_pretrained(folder, revision=revision, dtype=dtype)
    return model, AutoTokenizer.from_pretrained(folder, revision=revision)


def load_base(task: Task, precision: str) -> tuple[Any, Any]:
    """(model, tokenizer) of the step's base model: an input of the plan, a local folder, or the hub.

    Raises:
        KirjoError: the hub model cannot be had.
    """
    if "base" in task.step.inputs:
        return load(task.input("base") / MODEL, precision)
    base = task.settings["base"]
    if "folder" in base:
        return load(task.step.execution["base_folder"], precision)
    try:
        return load(base["hub"], precision, base["revision"])
    except OSError as error:
        raise KirjoError(
            f"cannot load {base['hub']} at revision {base['revision']}: {str(error).splitlines()[0]} "
            "Load it once where there is network (the cache is in HF_HOME), or use a local copy: "
            "model.start=folder model.path=FOLDER"
        ) from None


def save(model: Any, tokenizer: Any, work: Path) -> None:
    """Write model and tokenizer where later stages look for them."""
    model.save_pretrained(work / MODEL)
    tokenizer.save_pretrained(work / MODEL)
