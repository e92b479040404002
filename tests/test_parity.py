"""The rule set ``paper`` in English is lm_eval: the same verdict on every answer, strict and loose."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment.scoring import identify, lm_checks, punkt
from experiment.scoring.score import score
from experiment.scoring.text import Text, readings
from experiment.sources.read import read_prompts
from experiment.sources.records import BenchmarkPrompt
from experiment.sources.source import Source
from tests.answers import HOSTILE, IFEVAL, KWARGS, NLTK_DATA, answers, as_row, needs_shared_data, prompts

# They count '#' and '!' with a checker that takes only letters, and draws one at random instead.
RANDOM_IN_LM_EVAL = (1122, 1129)


@pytest.fixture(autouse=True)
def _seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """lm_eval with NLTK's data and langdetect's seed, as ours has them."""
    import langdetect

    monkeypatch.setattr(langdetect.DetectorFactory, "seed", identify.LANGDETECT_SEED)
    if NLTK_DATA.is_dir():
        monkeypatch.setenv("NLTK_DATA", str(NLTK_DATA))
        punkt.use_nltk_data(str(NLTK_DATA))


class Outcomes(Counter[tuple[str, str, bool]]):
    """How often each instruction was followed and not, strictly and loosely."""

    def compare(self, prompt: BenchmarkPrompt, row: dict[str, Any], response: str) -> None:
        from lm_eval.tasks.ifeval.utils import process_results

        ours, theirs = score(prompt, response, "en", identify=False), process_results(row, [response])
        for reading, level in (("strict", "inst_level_strict_acc"), ("loose", "inst_level_loose_acc")):
            found = [getattr(verdict, reading) for verdict in ours]
            assert found == [{"paper": value} for value in theirs[level]], (prompt, response)
            self.update((verdict.instruction_id, reading, getattr(verdict, reading)["paper"]) for verdict in ours)
        assert [verdict.instruction_id for verdict in ours] == row["instruction_id_list"]
        assert [verdict.instruction for verdict in ours] == list(range(len(ours)))
        assert {verdict.key for verdict in ours} == {prompt.key}

    def fewest(self, reading: str, names: Iterator[str]) -> int:
        return min(self[name, reading, outcome] for name in names for outcome in (True, False))


def test_made_up_prompts_of_every_instruction() -> None:
    """5,000 pairs; where NLTK's data is not at hand, without the two instructions that need it."""
    without = frozenset() if NLTK_DATA.is_dir() else punkt.NEEDS_PUNKT
    outcomes, pairs = Outcomes(), 0
    for prompt in prompts(per_id=10):
        if not without & set(prompt.instruction_ids):
            for response in answers(prompt, 24):
                outcomes.compare(prompt, as_row(prompt), response)
                pairs += 1
    names = set(KWARGS) - without
    assert {name for name, _, _ in outcomes} == names
    assert pairs >= (5_000 if not without else 4_000)
    assert outcomes.fewest("strict", iter(names)) >= 30
    assert outcomes.fewest("loose", iter(names)) >= 30
    forgiven = {name: outcomes[name, "loose", True] - outcomes[name, "strict", True] for name in names}
    assert sum(count >= 5 for count in forgiven.values()) >= 15, forgiven


@needs_shared_data
def test_the_real_prompts() -> None:
    real = read_prompts(Source(reader="ifeval", language="en", path=str(IFEVAL)), exclude=())
    assert len(real) == 541
    outcomes = Outcomes()
    for prompt in real:
        if prompt.key not in RANDOM_IN_LM_EVAL:
            for response in answers(prompt, 4, seed=1):
                outcomes.compare(prompt, as_row(prompt), response)
    assert len({name for name, _, _ in outcomes}) == 25
    assert outcomes.fewest("strict", iter(KWARGS)) >= 1


def test_finnish_by_the_paper_is_lm_eval_but_for_constrained_responses() -> None:
    """Still English for capitals and sentences, as the authors' harness has it."""
    without = frozenset() if NLTK_DATA.is_dir() else punkt.NEEDS_PUNKT
    differ = set()
    for prompt in prompts(per_id=2, seed=3):
        if not without & set(prompt.instruction_ids):
            for response in answers(prompt, 6, seed=3):
                both = zip(score(prompt, response, "en"), score(prompt, response, "fi"), strict=True)
                differ |= {
                    english.instruction_id
                    for english, finnish in both
                    if (english.strict["paper"], english.loose["paper"])
                    != (finnish.strict["paper"], finnish.loose["paper"])
                }
    assert differ == {"detectable_format:constrained_response"}


MARKS = st.text(alphabet="[]<>*-\n\t \"'.,pPsS aAÄ1{}#\r\x85\u2028\x00\ud800é𝐀ℂϒ", max_size=40)


@settings(max_examples=400, deadline=None)
@given(MARKS, st.integers(0, 1000))
def test_any_text_of_marks(text: str, seed: int) -> None:
    """Every check beside lm_eval's own checker, on texts made of what the checkers look for."""
    rng = random.Random(seed)
    for name, kwargs in KWARGS.items():
        if name not in punkt.NEEDS_PUNKT or NLTK_DATA.is_dir():
            given_kwargs = kwargs(rng)
            [check] = lm_checks.lm_checks(BenchmarkPrompt(1, "", (name,), (given_kwargs,)))
            theirs = lm_checks.checkers()[name](name)
            theirs.build_description(**given_kwargs)
            if text.strip():
                assert bool(check(Text(text))) == bool(theirs.check_following(text)), (name, given_kwargs, text)


@pytest.mark.parametrize("text", ["*\n* b", "*\n- b", "* \n* b", "**\n* b", "*", "-\n*a\n-", "\n\n * b", "*a*\n*"])
def test_bullets(text: str) -> None:
    """``\\*[^\\*]`` takes the line break for its second character, and ``.*$`` then the line behind it."""
    theirs = lm_checks.checkers()[BULLETS.instruction_ids[0]](BULLETS.instruction_ids[0])
    for wanted in (1, 2, 3):
        bullets = replace(BULLETS, kwargs=({"num_bullets": wanted},))
        [check] = lm_checks.lm_checks(bullets)
        theirs.build_description(num_bullets=wanted)
        assert check(Text(text)) == theirs.check_following(text)


BULLETS = BenchmarkPrompt(1, "", ("detectable_format:number_bullet_lists",), ({"num_bullets": 1},))


@pytest.mark.skipif(not NLTK_DATA.is_dir(), reason=f"no NLTK data in {NLTK_DATA}")
@pytest.mark.parametrize("text", ["𝐇𝐄𝐋𝐋𝐎 𝐖𝐎𝐑𝐋𝐃 there", "ℂ is a set", "ϒ", "no capitals", "ǅ", "Ⅻ", "𝐀b"])
def test_capitals_without_a_lower_case_form(text: str) -> None:
    name, kwargs = "change_case:capital_word_frequency", {"capital_frequency": 1, "capital_relation": "at least"}
    [check] = lm_checks.lm_checks(BenchmarkPrompt(1, "", (name,), (kwargs,)))
    theirs = lm_checks.checkers()[name](name)
    theirs.build_description(**kwargs)
    assert check(Text(text)) == theirs.check_following(text)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab \n*", max_size=20))
def test_the_readings_are_lm_evals(text: str) -> None:
    lines = text.split("\n")
    cut = ["\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])]
    theirs = [text, text.replace("*", ""), *cut, *(part.replace("*", "") for part in cut)]
    assert {reading.text for reading in readings(text)} == {part for part in theirs if part.strip()}


class TestLangdetect:
    """Ours is sooner, and says what langdetect says with the same seed."""

    @settings(max_examples=300, deadline=None)
    @given(st.text(alphabet="aAbBzZ[] .,äÖșیあア漢字한ệ\u0300@:/x1\ud800\x00\n", max_size=60))
    def test_any_text(self, text: str) -> None:
        self.compare(text)

    @pytest.mark.parametrize("text", HOSTILE)
    def test_hostile_text(self, text: str) -> None:
        self.compare(text)

    @needs_shared_data
    @pytest.mark.parametrize("language", ["deu", "eng", "eus", "fin", "hau", "isl"])
    def test_real_text(self, language: str) -> None:
        lines = (NLTK_DATA.parent / "flores101" / f"devtest.{language}").read_text(encoding="utf-8").splitlines()
        for line in lines[:40]:
            self.compare(line)
        self.compare("\n".join(lines))
        self.compare(lines[0].upper())

    def compare(self, text: str) -> None:
        """Not only the name: every probability to the last bit, so that no rounding can tip a name over."""
        import langdetect

        try:
            theirs = langdetect.detect_langs(text)
        except langdetect.LangDetectException:
            assert identify.langdetect_or_none(text) is None
            return
        detector = identify._detectors().create()
        detector.append(text)
        ours = detector.get_probabilities()
        assert [(item.lang, item.prob) for item in ours] == [(item.lang, item.prob) for item in theirs]
        assert identify.langdetect_or_none(text) == langdetect.detect(text)
