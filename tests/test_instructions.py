"""Instructions that no checker could judge are told when a sweep is planned, before anything is trained."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from experiment.compile import compile_run
from experiment.errors import DataError
from experiment.scoring import instructions, lm_checks, unmet
from experiment.scoring.instructions import faults
from experiment.sources.jsonl import write_jsonl
from experiment.sources.read import read_prompts
from experiment.sources.source import Source
from experiment.sweep import expand
from tests.answers import IFEVAL, KWARGS, demo_prompts, needs_shared_data, prompts
from tests.tiny import TINY

NTH = "length_constraints:nth_paragraph_first_word"


def row(key: Any, instruction_id: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    return {"key": key, "prompt": "Do.", "instruction_id_list": [instruction_id], "kwargs": [kwargs]}


def written(folder: Path, *rows: dict[str, Any], language: str = "en") -> Source:
    write_jsonl(folder / "prompts.jsonl", rows)
    return Source(reader="ifeval", language=language, path=str(folder / "prompts.jsonl"))


class TestTable:
    def test_it_is_lm_evals(self) -> None:
        registry = lm_checks.checkers()
        assert {name: set(kinds) for name, kinds in instructions.KWARGS.items()} == {
            name: set(made(name).get_instruction_args_keys()) for name, made in registry.items()
        }

    def test_the_languages_and_relations_are_lm_evals(self) -> None:
        lm_checks.checkers()
        from lm_eval.tasks.ifeval import instructions as theirs

        assert set(theirs._LANGUAGES) == instructions.LANGUAGES
        assert theirs._COMPARISON_RELATION == instructions.RELATIONS

    def test_made_up_prompts_and_the_demos_are_without_fault(self) -> None:
        assert {name for prompt in prompts(2) for name in prompt.instruction_ids} == set(KWARGS)
        for prompt in [*prompts(5), *demo_prompts("en", 100), *demo_prompts("fi", 100)]:
            assert list(faults(prompt)) == []

    @needs_shared_data
    def test_ifevals_prompts_are_without_fault(self) -> None:
        real = read_prompts(Source(reader="ifeval", language="en", path=str(IFEVAL)), exclude=())
        assert [fault for prompt in real for fault in faults(prompt)] == []


class TestPlan:
    def test_a_plan_lists_what_is_wrong(self, tmp_path: Path) -> None:
        source = written(
            tmp_path,
            row(1, "punctuation:no_comma", {}),
            row(2, "keywords:frequency", {"keyword": "(foo", "frequency": 2, "relation": "at least"}),
            row(3, "punctuation:no_coma", {}),
            row(4, "detectable_format:number_bullet_lists", {"num_bullets": "3"}),
        )
        options = [item for item in TINY if not item.startswith("benchmark.prompts.")]
        options += ["benchmark=ifeval", "benchmark.languages=[en]", f"benchmark.prompts.en.path={source.path}"]
        [point] = expand([options])
        _, steps = compile_run(point.config, point.overrides)
        [score] = [step for step in steps if step.stage == "score"]
        first, second, third = score.unmet
        assert first.startswith(f"{source.path}: prompt 2: keywords:frequency expects keyword that can be read as")
        assert "'(foo'" in first
        assert f"{source.path}: prompt 3: lm_eval has no checker for the instruction punctuation:no_coma" in second
        assert "did you mean punctuation:no_comma?" in second
        assert "prompt 4: detectable_format:number_bullet_lists expects a whole number above 0 as num_bullets" in third

    def test_only_the_prompts_that_are_used_count(self, tmp_path: Path) -> None:
        source = written(tmp_path, row(1, "punctuation:no_comma", {}), row(2, "odd:one", {}))
        assert unmet.unmet(source, ("odd:one",), False) == []
        assert len(unmet.unmet(source, (), False)) == 1

    def test_a_file_is_read_again_when_it_changes(self, tmp_path: Path) -> None:
        assert len(unmet.unmet(written(tmp_path, row(2, "odd:one", {})), (), False)) == 1
        assert unmet.unmet(written(tmp_path, row(2, "punctuation:no_comma", {})), (), False) == []

    def test_many_are_cut(self, tmp_path: Path) -> None:
        found = unmet.unmet(written(tmp_path, *(row(key, "odd:one", {}) for key in range(12))), (), False)
        assert len(found) == 11
        assert found[-1].endswith("and 2 more faults")

    def test_a_file_that_no_reader_takes(self, tmp_path: Path) -> None:
        [message] = unmet.unmet(written(tmp_path, row("a", "odd:one", {})), (), False)
        assert "expected a whole number as key, got 'a'" in message

    def test_what_is_no_local_file_waits(self) -> None:
        assert unmet.unmet(Source(reader="demo", language="en", rows=3), (), False) == []
        assert unmet.unmet(Source(reader="ifeval", language="en", hub="google/IFEval"), (), False) == []


class TestReading:
    def test_whole_numbers_that_pandas_made_others_of(self, tmp_path: Path) -> None:
        kwargs = {"num_paragraphs": 2.0, "nth_paragraph": 2.0, "first_word": "so"}
        [prompt] = read_prompts(written(tmp_path, row(7.0, NTH, kwargs)), exclude=())
        numbers = [prompt.key, prompt.kwargs[0]["num_paragraphs"], prompt.kwargs[0]["nth_paragraph"]]
        assert list(map(repr, numbers)) == ["7", "2", "2"]
        assert list(faults(prompt)) == []

    def test_what_pandas_makes_of_null(self, tmp_path: Path) -> None:
        arrow, parquet = (importlib.import_module(name) for name in ("pyarrow", "pyarrow.parquet"))
        rows = [row(1, "punctuation:no_comma", {"num_words": float("nan"), "num_bullets": 2.5})]
        path = tmp_path / "prompts.parquet"
        parquet.write_table(arrow.Table.from_pylist(rows), path)
        [prompt] = read_prompts(Source(reader="ifeval", language="en", path=str(path)), exclude=())
        assert prompt.kwargs == ({"num_bullets": 2.5},)

    @pytest.mark.parametrize("key", [True, 1.5, 2**63, None, "1"])
    def test_other_keys_are_refused(self, tmp_path: Path, key: Any) -> None:
        with pytest.raises(DataError, match="line 1: expected a whole number as key"):
            read_prompts(written(tmp_path, row(key, "punctuation:no_comma", {})), exclude=())
