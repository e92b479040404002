"""Metrics: from verdicts to numbers. A number in a table is correct/total of one of these, kept apart by prompt."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from sys import intern

import numpy as np
from numpy.typing import NDArray

from experiment.errors import KirjoError
from experiment.scoring.verdict import LANGDETECT, PAPER, Verdict


@dataclass(frozen=True)
class Count:
    """``correct`` out of ``total``."""

    correct: int
    total: int

    @property
    def share(self) -> float:
        """From 0 to 1; nothing of nothing is 0."""
        return self.correct / self.total if self.total else 0.0

    @property
    def truncated(self) -> str:
        """The share in percent, cut (not rounded) to two decimals as the paper prints it."""
        hundredths = 10_000 * self.correct // self.total if self.total else 0
        return f"{hundredths // 100}.{hundredths % 100:02d}"

    @property
    def rounded(self) -> str:
        """The share in percent, rounded to two decimals."""
        return f"{100 * self.share:.2f}"


@dataclass(frozen=True)
class Scored:
    """The verdicts on the answers of one run in one language, as arrays over its P prompts and I instructions.

    Prompts are in ascending order of their keys, so the same prompts have the same places in every run.
    """

    keys: NDArray[np.int64]  # [P]
    prompt: NDArray[np.intp]  # [I], place of each instruction's prompt
    instruction_ids: tuple[str, ...]  # [I]
    strict: Mapping[str, NDArray[np.bool_]]  # by rule set, [I]
    loose: Mapping[str, NDArray[np.bool_]]  # by rule set, [I]
    languages: Mapping[str, tuple[str, ...]]  # by identifier, [P]
    asked: tuple[str, ...]  # [P]

    @classmethod
    def of(cls, verdicts: Sequence[Verdict]) -> Scored:
        """The arrays of some verdicts, given in any order."""
        verdicts = sorted(verdicts, key=attrgetter("key", "instruction"))
        keys, first, prompt = np.unique(
            np.array([verdict.key for verdict in verdicts], dtype=np.int64), return_index=True, return_inverse=True
        )
        rows = [verdicts[index] for index in first]
        rules = sorted(verdicts[0].strict, key=lambda name: (name != PAPER, name)) if verdicts else [PAPER]
        identifiers = tuple(rows[0].language) if rows else (LANGDETECT,)
        return cls(
            keys,
            prompt.astype(np.intp),
            # The same few words in thousands of runs: one of each takes no memory.
            tuple([intern(verdict.instruction_id) for verdict in verdicts]),
            {name: np.array([verdict.strict[name] for verdict in verdicts], dtype=bool) for name in rules},
            {name: np.array([verdict.loose[name] for verdict in verdicts], dtype=bool) for name in rules},
            {name: tuple([intern(row.language[name]) for row in rows]) for name in identifiers},
            tuple([intern(row.asked_language) for row in rows]),
        )

    @property
    def rules(self) -> tuple[str, ...]:
        """The rule sets there are verdicts of."""
        return tuple(self.strict)

    @cached_property
    def _in_language(self) -> dict[str, NDArray[np.bool_]]:
        return {}

    def in_language(self, identifier: str = LANGDETECT) -> NDArray[np.bool_]:
        """Whether each response is in the language its prompt asks for, [P]."""
        if identifier not in self._in_language:
            same = map(str.__eq__, self.languages[identifier], self.asked)
            self._in_language[identifier] = np.fromiter(same, dtype=bool, count=len(self.asked))
        return self._in_language[identifier]


@dataclass(frozen=True)
class Tally:
    """A metric's count, prompt by prompt: prompts are what is resampled, the instructions of one stay together."""

    keys: NDArray[np.int64]  # [P]
    correct: NDArray[np.int64]  # [P]
    total: NDArray[np.int64]  # [P]; prompts that have nothing to count are left out, so never 0

    @property
    def count(self) -> Count:
        """The sum over the prompts."""
        return Count(int(self.correct.sum()), int(self.total.sum()))


@dataclass(frozen=True)
class Metric:
    """How verdicts are counted; ``per_instruction`` metrics can be asked for by category."""

    description: str
    per_instruction: bool
    followed: Callable[[Scored, str], NDArray[np.bool_]]  # [I] if per_instruction, else [P]


def _all_of_prompt(scored: Scored, followed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether all instructions of a prompt were followed, [P] (arXiv 2311.07911, section 3)."""
    missed = np.zeros(len(scored.keys), dtype=bool)
    np.logical_or.at(missed, scored.prompt, ~followed)
    return ~missed


def _others(scored: Scored) -> list[str]:
    return [name for name in scored.languages if name != LANGDETECT]


def _disagree(scored: Scored) -> NDArray[np.bool_]:
    mine = scored.languages[LANGDETECT]
    return np.array(
        [any(scored.languages[name][place] != mine[place] for name in _others(scored)) for place in range(len(mine))],
        dtype=bool,
    )


METRICS: dict[str, Metric] = {
    "instruction_strict": Metric("instructions followed", True, lambda scored, rules: scored.strict[rules]),
    "instruction_loose": Metric(
        "instructions followed, formatting around the answer forgiven", True, lambda scored, rules: scored.loose[rules]
    ),
    "prompt_strict": Metric(
        "prompts all of whose instructions were followed",
        False,
        lambda scored, rules: _all_of_prompt(scored, scored.strict[rules]),
    ),
    "prompt_loose": Metric(
        "prompts all of whose instructions were followed, formatting around the answer forgiven",
        False,
        lambda scored, rules: _all_of_prompt(scored, scored.loose[rules]),
    ),
    "response_language": Metric(
        "responses in the language asked for, by langdetect", False, lambda scored, _rules: scored.in_language()
    ),
    "response_language_second": Metric(
        "responses in the language asked for, by the second identifier",
        False,
        lambda scored, _rules: scored.in_language(_others(scored)[0]),
    ),
    "identifiers_disagree": Metric(
        "responses whose language the two identifiers name differently", False, lambda scored, _rules: _disagree(scored)
    ),
    "instruction_strict_in_language": Metric(
        "instructions followed in a response in the language asked for",
        True,
        lambda scored, rules: scored.strict[rules] & scored.in_language()[scored.prompt],
    ),
    "prompt_strict_in_language": Metric(
        "prompts all of whose instructions were followed, in the language asked for",
        False,
        lambda scored, rules: _all_of_prompt(scored, scored.strict[rules]) & scored.in_language(),
    ),
}


def category_of(instruction_id: str) -> str:
    """The group of an instruction id: ``keywords`` of ``keywords:existence``."""
    return instruction_id.partition(":")[0]


def tally(scored: Scored, metric: str, rules: str = PAPER, category: str | None = None) -> Tally:
    """Count a metric prompt by prompt, over all instructions or those of a category or id (``keywords:existence``).

    Raises:
        KirjoError: there is no such metric, rule set or category, or the metric cannot be told by category.
    """
    known = METRICS.get(metric)
    if known is None:
        raise KirjoError(f"there is no metric '{metric}'{_meant(metric, METRICS)}; there are: {', '.join(METRICS)}")
    if rules not in scored.strict:
        raise KirjoError(f"there are no verdicts by a rule set '{rules}'; there are: {', '.join(scored.rules)}")
    followed = known.followed(scored, rules)
    if not known.per_instruction:
        if category is not None:
            raise KirjoError(f"the metric {metric} counts prompts and cannot be told by category ('{category}')")
        return Tally(scored.keys, followed.astype(np.int64), np.ones(len(followed), dtype=np.int64))
    counted = _of_category(scored, category)
    if category is not None and not counted.any():
        names = sorted({category_of(name) for name in scored.instruction_ids} | set(scored.instruction_ids))
        raise KirjoError(f"no instruction is of the category '{category}'; there are: {', '.join(names)}")
    size = len(scored.keys)
    total = np.bincount(scored.prompt[counted], minlength=size).astype(np.int64)
    correct = np.bincount(scored.prompt[counted & followed], minlength=size).astype(np.int64)
    some = total > 0
    return Tally(scored.keys[some], correct[some], total[some])


def _of_category(scored: Scored, category: str | None) -> NDArray[np.bool_]:
    if category is None:
        return np.ones(len(scored.instruction_ids), dtype=bool)
    return np.array([category in (name, category_of(name)) for name in scored.instruction_ids], dtype=bool)


def _meant(name: str, valid: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, valid, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def counts(scored: Scored) -> dict[str, Count]:
    """All metrics under the rule set ``paper``, and the strict accuracies under every other."""
    found = {
        name: tally(scored, name).count for name in METRICS if name != "response_language_second" or _others(scored)
    }
    for rules in scored.rules:
        if rules != PAPER:
            for name in ("instruction_strict", "prompt_strict"):
                found[f"{name}@{rules}"] = tally(scored, name, rules).count
    return found
