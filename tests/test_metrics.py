"""Metrics count verdicts: by hand on a few answers, by rule set, by category, prompt by prompt."""

from __future__ import annotations

import random

import pytest

from experiment.errors import KirjoError
from experiment.metrics import METRICS, Count, Scored, counts, tally
from experiment.scoring.verdict import Verdict

# (key, ids, strict by paper, strict by other, loose by both, found by langdetect, found by py3langid)
ANSWERS = (
    (3, ("keywords:existence", "startend:quotation"), (True, False), (True, True), (True, True), "fi", "fi"),
    (1, ("keywords:existence",), (True,), (True,), (True,), "en", "fi"),
    (2, ("startend:quotation", "keywords:frequency"), (False, False), (False, True), (False, True), "fi", "et"),
)


def made(shuffle: int | None = None) -> list[Verdict]:
    verdicts = [
        Verdict(
            key,
            place,
            instruction_id,
            {"finnish": other[place], "paper": paper[place]},
            {"finnish": loose[place], "paper": loose[place]},
            {"langdetect": first, "py3langid": second},
            "fi",
        )
        for key, ids, paper, other, loose, first, second in ANSWERS
        for place, instruction_id in enumerate(ids)
    ]
    if shuffle is not None:
        random.Random(shuffle).shuffle(verdicts)
    return verdicts


EXPECTED = {
    "instruction_strict": Count(2, 5),
    "instruction_loose": Count(4, 5),
    "prompt_strict": Count(1, 3),
    "prompt_loose": Count(2, 3),
    "response_language": Count(2, 3),
    "response_language_second": Count(2, 3),
    "identifiers_disagree": Count(2, 3),
    "instruction_strict_in_language": Count(1, 5),
    "prompt_strict_in_language": Count(0, 3),
}


@pytest.mark.parametrize("shuffle", [None, 1, 2])
def test_every_metric_by_hand(shuffle: int | None) -> None:
    scored = Scored.of(made(shuffle))
    assert scored.keys.tolist() == [1, 2, 3]
    assert EXPECTED.keys() == METRICS.keys()
    assert {name: tally(scored, name).count for name in METRICS} == EXPECTED


def test_by_rule_set_and_category() -> None:
    scored = Scored.of(made())
    assert tally(scored, "instruction_strict", "finnish").count == Count(4, 5)
    assert tally(scored, "prompt_strict", "finnish").count == Count(2, 3)
    assert tally(scored, "instruction_strict", category="keywords").count == Count(2, 3)
    assert tally(scored, "instruction_strict", category="keywords:frequency").count == Count(0, 1)
    assert tally(scored, "instruction_strict", category="keywords:frequency").keys.tolist() == [2]


def test_counts_are_those_of_the_paper_and_accuracies_by_other_rules() -> None:
    found = counts(Scored.of(made()))
    assert {name: found[name] for name in EXPECTED} == EXPECTED
    assert found["instruction_strict@finnish"] == Count(4, 5)
    assert found["prompt_strict@finnish"] == Count(2, 3)


@pytest.mark.parametrize(
    ("metric", "rules", "category", "says"),
    [
        ("instruction_strikt", "paper", None, "did you mean instruction_strict"),
        ("instruction_strict", "swedish", None, "no verdicts by a rule set 'swedish'; there are: .*finnish"),
        ("instruction_strict", "paper", "keyword", "no instruction is of the category 'keyword'"),
        ("prompt_strict", "paper", "keywords", "cannot be told by category"),
    ],
)
def test_what_there_is_not(metric: str, rules: str, category: str | None, says: str) -> None:
    with pytest.raises(KirjoError, match=says):
        tally(Scored.of(made()), metric, rules, category)


def test_nothing_of_nothing() -> None:
    assert tally(Scored.of([]), "prompt_strict").count == Count(0, 0)
    assert Count(0, 0).truncated == "0.00"


@pytest.mark.parametrize(
    ("correct", "total", "cut", "rounded"), [(285, 783, "36.39", "36.40"), (1, 1, "100.00", "100.00")]
)
def test_the_paper_cuts_where_others_round(correct: int, total: int, cut: str, rounded: str) -> None:
    assert (Count(correct, total).truncated, Count(correct, total).rounded) == (cut, rounded)
