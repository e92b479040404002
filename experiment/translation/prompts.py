"""From a line to the prompt that a language model translates it after: examples, then the line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from experiment.engines.engine import Request
from experiment.errors import DataError
from experiment.sources.read import read_lines
from experiment.sources.records import Message
from experiment.translation.settings import ShotSet, Translate, fill

# What ends a line here as in the source (segments.py): a sentence may hold U+2028 or a form feed.
LINE_END = re.compile(r"\r\n|\r|\n")

Shot = tuple[str, str]  # (line, its translation)

# Tokens that an answer may have beyond its share of the line's: a short line may need more words in another language.
SPARE = 32
# A translation that is longer than so many times the line is rare, and thrown away by the paper's rules.
USUAL = 1.5


@dataclass(frozen=True)
class Prompter:
    """Writes prompts in one direction; ``shots`` are the examples of each set of ``settings.shots``, by its name."""

    settings: Translate
    source_language: str
    target_language: str
    shots: Mapping[str, tuple[Shot, ...]]

    @cached_property
    def beginnings(self) -> dict[str, str]:
        """What stands before the line, for each set of examples."""
        return {name: self._beginning(shots) for name, shots in self.shots.items()}

    def set_of(self, line: str) -> str:
        """Which set of examples stands before the line: the first whose limit of words it keeps."""
        words = len(line.split())
        fitting = (name for name, one in self.settings.sets if one.below_words is None or words < one.below_words)
        return next(fitting)

    def prompt(self, line: str) -> str:
        """The whole prompt, up to where the translation begins."""
        return self.prompt_of(self.set_of(line), line)

    def prompt_of(self, name: str, line: str) -> str:
        """The prompt with the examples of the named set."""
        return self.beginnings[name] + self._fill(self.settings.query, line, "")

    def request(self, name: str, line: str, new_tokens: int) -> Request:
        """What an engine is asked for: to go on from the prompt, or to answer it where the model is a chat model."""
        prompt = self.prompt(line)
        if self.settings.chat:
            return Request(name, new_tokens, messages=(Message("user", prompt),), stop=self.settings.stop)
        return Request(name, new_tokens, prompt=prompt, stop=self.settings.stop)

    def new_tokens(self, line_tokens: int) -> int:
        """How many tokens the translation of a line of so many tokens may have."""
        return min(self.settings.max_new_tokens, int(self.settings.growth * line_tokens) + SPARE)

    def fits(self, line_tokens: int, prompt_tokens: int) -> bool:
        """Whether prompt and translation fit into the context, and a translation of the usual length into its limit."""
        return (
            int(USUAL * line_tokens) <= self.settings.max_new_tokens
            and prompt_tokens + self.new_tokens(line_tokens) <= self.settings.context
        )

    def _beginning(self, shots: Sequence[Shot]) -> str:
        return "".join(self._fill(self.settings.shot, *shot) + self.settings.joiner for shot in shots)

    def _fill(self, template: str, line: str, translation: str) -> str:
        names = self.settings.language_names
        values = {
            "src": line,
            "trg": translation,
            "source_language": names.get(self.source_language, self.source_language),
            "target_language": names.get(self.target_language, self.target_language),
            "instruction": self.settings.instructions.get(self.target_language, ""),
        }
        return fill(template, values)


def read_shots(one: ShotSet, source_language: str, target_language: str) -> tuple[Shot, ...]:
    """The examples of a set.

    Raises:
        DataError: the files do not hold them in both languages, or are not aligned.
    """
    if not one.count:
        return ()
    if one.pairs:
        return tuple(_written_out(pair, source_language, target_language) for pair in one.pairs[: one.count])
    sides = [_lines(one, language) for language in (source_language, target_language)]
    if len(sides[0]) != len(sides[1]):
        places = [one.examples[language].where for language in (source_language, target_language)]
        raise DataError(
            f"the files of the examples are not aligned: {places[0]} has {len(sides[0])} lines, {places[1]} has "
            f"{len(sides[1])}"
        )
    rows = one.rows[: one.count] or range(one.count)
    if max(rows) >= len(sides[0]):
        raise DataError(
            f"{one.examples[source_language].where} has {len(sides[0])} lines; the examples ask for line {max(rows)} "
            "(translate.shots, rows: counted from 0)"
        )
    return tuple((sides[0][row], sides[1][row]) for row in rows)


def clean_answer(text: str) -> str:
    """The translation in a model's answer: its first line that holds anything, without the blanks around it."""
    return next((line.strip() for line in LINE_END.split(text) if line.strip()), "")


def _written_out(pair: dict[str, str], source_language: str, target_language: str) -> Shot:
    for language in (source_language, target_language):
        if language not in pair:
            raise DataError(f"an example of translate.shots has no '{language}'; it has: {', '.join(sorted(pair))}")
    return pair[source_language], pair[target_language]


def _lines(one: ShotSet, language: str) -> list[str]:
    if language not in one.examples:
        raise DataError(
            f"translate.shots has no examples in '{language}'; it has: {', '.join(sorted(one.examples)) or 'none'}"
        )
    return read_lines(one.examples[language])
