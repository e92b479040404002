"""Load and save base models and checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiment.errors import DataError, KirjoError
from experiment.sources.source import folder_digest
from experiment.task import Task
from experiment.training.parallel import release, whole_weights

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
        # By one rank: it reads every byte.
        if not task.ranks.agree("base unchanged", lambda: folder_digest(folder) == base["folder"]):
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


def load_whole(folder: Path | str, dtype: str = "float32", revision: str | None = None) -> tuple[Any, Any]:
    """(model, tokenizer) for one process that does not train: over all its GPUs if the first one cannot hold it.

    Without a GPU the model is in the host's memory; with one that holds it the caller decides where it goes.
    """
    import torch

    if torch.cuda.device_count() < 2 or weights_bytes(folder, dtype, revision) < WEIGHTS_SHARE * _gpu_bytes():
        return load(folder, dtype, revision)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, revision=revision, dtype=dtype, device_map="auto")
    return model, AutoTokenizer.from_pretrained(folder, revision=revision)


# Of a GPU's memory; what passes need beside the weights (activations, cached keys and values) gets the rest.
WEIGHTS_SHARE = 0.6


def weights_bytes(folder: Path | str, dtype: str, revision: str | None = None) -> int:
    """Bytes of a checkpoint's weights as they will be in memory; ``auto`` is as they were saved."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, revision=revision)
    with torch.device("meta"):
        parameters = sum(weight.numel() for weight in AutoModelForCausalLM.from_config(config).parameters())
    saved = config.dtype or torch.float32
    return int(parameters * (saved if dtype == "auto" else getattr(torch, dtype)).itemsize)


def _gpu_bytes() -> int:
    import torch

    return int(torch.cuda.get_device_properties(0).total_memory)


def save(model: Any, tokenizer: Any, work: Path, precision: str) -> None:
    """Write model and tokenizer where later stages look for them, the weights in the precision of the training."""
    model.to(_dtype(precision)).save_pretrained(work / MODEL)
    tokenizer.save_pretrained(work / MODEL)


def save_trained(trainer: Any, tokenizer: Any, task: Task, precision: str) -> None:
    """As :func:`save`, of the model that the ranks trained: rank 0 writes what may have lain in shards.

    After this the trainer cannot be used any more.
    """
    whole = whole_weights(trainer)
    if task.ranks.first and whole is None:
        save(trainer.accelerator.unwrap_model(trainer.model), tokenizer, task.work, precision)
    elif task.ranks.first and whole is not None:
        dtype = _dtype(precision)
        state = {name: weight.to(dtype) if weight.is_floating_point() else weight for name, weight in whole.items()}
        trainer.model.save_pretrained(task.work / MODEL, state_dict=state)
        tokenizer.save_pretrained(task.work / MODEL)
    release(trainer)


def _dtype(precision: str) -> Any:
    import torch

    return {"float32": torch.float32, "bf16": torch.bfloat16}[precision]
