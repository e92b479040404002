"""Instructions that a prompt carries but does not ask for, as far as its text or a reference can tell.

A benchmark that was translated and uploaded again may carry ``language:response_language: fi`` on prompts that never
mention a language; answers are then judged by what nobody asked for, or the prompt is excluded for it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from experiment.scoring.rules import RESPONSE_LANGUAGE
from experiment.scoring.spoken import LANGUAGE_NAMES, NUMBERS
from experiment.sources.records import BenchmarkPrompt

# Bumped when other instructions are found: where they are dropped, that changes which prompts there are.
VERSION = 1


@dataclass(frozen=True)
class Unasked:
    """An instruction that its prompt does not ask for, and why that is thought."""

    key: int
    instruction_id: str
    reason: str


def unasked(
    prompts: Sequence[BenchmarkPrompt], language: str, reference: Sequence[BenchmarkPrompt] | None = None
) -> list[Unasked]:
    """What the prompts do not ask for: what their reference (the same keys, as a rule in English) lacks, or their text.

    Without a reference only what cannot be overlooked in the text is told: a language, a keyword or a number that the
    prompt names nowhere. Of the 834 instructions of IFEval's English prompts that is one (prompt 337 says 400 words,
    its kwargs 336).
    """
    known = {prompt.key: prompt for prompt in reference or ()}
    return [
        found
        for prompt in prompts
        for found in (_beyond(prompt, known[prompt.key]) if prompt.key in known else _unnamed(prompt, language))
    ]


def without(prompts: Sequence[BenchmarkPrompt], language: str) -> list[BenchmarkPrompt]:
    """The prompts without the instructions that they do not ask for; one that is left without any is left out."""
    found: dict[int, set[str]] = {}
    for item in unasked(prompts, language):
        found.setdefault(item.key, set()).add(item.instruction_id)
    return [kept for prompt in prompts if (kept := _without(prompt, found.get(prompt.key, set()))).instruction_ids]


def lost(prompts: Sequence[BenchmarkPrompt], found: Sequence[Unasked], exclude: Sequence[str]) -> list[int]:
    """Keys of the prompts that an exclusion drops, but only for instructions that they do not ask for."""
    not_asked = {(item.key, item.instruction_id) for item in found}
    excluded = {prompt.key: set(prompt.instruction_ids) & set(exclude) for prompt in prompts}
    return [key for key, ids in excluded.items() if ids and all((key, name) in not_asked for name in ids)]


def _without(prompt: BenchmarkPrompt, dropped: set[str]) -> BenchmarkPrompt:
    pairs = zip(prompt.instruction_ids, prompt.kwargs, strict=True)
    kept = [(name, kwargs) for name, kwargs in pairs if name not in dropped]
    return replace(prompt, instruction_ids=tuple(name for name, _ in kept), kwargs=tuple(kwargs for _, kwargs in kept))


def _beyond(prompt: BenchmarkPrompt, reference: BenchmarkPrompt) -> Iterator[Unasked]:
    """More of an instruction than the reference has."""
    more = Counter(prompt.instruction_ids) - Counter(reference.instruction_ids)
    for instruction_id in more:
        yield Unasked(prompt.key, instruction_id, "the prompt with the same key in the reference does not carry it")


def _unnamed(prompt: BenchmarkPrompt, language: str) -> Iterator[Unasked]:
    """Instructions whose kwargs the prompt's text does not name."""
    text = prompt.prompt.casefold()
    for instruction_id, kwargs in zip(prompt.instruction_ids, prompt.kwargs, strict=True):
        tell = _TELLS.get(instruction_id)
        reason = tell(text, kwargs, language) if tell else None
        if reason:
            yield Unasked(prompt.key, instruction_id, reason)


Tell = Callable[[str, Mapping[str, Any], str], str | None]


def _language(text: str, kwargs: Mapping[str, Any], language: str) -> str | None:
    code = str(kwargs.get("language", ""))
    names = [name for known in {"en", language} for name in LANGUAGE_NAMES.get(known, {}).get(code, ())]
    if not names:  # a language whose name is not known here cannot be missed
        return None
    # From the start of a word, so that endings do not matter (suomeksi, suomen kielellä).
    if re.search(rf"\b(?:{'|'.join(map(re.escape, names))})", text) or re.search(rf"[('\"]{code}[)'\"]", text):
        return None
    return f"the prompt does not name the language '{code}'"


def _words(name: str) -> Tell:
    def tell(text: str, kwargs: Mapping[str, Any], language: str) -> str | None:
        given = kwargs.get(name) or ()
        words = [given] if isinstance(given, str) else list(map(str, given))
        missing = [word for word in words if _stem(word, language) not in text]
        # One word may be worded otherwise; that none of them is there is no accident.
        return f"the prompt names none of {', '.join(words)}" if words and len(missing) == len(words) else None

    return tell


def _stem(word: str, language: str) -> str:
    """The part of a word that its inflected forms in a prompt have too, in languages that inflect at the end."""
    word = word.strip().casefold()
    return word if language == "en" else word[: max(3, len(word) - 3)]


def _number(name: str) -> Tell:
    def tell(text: str, kwargs: Mapping[str, Any], language: str) -> str | None:
        number = kwargs.get(name)
        if not isinstance(number, int):
            return None
        # "more than 299", "at most 300" and "no more than 300" are all ways to word one threshold.
        if any(_says(text, near, language) for near in (number - 1, number, number + 1)) or number <= 1:
            return None
        return f"the prompt does not name the number {number} ({name})"

    return tell


def _says(text: str, number: int, language: str) -> bool:
    words = [word for known in {"en", language} for word in NUMBERS.get(known, {}).get(number, ())]
    if any(re.search(rf"\b{re.escape(word)}", text) for word in words):
        return True
    return re.search(rf"(?<!\d){number}(?!\d)", re.sub(r"(?<=\d)[ ,.\u00a0](?=\d{3})", "", text)) is not None


_TELLS: Mapping[str, Tell] = {
    RESPONSE_LANGUAGE: _language,
    "keywords:existence": _words("keywords"),
    "keywords:frequency": _words("keyword"),
    "keywords:forbidden_words": _words("forbidden_words"),
    "length_constraints:number_words": _number("num_words"),
    "length_constraints:number_sentences": _number("num_sentences"),
    "length_constraints:number_paragraphs": _number("num_paragraphs"),
    "detectable_content:number_placeholders": _number("num_placeholders"),
    "detectable_format:number_bullet_lists": _number("num_bullets"),
    "detectable_format:number_highlighted_sections": _number("num_highlights"),
    "detectable_format:multiple_sections": _number("num_sections"),
    "change_case:capital_word_frequency": _number("capital_frequency"),
}
