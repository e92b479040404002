"""Pretraining documents: stories, lists, quotations, letters, JSON, questions with answers."""

from __future__ import annotations

from random import Random

from experiment.sources.demo.instructions import JSON, LOWERCASE, draw_id
from experiment.sources.demo.lexicon import Language
from experiment.sources.demo.rows import checked, distinct
from experiment.sources.demo.sentences import draw_topic, free_sentence, sentence
from experiment.sources.demo.turns import following, opening

# What a story tells together, so that no sentence leans on something not yet told.
_SCENES: tuple[tuple[str, ...], ...] = (
    ("works", "uses"),
    ("worked",),
    ("pet", "follows", "eats"),
    ("bought", "went", "tired"),
    ("lives", "house"),
    ("likes",),
)


def texts(language: str, rows: int, seed: int) -> list[str]:
    """Pretraining documents in one language; they share a world with the other data but no held-out topic."""
    known = checked(language, "texts", rows)

    def make(rng: Random, _row: int) -> str:
        kind = rng.choice((_story, _story, _story, _medley, _medley, _form, _form, _questions, _questions))
        return kind(rng, known)

    return distinct(f"texts/{known}", rows, seed, make, lambda text: text)


def _free(rng: Random, language: Language, least: int, most: int) -> str:
    wanted = rng.randint(least, most)
    made: dict[str, None] = {}
    while len(made) < wanted:
        made[free_sentence(rng, language)] = None
    return " ".join(made)


def _story(rng: Random, language: Language) -> str:
    topic = draw_topic(rng, held_out=False)
    commas = rng.random() < 0.8
    kinds = ["is"]
    for scene in rng.sample(_SCENES, rng.randint(2, 4)):
        kinds += scene[: rng.randint(1, len(scene))]
    return " ".join(sentence(kind, topic, language, i == 0, commas) for i, kind in enumerate(kinds[:8]))


def _medley(rng: Random, language: Language) -> str:
    return _free(rng, language, 4, 7)


def _form(rng: Random, language: Language) -> str:
    first_id = draw_id(rng)
    turn = opening(rng, draw_topic(rng, held_out=False), first_id, rng.random() < 0.3)
    text = turn.assistant(language)
    if first_id == JSON:
        other = opening(rng, draw_topic(rng, held_out=False), JSON, False)
        return f"{_free(rng, language, 2, 4)}\n{text}\n{other.assistant(language)}"
    scene = _free(rng, language, 1, 3)
    return f"{text}\n\n{scene.lower() if LOWERCASE in turn.instruction_ids() else scene}"


def _questions(rng: Random, language: Language) -> str:
    asked, answered = {"en": ("Question", "Answer"), "fi": ("Kysymys", "Vastaus")}[language]
    turn = opening(rng, draw_topic(rng, held_out=False), draw_id(rng) if rng.random() < 0.4 else None, False)
    turns = [turn]
    if rng.random() < 0.5:
        turns.append(following(rng, turn, instructed=0.3, repeated=0.3))
    return "\n".join(f"{asked}: {one.user(language)}\n{answered}: {one.assistant(language)}" for one in turns)
