"""From a run's config to its chain of steps: which stage needs what, and what of the config decides its result."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from experiment.config import Benchmark, Config, execution, identity
from experiment.fingerprint import digest
from experiment.plan import Run, Step, make_step
from experiment.resources import MANY_RANKS, resources_of
from experiment.scoring import punkt, unasked, versions
from experiment.scoring.unmet import unmet
from experiment.sources.source import Source, folder_digest, unpinned

# Overrides that say where or how, or that the rest of a run's name already tells.
_NOT_IN_NAME = ("mix", "method", "dpo_beta", "dpo.beta", "data_mix", "model", "store", "plan", "prefetch")
_NOT_IN_NAME_GROUPS = ("launcher", "parallel", "tracking", "hydra", "sweep")


def compile_run(config: Config, overrides: Sequence[str] = ()) -> tuple[Run, list[Step]]:
    """The run of a config and its steps in order of work."""
    return _Chain(config).run(tuple(overrides))


class _Chain:
    """Collects one run's steps; each method adds one stage and returns its step."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.roles: dict[str, Step] = {}
        mix = config.data_mix
        self.mix_label = f"{mix.source_language}-{mix.target_language}-{config.mix}pct"

    def run(self, overrides: tuple[str, ...]) -> tuple[Run, list[Step]]:
        checkpoint = self.sft(self.mix())
        if self.config.method.preference:
            checkpoint = self.dpo(checkpoint)
        for language in self.config.benchmark.languages:
            self.score(language, self.generate(language, checkpoint))
        run = Run(
            name=run_name(self.config, overrides),
            overrides=tuple(item for item in overrides if not item.startswith(("plan=", "store="))),
            axes=_axes(self.config, overrides),
            steps={role: step.key for role, step in self.roles.items()},
            config=dataclasses.asdict(self.config),
        )
        return run, list(self.roles.values())

    def add(self, role: str, step: Step) -> Step:
        self.roles[role] = step
        return step

    def how(self, stage: str, section: Any = None, sources: dict[str, Source] | None = None) -> dict[str, Any]:
        """What a step needs to run beyond its settings."""
        config = self.config
        found: dict[str, Any] = {"preflight": execution(config.preflight)} if stage in _CHECKED else {}
        if section is not None:
            found["training" if stage in _TRAINING else stage] = execution(section)
        if sources:
            found["sources"] = {role: dataclasses.asdict(source) for role, source in sources.items()}
        threads = config.launcher.threads or config.model.threads.get(stage, config.model.threads.get("default"))
        if threads:
            found["threads"] = threads
        if stage in MANY_RANKS:
            found["parallel"] = dataclasses.asdict(config.parallel)
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

    def pretrain(self) -> Step:
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
                unmet=_unmet(config.pretrain.texts, "pretrain.texts"),
            ),
        )

    def mix(self) -> Step:
        config, mix = self.config, self.config.data_mix
        sources = {"source": mix.sft[mix.source_language]}
        if config.mix:  # without target-language rows their source decides nothing
            sources["target"] = mix.sft[mix.target_language]
        settings = {
            "percent": config.mix,
            "seed": config.seed,
            **{role: source.identity() for role, source in sources.items()},
        }
        named = {source.language: source for source in sources.values()}
        return self.add(
            "mix",
            make_step(
                "mix",
                settings=settings,
                execution=self.how("mix", sources=sources),
                label=self.mix_label,
                unmet=_unmet(named, "data_mix.sft"),
            ),
        )

    def sft(self, mix: Step) -> Step:
        config = self.config
        base_setting, base_input, unmet = self.base()
        settings = {
            **base_setting,
            "training": identity(config.sft),
            "loss_on": config.method.loss_on,
            "seed": config.seed,
        }
        if config.method.neftune_alpha is not None:
            settings["neftune_alpha"] = config.method.neftune_alpha
        variant = {"all": "", "assistant": " masked"}[config.method.loss_on]
        noise = f" neftune {config.method.neftune_alpha:g}" if config.method.neftune_alpha else ""
        how = self.how("sft", config.sft)
        if config.model.path:
            how["base_folder"] = config.model.path
        return self.add(
            "sft",
            make_step(
                "sft",
                settings=settings,
                inputs={**base_input, "mix": mix.key},
                execution=how,
                label=f"{self.mix_label}{variant}{noise}",
                unmet=unmet,
            ),
        )

    def pair(self, language: str) -> Step:
        mix = self.config.data_mix
        source = mix.preference[language]
        return self.add(
            f"pair.{language}",
            make_step(
                "pair",
                settings={"source": source.identity(), "choice": mix.pairs},
                execution=self.how("pair", sources={"source": source}),
                label=language,
                unmet=_unmet({language: source}, "data_mix.preference"),
            ),
        )

    def reference(self, language: str, checkpoint: Step) -> Step:
        dpo = self.config.dpo
        settings = {
            "max_length": dpo.max_length,
            "max_prompt_length": dpo.max_prompt_length,
            "precision": dpo.precision,
        }
        how = self.how("reference")
        how["reference"] = {"micro_batch": dpo.micro_batch}
        return self.add(
            f"reference.{language}",
            make_step(
                "reference",
                settings=settings,
                inputs={"model": checkpoint.key, "pairs": self.pair(language).key},
                execution=how,
                label=f"{checkpoint.label} on {language} pairs",
            ),
        )

    def dpo(self, checkpoint: Step) -> Step:
        config = self.config
        inputs = {"model": checkpoint.key}
        for language in config.method.preference:
            inputs[f"reference.{language}"] = self.reference(language, checkpoint).key
        return self.add(
            "dpo",
            make_step(
                "dpo",
                settings={"training": identity(config.dpo), "seed": config.seed},
                inputs=inputs,
                execution=self.how("dpo", config.dpo),
                label=f"{self.mix_label} {'+'.join(config.method.preference)} beta {config.dpo.beta:g}",
            ),
        )

    def generate(self, language: str, checkpoint: Step) -> Step:
        config, benchmark = self.config, self.config.benchmark
        source = benchmark.prompts[language]
        return self.add(
            f"generate.{language}",
            make_step(
                "generate",
                settings={**_which_prompts(benchmark, language), "max_new_tokens": benchmark.max_new_tokens},
                inputs={"model": checkpoint.key},
                execution=self.how("generate", config.generate, {"prompts": source}),
                label=f"{language}, {checkpoint.stage} {checkpoint.label}",
                unmet=_unmet({language: source}, "benchmark.prompts"),
            ),
        )

    def score(self, language: str, answers: Step) -> Step:
        benchmark = self.config.benchmark
        source = benchmark.prompts[language]
        drop = benchmark.unasked_instructions == "drop"
        how = self.how("score", sources={"prompts": source})
        how["nltk_data"] = benchmark.nltk_data
        return self.add(
            f"score.{language}",
            make_step(
                "score",
                settings={**_which_prompts(benchmark, language), "scorers": versions.identity(language)},
                inputs={"responses": answers.key},
                execution=how,
                label=answers.label,
                unmet=[
                    *_unmet({language: source}, "benchmark.prompts"),
                    *(faults := unmet(source, tuple(benchmark.exclude_instructions), drop)),
                    # What cannot be judged, or read at all, need not be asked what it would be judged with.
                    *([] if faults else punkt.unmet(source, benchmark.nltk_data)),
                ],
            ),
        )


def _which_prompts(benchmark: Benchmark, language: str) -> dict[str, Any]:
    """What decides which prompts there are, and with which instructions."""
    chosen: dict[str, Any] = {
        "prompts": benchmark.prompts[language].identity(),
        "exclude_instructions": list(benchmark.exclude_instructions),
    }
    if benchmark.unasked_instructions == "drop":
        chosen["drop_unasked"] = unasked.VERSION
    return chosen


_TRAINING = ("pretrain", "sft", "dpo")
_CHECKED = ("sft", "reference")  # stages that look at the rows before they use them


def run_name(config: Config, overrides: Sequence[str]) -> str:
    """``model/data_mix/40pct/method``, the beta of a DPO run, and whatever else the sweep varies."""
    parts = [config.model.name, config.data_mix.name, f"{config.mix}pct", config.method.name]
    if config.method.preference:
        parts.append(f"beta={config.dpo.beta:g}")
    return "/".join(parts) + "".join(f",{item}" for item in overrides if _tells_more(item))


def _tells_more(override: str) -> bool:
    key = override.split("=", 1)[0].lstrip("+~")
    is_place = key.endswith((".path", ".nltk_data"))
    return not (is_place or key in _NOT_IN_NAME or key.split(".")[0] in _NOT_IN_NAME_GROUPS)


def _axes(config: Config, overrides: Sequence[str]) -> dict[str, Any]:
    return {
        "model": config.model.name,
        "data_mix": config.data_mix.name,
        "benchmark": config.benchmark.name,
        "mix": config.mix,
        "method": config.method.name,
        "beta": config.dpo.beta if config.method.preference else None,
        "seed": config.seed,
        "source_language": config.data_mix.source_language,
        "target_language": config.data_mix.target_language,
        "settings": digest(_common_settings(config, overrides), length=6),
        "data": digest(_sources(config), length=6),
    }


def _sources(config: Config) -> dict[str, Any]:
    """What the run reads from outside, by content: a file that was edited where it lay is other data."""
    mix = config.data_mix
    found = {"sft": mix.sft, "preference": mix.preference, "prompts": config.benchmark.prompts}
    if config.pretrain is not None:
        found["texts"] = config.pretrain.texts
    return {name: identity(sources) for name, sources in found.items()}


def _common_settings(config: Config, overrides: Sequence[str]) -> dict[str, Any]:
    """What the rows of one table must have in common: all that is hashed, but for mix, method, beta and seed."""
    sections = {
        "model": config.model,
        "data_mix": config.data_mix,
        "benchmark": config.benchmark,
        "pretrain": config.pretrain,
        "sft": config.sft,
        "dpo": dataclasses.replace(config.dpo, beta=1.0),
        # A method is a row; one that was changed on the command line is not the method of that name any more.
        "method": sorted(item for item in overrides if item.lstrip("+~").startswith("method.")),
    }
    return {name: identity(section) for name, section in sections.items()}


def _unmet(sources: dict[str, Source], option: str) -> list[str]:
    return [line for name, source in sources.items() for line in source.unmet(f"{option}.{name}")]
