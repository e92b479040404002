"""NLTK's sentence models: where they are looked for, and what is said where they are missing."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from experiment.compile import compile_run
from experiment.results import RESPONSES
from experiment.scoring import punkt
from experiment.sources.jsonl import write_jsonl
from experiment.sources.records import BenchmarkPrompt
from experiment.sources.source import Source
from experiment.store import Store
from experiment.sweep import expand
from tests import models
from tests.answers import (
    NLTK_DATA,
    as_row,
    needs_shared_data,
)
from tests.tiny import TINY


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
        model = folder / "tokenizers" / "punkt_tab" / "english"
        model.mkdir(parents=True)
        assert punkt.unmet(source, str(folder)) != []  # a folder alone is no model
        for name in punkt.MODEL_FILES:
            assert punkt.unmet(source, str(folder)) != []
            (model / name).touch()
        assert punkt.unmet(source, str(folder)) == []
        monkeypatch.setenv("NLTK_DATA", os.pathsep.join(["/nowhere", str(folder)]))
        assert punkt.unmet(source, None) == []

    def test_prompts_that_do_without(self, tmp_path: Path) -> None:
        assert punkt.unmet(self.source(tmp_path, "punctuation:no_comma"), None) == []
        assert punkt.unmet(Source(reader="demo", language="en", rows=4), None) == []

    def test_prompts_on_the_hub_may_need_it(self) -> None:
        assert punkt.unmet(Source(reader="ifeval", language="en", hub="google/IFEval"), None)


@needs_shared_data
def test_the_models_that_judged_are_told_by_their_content(tmp_path: Path) -> None:
    """In the manifest, not in the fingerprint, which must be the same wherever a plan is made."""
    kwargs = {"num_sentences": 2, "relation": "at least"}
    asked = BenchmarkPrompt(1, "Tee.", ("length_constraints:number_sentences",), (kwargs,))
    write_jsonl(tmp_path / "fi.jsonl", [as_row(asked)])
    source = Source(reader="ifeval", language="fi", path=str(tmp_path / "fi.jsonl"))
    store = Store.open(tmp_path / "store", create=True)
    answer = models.publish_rows(store, "generate", RESPONSES, [{"key": 1, "response": "Ja."}], "responses")
    step = models.score_step(answer, source)
    step = dataclasses.replace(step, execution={**step.execution, "nltk_data": str(NLTK_DATA)})
    models.finish(store, step)
    found = models.summary(store, step)["nltk_models"]
    assert list(found) == ["english", "finnish"]
    assert all(len(value) == 12 for value in found.values())
    assert found == punkt.used([asked], "fi")
    assert punkt.used([dataclasses.replace(asked, instruction_ids=("punctuation:no_comma",))], "fi") == {}
    assert punkt._model_digest(NLTK_DATA / punkt.PUNKT / "finnish") == found["finnish"] != found["english"]
