"""How a training step is spread over ranks: what the trainer and DeepSpeed are told, and the rows of each rank.

An optimizer step sees the same rows on one rank and on many. Ranks take turns at the batches of one permutation; where
the last batch of an epoch does not go round, rows that teach nothing fill it up, because a rank without rows would keep
the others waiting (and accelerate's own filling shows rows of the epoch's start again).
"""

from __future__ import annotations

import gc
import importlib.util
import os
import socket
import sysconfig
from collections.abc import Callable, Iterator
from typing import Any

import torch
from accelerate.data_loader import SeedableRandomSampler
from pydantic import TypeAdapter
from torch.utils.data import Sampler
from transformers import Trainer
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from experiment.combinations import accumulation
from experiment.config import Training
from experiment.errors import KirjoError
from experiment.resources import Parallel
from experiment.task import Task

_PARALLEL: TypeAdapter[Parallel] = TypeAdapter(Parallel)


def parallel_of(task: Task) -> Parallel:
    """How the step is spread. One rank trains alone, unless its optimizer is to live in the host's memory.

    Raises:
        KirjoError: there are several ranks, but each would train alone.
    """
    said = _PARALLEL.validate_python(dict(task.how("parallel")) or {"name": "single"})
    if task.ranks.size > 1 and said.name == "single":
        raise KirjoError(f"{task.ranks.size} ranks would each train alone: choose parallel=ddp or parallel=zero3")
    if task.ranks.size == 1 and (said.offload == "none" or said.name not in _STAGES):
        return Parallel(name="single")
    return said


_STAGES = {"zero2": 2, "zero3": 3}


def parallel_arguments(task: Task, training: Training) -> dict[str, Any]:
    """What the trainer is told about ranks, as keyword arguments of ``TrainingArguments``.

    With DeepSpeed, ``TrainingArguments`` must exist before the model is loaded and live until it is saved: only then
    does transformers load straight into shards under ZeRO-3 (its documentation, "DeepSpeed").
    """
    parallel = parallel_of(task)
    # Of an earlier step of this process, which may have failed.
    os.environ.pop("ACCELERATE_USE_DEEPSPEED", None)
    unset_hf_deepspeed_config()
    if parallel.name == "single":
        return {}
    _settle_process()
    if parallel.name == "ddp":
        # Every parameter of a language model takes part in every pass; looking for others costs a walk of the graph.
        return {"ddp_find_unused_parameters": False}
    if importlib.util.find_spec("deepspeed") is None:
        raise KirjoError(
            f"parallel={parallel.name} needs DeepSpeed, which is not installed: "
            "DS_BUILD_OPS=0 pip install --no-build-isolation deepspeed"
        )
    # DeepSpeed compiles with the ninja it brought along; PATH lacks it where the environment is not activated.
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    if not torch.cuda.is_available():
        import deepspeed

        # Where there is a GPU accelerate does this; on CPUs it would leave DeepSpeed to think that it is alone.
        deepspeed.init_distributed("gloo")
    return {"deepspeed": deepspeed_config(parallel, training, task.ranks.size)}


def deepspeed_config(parallel: Parallel, training: Training, world_size: int) -> dict[str, Any]:
    """DeepSpeed's configuration; it says the same as the trainer's arguments, which transformers checks.

    Optimizer and schedule are the trainer's: AdamW with its betas and weight decay. With bf16, DeepSpeed keeps the
    weights of the passes in bf16 and a float32 master copy in the optimizer's shards; there is no other float32 copy.
    Under ZeRO-3 the master copy starts from weights rounded to bf16. Sizes are in numbers of elements.
    """
    passes = accumulation(training.global_batch, training.micro_batch, world_size)
    zero: dict[str, Any] = {
        "stage": _STAGES[parallel.name],
        "contiguous_gradients": True,
        "overlap_comm": torch.cuda.is_available(),  # needs a second stream
        # "auto" (transformers, "DeepSpeed": hidden_size squared): a bucket is about one square weight matrix.
        "reduce_bucket_size": "auto",
    }
    if parallel.name == "zero3":
        zero |= {
            # transformers' values: 0.9 of hidden_size squared, and 10 hidden_size: biases and norms are not sharded.
            "stage3_prefetch_bucket_size": "auto",
            "stage3_param_persistence_threshold": "auto",
            # DeepSpeed's defaults, named because they bound the memory of gathered weights: 2 GB in bf16.
            "stage3_max_live_parameters": 1e9,
            "stage3_max_reuse_distance": 1e9,
            "sub_group_size": 1e9,
            # What the next stage loads in one process.
            "stage3_gather_16bit_weights_on_model_save": True,
        }
    else:
        # The size of one all-gather after the update; DeepSpeed's default.
        zero |= {"allgather_partitions": True, "allgather_bucket_size": 5e8}
    if parallel.offload == "optimizer":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    # DeepSpeed would add the passes' gradients up in bf16. One pass has nothing to add up, and saves the memory.
    summed: dict[str, Any] = {"data_types": {"grad_accum_dtype": "fp32"}}
    return {
        **(summed if training.precision == "bf16" and passes > 1 else {}),
        "train_micro_batch_size_per_gpu": training.micro_batch,
        "gradient_accumulation_steps": passes,
        "train_batch_size": training.global_batch,
        "gradient_clipping": training.max_grad_norm,
        "bf16": {"enabled": training.precision == "bf16"},
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # with offloading too the update is the trainer's AdamW
    }


def _settle_process() -> None:
    """What the libraries read from the environment, and a user should not have to know."""
    if not torch.cuda.is_available():
        os.environ["DS_ACCELERATOR"] = "cpu"
    elif torch.cuda.device_count() == 1:
        os.environ["LOCAL_RANK"] = "0"  # each rank sees its own GPU alone, and finds it at number 0
    # Else accelerate takes all cores for each rank.
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
    if os.environ.get("WORLD_SIZE", "1") == "1":  # one rank with offloading; no launcher of ranks has started it
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ.update(alone)


class EvenRanks(Trainer):  # type: ignore[misc]
    """A trainer whose ranks have as many rows in each pass, and see no row twice; alone, nothing is changed.

    To be mixed into TRL's trainers too. With several ranks :meth:`fill_with` must be called before training.
    """

    def fill_with(self, filler: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Have rows that teach nothing: what ``filler`` makes of a row."""
        if self.args.world_size > 1:
            rows: Any = self.train_dataset  # type: ignore[has-type]
            self.train_dataset = rows.add_item(filler(rows[0]))

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.args.world_size == 1:
            return super()._get_train_sampler(train_dataset)
        return FilledSampler(
            rows=len(self.train_dataset) - 1,
            multiple=self.args.train_batch_size * self.args.world_size,
            seed=self.args.data_seed,
            # The trainer's word would not reach the sampler when it skips what an interrupted epoch has seen.
            epoch=lambda: int(self.state.epoch or 0),
        )

    def get_train_dataloader(self) -> Any:
        """The trainer's; of several ranks, all its batches are full."""
        loader = super().get_train_dataloader()
        if self.args.world_size > 1:
            # accelerate would take the last batch for one with rows shown twice, and drop what some ranks measured.
            loader.dataset.total_dataset_length = loader.total_batch_size
        return loader


def teach_nothing(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the same length without a label."""
    return {**row, "labels": [-100] * len(row["labels"])}


class FilledSampler(Sampler[int]):
    """The permutation of a single process, then as many fillers (index ``rows``) as make a multiple."""

    def __init__(self, rows: int, multiple: int, seed: int, epoch: Callable[[], int]) -> None:
        self.inner = SeedableRandomSampler(range(rows), data_seed=seed)
        self.rows, self.fillers, self.epoch = rows, -rows % multiple, epoch

    def __iter__(self) -> Iterator[int]:
        self.inner.set_epoch(self.epoch())
        yield from self.inner
        yield from [self.rows] * self.fillers

    def __len__(self) -> int:
        return self.rows + self.fillers


def any_rank(flag: bool, arguments: Any) -> bool:
    """Whether the flag is set on any rank; every rank asks at the same time."""
    if arguments.world_size == 1:
        return flag
    found = torch.tensor(int(flag), device=arguments.device)
    torch.distributed.all_reduce(found, op=torch.distributed.ReduceOp.MAX)
    return bool(found.item())


def whole_weights(trainer: Any) -> dict[str, torch.Tensor] | None:
    """Weights that lie in shards in one piece, on rank 0; every rank takes part. None: the model itself has them."""
    if not trainer.is_deepspeed_enabled or trainer.accelerator.state.deepspeed_plugin.zero_stage < 3:
        return None
    found: dict[str, torch.Tensor] = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    return found


def release(trainer: Any) -> None:
    """Let go of what DeepSpeed keeps for the life of the process, so that a next step finds the memory free."""
    if trainer.is_deepspeed_enabled:
        trainer.model_wrapped.destroy()
        unset_hf_deepspeed_config()
        gc.collect()
