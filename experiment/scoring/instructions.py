"""IFEval's instructions as data: which kwargs each takes, and of what kind; known without importing lm_eval.

A test holds the table equal to lm_eval's registry. What does not fit it would end in a traceback, or make lm_eval draw
the missing value at random, after the answers were paid for.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from experiment.sources.records import BenchmarkPrompt

Kind = Literal["number", "text", "texts", "relation", "language"]

RELATIONS = ("less than", "at least")

# By instruction id: the names of its kwargs, all of them needed, and what each must be.
KWARGS: Mapping[str, Mapping[str, Kind]] = {
    "keywords:existence": {"keywords": "texts"},
    "keywords:frequency": {"keyword": "text", "frequency": "number", "relation": "relation"},
    "keywords:forbidden_words": {"forbidden_words": "texts"},
    "keywords:letter_frequency": {"letter": "text", "let_frequency": "number", "let_relation": "relation"},
    "language:response_language": {"language": "language"},
    "length_constraints:number_sentences": {"num_sentences": "number", "relation": "relation"},
    "length_constraints:number_paragraphs": {"num_paragraphs": "number"},
    "length_constraints:number_words": {"num_words": "number", "relation": "relation"},
    "length_constraints:nth_paragraph_first_word": {
        "num_paragraphs": "number",
        "nth_paragraph": "number",
        "first_word": "text",
    },
    "detectable_content:number_placeholders": {"num_placeholders": "number"},
    "detectable_content:postscript": {"postscript_marker": "text"},
    "detectable_format:number_bullet_lists": {"num_bullets": "number"},
    "detectable_format:constrained_response": {},
    "detectable_format:number_highlighted_sections": {"num_highlights": "number"},
    "detectable_format:multiple_sections": {"section_spliter": "text", "num_sections": "number"},
    "detectable_format:json_format": {},
    "detectable_format:title": {},
    "combination:two_responses": {},
    "combination:repeat_prompt": {"prompt_to_repeat": "text"},
    "startend:end_checker": {"end_phrase": "text"},
    "startend:quotation": {},
    "change_case:capital_word_frequency": {"capital_frequency": "number", "capital_relation": "relation"},
    "change_case:english_capital": {},
    "change_case:english_lowercase": {},
    "punctuation:no_comma": {},
}

# The languages that lm_eval's checker of the answer's language takes (ISO 639-1).
_LANGUAGES = "ar bg bn de en es fa fi fr gu he hi it ja kn ko ml mr ne pa pl pt ru sw ta te th uk ur vi"
LANGUAGES = frozenset(_LANGUAGES.split())

# Kwargs that lm_eval reads as regular expressions; it puts a marker in lower case first, which can break it.
_PATTERNS = frozenset({"keywords", "keyword", "forbidden_words", "section_spliter", "postscript_marker"})


def faults(prompt: BenchmarkPrompt) -> Iterator[str]:
    """What in a prompt's instructions cannot be judged, a line each: what was expected, what came, what to do."""
    for instruction_id, kwargs in zip(prompt.instruction_ids, prompt.kwargs, strict=True):
        for fault in _faults(instruction_id, kwargs):
            yield f"prompt {prompt.key}: {fault}"


def _faults(instruction_id: str, kwargs: Mapping[str, Any]) -> Iterator[str]:
    if instruction_id not in KWARGS:
        close = difflib.get_close_matches(instruction_id, KWARGS, n=1)
        yield (
            f"lm_eval has no checker for the instruction {instruction_id}"
            f"{f' (did you mean {close[0]}?)' if close else ''}; check the prompts' instruction_id_list"
        )
        return
    kinds = KWARGS[instruction_id]
    # As lm_eval has it, 0 and what is empty count as missing, and what is missing would be drawn at random.
    missing = [name for name in kinds if _missing(kwargs.get(name))]
    if missing:
        yield f"{instruction_id} needs values for {', '.join(missing)} in its kwargs"
    for name, value in kwargs.items():
        if not _missing(value):
            expected = _expected(kinds[name], name, value) if name in kinds else _no_such(kinds)
            if expected:
                yield f"{instruction_id} expects {expected}; its kwargs have {name}={value!r}: mend the prompts' kwargs"
    yield from _beyond(instruction_id, kwargs)


def _missing(value: Any) -> bool:
    return value is None or value == 0 or value == "" or value == [] or value == {} or value == ()


def _no_such(kinds: Mapping[str, Kind]) -> str:
    return f"no other kwargs than {', '.join(kinds)}" if kinds else "no kwargs"


def _expected(kind: Kind, name: str, value: Any) -> str | None:
    """What was expected in the place of a value that does not do."""
    texts = [value] if kind == "text" else value
    match kind:
        case "number":
            is_number = isinstance(value, int) and not isinstance(value, bool) and value > 0
            return None if is_number else f"a whole number above 0 as {name}"
        case "relation":
            return None if value in RELATIONS else f"{' or '.join(map(repr, RELATIONS))} as {name}"
        case "language":
            known = isinstance(value, str) and value in LANGUAGES
            return None if known else f"one of lm_eval's languages ({', '.join(sorted(LANGUAGES))}) as {name}"
        case "text" if not isinstance(value, str):
            return f"a text as {name}"
        case "texts" if not isinstance(value, list | tuple) or not all(isinstance(word, str) for word in value):
            return f"a list of words as {name}"
    broken = [fault for text in texts if (fault := _broken(text))] if name in _PATTERNS else []
    return f"{name} that can be read as a regular expression, as lm_eval does ({broken[0]})" if broken else None


# Asked of every prompt when all are checked, and again when one is judged.
@functools.lru_cache(maxsize=4096)
def _broken(text: str) -> str | None:
    """Why a text is no regular expression, as it stands or in lower case."""
    for pattern in dict.fromkeys((text, text.strip(), text.lower())):
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            return f"{pattern!r}: {error}"
    return None


def _beyond(instruction_id: str, kwargs: Mapping[str, Any]) -> Iterator[str]:
    """A paragraph that is not among those asked for: lm_eval draws another in its place."""
    nth, number = kwargs.get("nth_paragraph"), kwargs.get("num_paragraphs")
    if isinstance(nth, int) and isinstance(number, int) and nth > number > 0:
        yield (
            f"{instruction_id} expects nth_paragraph to be one of the {number} of num_paragraphs; its kwargs have "
            f"nth_paragraph={nth}: mend the prompts' kwargs"
        )
