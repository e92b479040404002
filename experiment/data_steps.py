"""The steps that make a run's data: mix and pairs, and before them translation, cleaning, and how good it is."""

from __future__ import annotations

import dataclasses
from typing import Any

from experiment.chain import Chain, unmet_of
from experiment.config import Config, execution, identity
from experiment.plan import Step, make_step
from experiment.quality import versions
from experiment.scoring.versions import package_version
from experiment.sources.source import Source
from experiment.translation.recorded import shot_sources
from experiment.translation.rows import Kind
from experiment.translation.settings import Translate


def add_mix(chain: Chain) -> Step:
    """The SFT data: the target language's part from its source, or translated and cleaned."""
    config, mix = chain.config, chain.config.data_mix
    sources = {"source": mix.sft[mix.source_language]}
    inputs = {}
    if config.mix and mix.target == "translate":  # without target-language rows nothing of them decides anything
        inputs["target"] = add_clean(chain, "sft").key
    elif config.mix:
        sources["target"] = mix.sft[mix.target_language]
    settings = {
        "percent": config.mix,
        "seed": config.seed,
        **{role: source.identity() for role, source in sources.items()},
    }
    named = {source.language: source for source in sources.values()}
    return chain.add(
        "mix",
        make_step(
            "mix",
            settings=settings,
            inputs=inputs,
            execution=chain.how("mix", sources=sources),
            label=chain.mix_label,
            unmet=unmet_of(named, "data_mix.sft"),
        ),
    )


def add_pairs(chain: Chain, language: str) -> Step:
    """The preference pairs in a language: from its source, or the other language's translated and cleaned."""
    mix = chain.config.data_mix
    if language == mix.target_language and mix.target == "translate":
        return add_clean(chain, "preference")
    source = mix.preference[language]
    return chain.add(
        f"pair.{language}",
        make_step(
            "pair",
            settings={"source": source.identity(), "choice": mix.pairs},
            execution=chain.how("pair", sources={"source": source}),
            label=language,
            unmet=unmet_of({language: source}, "data_mix.preference"),
        ),
    )


def add_clean(chain: Chain, part: str) -> Step:
    """The cleaned translation of the ``sft`` or ``preference`` data of the source language."""
    config, mix = chain.config, chain.config.data_mix
    translated = _translated_data(chain, part)
    # Another version may find another language.
    identifier = (
        {"identifier": {"py3langid": package_version("py3langid")}}
        if config.clean.language or config.clean.copy
        else {}
    )
    if config.translate.round_trip:
        _add_round_trip(chain, part, translated)
    return chain.add(
        f"clean.{part}",
        make_step(
            "clean",
            settings={
                "rules": identity(config.clean),
                **identifier,
                "kind": _kind(part),
                "source_language": mix.source_language,
                "target_language": mix.target_language,
            },
            inputs={"translated": translated.key},
            execution=chain.how("clean"),
            label=translated.label,
        ),
    )


def add_quality(chain: Chain) -> None:
    """Translations of the test sets by the model that translates, and their scores."""
    config, template = chain.config, chain.config.quality.template
    if template is None:
        return
    how = {name: getattr(config.translate, name) for name in execution(config.translate)}
    template = dataclasses.replace(template, **{**how, "name": template.name})
    for name, test in config.quality.tests.items():
        for direction in test.directions:
            source_language, target_language = direction.split("-")
            for shots in config.quality.shots:
                role = f"{name}.{direction}.{shots}shot"
                source, references = test.lines[source_language], test.lines[target_language]
                step = _add_translate(
                    chain,
                    role,
                    (source_language, target_language),
                    "lines",
                    with_shots(template, shots),
                    sources={"source": source},
                    unmet=unmet_of({source_language: source}, f"quality.tests.{name}.lines"),
                    option="quality.template",
                )
                _add_scores(chain, role, step, references, f"quality.tests.{name}.lines")


def with_shots(settings: Translate, count: int) -> Translate:
    """The settings with so many examples before every line."""
    shots = {name: dataclasses.replace(one, count=count) for name, one in settings.shots.items()}
    return dataclasses.replace(settings, shots=shots)


def _translated_data(chain: Chain, part: str) -> Step:
    mix = chain.config.data_mix
    languages = (mix.source_language, mix.target_language)
    if part == "preference":
        pairs = add_pairs(chain, mix.source_language)
        return _add_translate(chain, part, languages, "pairs", chain.config.translate, inputs={"pairs": pairs.key})
    source = mix.sft[mix.source_language]
    unmet = unmet_of({mix.source_language: source}, "data_mix.sft")
    return _add_translate(
        chain, part, languages, "conversations", chain.config.translate, sources={"source": source}, unmet=unmet
    )


def _add_translate(
    chain: Chain,
    role: str,
    languages: tuple[str, str],
    kind: Kind,
    settings: Translate,
    *,
    sources: dict[str, Source] | None = None,
    inputs: dict[str, str] | None = None,
    unmet: list[str] | None = None,
    option: str = "translate",
) -> Step:
    model_setting, model_input, model_unmet = translator(chain)
    sources = sources or {}
    examples = shot_sources(settings, *languages)
    how = chain.how("translate", settings, {**sources, **examples})
    return chain.add(
        f"translate.{role}",
        make_step(
            "translate",
            settings={
                **model_setting,
                "translate": _identity(settings, languages),
                "kind": kind,
                "source_language": languages[0],
                "target_language": languages[1],
                **{name: source.identity() for name, source in sources.items()},
            },
            inputs={**model_input, **(inputs or {})},
            execution={**how, **chain.base_folder()},
            label=f"{role}, {'-'.join(languages)}, {settings.name}",
            unmet=[*model_unmet, *(unmet or []), *_unmet_examples(settings, languages, option)],
        ),
    )


def translator(chain: Chain) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """The model that translates as (setting, input, what is unmet): the base model, or what a server says it serves."""
    served = served_model(chain.config)
    return ({"served": served}, {}, []) if served else chain.base()


def served_model(config: Config) -> str | None:
    """The name of the model that translates, where that is one on a server that is there already."""
    return config.engine.openai.model if config.translate.engine == "openai" and config.engine.openai.url else None


def _identity(settings: Translate, languages: tuple[str, str]) -> dict[str, Any]:
    """What of the settings decides a translation in this direction: other languages' names and files do not."""
    found: dict[str, Any] = {**identity(settings), **settings.words(*languages)}
    if not any(one.count for one in settings.shots.values()):  # the form of examples that there are none of
        found |= {"shot": "{src}{trg}", "joiner": ""}
    for name, one in settings.shots.items():
        recorded = found["shots"][name]
        for item in ("examples", "rows", "pairs"):
            recorded.pop(item, None)
        if one.count and one.pairs:
            pairs = one.pairs[: one.count]
            recorded["pairs"] = [
                {language: pair[language] for language in languages if language in pair} for pair in pairs
            ]
        elif one.count:
            recorded["examples"] = {name: lines.identity() for name, lines in one.files.items() if name in languages}
            recorded["rows"] = list(one.rows[: one.count])
    return found


def _unmet_examples(settings: Translate, languages: tuple[str, str], option: str) -> list[str]:
    found = []
    for name, one in settings.shots.items():
        named = {language: one.files[language] for language in languages if language in one.files}
        found += unmet_of(named, f"{option}.shots.{name}.examples")
    return found


def _add_round_trip(chain: Chain, part: str, forward: Step) -> None:
    """The translation translated back, and how near it comes to where it began."""
    mix = chain.config.data_mix
    back = _add_translate(
        chain,
        f"{part}.back",
        (mix.target_language, mix.source_language),
        _kind(part),
        chain.config.translate,
        inputs={"translated": forward.key},
    )
    settings = {
        "metrics": ["chrf"],
        "scorers": versions.identity(),
        "source_language": mix.target_language,
        "target_language": mix.source_language,
    }
    chain.add(
        f"quality.{part}.round_trip",
        make_step(
            "quality",
            settings=settings,
            inputs={"translated": back.key, "original": forward.key},
            execution=chain.how("quality"),
            label=f"{part}, round trip",
        ),
    )


def _add_scores(chain: Chain, role: str, translated: Step, references: Source, option: str) -> None:
    quality = chain.config.quality
    chain.add(
        f"quality.{role}",
        make_step(
            "quality",
            settings={
                "metrics": list(quality.metrics),
                "scorers": versions.identity(),
                "spbleu_tokenizer": quality.spbleu_tokenizer,
                "source_language": translated.settings["source_language"],
                "target_language": translated.settings["target_language"],
                "references": references.identity(),
            },
            inputs={"translated": translated.key},
            execution=chain.how("quality", quality, {"references": references}),
            label=role,
            unmet=unmet_of({references.language: references}, option),
        ),
    )


def _kind(part: str) -> Kind:
    return "pairs" if part == "preference" else "conversations"
