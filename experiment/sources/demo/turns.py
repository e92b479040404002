"""A turn of a conversation: what the user wants, and the answer that obeys."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from experiment.sources.demo.instructions import (
    BULLETS,
    END,
    FORBIDDEN,
    HIGHLIGHTS,
    JSON,
    KEYWORDS,
    LOWERCASE,
    NO_COMMA,
    PARAGRAPHS,
    PLACEHOLDERS,
    POSTSCRIPT,
    QUOTATION,
    TITLE,
    WORDS,
    Instruction,
    arguments,
    asks_for,
    compatible,
    draw,
    draw_id,
    ending,
    request,
)
from experiment.sources.demo.lexicon import ANIMALS, Language
from experiment.sources.demo.questions import ANSWERS, FOLLOWING, OPENING, again, follow_up, question
from experiment.sources.demo.sentences import EXTRAS, Topic, sentence
from experiment.sources.records import Message


@dataclass(frozen=True)
class Turn:
    """A user's turn; ``stage`` is "opening", "following" or "again"."""

    topic: Topic
    ask: str
    wording: int
    instructions: tuple[Instruction, ...] = ()
    stage: str = "opening"
    named: bool = True

    def instruction_ids(self) -> tuple[str, ...]:
        """IFEval's ids of the turn's instructions."""
        return tuple(instruction.id for instruction in self.instructions)

    def arguments(self, language: Language) -> tuple[dict[str, Any], ...]:
        """IFEval's arguments of the turn's instructions."""
        return tuple(arguments(instruction, self.topic, self.ask, language) for instruction in self.instructions)

    def user(self, language: Language) -> str:
        """What the user writes."""
        if self.stage == "opening":
            asked = question(self.topic, self.ask, self.wording, language)
        elif self.stage == "following":
            asked = follow_up(self.topic, self.ask, self.wording, language)
        else:
            asked = again(self.wording, language)
        return " ".join([asked, *(request(one, self.topic, self.ask, language) for one in self.instructions)])

    def assistant(self, language: Language) -> str:
        """The answer that obeys every instruction."""
        return _answer(self, language)


def messages(turns: Sequence[Turn], language: Language) -> tuple[Message, ...]:
    """The turns as a conversation that ends with the assistant."""
    pairs = ((Message("user", turn.user(language)), Message("assistant", turn.assistant(language))) for turn in turns)
    return tuple(message for pair in pairs for message in pair)


def opening(rng: Random, topic: Topic, first_id: str | None, second: bool) -> Turn:
    """A first turn, with an instruction of the given id and perhaps another that goes with it."""
    instructions = _instructions(rng, first_id, second)
    asks = asks_for(tuple(one.id for one in instructions), OPENING)
    return Turn(topic, rng.choice(asks), rng.randrange(12), instructions)


def following(rng: Random, before: Turn, instructed: float, repeated: float) -> Turn:
    """A second turn: the same answer in another form, or a new question about the person."""
    if rng.random() < repeated and not before.instructions:
        id_ = rng.choice((LOWERCASE, BULLETS, BULLETS, NO_COMMA, QUOTATION, TITLE))
        if before.ask in asks_for((id_,), OPENING):
            return replace(before, wording=rng.randrange(12), instructions=(draw(rng, id_),), stage="again")
    instructions = _instructions(rng, draw_id(rng) if rng.random() < instructed else None, False)
    asks = [ask for ask in asks_for(tuple(one.id for one in instructions), FOLLOWING) if ask != before.ask]
    if not asks:
        return following(rng, before, instructed, repeated)
    return Turn(before.topic, rng.choice(asks), rng.randrange(12), instructions, "following", named=False)


def _instructions(rng: Random, first_id: str | None, second: bool) -> tuple[Instruction, ...]:
    if first_id is None:
        return ()
    if not second or first_id == JSON:
        return (draw(rng, first_id),)
    while True:
        other = draw_id(rng)
        if compatible(first_id, other):
            return draw(rng, first_id), draw(rng, other)


def _answer(turn: Turn, language: Language) -> str:
    wanted = {one.id: one for one in turn.instructions}
    if JSON in wanted:
        return _json(turn, language)
    text = _shaped(_sentences(turn, wanted, language), wanted, _additions(wanted, language))
    if TITLE in wanted:
        text = f"{_title(turn.topic, language)}\n{text}"
    if POSTSCRIPT in wanted:
        text += f"\nP.S. {EXTRAS[wanted[POSTSCRIPT].choice][language][0]}"
    if END in wanted:
        text += ("\n" if BULLETS in wanted else " ") + ending(wanted[END], language)
    if QUOTATION in wanted:
        text = f'"{text}"'
    return text.lower() if LOWERCASE in wanted else text


def _sentences(turn: Turn, wanted: dict[str, Instruction], language: Language) -> list[str]:
    kinds = ANSWERS[turn.ask]
    shape = next((wanted[id_] for id_ in (BULLETS, PARAGRAPHS) if id_ in wanted), None)
    count = shape.number if shape else len(kinds)
    words = wanted.get(WORDS)
    if words and words.choice == 0:
        count = 1
    made = [
        sentence(kind, turn.topic, language, turn.named and i == 0, NO_COMMA not in wanted, FORBIDDEN in wanted)
        for i, kind in enumerate(kinds[:count])
    ]
    extra = turn.wording
    while words and words.choice == 1 and len(re.findall(r"\w+", " ".join(made))) < words.number:
        made.append(EXTRAS[extra % len(EXTRAS)][language][0])
        extra += 1
    if HIGHLIGHTS in wanted:
        number = wanted[HIGHLIGHTS].number
        made = [re.sub(r"(\w+)\.$", r"*\1*.", one) if i < number else one for i, one in enumerate(made)]
    return made


def _additions(wanted: dict[str, Instruction], language: Language) -> list[str]:
    if KEYWORDS in wanted:
        return [EXTRAS[wanted[KEYWORDS].choice][language][0]]
    if PLACEHOLDERS in wanted:
        one, two = {
            "en": ("The address is [address].", "The address is [address] and the number is [number]."),
            "fi": ("Osoite on [osoite].", "Osoite on [osoite] ja numero on [numero]."),
        }[language]
        return [one if wanted[PLACEHOLDERS].number == 1 else two]
    return []


def _shaped(sentences: list[str], wanted: dict[str, Instruction], additions: list[str]) -> str:
    if BULLETS in wanted:
        return "\n".join([*(f"* {one}" for one in sentences), *additions])
    if PARAGRAPHS in wanted:
        return " ".join(["\n***\n".join(sentences), *additions])
    return " ".join([*sentences, *additions])


def _title(topic: Topic, language: Language) -> str:
    if language == "en":
        return f"<<The {topic.job.en} from {topic.where.en}>>"
    return f"<<{topic.job.fi.capitalize()} {topic.where.from_}>>"


def _json(turn: Turn, language: Language) -> str:
    topic, english = turn.topic, language == "en"
    names = {"en": ("name", "profession", "town"), "fi": ("nimi", "ammatti", "kaupunki")}[language]
    fields = dict(zip(names, (topic.who.name, topic.job.en if english else topic.job.fi, topic.where.en), strict=True))
    asked = {
        "pet": ("animal", "eläin", ANIMALS[topic.who.pet]),
        "trip": ("thing", "tavara", topic.bought[1]),
        "tools": ("tool", "väline", topic.tools[0]),
    }
    if turn.ask in asked:
        name_en, name_fi, word = asked[turn.ask]
        fields[name_en if english else name_fi] = word.en if english else word.fi
    return json.dumps(fields, ensure_ascii=False)
