from __future__ import annotations

import itertools
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from experiment.errors import DataError
from experiment.plan import make_step
from experiment.sources.jsonl import write_jsonl
from experiment.sources.records import Message, Reply, ReplyGroup
from experiment.sources.source import Source
from experiment.stages import mix, pair
from experiment.store import Store
from experiment.task import Task

ROWS = st.integers(0, 20_000)
PERCENTS = st.integers(0, 100) | st.decimals(0, 100, places=2).map(float)


def task(folder: Path, stage: str, settings: dict[str, Any], **sources: Source) -> Task:
    """A task of a stage that reads sources only; its work folder is there."""
    places = {role: {"reader": s.reader, "language": s.language, "path": s.path} for role, s in sources.items()}
    made = {role: source.identity() for role, source in sources.items()}
    step = make_step(stage, settings={**made, **settings}, execution={"sources": places})
    work = folder / step.fingerprint
    work.mkdir(parents=True, exist_ok=True)
    return Task(step, Store(folder), work, lambda done, total: None)


# mix


@given(ROWS, PERCENTS)
@example(4399, 10)
def test_the_share_is_the_exact_floor(rows, percent):
    kept = mix.share(rows, percent)
    exact = Fraction(str(percent)) * rows / 100
    assert kept <= exact < kept + 1


@pytest.mark.parametrize(
    ("rows", "percent", "kept"),
    [
        (4399, 10, 439),
        (4399, 100, 4399),
        (4399, 0, 0),
        (4399, 80, 3519),
        (1000, 0.7, 7),
        (10000, 0.57, 57),
        (100, 29, 29),
    ],
)
def test_shares_that_floating_point_gets_wrong_too(rows, percent, kept):
    assert mix.share(rows, percent) == kept


@given(ROWS, PERCENTS, PERCENTS)
def test_a_larger_share_never_holds_fewer_rows(rows, one, other):
    small, large = sorted((one, other))
    assert mix.share(rows, small) <= mix.share(rows, large)


@pytest.fixture(scope="module")
def sides(tmp_path_factory) -> dict[str, Source]:
    folder = tmp_path_factory.mktemp("sides")
    found = {}
    for role, language, count in (("source", "en", 30), ("target", "fi", 17)):
        path = folder / f"{language}.jsonl"
        with path.open("w") as out:
            for number in range(count):
                messages = [{"role": "user", "content": f"q{number}"}, {"role": "assistant", "content": language}]
                out.write(json.dumps({"id": f"{language}{number}", "messages": messages}) + "\n")
        found[role] = Source(reader="conversations", language=language, path=str(path))
    return found


def mixed(folder: Path, sides: dict[str, Source], percent: float, seed: int = 42) -> tuple[dict[str, Any], list[str]]:
    used = sides if percent else {"source": sides["source"]}
    made = task(folder, "mix", {"percent": percent, "seed": seed}, **used)
    summary = mix.run(made)
    return summary, [json.loads(line)["id"] for line in (made.work / mix.ROWS).read_text().splitlines()]


@given(percent=st.integers(0, 100) | st.sampled_from([5.9, 12.5, 99.9]), seed=st.integers(0, 9))
def test_a_mix_is_all_source_rows_and_the_first_target_rows(tmp_path_factory, sides, percent, seed):
    folder = tmp_path_factory.getbasetemp() / "mixes"
    kept = mix.share(17, percent)
    if percent and not kept:
        with pytest.raises(DataError, match="are none; raise mix, or use mix=0"):
            mixed(folder, sides, percent, seed)
        return
    summary, rows = mixed(folder, sides, percent, seed)
    assert sorted(rows) == sorted([f"en{n}" for n in range(30)] + [f"fi{n}" for n in range(kept)])
    assert (summary["source_rows"], summary["target_rows"], summary["rows"]) == (30, kept, 30 + kept)


def test_the_mix_tells_where_its_rows_are_from(tmp_path, sides):
    summary, _ = mixed(tmp_path, sides, 50)
    told = summary["sources"]
    assert {role: (found["where"], found["language"], found["rows"]) for role, found in told.items()} == {
        "source": (sides["source"].path, "en", 30),
        "target": (sides["target"].path, "fi", 17),
    }
    assert set(mixed(tmp_path, sides, 0)[0]["sources"]) == {"source"}


@given(percent=st.integers(6, 100), seed=st.integers(0, 9))
def test_target_rows_made_by_the_plan_are_mixed_like_those_of_a_source(tmp_path_factory, sides, percent, seed):
    folder = tmp_path_factory.getbasetemp() / "made"
    path = sides["target"].path
    assert path is not None
    store = Store(folder)
    rows = [{**row, "language": "fi"} for row in map(json.loads, Path(path).read_text().splitlines())]
    artifact = store.artifact("clean", "0123456789abcdef")
    artifact.mkdir(parents=True, exist_ok=True)
    write_jsonl(artifact / mix.MADE, rows)
    english = sides["source"]
    step = make_step(
        "mix",
        settings={"percent": percent, "seed": seed, "source": english.identity()},
        inputs={"target": "clean/0123456789abcdef"},
        execution={"sources": {"source": {"reader": "conversations", "language": "en", "path": english.path}}},
    )
    work = folder / step.fingerprint
    work.mkdir(exist_ok=True)
    summary = mix.run(Task(step, store, work, lambda done, total: None))
    assert summary["sources"]["target"] == {"artifact": "clean/0123456789abcdef", "rows": 17}
    found = [json.loads(line) for line in (work / mix.ROWS).read_text().splitlines()]
    assert [row["id"] for row in found] == mixed(folder, sides, percent, seed)[1]
    assert {row["language"] for row in found} == {"en", "fi"}
    assert (summary["target_rows"], summary["rows"]) == (mix.share(17, percent), len(found))


@given(one=st.integers(6, 100), other=st.integers(6, 100))
def test_mixes_are_nested(tmp_path_factory, sides, one, other):
    folder = tmp_path_factory.getbasetemp() / "mixes"
    small, large = sorted((one, other))
    assert set(mixed(folder, sides, small)[1]) <= set(mixed(folder, sides, large)[1])


def test_the_shuffle_depends_on_the_seed_and_on_nothing_else(tmp_path, sides):
    orders = {seed: mixed(tmp_path, sides, 100, seed)[1] for seed in (1, 2)}
    assert orders[1] == mixed(tmp_path / "again", sides, 100, 1)[1]
    assert orders[1] != orders[2]
    assert sorted(orders[1]) == sorted(orders[2])
    assert [row for row in orders[1] if row.startswith("en")] != [f"en{n}" for n in range(30)]


def test_a_mix_reads_back_as_conversations(tmp_path, sides):
    made = task(tmp_path, "mix", {"percent": 100, "seed": 1}, **sides)
    mix.run(made)
    reader = make_step("sft", settings={}, inputs={"mix": made.step.key})
    folder = made.store.artifact("mix", made.step.fingerprint)
    folder.parent.mkdir()
    made.work.rename(folder)
    rows = mix.read_mix(Task(reader, made.store, tmp_path, made.progress))
    assert len(rows) == 47
    assert {row.messages[1] for row in rows} == {Message("assistant", "en"), Message("assistant", "fi")}


# pair

GROUPS = st.lists(st.integers(-3, 3), min_size=2, max_size=6).map(
    lambda scores: ReplyGroup(
        "g", (Message("user", "q"),), tuple(Reply(f"reply {n}", float(score)) for n, score in enumerate(scores))
    )
)


@given(GROUPS, st.sampled_from(["best_worst", "all"]))
def test_the_chosen_reply_scores_higher(group, choice):
    score = {reply.content: reply.score for reply in group.replies}
    for made in pair.make_pairs(group, choice):
        assert score[made.chosen] > score[made.rejected]
        assert made.prompt == group.prompt


@given(GROUPS)
def test_best_worst_is_one_pair_of_the_extremes_or_none_for_a_tie(group):
    scores = [reply.score for reply in group.replies]
    score = {reply.content: reply.score for reply in group.replies}
    made = list(pair.make_pairs(group, "best_worst"))
    assert [(score[p.chosen], score[p.rejected], p.id) for p in made] == (
        [(max(scores), min(scores), "g")] if max(scores) > min(scores) else []
    )


@given(GROUPS)
def test_all_is_every_couple_of_different_score_once(group):
    made = list(pair.make_pairs(group, "all"))
    expected = {
        frozenset((one.content, other.content))
        for one, other in itertools.combinations(group.replies, 2)
        if one.score != other.score
    }
    couples = [frozenset((p.chosen, p.rejected)) for p in made]
    assert set(couples) == expected
    assert len(couples) == len(expected)
    assert len({p.id for p in made}) == len(made)


def scored(folder: Path, *rows: tuple[str, str, int]) -> Source:
    path = folder / "scored.jsonl"
    names = ("prompt", "response", "helpfulness")
    path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows))
    return Source(reader="scored_pairs", language="en", path=str(path))


def test_the_stage_writes_pairs_and_counts_ties(tmp_path):
    source = scored(
        tmp_path, ("p", "bad", 1), ("q", "x", 2), ("p", "good", 4), ("q", "y", 2), ("r", "a", 3), ("r", "b", 0)
    )
    made = task(tmp_path, "pair", {"choice": "best_worst"}, source=source)
    summary = pair.run(made)
    assert {name: summary[name] for name in ("prompts", "tied_prompts", "pairs")} == {
        "prompts": 3,
        "tied_prompts": 1,
        "pairs": 2,
    }
    told = summary["sources"]["source"]
    assert (told["where"], told["rows"], told["licence"]) == (source.path, 3, "not stated")
    assert told["sha256"] == made.settings["source"]["sha256"]
    rows = [json.loads(line) for line in (made.work / pair.ROWS).read_text().splitlines()]
    assert [(row["chosen"], row["rejected"], row["language"]) for row in rows] == [
        ("good", "bad", "en"),
        ("a", "b", "en"),
    ]


def test_nothing_but_ties_is_refused(tmp_path):
    source = scored(tmp_path, ("p", "x", 2), ("p", "y", 2))
    with pytest.raises(DataError, match="none of 1 prompts has a better and a worse reply"):
        pair.run(task(tmp_path, "pair", {"choice": "best_worst"}, source=source))
