"""The settings of translation quality: which test sets, which directions, how many examples, which metrics."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from pydantic import NonNegativeInt
from pydantic.dataclasses import dataclass

from experiment.door import DOOR, NOT_HASHED
from experiment.sources.source import Source
from experiment.translation.settings import Translate

Metric = Literal["bleu", "chrf", "spbleu", "comet"]


@dataclass(frozen=True, kw_only=True, config=DOOR)
class TestSet:
    """The same sentences in several languages, a source of lines each; ``directions`` are pairs such as ``en-fi``."""

    lines: dict[str, Source]
    directions: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse directions between languages that are not there."""
        for direction in self.directions:
            languages = direction.split("-")
            if len(languages) != 2 or not set(languages) <= set(self.lines):
                raise ValueError(
                    f"a direction is two of the languages {', '.join(sorted(self.lines))} with a hyphen between them; "
                    f"came: {direction}"
                )


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Quality:
    """How well the model translates where there are references: each test set, direction and number of ``shots``.

    ``template`` is how it is asked; what carries that out (engine, batches) is as for the data's own translation.
    """

    name: str
    tests: dict[str, TestSet] = field(default_factory=dict)
    shots: tuple[NonNegativeInt, ...] = ()
    metrics: tuple[Metric, ...] = ("bleu", "chrf", "spbleu")
    spbleu_tokenizer: Literal["flores101", "flores200"] = "flores101"
    template: Translate | None = None
    gpus: NonNegativeInt = field(default=0, metadata=NOT_HASHED)  # for COMET

    def __post_init__(self) -> None:
        """Refuse test sets that nothing would be translated of."""
        if self.tests and not self.shots:
            raise ValueError("quality.shots is empty: name at least one number of examples, such as 0 or 8")
        if self.tests and self.template is None:
            raise ValueError("quality.template is not set: put +translate@quality.template=plain (or another)")
