"""The training loop around transformers' and TRL's trainers: arguments, resuming, progress, learning curves."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from experiment import stop
from experiment.combinations import accumulation
from experiment.config import Training
from experiment.errors import KirjoError
from experiment.sources.jsonl import write_jsonl
from experiment.task import Task
from experiment.training.parallel import any_rank, parallel_arguments, parallel_of

CHECKPOINTS = "checkpoints"
_COMPLETE = "complete"  # written into a checkpoint when all of it is there


def trainer_arguments(task: Task, training: Training) -> dict[str, Any]:
    """What every trainer is told, as keyword arguments of ``TrainingArguments`` and its children."""
    on_cpu = not torch.cuda.is_available()
    return {
        "output_dir": str(task.work / CHECKPOINTS),
        "per_device_train_batch_size": training.micro_batch,
        "gradient_accumulation_steps": accumulation(training.global_batch, training.micro_batch, task.ranks.size),
        "num_train_epochs": training.epochs,
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": training.schedule,
        "warmup_steps": training.warmup_ratio,  # below 1 it is the share of all steps
        "weight_decay": training.weight_decay,
        "adam_beta1": training.adam_beta1,
        "adam_beta2": training.adam_beta2,
        "max_grad_norm": training.max_grad_norm,
        "seed": task.settings["seed"],
        "data_seed": task.settings["seed"],
        "bf16": training.precision == "bf16",
        "gradient_checkpointing": training.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "use_cpu": on_cpu,
        "dataloader_pin_memory": not on_cpu,
        "save_strategy": "steps",
        "save_steps": training.checkpoint_every,
        # Two, so that one is whole while the other is being written.
        "save_total_limit": 2,
        # Every step: a mean over several would lose its part before an interruption, and a NaN near the end would pass.
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": [],
        "disable_tqdm": True,
        **parallel_arguments(task, training),
    }


class TaskCallback(TrainerCallback):  # type: ignore[misc]
    """Tells how far training is, marks whole checkpoints, stops on request and at a loss that is no number."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.stopped = False

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_kwargs: Any) -> None:
        """What a resumed training had logged: the tracker may have lost the end of it."""
        for entry in state.log_history:
            self.task.track(entry["step"], entry)

    def on_step_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        """Report the optimizer steps done; if any rank was asked to stop, have all save a checkpoint and end."""
        self.task.progress(state.global_step, state.max_steps)
        if any_rank(stop.requested(), args) and state.global_step < state.max_steps:
            self.stopped = control.should_save = control.should_training_stop = True

    def on_save(self, args: Any, state: Any, _control: Any, **_kwargs: Any) -> None:
        """Mark the checkpoint as whole when all ranks have written their part: a kill before leaves it unmarked."""
        self.task.ranks.meet(f"checkpoint {state.global_step}")
        if self.task.ranks.first:
            _mark(Path(args.output_dir) / f"checkpoint-{state.global_step}", _kind(self.task))

    def on_log(self, args: Any, state: Any, _control: Any, logs: dict[str, Any] | None = None, **_kwargs: Any) -> None:
        """Refuse to go on once the loss or its gradient, which has gone into the weights, is NaN or infinite."""
        self.task.track(state.global_step, logs or {})
        for name, title in (("loss", "loss"), ("grad_norm", "gradient norm")):
            value = float((logs or {}).get(name, 0.0))
            if not math.isfinite(value):
                raise KirjoError(
                    f"the training {title} became {value} at step {state.global_step}: lower the learning rate "
                    f"(now {args.learning_rate:g} at its peak) or use precision=float32"
                )


def train(trainer: Any, task: Task) -> dict[str, Any]:
    """Train from the last whole checkpoint in the work folder, if any; write ``history.jsonl``.

    Returns:
        Optimizer steps, final loss, and the step that training was resumed from (0: from the start).

    Raises:
        Stopped: the scheduler wants the node back; a checkpoint of the last optimizer step, if any, is saved.
    """
    if any_rank(stop.requested(), trainer.args):  # while the model was loaded
        raise stop.Stopped
    _refuse_other_batch(trainer, task.settings["training"]["global_batch"])
    resume_from = _resume_from(task)
    callback = TaskCallback(task)
    trainer.add_callback(callback)
    if task.ranks.size > 1:
        # The weights have been drawn, the same on all ranks; noise on the rows (NEFTune, dropout) is each rank's own.
        torch.manual_seed(task.settings["seed"] + task.ranks.rank)
    with stop.deferred():
        trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    if callback.stopped:
        raise stop.Stopped
    # Timings differ from run to run; they belong to the manifest, not to the curve. TRL counts tokens from where it was
    # resumed, and an interrupted run must leave the same curve.
    curve = [
        {name: value for name, value in entry.items() if name != "num_tokens"}
        for entry in trainer.state.log_history
        if "train_runtime" not in entry
    ]
    if task.ranks.first:
        write_jsonl(task.work / "history.jsonl", curve)
    losses = [entry["loss"] for entry in curve if "loss" in entry]
    return {
        "optimizer_steps": trainer.state.global_step,
        "final_loss": float(losses[-1]) if losses else None,
        "resumed_from": int(resume_from.name.split("-")[1]) if resume_from else 0,
    }


def _mark(checkpoint: Path, kind: str) -> None:
    """Note that a checkpoint is whole, and its kind: in one piece, for an empty note is of a kind too."""
    beside = checkpoint / f".{_COMPLETE}.new"
    with beside.open("w", encoding="utf-8") as file:
        file.write(kind)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(checkpoint / _COMPLETE)


def _kind(task: Task) -> str:
    """What a checkpoint can be gone on with: with ZeRO each rank has its own shard of the optimizer; else anything."""
    parallel = parallel_of(task)
    return f"{parallel.name} on {task.ranks.size} ranks" if parallel.name.startswith("zero") else ""


def _resume_from(task: Task) -> Path | None:
    """The newest whole checkpoint, as rank 0 finds it.

    Raises:
        KirjoError: it was saved by ranks that shared the optimizer in another way.
    """

    def look() -> str | None:
        found = last_checkpoint(task.work)
        kind, ours = (found / _COMPLETE).read_text(encoding="utf-8") if found else "", _kind(task)
        if found and kind != ours:
            raise KirjoError(
                f"{found} was saved by {kind or 'ranks that each hold the whole optimizer'}, and this is "
                f"{ours or 'not sharded'}: train as before, or remove {found.parent} to start anew"
            )
        return found.name if found else None

    name = task.ranks.agree("checkpoint", look)
    return task.work / CHECKPOINTS / name if name else None


def _refuse_other_batch(trainer: Any, global_batch: int) -> None:
    """One process that sees several GPUs would spread every micro-batch over all of them, and train with more rows."""
    arguments = trainer.args
    found = arguments.train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size
    if found != global_batch:
        raise KirjoError(
            f"the trainer would take {found} rows a step where the global batch is {global_batch}: this process sees "
            f"{arguments.n_gpu} GPUs; let it see one (CUDA_VISIBLE_DEVICES=0)"
        )


def last_checkpoint(work: Path) -> Path | None:
    """The newest whole checkpoint; half-written ones are removed."""
    whole = []
    for folder in (work / CHECKPOINTS).glob("checkpoint-*"):
        if (folder / _COMPLETE).exists():
            whole.append(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return max(whole, key=lambda folder: int(folder.name.split("-")[1]), default=None)
