"""lm_eval's IFEval checkers: one check for each instruction of a prompt, with lm_eval's verdict on any text.

Where a checker takes time that grows with the square of the text's length, or asks the unseeded langdetect, another way
to the same verdict stands in for it (``linear.py``).
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import re
import threading
from collections.abc import Iterator
from typing import Any

from experiment.errors import DataError
from experiment.scoring.instructions import faults
from experiment.scoring.linear import LINEAR
from experiment.scoring.text import Check
from experiment.sources.records import BenchmarkPrompt

GUESSES_SEED = 0
_GUESSING = threading.Lock()


def _fresh_lock() -> None:
    global _GUESSING  # the thread that held the other one is not in a process forked off
    _GUESSING = threading.Lock()


os.register_at_fork(after_in_child=_fresh_lock)


def lm_checks(prompt: BenchmarkPrompt) -> list[Check]:
    """One check an instruction.

    Raises:
        DataError: an instruction id or its kwargs are unknown to lm_eval's checkers, or kwargs are missing.
    """
    for fault in faults(prompt):
        raise DataError(fault)
    registry = checkers()
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
    except WRONG_KWARGS as error:
        raise not_taken(prompt, index, error) from error
    return check


# What checkers and rules end in when they are given kwargs that they cannot use.
WRONG_KWARGS = (TypeError, AttributeError, ValueError, LookupError, ArithmeticError, RecursionError, re.error)


def not_taken(prompt: BenchmarkPrompt, index: int, error: Exception) -> DataError:
    """The error for an instruction that the checkers cannot judge with its kwargs."""
    return DataError(
        f"prompt {prompt.key}: the checkers do not take the instruction {prompt.instruction_ids[index]} with the "
        f"kwargs {prompt.kwargs[index]} ({type(error).__name__}: {error}): mend the prompts' kwargs, or leave it out "
        f"with benchmark.exclude_instructions=[{prompt.instruction_ids[index]}]"
    )


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
