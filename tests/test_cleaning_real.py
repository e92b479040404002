"""Cleaning on real translations (OpenAssistant in Finnish): few good ones go, most spoilt ones do."""

from __future__ import annotations

import itertools
import random

import pytest

from benchmarks import cleaning
from benchmarks.spoilt import KINDS, TURNS
from experiment.cleaning.rules import judge
from experiment.cleaning.settings import Clean
from experiment.translation.rows import TranslatedRow
from tests.translated import EN_FI

pytestmark = pytest.mark.skipif(
    not cleaning.VALIDATION.exists(),
    reason=f"{cleaning.VALIDATION} is not there (KIRJO_SHARED_DATA names the folder of real data)",
)
# What is caught of each kind at the least, percent; docs/cleaning.md has what is measured on 1,000 of each.
CAUGHT = {
    "empty": 100,
    "the source left in": 90,
    "one line of 3 or more left in": 80,
    "a line repeated to 3 times the length": 95,
    "3 words repeated, length as it should be": 95,
    "cut to 30 %": 90,
    "cut to 50 %": 85,
    "another row's translation": 80,
    "a refusal instead": 90,
    "signs for 60 % of the characters": 95,
    "addresses lost": 80,
    TURNS: 80,
}


@pytest.fixture(scope="module")
def good() -> list[TranslatedRow]:
    return cleaning.messages()


def test_few_good_translations_are_dropped(good):
    judged = cleaning.judge_all(Clean(), good)
    # DeepL translates within code, which Kirjo's own translation does not: that rule is looked at for itself.
    wrong = [found for found in judged if set(cleaning.rules(found)) - {"code"}]
    assert len(judged) == 2022
    assert len(wrong) < 0.05 * len(judged)


@pytest.mark.parametrize("kind", CAUGHT)
def test_most_spoilt_translations_are_dropped(good, kind):
    rows = cleaning.conversations() if kind == TURNS else good if kind == "addresses lost" else good[:600]
    draw, made = random.Random(0), []
    for row, other in zip(rows, [*rows[1:], rows[0]], strict=True):
        bad = KINDS[kind](row, other, draw)
        if bad is not None and not judge(Clean(), row, EN_FI).faults:
            made.append(judge(Clean(), bad, EN_FI))
    caught = sum(bool(found.faults) for found in made)
    assert len(made) >= 10
    assert caught * 100 >= CAUGHT[kind] * len(made)


@pytest.mark.parametrize("kind", ["END at the end", "END and another example"])
def test_what_is_left_of_the_prompt_is_cut_and_the_translation_is_as_it_was(good, kind):
    draw = random.Random(0)
    for row, other in itertools.pairwise(good[:300]):
        bad = KINDS[kind](row, other, draw)
        if bad is not None and not judge(Clean(), row, EN_FI).faults:
            found = judge(Clean(), bad, EN_FI)
            assert not found.faults
            assert [part.text for part in found.cleaned.parts] == [part.text.rstrip() for part in row.parts]
