"""Instructions that a prompt carries but never asks for: found, told, and dropped where that is wanted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiment.compile import compile_run
from experiment.results import RESPONSES
from experiment.scoring.unasked import unasked
from experiment.sources.jsonl import write_jsonl
from experiment.sources.read import read_prompts
from experiment.sources.records import BenchmarkPrompt
from experiment.sources.source import Source
from experiment.stages.score import _doubts
from experiment.store import Store
from tests import models
from tests.answers import IFEVAL, needs_shared_data
from tests.test_config import compose

ASKS = "language:response_language"


def of(text: str, instruction_id: str, kwargs: dict[str, Any], language: str = "fi") -> list[str]:
    return [item.reason for item in unasked([BenchmarkPrompt(1, text, (instruction_id,), (kwargs,))], language)]


@needs_shared_data
def test_ifevals_english_prompts_ask_for_all_but_one() -> None:
    """Prompt 337 says "at least 400 words" and carries 336."""
    prompts = read_prompts(Source(reader="ifeval", language="en", path=str(IFEVAL)), exclude=())
    [found] = unasked(prompts, "en")
    assert (found.key, found.instruction_id) == (337, "length_constraints:number_words")
    assert "336" in found.reason
    assert unasked(prompts, "en", reference=prompts) == []


@pytest.mark.parametrize("language", ["en", "fi"])
def test_the_demos_prompts_ask_for_everything(language: str) -> None:
    assert unasked(read_prompts(Source(reader="demo", language=language, rows=120, seed=4), exclude=()), language) == []


@pytest.mark.parametrize(
    ("text", "code", "missing"),
    [
        ("Kirjoita runo.", "fi", True),
        ("Kirjoita runo suomeksi.", "fi", False),
        ("Käytä vain suomen kieltä.", "fi", False),
        ("Write it in Finnish.", "fi", False),
        ("Vastaa hindiksi.", "hi", False),
        ("Vastaa kannadan kielellä.", "kn", False),
        ("Vastaa kielellä (hi).", "hi", False),
        ("Vastaa saksaksi.", "hi", True),
        ("Kirjoita runo.", "xx", False),  # what it is called is not known here
    ],
)
def test_languages(text: str, code: str, missing: bool) -> None:
    assert bool(of(text, ASKS, {"language": code})) is missing


@pytest.mark.parametrize(
    ("text", "instruction_id", "kwargs", "missing"),
    [
        ("Mainitse kaupan nimi.", "keywords:existence", {"keywords": ["kauppa"]}, False),
        ("Kerro talosta.", "keywords:existence", {"keywords": ["talo", "auto"]}, False),
        ("Kerro siitä.", "keywords:existence", {"keywords": ["talo", "auto"]}, True),
        ("Kerro ihmisen elämästä.", "keywords:existence", {"keywords": ["ihminen"]}, False),
        ("Kerro tavasta.", "keywords:existence", {"keywords": ["talo"]}, True),
        ("Kerro siitä.", "keywords:forbidden_words", {"forbidden_words": ["talo"]}, True),
        ("Yli 300 sanaa.", "length_constraints:number_words", {"num_words": 300, "relation": "at least"}, False),
        ("Yli 1 200 sanaa.", "length_constraints:number_words", {"num_words": 1200, "relation": "at least"}, False),
        ("Enintään 10.", "length_constraints:number_sentences", {"num_sentences": 11, "relation": "less than"}, False),
        ("Viidessä kohdassa.", "detectable_format:number_bullet_lists", {"num_bullets": 5}, False),
        ("Luettelona.", "detectable_format:number_bullet_lists", {"num_bullets": 5}, True),
        ("Write 1300 words.", "length_constraints:number_words", {"num_words": 300, "relation": "at least"}, True),
    ],
)
def test_keywords_and_numbers(text: str, instruction_id: str, kwargs: dict[str, Any], missing: bool) -> None:
    assert bool(of(text, instruction_id, kwargs)) is missing


def test_a_reference_tells_what_it_lacks() -> None:
    here = BenchmarkPrompt(7, "Vastaa suomeksi.", ("punctuation:no_comma", ASKS), ({}, {"language": "fi"}))
    there = replace(here, prompt="Answer.", instruction_ids=("punctuation:no_comma",), kwargs=({},))
    assert unasked([here], "fi") == []
    [found] = unasked([here], "fi", reference=[there])
    assert (found.key, found.instruction_id) == (7, ASKS)
    assert unasked([here], "fi", reference=[replace(there, key=8)]) == []


ROWS = [
    {
        "key": 1,
        "prompt": "Kirjoita runo ilman pilkkuja.",
        "instruction_id_list": ["punctuation:no_comma", ASKS],
        "kwargs": [{}, {"language": "fi"}],
    },
    {
        "key": 2,
        "prompt": "Kirjoita runo hindiksi.",
        "instruction_id_list": [ASKS],
        "kwargs": [{"language": "hi"}],
    },
    {"key": 3, "prompt": "Ilman pilkkuja.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [None]},
    {"key": 4, "prompt": "Kirjoita.", "instruction_id_list": [ASKS], "kwargs": [{"language": "fi"}]},
]


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """A file as it was uploaded again: prompt 1 carries a language that it does not ask for, prompt 4 nothing else."""
    write_jsonl(tmp_path / "fi.jsonl", ROWS)
    return Source(reader="ifeval", language="fi", path=str(tmp_path / "fi.jsonl"))


def test_an_exclusion_drops_prompts_that_were_never_meant_unless_the_unasked_go_first(source: Source) -> None:
    assert [prompt.key for prompt in read_prompts(source, exclude=[ASKS])] == [3]
    kept = read_prompts(source, exclude=[ASKS], drop_unasked=True)
    assert [(prompt.key, prompt.instruction_ids, prompt.kwargs) for prompt in kept] == [
        (1, ("punctuation:no_comma",), ({},)),
        (3, ("punctuation:no_comma",), ({},)),
    ]


@pytest.mark.parametrize("drop", [False, True])
def test_the_stage_tells_of_them(source: Source, tmp_path: Path, drop: bool) -> None:
    store = Store.open(tmp_path / "store", create=True)
    rows = ({"key": row["key"], "response": "Runo on tässä ja se on hyvä."} for row in ROWS)
    step = models.score_step(models.publish_rows(store, "generate", RESPONSES, rows, "responses"), source)
    settings = {**step.settings, "exclude_instructions": [ASKS], **({"drop_unasked": 1} if drop else {})}
    step = replace(step, settings=settings)
    models.finish(store, step)
    summary = models.summary(store, step)
    assert summary["unasked_instructions"] == 2
    assert summary["instruction_strict"] == ("2/2" if drop else "1/1")
    if drop:
        assert summary["warnings"] == []
    else:
        kept, lost = summary["warnings"]
        assert "2 instructions are not asked for" in kept
        assert f"prompt 1 {ASKS}: the prompt does not name the language 'fi'" in kept
        assert "2 prompts are excluded only for instructions that they do not ask for (1, 4)" in lost
        assert "..." not in kept + lost
        assert "benchmark.unasked_instructions=drop" in lost


def test_the_stage_names_three_of_many(tmp_path: Path) -> None:
    rows = [{**ROWS[3], "key": key} for key in range(4)] + [ROWS[2] | {"key": 9}]
    write_jsonl(tmp_path / "fi.jsonl", rows)
    source = Source(reader="ifeval", language="fi", path=str(tmp_path / "fi.jsonl"))
    kept, lost = _doubts(source, [ASKS], drop=False)["warnings"]
    assert "language 'fi', ...)" in kept
    assert "(0, 1, 2, ...)" in lost


def test_the_option_decides_what_is_generated_and_scored_and_its_default_nothing() -> None:
    before, default, drop = (
        dict(compile_run(compose(*options))[0].steps)
        for options in ((), ("benchmark.unasked_instructions=keep",), ("benchmark.unasked_instructions=drop",))
    )
    assert default == before
    changed = {role for role in before if before[role] != drop[role]}
    assert changed == {"generate.en", "generate.fi", "score.en", "score.fi"}
