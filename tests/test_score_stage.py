"""The score step: what it writes, warns of and refuses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from experiment.results import RESPONSES, read_verdicts
from experiment.scoring import versions
from experiment.scoring.score import verdicts
from experiment.sources.jsonl import write_jsonl
from experiment.sources.records import BenchmarkPrompt
from experiment.sources.source import Source
from experiment.store import Store
from tests import models
from tests.answers import (
    as_row,
    demo_prompts,
)


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


def test_the_stage_tells_that_a_language_has_no_rules_of_its_own(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "sv.jsonl", [as_row(BenchmarkPrompt(1, "Svara.", ("punctuation:no_comma",), ({},)))])
    source = Source(reader="ifeval", language="sv", path=str(tmp_path / "sv.jsonl"))
    store = Store.open(tmp_path / "store", create=True)
    answer = models.publish_rows(store, "generate", RESPONSES, [{"key": 1, "response": "Ja."}], "responses")
    step = models.score_step(answer, source)
    models.finish(store, step)
    assert models.summary(store, step)["warnings"][0].startswith("there are no rules for 'sv'")
