"""The settings of translation: template, examples, limits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from experiment.door import DOOR, NOT_HASHED
from experiment.engines.settings import EngineName
from experiment.sources.source import Source

# What a template may name.
PLACEHOLDERS = ("src", "trg", "source_language", "target_language", "instruction")


@dataclass(frozen=True, kw_only=True, config=DOOR)
class ShotSet:
    """Examples, and the lines that they stand before: those of fewer than ``below_words`` words, or all that are left.

    They are ``pairs``, written out by language, or else the lines ``rows`` (counted from 0; none named: the first) of
    aligned files, one per language.
    """

    count: NonNegativeInt
    below_words: PositiveInt | None = None
    examples: dict[str, Source] = field(default_factory=dict)
    rows: tuple[NonNegativeInt, ...] = ()
    pairs: tuple[dict[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Refuse examples that are fewer than asked for."""
        if self.pairs and len(self.pairs) < self.count:
            raise ValueError(f"{self.count} examples are asked for (count), {len(self.pairs)} are given (pairs)")
        if self.rows and len(self.rows) < self.count:
            raise ValueError(f"{self.count} examples are asked for (count), {len(self.rows)} are named (rows)")
        if self.count and not self.pairs and not self.examples:
            raise ValueError(f"{self.count} examples are asked for (count), but neither pairs nor examples say which")

    @property
    def files(self) -> dict[str, Source]:
        """The files that are read for it, by language."""
        return {} if self.pairs or not self.count else self.examples


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Translate:
    """How a causal language model is made to translate, a line at a time.

    ``shot`` is written once for each example, ``query`` for the line; ``joiner`` stands between them. ``{src}`` and
    ``{trg}`` are the line and its translation, ``{source_language}`` and ``{target_language}`` the languages' names,
    ``{instruction}`` what the target language is asked for with. Lengths in tokens: an answer may have ``growth`` times
    the line's and ``SPARE`` more, never more than ``max_new_tokens``; a line for which prompt and answer do not fit
    into ``context`` is split at its sentences, with ``unit`` sentence every line.
    """

    name: str = field(metadata=NOT_HASHED)
    shot: str
    joiner: str
    query: str
    stop: tuple[Annotated[str, Field(min_length=1)], ...]
    shots: dict[str, ShotSet]
    max_new_tokens: PositiveInt
    growth: PositiveFloat
    context: PositiveInt
    keep_markers: bool
    language_names: dict[str, str]
    instructions: dict[str, str]
    chat: bool = False
    unit: Literal["line", "sentence"] = "line"
    round_trip: bool = field(default=False, metadata=NOT_HASHED)  # whether there is a step at all, and nothing of any
    engine: EngineName = field(default="transformers", metadata=NOT_HASHED)
    batch_size: PositiveInt = field(default=64, metadata=NOT_HASHED)
    shard_rows: PositiveInt = field(default=512, metadata=NOT_HASHED)

    def __post_init__(self) -> None:
        """Refuse a template that could not be filled in, and examples that no line would have."""
        _check_template("shot", self.shot, needs=("src", "trg"))
        _check_template("query", self.query, needs=("src",), never=("trg",))
        limits = [one.below_words for one in self.shots.values()]
        if limits.count(None) != 1 or len(set(limits)) != len(limits):
            raise ValueError(
                "shots: each set has another below_words, and one has null: it is for all lines that are left; "
                f"came: {', '.join(f'{name}: {one.below_words}' for name, one in self.shots.items()) or 'none'}"
            )
        if self.max_new_tokens >= self.context:
            raise ValueError(
                f"max_new_tokens={self.max_new_tokens} leaves no room for a prompt in context={self.context}"
            )

    @property
    def sets(self) -> tuple[tuple[str, ShotSet], ...]:
        """The sets of examples by name, in the order in which a line is offered to them."""
        limit = {name: one.below_words for name, one in self.shots.items()}
        return tuple(sorted(self.shots.items(), key=lambda item: limit[item[0]] or float("inf")))

    def words(self, source_language: str, target_language: str) -> dict[str, dict[str, str | None]]:
        """The words that the template needs of a direction, by option and language; None where there are none."""
        named = placeholders(self.shot + self.query if any(one.count for one in self.shots.values()) else self.query)
        return {
            "language_names": {
                language: self.language_names.get(language)
                for placeholder, language in (
                    ("source_language", source_language),
                    ("target_language", target_language),
                )
                if placeholder in named
            },
            "instructions": {target_language: self.instructions.get(target_language)} if "instruction" in named else {},
        }

    def check_languages(self, source_language: str, target_language: str) -> None:
        """Refuse languages that the template needs words of and has none.

        Raises:
            ValueError: says which option to set.
        """
        for option, words in self.words(source_language, target_language).items():
            known = ", ".join(sorted(getattr(self, option))) or "none"
            for language, word in words.items():
                if word is None:
                    raise ValueError(
                        f"the template {self.name} needs a word for '{language}': +translate.{option}.{language}=WORD; "
                        f"there are: {known}"
                    )


def placeholders(template: str) -> list[str]:
    """The names in braces of a template; braces around anything but a word are text."""
    return re.findall(r"{(\w+)}", template)


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with its placeholders replaced, each once: what stands in a value is text, braces too."""
    return re.sub(r"{(\w+)}", lambda found: values.get(found[1], found[0]), template)


def _check_template(option: str, template: str, needs: tuple[str, ...], never: tuple[str, ...] = ()) -> None:
    names = placeholders(template)
    if missing := [name for name in needs if name not in names]:
        raise ValueError(f"{option} must hold {{{missing[0]}}}; it is: {template!r}")
    if unknown := [name for name in names if name not in PLACEHOLDERS or name in never]:
        allowed = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS if name not in never)
        raise ValueError(f"{option} holds {{{unknown[0]}}}; it may hold: {allowed}")
