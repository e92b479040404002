"""Combinations of settings that no step could carry out; each is refused when the config is composed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from experiment.errors import KirjoError
from experiment.resources import MANY_RANKS, resources_of

if TYPE_CHECKING:
    from experiment.config import Config, Training

# transformers' BLOOM takes no position ids: whatever is packed into one row attends to all that came before it.
CANNOT_PACK = ("bloom",)


def check_all(config: Config) -> None:
    """Refuse combinations that no step could carry out.

    Raises:
        ValueError: says what does not go together, and what would.
    """
    for check in (
        _check_model,
        _check_languages,
        _check_translation,
        _check_quality,
        _check_packing,
        _check_lengths,
        _check_batches,
    ):
        check(config)


def _check_model(config: Config) -> None:
    model = config.model
    if model.start == "pretrain" and config.pretrain is None:
        raise ValueError(f"model {model.name} starts from pretrain, but there is no pretrain section (pretrain=demo)")
    if model.start == "hub" and not model.hub:
        raise ValueError(f"model {model.name} starts from the hub, but model.hub is not set")


def _check_languages(config: Config) -> None:
    mix = config.data_mix
    if mix.target == "translate" and mix.source_language == mix.target_language:
        raise ValueError(
            f"data_mix.target=translate from '{mix.source_language}' into itself: set another target_language"
        )
    made = {mix.target_language} if mix.target == "translate" else set()
    needed = {mix.source_language} | ({mix.target_language} if config.mix else set())
    for language in sorted(needed - set(mix.sft) - made):
        raise ValueError(
            f"data_mix {mix.name} has no SFT data in '{language}'; it has: {_names(mix.sft)} "
            "(data_mix.target=translate makes the target language's)"
        )
    for language in config.method.preference:
        if (mix.source_language if language in made else language) not in mix.preference:
            raise ValueError(
                f"method {config.method.name} needs preference data in '{language}'; "
                f"data_mix {mix.name} has it in: {_names(mix.preference)}"
            )
    for language in config.benchmark.languages:
        if language not in config.benchmark.prompts:
            raise ValueError(
                f"benchmark {config.benchmark.name} has no prompts in '{language}'; "
                f"it has: {_names(config.benchmark.prompts)} (benchmark.languages)"
            )
    if not config.benchmark.languages:
        raise ValueError("benchmark.languages is empty: name at least one of " + _names(config.benchmark.prompts))


def _check_translation(config: Config) -> None:
    mix, engine = config.data_mix, config.engine.openai
    translates = mix.target == "translate" or bool(config.quality.tests)
    if config.generate.engine == "openai" and not engine.start:
        raise ValueError(
            "generate.engine=openai needs engine.openai.start, a command that serves the checkpoint of each step "
            "({model}, {port}): a server that is there already has one model"
        )
    served = bool(engine.start or (engine.url and engine.model))
    if translates and config.translate.engine == "openai" and not served:
        raise ValueError(
            "translate.engine=openai needs a server: engine.openai.url and engine.openai.model of one that runs, or "
            "engine.openai.start, a command with {model} and {port}"
        )
    if engine.url and engine.start:
        raise ValueError("engine.openai.url (a server that runs) and engine.openai.start (one to start) are both set")
    if mix.target == "translate":
        config.translate.check_languages(mix.source_language, mix.target_language)
        if config.translate.round_trip:
            config.translate.check_languages(mix.target_language, mix.source_language)


def _check_quality(config: Config) -> None:
    template = config.quality.template
    if template is None:
        return
    for test in config.quality.tests.values():
        for direction in test.directions:
            template.check_languages(*direction.split("-"))
    most = max((*config.quality.shots, 0))
    for name, one in template.shots.items():
        given = len(one.pairs or one.rows)
        if config.quality.tests and most and (given or not one.examples) and given < most:
            raise ValueError(
                f"quality.shots asks for {most} examples, quality.template.shots.{name} has {given}: "
                "give it more pairs or rows"
            )


def _check_packing(config: Config) -> None:
    if config.sft.packing and config.model.architecture in CANNOT_PACK:
        raise ValueError(
            f"sft.packing=true is refused for {config.model.architecture}: its attention in transformers cannot keep "
            "packed samples apart, so each would be trained on its neighbours. Use sft.packing=false"
        )


def _check_lengths(config: Config) -> None:
    dpo = config.dpo
    if config.method.preference and dpo.max_prompt_length >= dpo.max_length:
        raise ValueError(
            f"dpo.max_prompt_length={dpo.max_prompt_length} leaves no room for a reply: "
            f"it must be below dpo.max_length={dpo.max_length}, which holds prompt and reply together"
        )


def training_sections(config: Config) -> dict[str, Training]:
    """The training stages that a run has, with their settings."""
    sections: dict[str, Training] = {"sft": config.sft} if config.method.train else {}
    if config.method.train and config.method.preference:
        sections["dpo"] = config.dpo
    if config.model.start == "pretrain" and config.pretrain:
        sections["pretrain"] = config.pretrain
    return sections


def world_size(config: Config, stage: str) -> int:
    """How many ranks a stage's step runs on; 1 where the launcher has no nodes to spread it over."""
    if config.launcher.site is None or stage not in MANY_RANKS:
        return 1
    return resources_of(stage, config.model.resources, config.launcher).ranks


def _check_batches(config: Config) -> None:
    for stage, section in training_sections(config).items():
        try:
            ranks = world_size(config, stage)
            accumulation(section.global_batch, section.micro_batch, ranks)
        except KirjoError as error:
            raise ValueError(f"{stage}: {error}") from None
        if ranks > 1 and config.parallel.name == "single":
            raise ValueError(f"{stage} would run on {ranks} ranks, each training alone: choose parallel=ddp or zero3")


def accumulation(global_batch: int, micro_batch: int, world_size: int) -> int:
    """Gradient accumulation steps that make ``global_batch`` out of ``world_size`` ranks of ``micro_batch`` rows.

    Raises:
        KirjoError: the topology cannot give exactly this global batch.
    """
    per_pass = micro_batch * world_size
    if global_batch % per_pass:
        fitting = [m for m in range(1, global_batch // world_size + 1) if global_batch % (m * world_size) == 0]
        advice = f"micro_batch may be {', '.join(map(str, fitting))}" if fitting else "use fewer ranks"
        raise KirjoError(
            f"a global batch of {global_batch} cannot be made of micro_batch={micro_batch} "
            f"on {world_size} rank{'s' * (world_size > 1)}; {advice}"
        )
    return global_batch // per_pass


def _names(mapping: Mapping[str, Any]) -> str:
    return ", ".join(sorted(mapping)) or "none"
