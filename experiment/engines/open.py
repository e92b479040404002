"""Open the engine that a stage names. What is heavy is imported only then, and a model loaded only when it is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from experiment.engines.engine import Engine
from experiment.engines.settings import EngineName, Engines
from experiment.errors import DataError, KirjoError
from experiment.sources.source import folder_digest
from experiment.task import Task


@dataclass(frozen=True)
class ModelPlace:
    """Where a model lies: a folder with its tokenizer, or a name on the hub with the pinned commit."""

    name: Path | str
    revision: str | None = None


def open_engine(
    name: EngineName,
    engines: Engines,
    *,
    model: ModelPlace | Path | None,
    batch_rows: int,
    work: Path,
) -> Engine:
    """The engine, to be used as a context manager; the model is loaded, or the server started, at the first request.

    Args:
        name: which engine.
        engines: the settings of all of them.
        model: what answers; None only where a server at ``engines.openai.url`` has it.
        batch_rows: the most requests that are answered at the same time (openai: ``concurrency`` says so).
        work: where the log of a server that is started goes; its dotfiles are no part of the artifact.

    Raises:
        KirjoError: a setting is missing, or does not go with the others.
    """
    place = ModelPlace(model) if isinstance(model, Path) else model
    if name == "openai":
        from experiment.engines.openai import OpenAIEngine

        return OpenAIEngine(engines.openai, place, work)
    if place is None:
        raise KirjoError(f"the engine {name} needs the model itself; only openai with a url does without")
    if name == "vllm":
        from experiment.engines.vllm import VllmEngine

        return VllmEngine(engines.vllm, place, batch_rows)
    from experiment.engines.in_process import InProcessEngine

    return InProcessEngine(engines.transformers, place, batch_rows)


def engine_of(task: Task, section: str, model: ModelPlace | Path | None) -> Engine:
    """The engine that the execution settings of ``section`` name, with its own from those of ``engine``."""
    how = task.how(section)
    return open_engine(
        how.get("engine", "transformers"),
        TypeAdapter(Engines).validate_python(dict(task.how("engine"))),
        model=model,
        batch_rows=how["batch_size"],
        work=task.work,
    )


def model_of(task: Task) -> ModelPlace:
    """Where the step's model lies: an input of the plan (``model`` or ``base``), a local folder, or the hub.

    Raises:
        DataError: the folder is no longer what was planned.
    """
    from experiment.training.models import MODEL

    for role in ("model", "base"):
        if role in task.step.inputs:
            return ModelPlace(task.input(role) / MODEL)
    base = task.settings["base"]
    if "folder" not in base:
        return ModelPlace(base["hub"], base["revision"])
    folder = Path(task.step.execution["base_folder"])
    # By one rank: it reads every byte.
    if not task.ranks.agree("base unchanged", lambda: folder_digest(str(folder)) == base["folder"]):
        raise DataError(f"the model in {folder} has changed since this step was planned; give the command again")
    return ModelPlace(folder)
