"""Verdicts: without a network, never a guess, and never late."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import random
import re
from typing import Any

import msgspec
import pytest

from experiment.errors import DataError, KirjoError
from experiment.scoring import lm_checks, punkt, versions
from experiment.scoring.score import score, verdicts
from experiment.sources.read import read_prompts
from experiment.sources.records import BenchmarkPrompt
from experiment.sources.source import Source
from tests.answers import (
    ENGLISH,
    FINNISH,
    HOSTILE,
    IFEVAL,
    KWARGS,
    NLTK_DATA,
    demo_prompts,
    needs_shared_data,
    prompts,
    without_punkt,
)
from tests.fresh import run_python


@pytest.fixture
def nltk_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """NLTK finds the sentence models, as ``benchmark.nltk_data`` lets it, until the test ends."""
    import nltk

    monkeypatch.setenv("NLTK_DATA", os.environ.get("NLTK_DATA", ""))
    monkeypatch.setattr(nltk.data, "path", list(nltk.data.path))
    punkt.use_nltk_data(str(NLTK_DATA))


# Of the wrong type, or no regular expression where lm_eval reads one.
WRONG_KWARGS: list[tuple[str, dict[str, Any], str]] = [
    ("change_case:capital_word_frequency", {"capital_frequency": "3", "capital_relation": "at least"}, "capital_freq"),
    ("change_case:capital_word_frequency", {"capital_frequency": True, "capital_relation": "at least"}, "whole number"),
    ("keywords:existence", {"keywords": [3]}, "list of words"),
    ("keywords:existence", {"keywords": "abc"}, "list of words"),
    ("keywords:existence", {"keywords": ["(foo"]}, "regular expression"),
    ("keywords:frequency", {"keyword": "(foo", "frequency": 2, "relation": "at least"}, "regular expression"),
    ("keywords:frequency", {"keyword": 5, "frequency": 2, "relation": "at least"}, "a text as keyword"),
    ("keywords:forbidden_words", {"forbidden_words": 3}, "list of words"),
    ("keywords:forbidden_words", {"forbidden_words": ["a)"]}, "regular expression"),
    ("startend:end_checker", {"end_phrase": 3}, "a text as end_phrase"),
    ("startend:end_checker", {"end_phrase": ["The end."]}, "a text as end_phrase"),
    ("combination:repeat_prompt", {"prompt_to_repeat": ["Do."]}, "a text as prompt_to_repeat"),
    ("detectable_format:multiple_sections", {"section_spliter": 3, "num_sections": 2}, "a text as section_spliter"),
    ("detectable_format:multiple_sections", {"section_spliter": "*", "num_sections": 2}, "regular expression"),
    ("detectable_content:postscript", {"postscript_marker": "(P"}, "regular expression"),
    ("detectable_content:postscript", {"postscript_marker": r"a\Z"}, "regular expression"),
    ("language:response_language", {"language": "xx"}, "one of lm_eval's languages"),
    ("language:response_language", {"language": ["fi"]}, "one of lm_eval's languages"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2.5, "first_word": "so"},
        "a whole number above 0 as nth_paragraph",
    ),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 3, "first_word": "so"},
        "one of the 2 of num_paragraphs",
    ),
]


class TestVerdicts:
    def test_what_the_checkers_draw_at_random_is_always_the_same(self) -> None:
        """lm_eval counts only letters: it puts a random letter in the place of '#' (IFEval's prompt 1122)."""
        kwargs = {"letter": "#", "let_frequency": 2, "let_relation": "at least"}
        prompt = BenchmarkPrompt(1122, "Tags, please.", ("keywords:letter_frequency",), (kwargs,))
        lm_checks.checkers()  # importing it draws too
        found = set()
        for seed in range(20):
            random.seed(seed)
            before = random.getstate()
            [verdict] = score(prompt, "abcdefghijklm abcdefghijklm", "en")
            found.add((verdict.strict["paper"], verdict.loose["paper"]))
            assert random.getstate() == before
        assert found in ({(True, True)}, {(False, False)})

    @needs_shared_data
    def test_the_papers_subset(self) -> None:
        source = Source(reader="ifeval", language="en", path=str(IFEVAL))
        prompts = read_prompts(source, exclude=("language:response_language",))
        assert (len(prompts), sum(len(prompt.instruction_ids) for prompt in prompts)) == (510, 783)

    def test_loose_forgives_what_strict_does_not(self) -> None:
        prompt = BenchmarkPrompt(1, "Say it in lower case.", ("change_case:english_lowercase",), ({},))
        text = "Sure, here you are:\nthe house is in the village and the river is near the house."
        verdict = score(prompt, text, "en")[0]
        assert (verdict.strict, verdict.loose) == ({"paper": False}, {"paper": True})

    def test_the_language_asked_for_is_the_benchmarks_or_the_one_that_the_prompt_names(self) -> None:
        named = BenchmarkPrompt(1, "In Hindi.", ("language:response_language",), ({"language": "hi"},))
        plain = BenchmarkPrompt(2, "Say it.", ("punctuation:no_comma",), ({},))
        assert score(named, FINNISH, "fi")[0].asked_language == "hi"
        assert score(plain, FINNISH, "fi")[0].asked_language == "fi"
        assert score(plain, FINNISH, "en")[0].asked_language == "en"

    @pytest.mark.parametrize("language", ["en", "fi"])
    @pytest.mark.parametrize("response", HOSTILE)
    def test_hostile_answers_are_judged_too(self, response: str, language: str) -> None:
        for prompt in without_punkt(prompts(1)):
            for verdict in score(prompt, response, language):
                assert {*verdict.strict.values(), *verdict.loose.values()} <= {True, False}
                msgspec.json.encode(verdict)

    @needs_shared_data
    @pytest.mark.parametrize(
        "unit", ["[", "<<", "*", '"', " ", "\n", ". ", "a", "A. ", "- ", "P.S ", "[a\n", "{", "\ud800", "\u200f"]
    )
    def test_very_long_answers_do_not_hang(self, unit: str, nltk_data: None) -> None:
        """lm_eval's own checkers take minutes for some of these; see benchmarks/scoring.py."""
        text = (unit * 100_000)[:100_000]
        ids = tuple(KWARGS)
        prompt = BenchmarkPrompt(1, "Say it.", ids, tuple(make(random.Random(1)) for make in KWARGS.values()))
        assert len(score(prompt, text, "fi")) == 25

    def test_json_nested_too_deep_for_python_is_no_json(self) -> None:
        prompt = BenchmarkPrompt(1, "As JSON.", ("detectable_format:json_format",), ({},))
        assert score(prompt, "[" * 50_000, "en")[0].strict == {"paper": False}

    def test_only_the_checkers_that_are_said_to_need_punkt_do(self) -> None:
        """Each checker without NLTK's data; ``nltk.data.path`` is empty, so the sentence model is nowhere."""
        program = (
            "from experiment.errors import KirjoError\n"
            "from experiment.scoring.score import score\n"
            "from tests.answers import KWARGS\n"
            "from experiment.sources.records import BenchmarkPrompt\n"
            "import random\n"
            "failed = []\n"
            "for name, make in KWARGS.items():\n"
            "    prompt = BenchmarkPrompt(1, 'Do.', (name,), (make(random.Random(0)),))\n"
            "    try:\n"
            "        score(prompt, 'One. Two words, and a NET.\\n\\nP.S. [x] * y', 'fi')\n"
            "    except KirjoError as error:\n"
            "        assert 'punkt' in str(error)\n"
            "        failed.append(name)\n"
            "print(json.dumps([failed, len(KWARGS)]))\n"
        )
        failed, known = run_python(program, "")
        assert set(failed) == punkt.NEEDS_PUNKT
        assert known == 25 == len(lm_checks.checkers())


class TestOffline:
    def test_scoring_needs_no_network_and_no_data(self) -> None:
        """A fresh process that may not connect and has no NLTK data gives the verdicts that this one gives."""
        program = (
            "import msgspec\n"
            "from experiment.scoring.score import score\n"
            "from experiment.sources.records import BenchmarkPrompt\n"
            "print(json.dumps([msgspec.to_builtins(score(BenchmarkPrompt(**prompt), response, 'en'))\n"
            "                  for prompt, response in json.loads(sys.argv[2])]))\n"
        )
        pairs = [(prompt, ENGLISH) for prompt in demo_prompts()]
        here = [msgspec.to_builtins(score(prompt, response, "en")) for prompt, response in pairs]
        given = json.dumps([(dataclasses.asdict(prompt), response) for prompt, response in pairs])
        assert run_python(program, "", given) == here

    def test_nltk_keeps_its_downloader(self) -> None:
        import nltk

        download = nltk.download
        lm_checks.checkers.cache_clear()
        lm_checks.checkers()
        assert nltk.download is download


def test_a_connection_is_really_refused() -> None:
    with pytest.raises(AssertionError, match="AssertionError: tried to connect"):
        run_python("socket.create_connection(('localhost', 9))", "")


def refusal(prompt: BenchmarkPrompt, language: str) -> str | None:
    try:
        score(prompt, "Done.\n\nAND so on.", language)
    except DataError as error:
        return str(error)
    return None


class TestFaults:
    @pytest.mark.parametrize(
        ("instruction_id", "kwargs", "says"),
        [
            ("keywords:unheard_of", {}, "keywords:unheard_of"),
            ("punctuation:no_comma", {"num_words": 3}, "num_words"),
            ("length_constraints:number_words", {"num_words": 3, "relation": "roughly"}, "roughly"),
            ("length_constraints:number_words", {"relation": "at least"}, "num_words"),
            ("keywords:existence", {}, "keywords"),
            # lm_eval takes 0 for missing, and what is missing it draws at random.
            ("detectable_format:number_bullet_lists", {"num_bullets": 0}, "num_bullets"),
            *WRONG_KWARGS,
        ],
    )
    def test_instructions_that_the_checkers_do_not_take(
        self, instruction_id: str, kwargs: dict[str, Any], says: str
    ) -> None:
        prompt = BenchmarkPrompt(4711, "Do it.", ("startend:quotation", instruction_id), ({}, kwargs))
        for language in ("en", "fi"):
            with pytest.raises(DataError, match="prompt 4711: ") as caught:
                score(prompt, '"Done."', language)
            assert instruction_id in str(caught.value)
            assert says in str(caught.value)

    def test_what_slips_through_the_table_is_told_and_no_traceback(
        self, nltk_data: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where lm_eval or a rule is given what it cannot use, whatever it then raises."""
        monkeypatch.setattr(lm_checks, "faults", lambda _prompt: ())
        for instruction_id, kwargs, _ in WRONG_KWARGS:
            if instruction_id not in punkt.NEEDS_PUNKT or NLTK_DATA.is_dir():
                prompt = BenchmarkPrompt(4711, "Do it.", (instruction_id,), (kwargs,))
                told = [refusal(prompt, language) for language in ("en", "fi")]
                for message in filter(None, told):
                    assert re.search(f"prompt 4711: .*{instruction_id}.*mend the prompts' kwargs", message)

    def test_all_faults_are_told_before_the_first_answer_is_judged(self) -> None:
        good = BenchmarkPrompt(1, "Do.", ("punctuation:no_comma",), ({},))
        bad = [BenchmarkPrompt(2 + place, "Do.", ("keywords:unheard_of",), ({},)) for place in range(7)]
        found = verdicts([good, *bad], dict.fromkeys(range(9), "Yes."), "en")
        with pytest.raises(DataError, match=r"(?s)prompt 2: .*prompt 6: .*and 2 more"):
            next(found)

    def test_a_missing_response(self) -> None:
        prompts = demo_prompts(rows=2)
        with pytest.raises(DataError, match=f"prompt {prompts[1].key} has no response"):
            list(verdicts(prompts, {prompts[0].key: "Yes."}, "en"))


class TestIdentity:
    @pytest.mark.parametrize("package", ["lm_eval", "nltk", "langdetect", "py3langid", "simplemma"])
    def test_a_package_that_is_not_installed_is_named(self, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
        version = importlib.metadata.version

        def without(name: str) -> str:
            if name == package:
                raise importlib.metadata.PackageNotFoundError(name)
            return version(name)

        monkeypatch.setattr(importlib.metadata, "version", without)
        with pytest.raises(KirjoError, match=f"{package} is not installed here.*pip install {package}"):
            versions.identity("fi")

    @pytest.mark.parametrize("package", ["lm_eval", "nltk", "langdetect", "py3langid", "simplemma"])
    def test_the_version_of_every_package_counts(self, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
        before, version = versions.identity("fi"), importlib.metadata.version
        monkeypatch.setattr(importlib.metadata, "version", lambda name: "9.9" if name == package else version(name))
        assert versions.identity("fi") != before
