"""Verdicts: those of lm_eval itself, the same in every process and order, without a network, and never a guess."""

from __future__ import annotations

import importlib.metadata
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from experiment import scorers
from experiment.compile import compile_run
from experiment.errors import DataError, KirjoError
from experiment.metrics import counts
from experiment.results import RESPONSES, read_verdicts
from experiment.sources.jsonl import read_jsonl, write_jsonl
from experiment.sources.read import read_prompts
from experiment.sources.records import BenchmarkPrompt
from experiment.sources.source import Source
from experiment.store import Store
from experiment.sweep import expand
from tests import models
from tests.tiny import TINY

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("KIRJO_SHARED_DATA", ROOT.parent / "shared" / "data"))
IFEVAL = SHARED / "ifeval" / "en.jsonl"
NLTK_DATA = SHARED / "nltk_data"

needs_shared_data = pytest.mark.skipif(
    not (IFEVAL.is_file() and NLTK_DATA.is_dir()), reason=f"no IFEval prompts and NLTK data in {SHARED}"
)

# What an answer may look like that follows one instruction or another, or only the loose reading of it.
SHAPES: tuple[Callable[[str], str], ...] = (
    lambda text: text,
    lambda text: f"Sure, here it is:\n{text.lower()}",
    lambda text: text.upper().replace(",", ""),
    lambda text: f'"{text}"',
    lambda text: f"<<A title>>\n\n* *one thing* {text}\n* *two* [name] [address]\n* *three*\n\nP.S. That is all.\n",
    lambda text: f"Section 1\n{text}\n***\nSection 2\n{text[:40]}\n******\nMy answer is yes.",
    lambda text: '```json\n{"a": 1}\n```' if len(text) % 2 else '{"a": "b, c"}',
    lambda text: "\n\n".join(f"{word.title()} in the town. It is so!" for word in text.split()[:6]),
    lambda text: "" if len(text) % 2 else "   \n",
    lambda text: "12 34 !!",
)
LANGUAGES = [
    ("Liisa rakentaa taloja kylässä joka päivä, ja hän pitää työstään kovasti.", "fi"),
    ("Liisa builds houses in the village every day, and she likes her work.", "en"),
    ("Liisa bygger hus i byn varje dag, och hon tycker mycket om sitt arbete.", "sv"),
    ("12 34, 56!", "unknown"),
    ("", "unknown"),
    ("🙂🙂", "unknown"),
]
# They count '#' and '!' with a checker that takes only letters, and draws one at random instead.
RANDOM_IN_LM_EVAL = (1122, 1129)
# Too short to be sure of: without a seed langdetect calls each by several names.
UNSURE = ["OF TO SON", "DE MAN TALO RED", "OIL OF", "NO VAN DER", "THE ME DER", "TO AND", "THE AND", "SE MAN PEN"]


@pytest.fixture
def nltk_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """NLTK finds the sentence model, as ``benchmark.nltk_data`` lets it, until the test ends."""
    import nltk

    monkeypatch.setenv("NLTK_DATA", os.environ.get("NLTK_DATA", ""))
    monkeypatch.setattr(nltk.data, "path", list(nltk.data.path))
    scorers.use_nltk_data(str(NLTK_DATA))


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


def answers(prompt: BenchmarkPrompt, first: int, how_many: int) -> list[str]:
    return [SHAPES[(first + step) % len(SHAPES)](prompt.prompt) for step in range(how_many)]


def assert_as_lm_eval(prompt: BenchmarkPrompt, given: dict[str, Any], response: str) -> tuple[bool, ...]:
    """Our verdicts are lm_eval's; returns the loose ones and the strict ones."""
    from lm_eval.tasks.ifeval.utils import process_results

    ours = scorers.score(prompt, response)
    theirs = process_results(given, [response])
    assert [verdict.strict for verdict in ours] == theirs["inst_level_strict_acc"], (prompt.key, response)
    assert [verdict.loose for verdict in ours] == theirs["inst_level_loose_acc"], (prompt.key, response)
    assert [verdict.instruction_id for verdict in ours] == given["instruction_id_list"]
    assert [verdict.instruction for verdict in ours] == list(range(len(ours)))
    assert {verdict.key for verdict in ours} == {prompt.key}
    return (*theirs["inst_level_loose_acc"], *theirs["inst_level_strict_acc"])


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
    @needs_shared_data
    def test_the_real_prompts_are_judged_as_lm_eval_judges_them(self, nltk_data: None) -> None:
        prompts = read_prompts(Source(reader="ifeval", language="en", path=str(IFEVAL)), exclude=())
        rows = [row for _, row in read_jsonl(IFEVAL)]
        assert len(prompts) == len(rows) == 541
        seen: dict[str, set[bool]] = {}
        for number, (prompt, row) in enumerate(zip(prompts, rows, strict=True)):
            if prompt.key in RANDOM_IN_LM_EVAL:
                continue
            for response in answers(prompt, number, 2):
                found = assert_as_lm_eval(prompt, row, response)
                for instruction_id, loose in zip(prompt.instruction_ids, found, strict=False):
                    seen.setdefault(instruction_id, set()).add(loose)
        assert len(seen) == 25
        assert sum(len(outcomes) == 2 for outcomes in seen.values()) > 15, "too few instructions both pass and fail"

    def test_what_the_checkers_draw_at_random_is_always_the_same(self) -> None:
        """lm_eval counts only letters: it puts a random letter in the place of '#' (IFEval's prompt 1122)."""
        kwargs = {"letter": "#", "let_frequency": 2, "let_relation": "at least"}
        prompt = BenchmarkPrompt(1122, "Tags, please.", ("keywords:letter_frequency",), (kwargs,))
        scorers._ifeval()  # importing it draws too
        found = set()
        for seed in range(20):
            random.seed(seed)
            before = random.getstate()
            [verdict] = scorers.score(prompt, "abcdefghijklm abcdefghijklm")
            found.add((verdict.strict, verdict.loose))
            assert random.getstate() == before
        assert found in ({(True, True)}, {(False, False)})

    @needs_shared_data
    def test_the_papers_subset(self) -> None:
        source = Source(reader="ifeval", language="en", path=str(IFEVAL))
        prompts = read_prompts(source, exclude=("language:response_language",))
        assert (len(prompts), sum(len(prompt.instruction_ids) for prompt in prompts)) == (510, 783)

    @pytest.mark.parametrize("language", ["en", "fi"])
    def test_the_demos_prompts_are_judged_as_lm_eval_judges_them(self, language: str) -> None:
        outcomes = set()
        for number, prompt in enumerate(demo_prompts(language)):
            given = {
                "key": prompt.key,
                "prompt": prompt.prompt,
                "instruction_id_list": list(prompt.instruction_ids),
                "kwargs": [dict(kwargs) for kwargs in prompt.kwargs],
            }
            for response in answers(prompt, number, 4):
                outcomes.update(assert_as_lm_eval(prompt, given, response))
        assert outcomes == {True, False}

    def test_loose_forgives_what_strict_does_not(self) -> None:
        prompt = BenchmarkPrompt(1, "Say it in lower case.", ("change_case:english_lowercase",), ({},))
        text = "Sure, here you are:\nthe house is in the village and the river is near the house."
        verdict = scorers.score(prompt, text)[0]
        assert (verdict.strict, verdict.loose) == (False, True)

    def test_only_the_checkers_that_are_said_to_need_punkt_do(self) -> None:
        """Each checker without NLTK's data; ``nltk.data.path`` is empty, so the sentence model is nowhere."""
        program = (
            "from experiment import scorers\n"
            "registry = scorers._ifeval().instructions_registry.INSTRUCTION_DICT\n"
            "kwargs = {'combination:repeat_prompt': {'prompt_to_repeat': 'Say this'}}\n"
            "failed = []\n"
            "for name, checker in registry.items():\n"
            "    instruction = checker(name)\n"
            "    instruction.build_description(**kwargs.get(name, {}))\n"
            "    try:\n"
            "        instruction.check_following('One. Two words, and a NET.\\n\\nP.S. [x] * y')\n"
            "    except LookupError as error:\n"
            "        assert 'punkt' in str(error)\n"
            "        failed.append(name)\n"
            "print(json.dumps([failed, len(registry)]))\n"
        )
        failed, known = run_python(program, "")
        assert set(failed) == scorers.NEEDS_PUNKT
        assert known == 25


class TestLanguage:
    @pytest.mark.parametrize(("text", "language"), LANGUAGES)
    def test_known_texts(self, text: str, language: str) -> None:
        assert scorers.response_language(text) == language

    def test_a_verdict_carries_the_language_of_the_response(self) -> None:
        prompt = BenchmarkPrompt(1, "Ei pilkkuja.", ("punctuation:no_comma", "startend:quotation"), ({}, {}))
        verdicts = scorers.score(prompt, "Liisa rakentaa taloja kylässä joka päivä")
        assert [(verdict.strict, verdict.language) for verdict in verdicts] == [(True, "fi"), (False, "fi")]
        assert counts(verdicts, "fi")["response_language"].correct == 1
        assert counts(verdicts, "en")["response_language"].correct == 0

    def test_the_texts_are_unsure(self, any_seed: None) -> None:
        """The tests below can only fail where langdetect, left alone, changes its mind."""
        import langdetect

        assert sum(len({langdetect.detect(text) for _ in range(30)}) > 1 for text in UNSURE) > 2

    def test_it_is_the_same_in_any_order(self, any_seed: None) -> None:
        forwards = {text: scorers.response_language(text) for text in UNSURE}
        backwards = {text: scorers.response_language(text) for text in reversed(UNSURE)}
        assert forwards == backwards
        for text in UNSURE:
            scorers.response_language("Something else entirely, in between.")
            assert scorers.response_language(text) == forwards[text]

    def test_it_is_the_same_in_another_process(self) -> None:
        program = (
            "from experiment import scorers\n"
            "texts = json.loads(sys.argv[2])\n"
            "print(json.dumps({text: scorers.response_language(text) for text in texts}))\n"
        )
        elsewhere = run_python(program, "", json.dumps(UNSURE[::-1]))
        assert elsewhere == {text: scorers.response_language(text) for text in UNSURE}

    def test_checkers_that_ask_for_the_language_are_seeded_from_the_first_response_on(self) -> None:
        """The verdict of ``english_capital`` hangs on langdetect too, and it comes before the response's language."""
        import langdetect

        prompt = BenchmarkPrompt(1, "Shout.", ("change_case:english_capital",), ({},))
        text = unsure_english()
        found = set()
        for _ in range(20):
            langdetect.DetectorFactory.seed = None
            found.add(scorers.score(prompt, text)[0].strict)
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
            "from dataclasses import asdict\n"
            "from experiment import scorers\n"
            "from experiment.sources.records import BenchmarkPrompt\n"
            "print(json.dumps([[asdict(verdict) for verdict in scorers.score(BenchmarkPrompt(**prompt), response)]\n"
            "                  for prompt, response in json.loads(sys.argv[2])]))\n"
        )
        pairs = [(prompt, answers(prompt, prompt.key, 1)[0]) for prompt in demo_prompts()]
        here = [[asdict(verdict) for verdict in scorers.score(prompt, response)] for prompt, response in pairs]
        given = json.dumps([(asdict(prompt), response) for prompt, response in pairs])
        assert run_python(program, "", given) == here

    def test_nltk_keeps_its_downloader(self) -> None:
        import nltk

        download = nltk.download
        scorers._ifeval.cache_clear()
        scorers._ifeval()
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
            scorers.score(prompt, '"Done."')
        assert instruction_id in str(caught.value)
        assert says in str(caught.value)

    def test_a_missing_response(self) -> None:
        prompts = demo_prompts(rows=2)
        with pytest.raises(DataError, match=f"prompt {prompts[1].key} has no response"):
            list(scorers.verdicts(prompts, {prompts[0].key: "Yes."}))


class TestIdentity:
    @pytest.mark.parametrize("package", ["lm_eval", "nltk", "langdetect"])
    def test_a_package_that_is_not_installed_is_named(self, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
        version = importlib.metadata.version

        def without(name: str) -> str:
            if name == package:
                raise importlib.metadata.PackageNotFoundError(name)
            return version(name)

        monkeypatch.setattr(importlib.metadata, "version", without)
        with pytest.raises(KirjoError, match=f"{package} is not installed here.*pip install {package}"):
            scorers.identity()

    @pytest.mark.parametrize("package", ["lm_eval", "nltk", "langdetect"])
    def test_the_version_of_every_package_counts(self, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
        before, version = scorers.identity(), importlib.metadata.version
        monkeypatch.setattr(importlib.metadata, "version", lambda name: "9.9" if name == package else version(name))
        assert scorers.identity() != before


class TestPunkt:
    """What a plan says of prompts that need NLTK's sentence model."""

    @pytest.fixture(autouse=True)
    def _bare(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("NLTK_DATA", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        if any(scorers._has_punkt(folder) for folder in scorers._nltk_folders(None)):
            pytest.skip("NLTK's sentence model is installed for everyone on this machine")

    def source(self, folder: Path, instruction_id: str) -> Source:
        path = folder / "prompts.jsonl"
        kwargs = {"num_sentences": 2, "relation": "at least"} if "sentences" in instruction_id else {}
        rows = [{"key": 1, "prompt": "Do.", "instruction_id_list": [instruction_id], "kwargs": [kwargs]}]
        write_jsonl(path, rows)
        return Source(reader="ifeval", language="en", path=str(path))

    def test_a_file_that_needs_it(self, tmp_path: Path) -> None:
        source = self.source(tmp_path, "length_constraints:number_sentences")
        [message] = scorers.unmet(source, None)
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
        assert scorers.unmet(source, str(folder)) == []
        monkeypatch.setenv("NLTK_DATA", os.pathsep.join(["/nowhere", str(folder)]))
        assert scorers.unmet(source, None) == []

    def test_prompts_that_do_without(self, tmp_path: Path) -> None:
        assert scorers.unmet(self.source(tmp_path, "punctuation:no_comma"), None) == []
        assert scorers.unmet(Source(reader="demo", language="en", rows=4), None) == []

    def test_prompts_on_the_hub_may_need_it(self) -> None:
        assert scorers.unmet(Source(reader="ifeval", language="en", hub="google/IFEval"), None)


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
        expected = list(scorers.verdicts(prompts, given))
        assert read_verdicts(store, step.key) == expected
        reported = models.summary(store, step)
        assert reported["response_language"] == "1/3"
        strict = sum(verdict.strict for verdict in expected)
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
        planned = scorers.identity()
        other = {**planned, "ifeval": {**planned["ifeval"], "lm_eval": "0.0.1"}}
        with monkeypatch.context() as patch:
            patch.setattr(scorers, "identity", lambda: other)
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
