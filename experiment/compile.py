"""From a run's config to its chain of steps: which stage needs what, and what of the config decides its result."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from experiment.chain import Chain, unmet_of
from experiment.config import Benchmark, Config, identity
from experiment.data_steps import add_mix, add_pairs, add_quality, served_model
from experiment.fingerprint import digest
from experiment.plan import Run, Step, make_step
from experiment.scoring import punkt, unasked, versions
from experiment.scoring.unmet import unmet

# Overrides that say where or how, or that the rest of a run's name already tells.
_NOT_IN_NAME = ("mix", "method", "dpo_beta", "dpo.beta", "data_mix", "model", "store", "plan", "prefetch")
_NOT_IN_NAME_GROUPS = ("launcher", "parallel", "tracking", "engine", "hydra", "sweep")


def compile_run(config: Config, overrides: Sequence[str] = ()) -> tuple[Run, list[Step]]:
    """The run of a config and its steps in order of work."""
    return _Chain(config).run(tuple(overrides))


class _Chain(Chain):
    """The steps of training and evaluation; each method adds one stage and returns its step."""

    def run(self, overrides: tuple[str, ...]) -> tuple[Run, list[Step]]:
        if self.config.method.train:
            self.train_and_score()
        else:
            self.make_data()
        add_quality(self)
        run = Run(
            name=run_name(self.config, overrides),
            overrides=tuple(item for item in overrides if not item.startswith(("plan=", "store="))),
            axes=_axes(self.config, overrides),
            steps={role: step.key for role, step in self.roles.items()},
            config=dataclasses.asdict(self.config),
        )
        return run, list(self.roles.values())

    def train_and_score(self) -> None:
        checkpoint = self.sft(add_mix(self))
        if self.config.method.preference:
            checkpoint = self.dpo(checkpoint)
        for language in self.config.benchmark.languages:
            self.score(language, self.generate(language, checkpoint))

    def make_data(self) -> None:
        add_mix(self)
        for language in self.config.method.preference:
            add_pairs(self, language)

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
        how = {**self.how("sft", config.sft), **self.base_folder()}
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
                inputs={"model": checkpoint.key, "pairs": add_pairs(self, language).key},
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
                unmet=unmet_of({language: source}, "benchmark.prompts"),
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
                    *unmet_of({language: source}, "benchmark.prompts"),
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


def run_name(config: Config, overrides: Sequence[str]) -> str:
    """``model/data_mix/40pct/method``, the beta of a DPO run, and whatever else the sweep varies."""
    parts = [config.model.name, config.data_mix.name, f"{config.mix}pct", config.method.name]
    if config.method.train and config.method.preference:
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
        "beta": config.dpo.beta if config.method.train and config.method.preference else None,
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
    found = {name: identity(section) for name, section in sections.items()}
    if config.data_mix.target == "translate":
        found |= {"translate": identity(config.translate), "clean": identity(config.clean)}
        if served := served_model(config):
            found["served"] = served
    return found
