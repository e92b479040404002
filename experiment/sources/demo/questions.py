"""What a user asks about a topic, and which sentences answer it."""

from __future__ import annotations

from experiment.sources.demo.lexicon import Language
from experiment.sources.demo.sentences import Topic

# For each question, the sentences of its answer, the most important first.
ANSWERS: dict[str, tuple[str, str, str]] = {
    "about": ("is", "uses", "works"),
    "work": ("works", "uses", "likes"),
    "tools": ("uses", "order", "without"),
    "pet": ("pet", "follows", "eats"),
    "trip": ("bought", "went", "tired"),
    "lives": ("lives", "likes", "house"),
}
OPENING: tuple[str, ...] = ("about", "work", "tools", "pet", "trip")

# The i-th wording in Finnish is the translation of the i-th in English.
_OPENING: dict[str, dict[Language, tuple[str, ...]]] = {
    "about": {
        "en": (
            "Tell me about {name} who is {a_job} in {town}.",
            "Who is the {job} {name} from {town}?",
            "Write a short text about {name} who is {a_job} in {town}.",
            "Tell me something about the {job} {name} from {town}.",
        ),
        "fi": (
            "Kerro minulle {about}, joka on {job} {at}.",
            "Kuka on {job} {name} {from_}?",
            "Kirjoita lyhyt teksti {about}, joka on {job} {at}.",
            "Kerro jotakin, mitä tiedät {about}, joka on {job} {from_}.",
        ),
    },
    "work": {
        "en": (
            "What does the {job} {name} do in {town}?",
            "What is the work of the {job} {name} like in {town}?",
            "Describe the day of the {job} {name} in {town}.",
        ),
        "fi": (
            "Mitä {job} {name} tekee {at}?",
            "Millaista {job} {gen} työ on {at}?",
            "Kuvaile {job} {gen} päivää {at}.",
        ),
    },
    "tools": {
        "en": (
            "What does the {job} {name} need for work in {town}?",
            "Which tools does the {job} {name} use in {town}?",
            "List the things that the {job} {name} uses at work in {town}.",
        ),
        "fi": (
            "Mitä {job} {name} tarvitsee työssään {at}?",
            "Mitä välineitä {job} {name} käyttää {at}?",
            "Luettele asiat, joita {job} {name} käyttää työssään {at}.",
        ),
    },
    "pet": {
        "en": (
            "Which animal does the {job} {name} have in {town}?",
            "What kind of animal lives with the {job} {name} in {town}?",
            "Tell me what kind of animal the {job} {name} has in {town}.",
        ),
        "fi": (
            "Mikä eläin {job} {on} on {at}?",
            "Millainen eläin asuu {job} {gen} luona {at}?",
            "Kerro minulle, millainen eläin {job} {on} on {at}.",
        ),
    },
    "trip": {
        "en": (
            "What did the {job} {name} do last week in {town}?",
            "Tell me what the {job} {name} bought last week in {town}.",
            "How was the last week of the {job} {name} in {town}?",
        ),
        "fi": (
            "Mitä {job} {name} teki viime viikolla {at}?",
            "Kerro minulle, mitä {job} {name} osti viime viikolla {at}.",
            "Millainen {job} {gen} viime viikko oli {at}?",
        ),
    },
}
_FOLLOWING: dict[str, dict[Language, tuple[str, ...]]] = {
    "lives": {
        "en": ("And where does {he} live?", "Where is {his} home?", "In which town does {he} live?"),
        "fi": ("Entä missä hän asuu?", "Missä hänen kotinsa on?", "Missä kaupungissa hän asuu?"),
    },
    "pet": {
        "en": ("And which animal does {he} have?", "What kind of animal does {he} have at home?"),
        "fi": ("Entä mikä eläin hänellä on?", "Millainen eläin hänellä on kotona?"),
    },
    "trip": {
        "en": ("And what did {he} do last week?", "What did {he} buy last week?"),
        "fi": ("Entä mitä hän teki viime viikolla?", "Mitä hän osti viime viikolla?"),
    },
    "work": {
        "en": ("And what does {he} do every day?", "What is {his} work like?"),
        "fi": ("Entä mitä hän tekee joka päivä?", "Millaista hänen työnsä on?"),
    },
    "tools": {
        "en": ("And what does {he} need for work?", "What does {he} use at work?"),
        "fi": ("Entä mitä hän tarvitsee työssään?", "Mitä hän käyttää työssään?"),
    },
}
_AGAIN: dict[Language, tuple[str, ...]] = {
    "en": ("Write the same answer again.", "Give the same answer once more."),
    "fi": ("Kirjoita sama vastaus uudelleen.", "Anna sama vastaus vielä kerran."),
}
FOLLOWING: tuple[str, ...] = tuple(_FOLLOWING)


def question(topic: Topic, ask: str, wording: int, language: Language) -> str:
    """The user's question that names its topic."""
    who, job, town = topic.who, topic.job, topic.where
    wordings = _OPENING[ask][language]
    form = wordings[wording % len(wordings)]
    if language == "en":
        a_job = f"{'an' if job.en[0] in 'aeiou' else 'a'} {job.en}"
        return form.format(name=who.name, job=job.en, a_job=a_job, town=town.en)
    return form.format(
        name=who.name, about=who.about, gen=who.gen, on=who.on, job=job.fi, at=town.at, from_=town.from_, town=town.en
    )


def follow_up(topic: Topic, ask: str, wording: int, language: Language) -> str:
    """The user's next question, which takes the topic as known."""
    wordings = _FOLLOWING[ask][language]
    pronoun = topic.who.pronoun
    return wordings[wording % len(wordings)].format(he=pronoun, his="her" if pronoun == "she" else "his")


def again(wording: int, language: Language) -> str:
    """The user's wish to get the previous answer once more."""
    return _AGAIN[language][wording % len(_AGAIN[language])]
