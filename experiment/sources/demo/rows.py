"""Conversations, preference data and held-out prompts, made once without language and then written in one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import TypeVar

from experiment.errors import DataError
from experiment.sources.demo.instructions import BULLETS, PARAGRAPHS, WORDS, Instruction, bag, draw_id
from experiment.sources.demo.lexicon import LANGUAGES, Language
from experiment.sources.demo.sentences import Topic, draw_topic
from experiment.sources.demo.turns import Turn, following, messages, opening
from experiment.sources.records import BenchmarkPrompt, Conversation, Reply, ReplyGroup

MOST_ROWS: dict[str, int] = {"texts": 20000, "conversations": 4000, "reply_groups": 4000, "prompts": 1000}
_TRIES = 200
_Made = TypeVar("_Made")


@dataclass(frozen=True)
class Exchange:
    """The turns of one conversation, free of language."""

    turns: tuple[Turn, ...]

    @property
    def opener(self) -> tuple[str, ...]:
        """The first request in every language: no two rows share one."""
        return tuple(self.turns[0].user(language) for language in LANGUAGES)


@dataclass(frozen=True)
class Offer:
    """A reply, as the turn it would answer well, with its score; ``cut`` leaves off its end."""

    turn: Turn
    score: float
    cut: bool = False


@dataclass(frozen=True)
class Choice:
    """An exchange whose last answer is one of several offered."""

    exchange: Exchange
    offers: tuple[Offer, ...]


def checked(language: str, kind: str, rows: int) -> Language:
    """The language, if it is one of the demo's and that many rows can be made."""
    known = next((one for one in LANGUAGES if one == language), None)
    if known is None:
        raise DataError(f"The demo has no language {language!r}: choose one of {', '.join(LANGUAGES)}.")
    if not 0 <= rows <= MOST_ROWS[kind]:
        raise DataError(f"The demo can make 0 to {MOST_ROWS[kind]} distinct {kind}, not {rows}: ask for fewer rows.")
    return known


def distinct(
    kind: str, rows: int, seed: int, make: Callable[[Random, int], _Made], key: Callable[[_Made], object]
) -> list[_Made]:
    """The first rows that ``make`` gives, each new; the random numbers of a row depend on nothing but its place."""
    made: list[_Made] = []
    seen: set[object] = set()
    for row in range(rows):
        for attempt in range(_TRIES):
            candidate = make(Random(f"{seed}/{kind}/{row}/{attempt}"), row)
            mark = key(candidate)
            if mark not in seen:
                seen.add(mark)
                made.append(candidate)
                break
        else:
            raise DataError(f"The demo found no {kind} row {row} that differs from those before: ask for fewer rows.")
    return made


def _ids(kind: str, seed: int) -> Callable[[int], str]:
    @cache
    def block(number: int) -> list[str]:
        return bag(Random(f"{seed}/{kind}/bag/{number}"))

    size = len(bag(Random(0)))
    return lambda row: block(row // size)[row % size]


def exchanges(rows: int, seed: int) -> list[Exchange]:
    """What the conversations are made from."""
    ids = _ids("conversations", seed)

    def make(rng: Random, row: int) -> Exchange:
        topic = draw_topic(rng, held_out=False)
        if rng.random() < 0.25:
            first = opening(rng, topic, draw_id(rng) if rng.random() < 0.3 else None, False)
            return Exchange((first, following(rng, first, instructed=0.3, repeated=0.5)))
        first_id = ids(row) if rng.random() < 0.75 else None
        return Exchange((opening(rng, topic, first_id, rng.random() < 0.3),))

    return distinct("conversations", rows, seed, make, lambda exchange: exchange.opener)


def choices(rows: int, seed: int) -> list[Choice]:
    """What the preference data are made from."""
    ids = _ids("reply_groups", seed)

    def make(rng: Random, row: int) -> Choice:
        topic = draw_topic(rng, held_out=False)
        first = opening(rng, topic, ids(row) if rng.random() < 0.85 else None, rng.random() < 0.4)
        turns: tuple[Turn, ...] = (first,)
        if rng.random() < 0.2:
            first = replace(first, instructions=())
            turns = (first, following(rng, first, instructed=0.85, repeated=0.4))
        return Choice(Exchange(turns), _offers(rng, turns[-1]))

    return distinct("reply_groups", rows, seed, make, lambda choice: choice.exchange.opener)


def _offers(rng: Random, best: Turn) -> tuple[Offer, ...]:
    elsewhere = replace(best, topic=_other(rng, best), named=True)
    broken = replace(best, instructions=_disobeyed(rng, best))
    wandering = replace(elsewhere, instructions=broken.instructions)
    top = float(rng.choice((3, 4, 4)))
    if rng.random() < 0.1:
        score = float(rng.choice((1, 2)))
        offers = [Offer(broken, score), Offer(wandering, score)]
    elif best.instructions:
        offers = [Offer(best, top), Offer(broken, float(rng.choice((1, 2))), rng.random() < 0.15)]
        if rng.random() < 0.5:
            offers.append(Offer(wandering, 0.0, rng.random() < 0.2))
    else:
        offers = [Offer(best, top), Offer(elsewhere, float(rng.choice((0, 1))))]
        if rng.random() < 0.5:
            offers.append(Offer(best, 2.0, cut=True))
    rng.shuffle(offers)
    return tuple(offers)


def _other(rng: Random, turn: Turn) -> Topic:
    while True:
        topic = draw_topic(rng, held_out=False)
        if topic.person != turn.topic.person and topic.profession != turn.topic.profession:
            return topic


def _disobeyed(rng: Random, turn: Turn) -> tuple[Instruction, ...]:
    """The instructions that a reply obeys which disobeys one or all of the turn's."""
    if not turn.instructions:
        return ()
    broken = rng.choice(turn.instructions)
    kept = () if rng.random() < 0.5 else tuple(one for one in turn.instructions if one != broken)
    if broken.id == WORDS:
        number = 20 if broken.choice == 0 else 12
        return (*kept, replace(broken, choice=1 - broken.choice, number=number))
    if broken.id in (BULLETS, PARAGRAPHS) and rng.random() < 0.5:
        return (*kept, replace(broken, number=5 - broken.number))
    return kept


def _reply(offer: Offer, language: Language) -> Reply:
    text = offer.turn.assistant(language)
    if offer.cut:
        words = text.split(" ")
        text = " ".join(words[: (len(words) + 1) // 2])
    return Reply(text, offer.score)


def conversations(language: str, rows: int, seed: int) -> list[Conversation]:
    """Conversations for SFT; a row of one language is the translation of the same row of the other."""
    known = checked(language, "conversations", rows)
    return [
        Conversation(f"demo-{seed}-c{i:05d}", messages(exchange.turns, known))
        for i, exchange in enumerate(exchanges(rows, seed))
    ]


def reply_groups(language: str, rows: int, seed: int) -> list[ReplyGroup]:
    """Prompts with two or three scored replies; rows of both languages are translations of each other."""
    known = checked(language, "reply_groups", rows)
    return [
        ReplyGroup(
            f"demo-{seed}-r{i:05d}",
            messages(choice.exchange.turns, known)[:-1],
            tuple(_reply(offer, known) for offer in choice.offers),
        )
        for i, choice in enumerate(choices(rows, seed))
    ]


def held_out(rows: int, seed: int) -> list[Exchange]:
    """What the benchmark prompts are made from: topics that no training data has."""
    ids = _ids("prompts", seed)

    def make(rng: Random, row: int) -> Exchange:
        return Exchange((opening(rng, draw_topic(rng, held_out=True), ids(row), rng.random() < 0.55),))

    return distinct("prompts", rows, seed, make, lambda exchange: exchange.opener)


def prompts(language: str, rows: int, seed: int) -> list[BenchmarkPrompt]:
    """Held-out prompts with IFEval's ids and arguments; prompts of both languages with one key are translations."""
    known = checked(language, "prompts", rows)
    return [
        BenchmarkPrompt(1000 + i, turn.user(known), turn.instruction_ids(), turn.arguments(known))
        for i, turn in enumerate(exchange.turns[0] for exchange in held_out(rows, seed))
    ]
