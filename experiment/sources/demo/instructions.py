"""Checkable instructions with IFEval's ids and arguments, and the words in which users give them."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from experiment.sources.demo.lexicon import ADJECTIVES, Language
from experiment.sources.demo.sentences import EXTRAS, Topic

NO_COMMA = "punctuation:no_comma"
LOWERCASE = "change_case:english_lowercase"
END = "startend:end_checker"
QUOTATION = "startend:quotation"
KEYWORDS = "keywords:existence"
FORBIDDEN = "keywords:forbidden_words"
BULLETS = "detectable_format:number_bullet_lists"
JSON = "detectable_format:json_format"
TITLE = "detectable_format:title"
HIGHLIGHTS = "detectable_format:number_highlighted_sections"
POSTSCRIPT = "detectable_content:postscript"
PLACEHOLDERS = "detectable_content:number_placeholders"
WORDS = "length_constraints:number_words"
PARAGRAPHS = "length_constraints:number_paragraphs"

# Two instructions go together if they act on different parts of an answer.
_PART: dict[str, str] = {
    NO_COMMA: "commas",
    LOWERCASE: "case",
    END: "tail",
    POSTSCRIPT: "tail",
    QUOTATION: "frame",
    TITLE: "frame",
    KEYWORDS: "words",
    FORBIDDEN: "words",
    PLACEHOLDERS: "words",
    BULLETS: "shape",
    PARAGRAPHS: "shape",
    HIGHLIGHTS: "shape",
    WORDS: "shape",
    JSON: "all",
}
IDS: tuple[str, ...] = tuple(_PART)

# A quotation mark before the first asterisk would hide the first bullet from the checker; an answer with few
# words has no room for more, and in lower case its language is hard to tell.
_APART: frozenset[frozenset[str]] = frozenset(
    frozenset(pair)
    for pair in (
        (BULLETS, QUOTATION),
        *((WORDS, other) for other in (NO_COMMA, LOWERCASE, END, POSTSCRIPT, TITLE)),
        *((WORDS, other) for other in (KEYWORDS, FORBIDDEN, PLACEHOLDERS)),
    )
)

# Lower case has the share that it has in the paper, 64 of 783; JSON and word counts get more turns as
# first instruction because they seldom can be the second.
_TURNS: dict[str, int] = {LOWERCASE: 4, JSON: 5, WORDS: 5, FORBIDDEN: 4}
_BAG: tuple[str, ...] = tuple(id_ for id_ in IDS for _ in range(_TURNS.get(id_, 3)))

ENDINGS: dict[Language, tuple[str, ...]] = {
    "en": ("That is all for today.", "I hope this helps you.", "Ask me more if you like."),
    "fi": ("Siinä kaikki tältä päivältä.", "Toivottavasti tästä on apua.", "Kysy minulta lisää."),
}
_RELATIONS = ("less than", "at least")
# A second forbidden word that no answer about the topic has a use for.
_UNUSED: dict[Language, tuple[str, ...]] = {"en": ("bad", "boring"), "fi": ("huono", "tylsä")}

_WORDINGS: dict[str, dict[Language, tuple[str, ...]]] = {
    NO_COMMA: {
        "en": (
            *("Do not use any commas.", "Write without commas."),
            *("Your answer must not contain commas.", "Leave out all commas."),
        ),
        "fi": (
            *("Älä käytä pilkkuja.", "Kirjoita ilman pilkkuja."),
            *("Vastauksessa ei saa olla pilkkuja.", "Jätä kaikki pilkut pois."),
        ),
    },
    LOWERCASE: {
        "en": (
            *("Use only lowercase letters.", "Write everything in lowercase letters."),
            "Your whole answer must be in lowercase.",
        ),
        "fi": (
            *("Käytä vain pieniä kirjaimia.", "Kirjoita kaikki pienillä kirjaimilla."),
            "Koko vastaus on kirjoitettava pienillä kirjaimilla.",
        ),
    },
    END: {
        "en": (
            *('End with the words "{phrase}"', 'Finish your answer with the words "{phrase}"'),
            'The last words must be "{phrase}"',
        ),
        "fi": (
            *('Lopeta sanoihin "{phrase}"', 'Päätä vastauksesi sanoihin "{phrase}"'),
            'Viimeisten sanojen on oltava "{phrase}"',
        ),
    },
    QUOTATION: {
        "en": (
            *("Put the whole answer in double quotation marks.", "Wrap your answer in double quotation marks."),
            "Start and end with a double quotation mark.",
        ),
        "fi": (
            *("Laita koko vastaus lainausmerkkeihin.", "Kirjoita vastaus lainausmerkkien sisään."),
            "Aloita ja lopeta vastaus lainausmerkillä.",
        ),
    },
    KEYWORDS: {
        "en": (
            "Use the {noun} {quoted}.",
            "Your answer must contain the {noun} {quoted}.",
            "Mention the {noun} {quoted}.",
        ),
        "fi": ("Käytä {part} {quoted}.", "Vastauksessa on oltava {noun} {quoted}.", "Ota mukaan {noun} {quoted}."),
    },
    FORBIDDEN: {
        "en": ("Do not use the {noun} {quoted}.", "Avoid the {noun} {quoted}.", "Write without the {noun} {quoted}."),
        "fi": ("Älä käytä {part} {quoted}.", "Vältä {part} {quoted}.", "Kirjoita ilman {part} {quoted}."),
    },
    BULLETS: {
        "en": (
            *("Give exactly {n} bullet points.", "Write {n} points that start with the sign *."),
            "Use a list of {n} bullet points.",
        ),
        "fi": (
            *("Anna tasan {n} luetelmakohtaa.", "Kirjoita {n} kohtaa, jotka alkavat merkillä *."),
            "Käytä luetteloa, jossa on {n} kohtaa.",
        ),
    },
    JSON: {
        "en": ("Answer in JSON format.", "Give the answer as a JSON object.", "Write only JSON."),
        "fi": ("Vastaa JSON-muodossa.", "Anna vastaus JSON-oliona.", "Kirjoita pelkkää JSONia."),
    },
    TITLE: {
        "en": (
            *("Add a title in double angle brackets, such as <<title>>.", "Begin with a title such as <<title>>."),
            "Put a title between the signs << and >>.",
        ),
        "fi": (
            *(
                "Lisää otsikko kaksinkertaisiin kulmasulkeisiin, kuten <<otsikko>>.",
                "Aloita otsikolla, kuten <<otsikko>>.",
            ),
            "Laita otsikko merkkien << ja >> väliin.",
        ),
    },
    HIGHLIGHTS: {
        "en": (
            *(
                "Highlight at least {n} {noun} with asterisks, like *this*.",
                "Put at least {n} {noun} between asterisks.",
            ),
            "Mark at least {n} {noun} in the form *word*.",
        ),
        "fi": (
            *("Korosta ainakin {n} {noun} tähdillä, kuten *tämä*.", "Laita ainakin {n} {noun} tähtien väliin."),
            "Merkitse ainakin {n} {noun} muodossa *sana*.",
        ),
    },
    POSTSCRIPT: {
        "en": (
            *("At the end add a postscript that starts with P.S.", "Finish with a postscript after the sign P.S."),
            "Add one more line that starts with P.S.",
        ),
        "fi": (
            *(
                "Lisää loppuun jälkikirjoitus, joka alkaa merkinnällä P.S.",
                "Lopeta jälkikirjoitukseen, jonka alussa on P.S.",
            ),
            "Lisää vielä rivi, joka alkaa merkinnällä P.S.",
        ),
    },
    PLACEHOLDERS: {
        "en": (
            *(
                "Use at least {n} {noun} such as [address].",
                "Your answer must contain at least {n} {noun} such as [address].",
            ),
            "Include at least {n} {noun} in square brackets.",
        ),
        "fi": (
            *(
                "Käytä ainakin {n} {part}, kuten [osoite].",
                "Vastauksessa on oltava ainakin {n} {noun}, kuten [osoite].",
            ),
            "Kirjoita hakasulkeisiin ainakin {n} {noun}.",
        ),
    },
    PARAGRAPHS: {
        "en": (
            *("Write {n} paragraphs separated by ***.", "Divide the answer into {n} paragraphs with *** between them."),
            "Use {n} paragraphs and put *** between them.",
        ),
        "fi": (
            *(
                "Kirjoita {n} kappaletta, joiden välissä on ***.",
                "Jaa vastaus {n} kappaleeseen, joiden välissä on ***.",
            ),
            "Käytä {n} kappaletta ja laita niiden väliin ***.",
        ),
    },
    "less than": {
        "en": ("Use less than {n} words.", "Answer with less than {n} words.", "Write less than {n} words."),
        "fi": ("Käytä alle {n} sanaa.", "Vastaa alle {n} sanalla.", "Kirjoita alle {n} sanaa."),
    },
    "at least": {
        "en": ("Use at least {n} words.", "Answer with at least {n} words.", "Write at least {n} words."),
        "fi": ("Käytä vähintään {n} sanaa.", "Vastaa vähintään {n} sanalla.", "Kirjoita vähintään {n} sanaa."),
    },
}
# What {noun} and {part} stand for, first for one and then for more.
_UNITS: dict[str, dict[Language, tuple[dict[str, str], dict[str, str]]]] = {
    KEYWORDS: {
        "en": ({"noun": "word"}, {"noun": "words"}),
        "fi": ({"noun": "sana", "part": "sanaa"}, {"noun": "sanat", "part": "sanoja"}),
    },
    HIGHLIGHTS: {"en": ({"noun": "word"}, {"noun": "words"}), "fi": ({"noun": "sana"}, {"noun": "sanaa"})},
    PLACEHOLDERS: {
        "en": ({"noun": "placeholder"}, {"noun": "placeholders"}),
        "fi": ({"noun": "paikkamerkki", "part": "paikkamerkkiä"}, {"noun": "paikkamerkkiä", "part": "paikkamerkkiä"}),
    },
}
_UNITS[FORBIDDEN] = _UNITS[KEYWORDS]


@dataclass(frozen=True)
class Instruction:
    """One instruction, free of language: its wording, a number it names and a choice it makes."""

    id: str
    wording: int
    number: int = 0
    choice: int = 0


def draw_id(rng: Random) -> str:
    """An instruction id, each about as often as its share asks for."""
    return rng.choice(_BAG)


def bag(rng: Random) -> list[str]:
    """The ids in random order, each as often as its share asks for."""
    return rng.sample(_BAG, len(_BAG))


def draw(rng: Random, id_: str) -> Instruction:
    """An instruction with this id."""
    wording = rng.randrange(12)
    if id_ in (BULLETS, PARAGRAPHS):
        return Instruction(id_, wording, rng.choice((2, 3)))
    if id_ in (HIGHLIGHTS, PLACEHOLDERS, FORBIDDEN):
        return Instruction(id_, wording, rng.choice((1, 2)), rng.randrange(2))
    if id_ == KEYWORDS:
        return Instruction(id_, wording, rng.choice((1, 2)), rng.randrange(len(EXTRAS)))
    if id_ == WORDS:
        choice = rng.randrange(2)
        return Instruction(id_, wording, rng.choice(((12, 13), (20, 24))[choice]), choice)
    return Instruction(id_, wording, 0, rng.randrange(len(EXTRAS)))


def compatible(first: str, second: str) -> bool:
    """Whether one answer can obey both and the user would ask for both."""
    return _PART[first] != _PART[second] and JSON not in (first, second) and frozenset((first, second)) not in _APART


def asks_for(ids: tuple[str, ...], asks: tuple[str, ...]) -> tuple[str, ...]:
    """Those questions whose usual answer would break the instructions: there obeying makes a difference."""
    if NO_COMMA in ids:
        asks = tuple(ask for ask in asks if ask in ("about", "work", "tools"))
    if FORBIDDEN in ids:
        asks = tuple(ask for ask in asks if ask in ("about", "pet"))
    return asks


def forbidden_words(instruction: Instruction, topic: Topic, ask: str, language: Language) -> list[str]:
    """The words that the instruction forbids: one that the usual answer has, perhaps one more."""
    adjective = ADJECTIVES[topic.who.pet_look if ask == "pet" else topic.who.trait]
    words = [adjective.en if language == "en" else adjective.fi, _UNUSED[language][instruction.choice % 2]]
    return words[: instruction.number]


def arguments(instruction: Instruction, topic: Topic, ask: str, language: Language) -> dict[str, Any]:
    """The arguments with which IFEval checks the instruction."""
    number = instruction.number
    if instruction.id == KEYWORDS:
        return {"keywords": list(EXTRAS[instruction.choice][language][1 : 1 + number])}
    if instruction.id == FORBIDDEN:
        return {"forbidden_words": forbidden_words(instruction, topic, ask, language)}
    if instruction.id == END:
        return {"end_phrase": ending(instruction, language)}
    if instruction.id == WORDS:
        return {"relation": _RELATIONS[instruction.choice], "num_words": number}
    if instruction.id == POSTSCRIPT:
        return {"postscript_marker": "P.S."}
    numbered = {
        BULLETS: "num_bullets",
        PARAGRAPHS: "num_paragraphs",
        HIGHLIGHTS: "num_highlights",
        PLACEHOLDERS: "num_placeholders",
    }
    return {numbered[instruction.id]: number} if instruction.id in numbered else {}


def ending(instruction: Instruction, language: Language) -> str:
    """The phrase that an answer has to end with."""
    return ENDINGS[language][instruction.choice % len(ENDINGS[language])]


def request(instruction: Instruction, topic: Topic, ask: str, language: Language) -> str:
    """The instruction as the user gives it."""
    id_ = instruction.id
    wordings = _WORDINGS[_RELATIONS[instruction.choice] if id_ == WORDS else id_][language]
    fields: dict[str, object] = {"n": instruction.number}
    if id_ in _UNITS:
        fields.update(_UNITS[id_][language][0 if instruction.number == 1 else 1])
    if id_ == END:
        fields["phrase"] = ending(instruction, language)
    if id_ in (KEYWORDS, FORBIDDEN):
        (words,) = arguments(instruction, topic, ask, language).values()
        joint = {"en": " and ", "fi": " ja "}[language]
        fields["quoted"] = joint.join(f'"{word}"' for word in words)
    return wordings[instruction.wording % len(wordings)].format(**fields)
