"""Verdicts: the same in every process and order, without a network, never a guess, and never late."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from experiment.compile import compile_run
from experiment.errors import DataError, KirjoError
from experiment.metrics import Scored, tally
from experiment.results import RESPONSES, read_verdicts
from experiment.scoring import identify, lm_checks, parallel, punkt, versions
from experiment.scoring.score import score, verdicts
from experiment.sources.jsonl import write_jsonl
from experiment.sources.read import read_prompts
from experiment.sources.records import BenchmarkPrompt
from experiment.sources.source import Source
from experiment.store import Store
from experiment.sweep import expand
from tests import models
from tests.answers import (
    ENGLISH,
    FINNISH,
    HOSTILE,
    IFEVAL,
    KWARGS,
    NLTK_DATA,
    answers,
    as_row,
    needs_shared_data,
    prompts,
)
from tests.tiny import TINY

ROOT = Path(__file__).parents[1]
LANGUAGES = [
    ("Liisa rakentaa taloja kylässä joka päivä, ja hän pitää työstään kovasti.", "fi", "fi"),
    ("Liisa builds houses in the village every day, and she likes her work.", "en", "en"),
    ("Liisa bygger hus i byn varje dag, och hon tycker mycket om sitt arbete.", "sv", "sv"),
    ("12 34, 56!", "unknown", "unknown"),
    ("", "unknown", "unknown"),
    ("🙂🙂", "unknown", "unknown"),
    ("\x00\u200b", "unknown", "unknown"),
    ("Liisa rakentaa taloja \ud800 kylässä joka päivä.", "fi", "fi"),
    ("\ud800\udfff", "unknown", "unknown"),
]
# Too short to be sure of: without a seed langdetect calls each by several names.
UNSURE = ["OF TO SON", "DE MAN TALO RED", "OIL OF", "NO VAN DER", "THE ME DER", "TO AND", "THE AND", "SE MAN PEN"]


@pytest.fixture
def nltk_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """NLTK finds the sentence models, as ``benchmark.nltk_data`` lets it, until the test ends."""
    import nltk

    monkeypatch.setenv("NLTK_DATA", os.environ.get("NLTK_DATA", ""))
    monkeypatch.setattr(nltk.data, "path", list(nltk.data.path))
    punkt.use_nltk_data(str(NLTK_DATA))


@pytest.fixture
def any_seed() -> Iterator[None]:
    """langdetect as a fresh process has it: without a seed."""
    import langdetect

    seed = langdetect.DetectorFactory.seed
    langdetect.DetectorFactory.seed = None
    yield
    langdetect.DetectorFactory.seed = seed


def demo_prompts(language: str = "en", rows: int = 30) -> list[BenchmarkPrompt]:
    return read_prompts(Source(reader="demo", language=language, rows=rows, seed=4), exclude=())


def without_punkt(prompts: Sequence[BenchmarkPrompt]) -> list[BenchmarkPrompt]:
    return [prompt for prompt in prompts if not punkt.NEEDS_PUNKT & set(prompt.instruction_ids)]


def run_python(program: str, *arguments: str, **env: str) -> Any:
    """The JSON that a fresh Python prints, with every connection refused and nothing of ours in NLTK's places."""
    refuse = (
        "import json, socket, sys\n"
        "def refuse(*args): raise AssertionError(f'tried to connect: {args}')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "import nltk\n"
        "nltk.data.path[:] = [folder for folder in [sys.argv[1]] if folder]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", refuse + program, *arguments],
        cwd=ROOT,
        env={
            **{name: value for name, value in os.environ.items() if name != "NLTK_DATA"},
            **env,
            "HF_HUB_OFFLINE": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


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


class TestTheSameAgain:
    def test_in_any_order_and_number_of_processes(self) -> None:
        """20 times, shuffled, by one process and by four."""
        asked = without_punkt(prompts(1))
        given = {prompt.key: next(iter(answers(prompt, 1))) for prompt in asked}
        expected = {prompt.key: score(prompt, given[prompt.key], "fi") for prompt in asked}
        rng = random.Random(0)
        for repetition in range(20):
            rng.shuffle(asked)
            found = list(verdicts(asked, given, "fi", processes=(1, 4)[repetition % 2]))
            assert found == [verdict for prompt in asked for verdict in expected[prompt.key]]

    def test_what_fails_in_another_process_fails_here(self) -> None:
        good = BenchmarkPrompt(1, "Do.", ("punctuation:no_comma",), ({},))
        bad = BenchmarkPrompt(2, "Do.", ("keywords:unheard_of",), ({},))
        with pytest.raises(DataError, match=r"prompt 2: .*keywords:unheard_of"):
            list(verdicts([good, bad, good], {1: "Yes.", 2: "Yes."}, "en", processes=2))

    def test_a_process_that_is_killed_is_told(self) -> None:
        def work(index: int) -> int:
            if index == 3:
                os.kill(os.getpid(), 9)
            return index

        found = parallel.in_order(work, 8, 2)
        assert [next(found) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(KirjoError, match="ended early"):
            next(found)

    def test_processes_end_with_the_work_left_lying(self, monkeypatch: pytest.MonkeyPatch) -> None:
        children, fork = [], os.fork

        def noted() -> int:
            child = fork()
            children.append(child)
            return child

        monkeypatch.setattr(os, "fork", noted)
        found = parallel.in_order(lambda index: "x" * 100_000, 100, 3)
        assert len(next(found)) == 100_000
        found.close()
        assert len(children) == 2
        for child in children:
            with pytest.raises(ChildProcessError):
                os.waitpid(child, os.WNOHANG)


class TestLanguage:
    @pytest.mark.parametrize(("text", "langdetect", "py3langid"), LANGUAGES)
    def test_known_texts(self, text: str, langdetect: str, py3langid: str) -> None:
        assert identify.by_langdetect(text) == langdetect
        assert identify.by_py3langid(text) == py3langid

    def test_a_verdict_carries_the_language_of_the_response(self) -> None:
        prompt = BenchmarkPrompt(1, "Ei pilkkuja.", ("punctuation:no_comma", "startend:quotation"), ({}, {}))
        found = score(prompt, "Liisa rakentaa taloja kylässä joka päivä", "fi")
        both = {"langdetect": "fi", "py3langid": "fi"}
        assert [(verdict.strict["paper"], verdict.language) for verdict in found] == [(True, both), (False, both)]
        assert tally(Scored.of(found), "response_language").count.correct == 1
        assert tally(Scored.of(score(prompt, FINNISH, "en")), "response_language").count.correct == 0

    def test_the_texts_are_unsure(self, any_seed: None) -> None:
        """The tests below can only fail where langdetect, left alone, changes its mind."""
        import langdetect

        assert sum(len({langdetect.detect(text) for _ in range(30)}) > 1 for text in UNSURE) > 2

    def test_it_is_the_same_in_any_order(self, any_seed: None) -> None:
        forwards = {text: identify.by_langdetect(text) for text in UNSURE}
        backwards = {text: identify.by_langdetect(text) for text in reversed(UNSURE)}
        assert forwards == backwards
        for text in UNSURE:
            identify.by_langdetect("Something else entirely, in between.")
            assert identify.by_langdetect(text) == forwards[text]

    def test_it_is_the_same_in_another_process(self) -> None:
        program = (
            "from experiment.scoring import identify\n"
            "texts = json.loads(sys.argv[2])\n"
            "print(json.dumps({text: identify.by_langdetect(text) for text in texts}))\n"
        )
        elsewhere = run_python(program, "", json.dumps(UNSURE[::-1]))
        assert elsewhere == {text: identify.by_langdetect(text) for text in UNSURE}

    def test_checkers_that_ask_for_the_language_are_seeded_from_the_first_response_on(self) -> None:
        """The verdict of ``english_capital`` hangs on langdetect too, and it comes before the response's language."""
        import langdetect

        prompt = BenchmarkPrompt(1, "Shout.", ("change_case:english_capital",), ({},))
        text = unsure_english()
        found = set()
        for _ in range(20):
            langdetect.DetectorFactory.seed = None  # as other code might leave it
            found.add(score(prompt, text, "en")[0].strict["paper"])
        assert len(found) == 1


def unsure_english() -> str:
    """A text in capitals that langdetect, left alone, calls English only now and then."""
    import langdetect

    seed, langdetect.DetectorFactory.seed = langdetect.DetectorFactory.seed, None
    try:
        for text in UNSURE:
            english = sum(langdetect.detect(text) == "en" for _ in range(40))
            if 8 <= english <= 32:
                return text
    finally:
        langdetect.DetectorFactory.seed = seed
    raise AssertionError("no text that langdetect is unsure of")


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
        ],
    )
    def test_instructions_that_the_checkers_do_not_take(
        self, instruction_id: str, kwargs: dict[str, Any], says: str
    ) -> None:
        prompt = BenchmarkPrompt(4711, "Do it.", ("startend:quotation", instruction_id), ({}, kwargs))
        with pytest.raises(DataError, match="prompt 4711: ") as caught:
            score(prompt, '"Done."', "en")
        assert instruction_id in str(caught.value)
        assert says in str(caught.value)

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


class TestPunkt:
    """What a plan says of prompts that need NLTK's sentence model."""

    @pytest.fixture(autouse=True)
    def _bare(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("NLTK_DATA", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        if any(punkt.has_punkt(folder) for folder in punkt.nltk_folders(None)):
            pytest.skip("NLTK's sentence model is installed for everyone on this machine")

    def source(self, folder: Path, instruction_id: str) -> Source:
        path = folder / "prompts.jsonl"
        kwargs = {"num_sentences": 2, "relation": "at least"} if "sentences" in instruction_id else {}
        rows = [{"key": 1, "prompt": "Do.", "instruction_id_list": [instruction_id], "kwargs": [kwargs]}]
        write_jsonl(path, rows)
        return Source(reader="ifeval", language="en", path=str(path))

    def test_a_file_that_needs_it(self, tmp_path: Path) -> None:
        source = self.source(tmp_path, "length_constraints:number_sentences")
        [message] = punkt.unmet(source, None)
        assert "punkt_tab is not on this machine" in message
        assert "benchmark.nltk_data=FOLDER" in message
        points = [[*TINY, "benchmark=ifeval", "benchmark.languages=[en]", f"benchmark.prompts.en.path={source.path}"]]
        points[0] = [item for item in points[0] if not item.endswith(".rows=8")]
        [point] = expand(points)
        _, steps = compile_run(point.config, point.overrides)
        assert [step.unmet for step in steps if step.stage == "score"] == [(message,)]

    def test_a_folder_that_has_it_is_enough(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        source = self.source(tmp_path, "length_constraints:number_sentences")
        folder = tmp_path / "nltk"
        (folder / "tokenizers" / "punkt_tab" / "english").mkdir(parents=True)
        assert punkt.unmet(source, str(folder)) == []
        monkeypatch.setenv("NLTK_DATA", os.pathsep.join(["/nowhere", str(folder)]))
        assert punkt.unmet(source, None) == []

    def test_prompts_that_do_without(self, tmp_path: Path) -> None:
        assert punkt.unmet(self.source(tmp_path, "punctuation:no_comma"), None) == []
        assert punkt.unmet(Source(reader="demo", language="en", rows=4), None) == []

    def test_prompts_on_the_hub_may_need_it(self) -> None:
        assert punkt.unmet(Source(reader="ifeval", language="en", hub="google/IFEval"), None)


class TestStage:
    def made(self, folder: Path, responses: Sequence[tuple[int, str]]) -> tuple[Store, Any]:
        store = Store.open(folder / "store", create=True)
        source = Source(reader="demo", language="fi", rows=3, seed=4)
        rows = ({"key": key, "response": text} for key, text in responses)
        return store, models.score_step(models.publish_rows(store, "generate", RESPONSES, rows, "responses"), source)

    def test_the_artifact_holds_every_verdict_and_the_manifest_the_counts(self, tmp_path: Path) -> None:
        prompts = demo_prompts("fi", 3)
        texts = ["Liisa rakentaa taloja kylässä joka päivä.", "She builds houses in the village every day.", "12"]
        given = {prompt.key: text for prompt, text in zip(prompts, texts, strict=True)}
        # The answers' own order does not matter.
        store, step = self.made(tmp_path, list(given.items())[::-1])
        models.finish(store, step)
        expected = list(verdicts(prompts, given, "fi"))
        assert read_verdicts(store, step.key) == expected
        reported = models.summary(store, step)
        assert reported["response_language"] == "1/3"
        strict = sum(verdict.strict["paper"] for verdict in expected)
        assert reported["instruction_strict"] == f"{strict}/{len(expected)}"

    def test_a_prompt_without_an_answer_fails_the_step(self, tmp_path: Path) -> None:
        prompts = demo_prompts("fi", 3)
        store, step = self.made(tmp_path, [(prompt.key, "Ei.") for prompt in prompts[:2]])
        outcome = models.attempt(store, step)
        assert outcome.state == "failed"
        assert outcome.reason == f"prompt {prompts[2].key} has no response"
        assert not store.artifact("score", step.fingerprint).exists()

    def test_other_scorers_than_were_planned_are_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        prompts = demo_prompts("fi", 3)
        planned = versions.identity("fi")
        other = {**planned, "ifeval": {**planned["ifeval"], "lm_eval": "0.0.1"}}
        with monkeypatch.context() as patch:
            patch.setattr(versions, "identity", lambda _language: other)
            store, step = self.made(tmp_path, [(prompt.key, "Ei.") for prompt in prompts])
        outcome = models.attempt(store, step)
        assert outcome.state == "failed"
        here = f"lm_eval {planned['ifeval']['lm_eval']} nltk {planned['ifeval']['nltk']}"
        assert "ifeval: lm_eval 0.0.1 nltk" in outcome.reason
        assert f"ifeval: {here}" in outcome.reason
        assert "response_language" not in outcome.reason
        assert "install the planned versions here, or give the command again" in outcome.reason
        assert not store.artifact("score", step.fingerprint).exists()


def test_a_connection_is_really_refused() -> None:
    with pytest.raises(AssertionError, match="AssertionError: tried to connect"):
        run_python("socket.create_connection(('localhost', 9))", "")


def test_the_stage_tells_that_a_language_has_no_rules_of_its_own(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "sv.jsonl", [as_row(BenchmarkPrompt(1, "Svara.", ("punctuation:no_comma",), ({},)))])
    source = Source(reader="ifeval", language="sv", path=str(tmp_path / "sv.jsonl"))
    store = Store.open(tmp_path / "store", create=True)
    answer = models.publish_rows(store, "generate", RESPONSES, [{"key": 1, "response": "Ja."}], "responses")
    step = models.score_step(answer, source)
    models.finish(store, step)
    assert models.summary(store, step)["warnings"][0].startswith("there are no rules for 'sv'")
