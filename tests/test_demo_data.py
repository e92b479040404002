from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from itertools import product

import langdetect
import nltk
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment.errors import DataError
from experiment.sources.demo import conversations, lexicon, prompts, reply_groups, rows, sentences, texts
from experiment.sources.demo.instructions import IDS, JSON, LOWERCASE
from experiment.sources.demo.translations import aligned_sentences, translation_pairs
from experiment.sources.demo.turns import Turn

LANGUAGES = ("en", "fi")
MAKERS = {"texts": texts, "conversations": conversations, "reply_groups": reply_groups, "prompts": prompts}
BACK, FRONT = "aou", "äöy"


@pytest.fixture(scope="module")
def registry():
    # Importing the checkers fetches punkt data, which none of the instructions here needs.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nltk, "download", lambda *args, **kwargs: True)
        from lm_eval.tasks.ifeval.instructions_registry import INSTRUCTION_DICT
    return INSTRUCTION_DICT


@pytest.fixture(autouse=True)
def _steady_langdetect(monkeypatch):
    monkeypatch.setattr(langdetect.DetectorFactory, "seed", 0)


def obeyed(registry, ids, arguments, text):
    verdicts = []
    for id_, kwargs in zip(ids, arguments, strict=True):
        checker = registry[id_](id_)
        checker.build_description(**kwargs)
        verdicts.append(bool(text.strip()) and bool(checker.check_following(text)))
    return verdicts


def checkable(turn: Turn, language: str):
    """The turn's instructions without the one that no Finnish answer can pass."""
    kept = [
        pair
        for pair in zip(turn.instruction_ids(), turn.arguments(language), strict=True)
        if not (language == "fi" and pair[0] == LOWERCASE)
    ]
    return [id_ for id_, _ in kept], [kwargs for _, kwargs in kept]


def test_the_same_in_another_process():
    code = (
        "import hashlib; from experiment.sources.demo import *\n"
        "d = [f(x, 40, 3) for f in (texts, conversations, reply_groups, prompts) for x in ('en', 'fi')]\n"
        "print(hashlib.sha256(repr(d).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(digests) == 1


@given(
    kind=st.sampled_from(sorted(MAKERS)),
    language=st.sampled_from(LANGUAGES),
    seed=st.integers(0, 99),
    fewer=st.integers(0, 40),
    more=st.integers(0, 40),
)
@settings(max_examples=25, deadline=None)
def test_fewer_rows_are_the_first_of_more(kind, language, seed, fewer, more):
    make = MAKERS[kind]
    assert make(language, fewer, seed) == make(language, fewer + more, seed)[:fewer]


@pytest.mark.parametrize("kind", MAKERS)
def test_seeds_differ(kind):
    assert MAKERS[kind]("en", 20, 0) != MAKERS[kind]("en", 20, 1)


@pytest.mark.parametrize("kind", MAKERS)
def test_says_what_it_cannot_make(kind):
    with pytest.raises(DataError, match="en, fi"):
        MAKERS[kind]("sv", 1, 0)
    with pytest.raises(DataError, match="fewer rows"):
        MAKERS[kind]("en", rows.MOST_ROWS[kind] + 1, 0)
    assert len(MAKERS[kind]("fi", rows.MOST_ROWS[kind], 0)) == rows.MOST_ROWS[kind]


def test_languages_are_parallel():
    for en, fi in zip(conversations("en", 300, 0), conversations("fi", 300, 0), strict=True):
        assert en.id == fi.id
        assert [m.role for m in en.messages] == [m.role for m in fi.messages]
        assert all(a.content != b.content for a, b in zip(en.messages, fi.messages, strict=True) if a.role == "user")
    for en, fi in zip(reply_groups("en", 300, 0), reply_groups("fi", 300, 0), strict=True):
        assert en.id == fi.id
        assert [m.role for m in en.prompt] == [m.role for m in fi.prompt]
        assert [r.score for r in en.replies] == [r.score for r in fi.replies]
    for en, fi in zip(prompts("en", 200, 0), prompts("fi", 200, 0), strict=True):
        assert (en.key, en.instruction_ids) == (fi.key, fi.instruction_ids)
        assert [list(kwargs) for kwargs in en.kwargs] == [list(kwargs) for kwargs in fi.kwargs]


def test_turns_alternate():
    made = conversations("fi", 500, 0)
    for conversation in made:
        assert [m.role for m in conversation.messages] == ["user", "assistant"] * (len(conversation.messages) // 2)
    for group in reply_groups("fi", 500, 0):
        assert [m.role for m in group.prompt] == (["user", "assistant"] * 2)[: len(group.prompt)]
        assert group.prompt[-1].role == "user"
    assert 0.2 < sum(len(conversation.messages) == 4 for conversation in made) / len(made) < 0.3


@pytest.mark.parametrize("language", LANGUAGES)
def test_requests_are_distinct_and_prompts_held_out(language):
    asked = [conversation.messages[0].content for conversation in conversations(language, 2000, 0)]
    preferred = [group.prompt for group in reply_groups(language, 2000, 0)]
    benchmark = [prompt.prompt for prompt in prompts(language, 400, 0)]
    documents = texts(language, 2000, 0)
    for requests in (asked, [prompt[0].content for prompt in preferred], benchmark, documents):
        assert len(set(requests)) == len(requests)
    later = [c.messages[2].content for c in conversations(language, 2000, 0) if len(c.messages) > 2]
    trained = {*asked, *later, *(m.content for prompt in preferred for m in prompt)}
    assert not trained & set(benchmark)
    everything = "\n".join(documents)
    assert not any(prompt in everything for prompt in benchmark)


def test_training_never_meets_a_held_out_topic():
    turns = [turn for exchange in rows.exchanges(1000, 0) for turn in exchange.turns]
    turns += [offer.turn for choice in rows.choices(1000, 0) for offer in choice.offers]
    assert not any(turn.topic.held_out for turn in turns)
    assert all(exchange.turns[0].topic.held_out for exchange in rows.held_out(300, 0))


def test_every_instruction_has_its_share():
    trained = Counter(id_ for e in rows.exchanges(2000, 0) for turn in e.turns for id_ in turn.instruction_ids())
    judged = Counter(id_ for prompt in prompts("en", 120, 0) for id_ in prompt.instruction_ids)
    for counted in (trained, judged):
        shares = {id_: counted[id_] / counted.total() for id_ in IDS}
        assert set(counted) == set(IDS)
        assert min(shares.values()) > 0.04
        assert max(shares.values()) < 0.11
        assert 0.06 < shares[LOWERCASE] < 0.10
    assert 1.4 < judged.total() / 120 < 1.6


@pytest.mark.parametrize("language", LANGUAGES)
def test_answers_obey(registry, language):
    for exchange in [*rows.exchanges(1000, 0), *rows.held_out(200, 0)]:
        for turn in exchange.turns:
            answer = turn.assistant(language)
            ids, arguments = checkable(turn, language)
            assert all(obeyed(registry, ids, arguments, answer)), (turn.user(language), answer)


def test_no_finnish_answer_passes_the_lowercase_checker(registry):
    answers = [
        turn.assistant("fi")
        for exchange in rows.exchanges(1000, 0)
        for turn in exchange.turns
        if LOWERCASE in turn.instruction_ids()
    ]
    assert answers
    for answer in answers:
        assert answer.islower()
        assert obeyed(registry, [LOWERCASE], [{}], answer) == [False]


def test_conversations_hold_the_checked_answers():
    for conversation, exchange in zip(conversations("fi", 50, 0), rows.exchanges(50, 0), strict=True):
        assert [m.content for m in conversation.messages[1::2]] == [turn.assistant("fi") for turn in exchange.turns]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_best_reply_obeys_and_the_others_do_not(registry, language):
    worse_obey = groups = ties = 0
    made = rows.choices(1000, 0)
    for choice, group in zip(made, reply_groups(language, 1000, 0), strict=True):
        replies = sorted(group.replies, key=lambda reply: -reply.score)
        assert all(reply.score in (0, 1, 2, 3, 4) for reply in replies)
        if replies[0].score == replies[1].score:
            assert len(replies) == 2
            ties += 1
            continue
        ids, arguments = checkable(choice.exchange.turns[-1], language)
        assert all(obeyed(registry, ids, arguments, replies[0].content)), group
        if ids:
            groups += 1
            worse_obey += any(all(obeyed(registry, ids, arguments, reply.content)) for reply in replies[1:])
    assert 0.07 < ties / len(made) < 0.14
    assert worse_obey / groups < 0.10


@pytest.mark.parametrize("language", LANGUAGES)
def test_text_is_in_its_language(language):
    answers = [
        turn.assistant(language)
        for exchange in rows.exchanges(300, 1)
        for turn in exchange.turns
        if JSON not in turn.instruction_ids()
    ]
    for written in (answers, texts(language, 300, 1)):
        assert sum(langdetect.detect(text) == language for text in written) / len(written) >= 0.97
    assert max(len(answer.split()) for answer in answers) <= 45


def test_texts_show_every_form():
    joined = "\n\n".join(texts("fi", 400, 0))
    for form in ("\n* ", "<<", "\n***\n", "P.S.", "[osoite]", '{"nimi"', "Kysymys: ", "Vastaus: "):
        assert form in joined


def back(word: str) -> bool:
    """Whether the word takes back endings: its last harmonic vowel is a back one."""
    return next((vowel in BACK for vowel in reversed(word.lower()) if vowel in BACK + FRONT), False)


WORDS = [*lexicon.THINGS.values(), *lexicon.ANIMALS.values(), *lexicon.ADJECTIVES.values()]


@given(word=st.sampled_from(WORDS))
@settings(max_examples=2 * len(WORDS))
def test_nouns_and_adjectives_keep_vowel_harmony(word):
    assert word.gen.endswith("n")
    assert word.part.endswith("a" if back(word.fi) else "ä")
    assert len({word.fi, word.gen, word.part}) == 3
    assert word.fi[:2] == word.gen[:2] == word.part[:2]


def test_every_local_case_keeps_vowel_harmony():
    for town in lexicon.TOWNS:
        # In a compound the last part decides.
        a = "a" if back(town.en.removeprefix("Rova")) else "ä"
        inner = town.at.endswith("ss" + a) and town.from_.endswith("st" + a) and town.to.endswith("n")
        outer = town.at.endswith("ll" + a) and town.from_.endswith("lt" + a) and town.to.endswith("lle")
        assert inner != outer
        assert town.about.endswith("st" + a)
        assert inner == (town.about == town.from_)
        assert town.gen.endswith("n")
    for place in lexicon.PLACES.values():
        a = "a" if back(place.fi) else "ä"
        assert place.at.endswith(("ss" + a, "ll" + a))
        assert place.to.endswith("lle" if place.at.endswith("ll" + a) else "n")
    for person in lexicon.PEOPLE:
        a = "a" if back(person.name) else "ä"
        stem = person.gen.removesuffix("n")
        assert (person.about, person.on) == (f"{stem}st{a}", f"{stem}ll{a}")
        assert person.trait in lexicon.ADJECTIVES
        assert person.pet in lexicon.ANIMALS
    for job in lexicon.PROFESSIONS:
        assert job.about == f"{job.gen.removesuffix('n')}st{'a' if back(job.fi) else 'ä'}"
        assert set(job.tools) <= set(lexicon.THINGS)
        assert job.place in lexicon.PLACES


def test_some_finnish_sentences():
    matti = [person.name for person in lexicon.PEOPLE].index("Matti")
    smith = [job.en for job in lexicon.PROFESSIONS].index("smith")
    tampere = [town.en for town in lexicon.TOWNS].index("Tampere")
    topic = sentences.Topic(matti, smith, tampere)
    said = {kind: sentences.sentence(kind, topic, "fi", True) for kind in ("is", "works", "likes", "lives", "pet")}
    assert said == {
        "is": "Matti on rauhallinen seppä Tampereelta.",
        "works": "Matti tekee työkaluja pajassa joka päivä.",
        "likes": "Matti pitää Tampereesta hyvin paljon.",
        "lives": "Matti asuu Tampereella vanhan kissan kanssa.",
        "pet": "Matilla on kotona vanha kissa.",
    }


def test_only_lists_have_commas():
    for person, job in product(range(len(lexicon.PEOPLE)), range(len(lexicon.PROFESSIONS))):
        topic = sentences.Topic(person, job, (person + job) % len(lexicon.TOWNS))
        for language in lexicon.LANGUAGES:
            assert sentences.sentence("uses", topic, language, True).count(",") == 1
            assert "," not in sentences.sentence("uses", topic, language, True, commas=False)
            assert "," not in sentences.sentence("is", topic, language, True)


def test_extras_contain_their_keywords_and_nothing_forbidden():
    forbidden = {lexicon.ADJECTIVES[name] for p in lexicon.PEOPLE for name in (p.trait, p.pet_look)}
    for extra in sentences.EXTRAS:
        for whole, first, second in extra.values():
            assert first.lower() in whole.lower()
            assert second.lower() in whole.lower()
            words = set(whole.lower().removesuffix(".").split())
            assert not words & {form for adjective in forbidden for form in (adjective.en, adjective.fi)}


def test_json_answers_name_the_topic():
    answers = [e.turns[0].assistant("fi") for e in rows.held_out(200, 0) if JSON in e.turns[0].instruction_ids()]
    assert answers
    assert all({"nimi", "ammatti", "kaupunki"} <= set(json.loads(answer)) for answer in answers)


# Translations


def test_sentences_are_parallel_and_pairs_are_made_of_them():
    en, fi = (aligned_sentences(language, 300, 5) for language in ("en", "fi"))
    pairs = translation_pairs("en-fi", 300, 5)
    assert len(set(en)) == 300
    assert pairs == [f"<|user|>Käännä suomeksi: {a} <|assistant|>{b}" for a, b in zip(en, fi, strict=True)]
    assert translation_pairs("en-fi", 20, 5) == pairs[:20]
    assert translation_pairs("fi-en", 5, 5)[0].startswith("<|user|>Käännä englanniksi: ")


def test_translation_pairs_hold_no_held_out_topic():
    told = "\n".join(aligned_sentences("en", 2000, 11))
    for exchange in rows.held_out(60, 4):
        assert exchange.turns[0].user("en") not in told


@pytest.mark.parametrize(
    ("direction", "told"), [("en", "name two of en, fi"), ("en-en", "name two"), ("en-sv", "'sv'")]
)
def test_translations_that_it_cannot_make(direction, told):
    with pytest.raises(DataError, match=told):
        translation_pairs(direction, 3, 1)


def test_more_sentences_than_there_are():
    with pytest.raises(DataError, match=r"can make \d+ distinct sentences of seed 1, not 100000"):
        aligned_sentences("en", 100000, 1)
