"""The settings of translation as a step records them, and put together again where the step runs."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from experiment.sources.source import Source
from experiment.task import Task
from experiment.translation.prompts import Prompter, read_shots
from experiment.translation.settings import Translate


def source_role(name: str, language: str) -> str:
    """Under which name a step's execution keeps where the examples of a set lie, in one language."""
    return f"shots.{name}.{language}"


def shot_sources(settings: Translate, *languages: str) -> dict[str, Source]:
    """The sources of all examples that are read from files, by role."""
    return {
        source_role(name, language): one.files[language]
        for name, one in settings.shots.items()
        for language in languages
        if language in one.files
    }


def prompter_of(task: Task) -> Prompter:
    """What writes the prompts of a translate step.

    Raises:
        DataError: the examples are missing, not aligned, or no longer what was planned.
    """
    languages = (task.settings["source_language"], task.settings["target_language"])
    document: dict[str, Any] = {**task.settings["translate"], **task.how("translate")}
    document["shots"] = {name: _with_sources(task, name, one) for name, one in document["shots"].items()}
    settings = TypeAdapter(Translate).validate_python(document)
    return Prompter(settings, *languages, {name: read_shots(one, *languages) for name, one in settings.shots.items()})


def _with_sources(task: Task, name: str, one: dict[str, Any]) -> dict[str, Any]:
    examples = one.get("examples", {})
    return {
        **one,
        "examples": {
            language: task.source(source_role(name, language), recorded) for language, recorded in examples.items()
        },
    }
