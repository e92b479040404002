"""Rules on what a model says besides the translation: words of its prompt, and words of its own."""

from __future__ import annotations

import functools
import re
from dataclasses import replace

from experiment.cleaning.finding import Finding, Languages
from experiment.cleaning.settings import Leftovers, Refusal
from experiment.translation.rows import Part


def leftover(rule: Leftovers, part: Part) -> tuple[int, str] | None:
    """Where in the translation the first mark of the prompt begins, and which; as many as the source has are its."""
    found = []
    for mark in rule.marks:
        pattern = _pattern(mark)
        own = len(pattern.findall(part.source))
        places = [match.start() for match in pattern.finditer(part.text)]
        if len(places) > own:
            found.append((places[own], mark))
    return min(found, default=None)


def cut(rule: Leftovers, part: Part) -> Part | None:
    """The part as it ends before its first leftover, None where there is none to cut."""
    found = leftover(rule, part) if rule.action == "cut" else None
    return replace(part, text=part.text[: found[0]].rstrip()) if found else None


def leftovers(rule: Leftovers, part: Part, _languages: Languages) -> Finding | None:
    """A mark of the prompt in the translation; with ``cut`` there is none left."""
    found = leftover(rule, part)
    return Finding(found[1], f"'{found[1]}' at character {found[0]}") if found else None


def refusal(rule: Refusal, part: Part, languages: Languages) -> Finding | None:
    """A phrase of either language near the start, of a source that is no such text itself."""
    opening = _plain(part.text[: rule.within])
    phrases = [*rule.phrases.get(languages.target, ()), *rule.phrases.get(languages.source, ())]
    said = next((phrase for phrase in phrases if phrase in opening), None)
    if said is None:
        return None
    source = _plain(part.source)
    excuses = [*rule.excuses.get(languages.source, ()), *rule.phrases.get(languages.source, ())]
    return None if any(excuse in source for excuse in excuses) else Finding(said, f"says '{said}'")


def _plain(text: str) -> str:
    return text.casefold().replace("’", "'")


@functools.lru_cache(maxsize=64)
def _pattern(mark: str) -> re.Pattern[str]:
    """The mark, as a word of its own where it is a word."""
    before = r"(?<!\w)" if mark[0].isalnum() else ""
    after = r"(?!\w)" if mark[-1].isalnum() else ""
    return re.compile(before + re.escape(mark) + after)
