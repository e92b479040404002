"""lm_eval's IFEval checkers: one check for each instruction of a prompt, with lm_eval's verdict on any text.

Where a checker takes time that grows with the square of the text's length, or asks the unseeded langdetect, another way
to the same verdict stands in for it (``linear.py``).
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import random
import re
import threading
from collections.abc import Iterator
from typing import Any

from experiment.errors import DataError
from experiment.scoring.linear import LINEAR
from experiment.scoring.text import Check
from experiment.sources.records import BenchmarkPrompt

GUESSES_SEED = 0
# Kwargs that lm_eval would take letter by letter if they were one text.
_WORDS = frozenset({"keywords", "forbidden_words"})
_GUESSING = threading.Lock()


def lm_checks(prompt: BenchmarkPrompt) -> list[Check]:
    """One check an instruction.

    Raises:
        DataError: an instruction id or its kwargs are unknown to lm_eval's checkers, or kwargs are missing.
    """
    registry = checkers()
    for instruction_id, kwargs in zip(prompt.instruction_ids, prompt.kwargs, strict=True):
        if instruction_id not in registry:
            close = difflib.get_close_matches(instruction_id, registry, n=1)
            raise DataError(
                f"prompt {prompt.key}: lm_eval has no checker for the instruction {instruction_id}"
                f"{f' (did you mean {close[0]}?)' if close else ''}; check the prompts' instruction_id_list"
            )
        _refuse_missing(prompt.key, instruction_id, kwargs, registry)
    with _same_guesses():
        return [_check(prompt, index, registry) for index in range(len(prompt.instruction_ids))]


def _check(prompt: BenchmarkPrompt, index: int, registry: Any) -> Check:
    instruction_id, kwargs = prompt.instruction_ids[index], prompt.kwargs[index]
    instruction = registry[instruction_id](instruction_id)
    try:
        instruction.build_description(**{name: value for name, value in kwargs.items() if value})
        args = instruction.get_instruction_args()
        if args and "prompt" in args:
            instruction.build_description(prompt=prompt.prompt)
        other = LINEAR.get(instruction_id)
        check: Check = other(instruction) if other else lambda text: bool(instruction.check_following(text.text))
    except (KeyError, TypeError, ValueError, AttributeError, re.error) as error:
        raise DataError(
            f"prompt {prompt.key}: lm_eval's checkers do not take the instruction {instruction_id} with the kwargs "
            f"{kwargs}: {type(error).__name__}: {error}"
        ) from None
    return check


def _refuse_missing(key: int, instruction_id: str, kwargs: dict[str, Any], registry: Any) -> None:
    """lm_eval makes up, at random, what is missing, and takes 0 and empty values for missing."""
    names = registry[instruction_id](instruction_id).get_instruction_args_keys()
    missing = [name for name in names if not kwargs.get(name)]
    if missing:
        raise DataError(f"prompt {key}: {instruction_id} needs values for {', '.join(missing)} in its kwargs")
    for name in _WORDS & set(names):
        words = kwargs[name]
        if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
            raise DataError(f"prompt {key}: {instruction_id} needs a list of words as {name}, not {words!r}")


@contextlib.contextmanager
def _same_guesses() -> Iterator[None]:
    """Let lm_eval draw the same each time: it draws a letter where IFEval's prompts 1122 and 1129 count '#' and '!'."""
    with _GUESSING:
        state = random.getstate()
        random.seed(GUESSES_SEED)
        try:
            yield
        finally:
            random.setstate(state)


@functools.lru_cache(maxsize=1)
def checkers() -> dict[str, Any]:
    """lm_eval's checker classes by instruction id."""
    with _no_downloads():
        from lm_eval.tasks.ifeval import instructions_registry
    return dict(instructions_registry.INSTRUCTION_DICT)


@contextlib.contextmanager
def _no_downloads() -> Iterator[None]:
    """lm_eval fetches punkt_tab from the network as it is imported; what is missing is told at plan time instead."""
    import nltk

    download = nltk.download
    nltk.download = lambda *_args, **_kwargs: False
    try:
        with contextlib.redirect_stdout(None):
            yield
    finally:
        nltk.download = download
