"""A text to be judged, with what is costly to find out about it remembered, and the loose readings of a response."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from experiment.scoring.identify import langdetect_or_none


class Text:
    """One reading of a response."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def language(self) -> str | None:
        """What langdetect calls it (ISO 639-1), None where it finds no features."""
        return langdetect_or_none(self.text)

    @cached_property
    def lower_language(self) -> str | None:
        """The same of the text in lower case: langdetect passes over most of what stands in capitals."""
        return langdetect_or_none(self.text.lower())


# Whether a text, which is never empty or blank, follows an instruction.
Check = Callable[[Text], bool]


def readings(response: str) -> list[Text]:
    """The response as it is, then lm_eval's looser readings of it: without first or last line or asterisks.

    lm_eval checks eight texts, whether they differ or not; these are the different ones that are not blank.
    """
    lines = response.split("\n")
    cut = [response, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    found = dict.fromkeys([*cut, *(text.replace("*", "") for text in cut)])
    return [Text(text) for text in found if text.strip()]
