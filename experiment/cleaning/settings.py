"""The settings of cleaning: each rule with its own section and thresholds; null switches a rule off.

``conf/clean/paper.yaml`` says of each value where it comes from. All of them decide what is left, so all are hashed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from experiment.cleaning.phrases import EXCUSES, REFUSALS
from experiment.door import DOOR, NOT_HASHED

RuleName = Literal[
    "leftovers",
    "empty",
    "unfinished",
    "refusal",
    "copy",
    "language",
    "length_ratio",
    "compression",
    "alphanumeric",
    "code",
    "placeholders",
    "numbers",
    "alignment",
    "same_replies",
]
RULES: tuple[RuleName, ...] = get_args(RuleName)

PlaceholderKind = Literal["bracket", "brace", "percent", "tag", "url", "email"]

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Leftovers:
    """Words of the translation prompt that came out with the translation: it ends before the first of them."""

    marks: tuple[str, ...] = ("END", "<|user|>", "<|assistant|>")
    action: Literal["cut", "drop"] = "cut"

    def __post_init__(self) -> None:
        """Refuse a mark that stands in every text."""
        if not all(mark.strip() for mark in self.marks):
            raise ValueError("marks: expected words of the prompt, found an empty one")

    @property
    def threshold(self) -> str:
        """The rule in a few words."""
        return f"none of {' '.join(self.marks)}" if self.action == "drop" else f"cut at {' '.join(self.marks)}"


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Empty:
    """Source and translation are both empty or both not; ``lines`` is how many lines may have come back empty."""

    lines: NonNegativeInt = 0

    @property
    def threshold(self) -> str:
        """The rule in a few words."""
        return "not empty"


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Unfinished:
    """The translating model came to an end by itself; ``lines`` is how many lines may have reached its limit."""

    lines: NonNegativeInt = 0

    @property
    def threshold(self) -> str:
        """The rule in a few words."""
        return f"<= {self.lines} lines cut off"


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Refusal:
    """The model speaks for itself where it should translate; lists by language (ISO 639-1), in small letters.

    ``phrases`` of both languages are looked for in the translation. A source with one of its language's ``excuses``, or
    with one of its phrases, is such a text itself.
    """

    phrases: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict(REFUSALS))
    excuses: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict(EXCUSES))
    within: PositiveInt = 200  # characters from the start of the text in which a phrase counts

    @property
    def threshold(self) -> str:
        """The rule in a few words."""
        return f"no such phrase within {self.within} characters"


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Copy:
    """The source left as it was: the share ``most`` of its groups of ``group`` words may stand in the translation.

    Names (groups of mostly capitalised words), numbers and code are no words. ``run`` groups in a row are let pass, and
    more where they are not in the source language (by the identifier, with 0.9 or more): code, foreign names.
    """

    most: Share = 0.5
    group: PositiveInt = 4
    run: PositiveInt = 8

    @property
    def threshold(self) -> str:
        """The rule in a few words."""
        return f"<= {self.most:g}"


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Language:
    """The identifier's probability of the target language; texts with fewer ``letters`` are not judged.

    ``among`` restricts the identifier to some languages (ISO 639-1); empty: all that it knows.
    """

    least: Share = 0.9
    letters: NonNegativeInt = 40
    among: tuple[str, ...] = ()

    @property
    def threshold(self) -> str:
        """The rule in a few words."""
        return f">= {self.least:g}"


@dataclass(frozen=True, kw_only=True, config=DOOR)
class LengthRatio:
    """Characters of the translation for each of the source; ``slack`` characters more or less are always allowed."""

    most: PositiveFloat = 1.5
    least: Annotated[float, Field(ge=0)] = 0.5
    slack: NonNegativeInt = 10

    def __post_init__(self) -> None:
        """Refuse bounds that leave nothing."""
        if self.least >= self.most:
            raise ValueError(f"length_ratio.least={self.least:g} must be below length_ratio.most={self.most:g}")

    @property
    def threshold(self) -> str:
        """The rule in a few words."""
        return f"{self.least:g} to {self.most:g}"


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Compression:
    """gzip-compressed bytes for each character: repetition compresses well.

    ``relative`` is what a translation of ``from_characters`` or more has at least of its source's value. With
    ``as_source`` a translation below ``least`` passes if its source is so too: it repeats what the source repeats.
    """

    least: PositiveFloat = 0.3
    relative: Annotated[float, Field(ge=0)] = 0.75
    from_characters: PositiveInt = 100
    as_source: bool = True

    @property
    def threshold(self) -> str:
        """The rule in a few words."""
        return f">= {self.least:g}" + (f", and {self.relative:g} of the source's" if self.relative else "")


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Alphanumeric:
    """The share of characters that are neither letters nor digits; white space counts only if ``white_space``.

    With ``as_source`` a translation passes if its source is above ``most`` too: code, tables, drawings.
    """

    most: Share = 0.3
    white_space: bool = False
    as_source: bool = True

    @property
    def threshold(self) -> str:
        """The rule in a few words."""
        return f"<= {self.most:g}"


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Code:
    """Fenced code blocks of the source stand in the translation, byte for byte; below 1 that share of their lines."""

    least: Share = 1.0

    @property
    def threshold(self) -> str:
        """The rule in a few words."""
        return "unchanged" if self.least == 1 else f">= {self.least:g} of the lines"


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Placeholders:
    """What must not be translated stands in both; ``most_lost`` is the share of them that may be missing."""

    kinds: tuple[PlaceholderKind, ...] = ("brace", "percent", "tag", "url", "email")
    most_lost: Share = 0.0

    @property
    def threshold(self) -> str:
        """The rule in a few words."""
        return f"<= {self.most_lost:g} lost"


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Numbers:
    """Numbers of the source, in digits, stand in the translation; ``most_lost`` is the share of them that may not."""

    most_lost: Share = 0.5

    @property
    def threshold(self) -> str:
        """The rule in a few words."""
        return f"<= {self.most_lost:g} lost"


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Alignment:
    """Source and translation are of one another: their lines, sentence marks, numbers and names tell.

    One has at most ``lines`` times the other's lines that are not blank. With ``marks`` a question stays one, and a
    translation shorter than its source does not break off in mid-sentence (false: for languages without such marks).
    If the source has ``anchors`` numbers and names or more, at least the share ``least`` of them is found again.
    """

    lines: Annotated[float, Field(ge=1)] = 1.2
    marks: bool = True
    anchors: PositiveInt = 6
    least: Share = 0.1

    @property
    def threshold(self) -> str:
        """The rule in a few words."""
        marks = ", same marks" if self.marks else ""
        return f"lines <= {self.lines:g} times{marks}, names >= {self.least:g}"


@dataclass(frozen=True, kw_only=True, config=DOOR)
class SameReplies:
    """The chosen and the rejected reply of a pair are not the same text."""

    @property
    def threshold(self) -> str:
        """The rule in a few words."""
        return "different"


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Clean:
    """What is thrown away; a row that breaks several rules is dropped by the first of them in ``order``."""

    name: str = field(default="paper", metadata=NOT_HASHED)
    order: tuple[RuleName, ...] = RULES
    leftovers: Leftovers | None = field(default_factory=Leftovers)
    empty: Empty | None = field(default_factory=Empty)
    unfinished: Unfinished | None = field(default_factory=Unfinished)
    refusal: Refusal | None = field(default_factory=Refusal)
    copy: Copy | None = field(default_factory=Copy)
    language: Language | None = field(default_factory=Language)
    length_ratio: LengthRatio | None = field(default_factory=LengthRatio)
    compression: Compression | None = field(default_factory=Compression)
    alphanumeric: Alphanumeric | None = field(default_factory=Alphanumeric)
    code: Code | None = field(default_factory=Code)
    placeholders: Placeholders | None = field(default_factory=Placeholders)
    numbers: Numbers | None = field(default_factory=Numbers)
    alignment: Alignment | None = field(default_factory=Alignment)
    same_replies: SameReplies | None = field(default_factory=SameReplies)

    def __post_init__(self) -> None:
        """Refuse an order that leaves rules out: null switches a rule off, in one place only."""
        if sorted(self.order) != sorted(RULES):
            raise ValueError(f"order: expected each rule once: {', '.join(RULES)}; null switches one off")

    def sections(self) -> Iterator[tuple[RuleName, Any]]:
        """The rules that are on, in order, with their sections."""
        for name in self.order:
            if (section := getattr(self, name)) is not None:
                yield name, section
