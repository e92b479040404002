"""The steps of one run as they are collected, and what every one of them needs to run."""

from __future__ import annotations

import dataclasses
from typing import Any

from experiment.config import Config, execution, identity
from experiment.plan import Step, make_step
from experiment.resources import MANY_RANKS, SHARED_OUT, resources_of
from experiment.sources.source import Source, folder_digest, unpinned

TRAINING = ("pretrain", "sft", "dpo")
CHECKED = ("sft", "reference")  # stages that look at the rows before they use them


class Chain:
    """A run's steps by role, in order of work."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.roles: dict[str, Step] = {}
        mix = config.data_mix
        self.mix_label = f"{mix.source_language}-{mix.target_language}-{config.mix}pct"

    def add(self, role: str, step: Step) -> Step:
        """Add a step and return it."""
        self.roles[role] = step
        return step

    def how(self, stage: str, section: Any = None, sources: dict[str, Source] | None = None) -> dict[str, Any]:
        """What a step needs to run beyond its settings."""
        config = self.config
        found: dict[str, Any] = {"preflight": execution(config.preflight)} if stage in CHECKED else {}
        if section is not None:
            found["training" if stage in TRAINING else stage] = execution(section)
        if sources:
            found["sources"] = {role: dataclasses.asdict(source) for role, source in sources.items()}
        threads = config.launcher.threads or config.model.threads.get(stage, config.model.threads.get("default"))
        if threads:
            found["threads"] = threads
        if stage in MANY_RANKS:
            found["parallel"] = dataclasses.asdict(config.parallel)
        if stage in SHARED_OUT:
            found["engine"] = dataclasses.asdict(config.engine)
        if config.launcher.site is not None:
            found["resources"] = dataclasses.asdict(resources_of(stage, config.model.resources, config.launcher))
        if config.tracking.name != "none":
            found["tracking"] = dataclasses.asdict(config.tracking)
        return found

    def base(self) -> tuple[dict[str, Any], dict[str, str], list[str]]:
        """The base model as (setting, input, what is unmet): one of the first two is empty."""
        model = self.config.model
        if model.start == "pretrain":
            return {}, {"base": self.pretrain().key}, []
        if model.start == "folder":
            unmet = [] if model.path else ["model.path=FOLDER is not set"]
            return {"base": {"folder": folder_digest(model.path) if model.path else None}}, {}, unmet
        unmet = unpinned("model", model.revision, f"https://huggingface.co/{model.hub}/commits/main")
        return {"base": {"hub": model.hub, "revision": model.revision}}, {}, unmet

    def base_folder(self) -> dict[str, str]:
        """Where a base model in a local folder lies, for steps that load it."""
        return {"base_folder": self.config.model.path} if self.config.model.path else {}

    def pretrain(self) -> Step:
        """The base model that the plan makes itself."""
        config = self.config
        assert config.pretrain is not None  # checked at the door
        training = identity(config.pretrain)
        texts = training.pop("texts")
        return self.add(
            "pretrain",
            make_step(
                "pretrain",
                settings={"training": training, "texts": texts, "seed": config.seed},
                execution=self.how("pretrain", config.pretrain, config.pretrain.texts),
                label=config.model.name,
                unmet=unmet_of(config.pretrain.texts, "pretrain.texts"),
            ),
        )


def unmet_of(sources: dict[str, Source], option: str) -> list[str]:
    """What must be set before the sources, named as in the config's ``option``, can be read."""
    return [line for name, source in sources.items() for line in source.unmet(f"{option}.{name}")]
