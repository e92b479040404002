"""Sentences about a topic of the demo world, in either language, without commas unless they list things."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from experiment.sources.demo.lexicon import (
    ADJECTIVES,
    ANIMAL_DEEDS,
    ANIMALS,
    LOOKS,
    PEOPLE,
    PLACES,
    PROFESSIONS,
    THINGS,
    TIMES_NOW,
    TIMES_PAST,
    TOWNS,
    VERBS,
    Language,
    Person,
    Place,
    Profession,
    Town,
    Word,
    article,
)

HELD_OUT_EVERY = 6

# A sentence and two words that it contains, for keyword instructions and postscripts. None has an adjective that
# an instruction may forbid.
_EXTRAS_EN = """
In summer the sun shines all day. | sun | summer
In winter there is a lot of snow. | snow | winter
The neighbours are very good friends. | neighbours | friends
The evening tea is warm and sweet. | tea | evening
In the morning there is hot porridge. | porridge | morning
On Sundays the choir sings a long song. | choir | Sundays
The girl reads a thick newspaper every night. | girl | newspaper
The boys come to visit on Fridays. | boys | Fridays
The coffee in the kitchen is always fresh. | coffee | kitchen
The stone bridge is near the river. | bridge | river
The moon shines above the lake. | moon | lake
The mother gives everyone a piece of cake. | cake | mother
The long train always arrives on time. | train | time
The cold wind blows hard in autumn. | wind | autumn
The first birds return in spring. | birds | spring
"""
_EXTRAS_FI = """
Kesällä aurinko paistaa koko päivän. | aurinko | kesällä
Talvella on hyvin paljon lunta. | lunta | talvella
Naapurit ovat hyvin hyviä ystäviä. | naapurit | ystäviä
Illalla tee on lämmintä ja makeaa. | makeaa | illalla
Aamulla on kuumaa puuroa. | puuroa | aamulla
Sunnuntaisin kuoro laulaa pitkän laulun. | kuoro | sunnuntaisin
Tyttö lukee paksua lehteä joka ilta. | tyttö | lehteä
Pojat tulevat käymään perjantaisin. | pojat | perjantaisin
Keittiössä on aina tuoretta kahvia. | kahvia | keittiössä
Kivinen silta on lähellä jokea. | silta | jokea
Kuu paistaa tyynen järven yllä. | kuu | järven
Äiti antaa kaikille palan kakkua. | kakkua | äiti
Pitkä juna saapuu aina ajoissa. | juna | ajoissa
Syksyllä kylmä tuuli puhaltaa kovaa. | tuuli | syksyllä
Ensimmäiset linnut palaavat keväällä. | linnut | keväällä
"""


def _keyed(line: str) -> tuple[str, str, str]:
    whole, first, second = line.split(" | ")
    return whole, first, second


EXTRAS: tuple[dict[Language, tuple[str, str, str]], ...] = tuple(
    {"en": _keyed(en), "fi": _keyed(fi)}
    for en, fi in zip(_EXTRAS_EN.strip().splitlines(), _EXTRAS_FI.strip().splitlines(), strict=True)
)


@dataclass(frozen=True)
class Topic:
    """A person with a profession in a town, by their places in the tables."""

    person: int
    profession: int
    town: int

    @property
    def held_out(self) -> bool:
        """Whether the topic belongs to the benchmark and not to any training data."""
        return (self.person + self.profession + self.town) % HELD_OUT_EVERY == 0

    @property
    def who(self) -> Person:
        """The person."""
        return PEOPLE[self.person]

    @property
    def job(self) -> Profession:
        """The profession."""
        return PROFESSIONS[self.profession]

    @property
    def where(self) -> Town:
        """The town."""
        return TOWNS[self.town]

    @property
    def tools(self) -> tuple[Word, ...]:
        """Three of the profession's tools."""
        left_out = (self.person + self.town) % len(self.job.tools)
        return tuple(THINGS[name] for i, name in enumerate(self.job.tools) if i != left_out)

    @property
    def bought(self) -> tuple[Word, Word]:
        """What the person bought last week: an adjective and a noun."""
        mark = 3 * self.person + 5 * self.profession + 7 * self.town
        return ADJECTIVES[LOOKS[mark % len(LOOKS)]], list(THINGS.values())[mark % len(THINGS)]

    @property
    def visited(self) -> Place:
        """Where the person went afterwards."""
        return list(PLACES.values())[(self.person + 2 * self.town) % len(PLACES)]


def draw_topic(rng: Random, held_out: bool) -> Topic:
    """A topic from the held-out part of the world or from the rest of it."""
    while True:
        topic = Topic(rng.randrange(len(PEOPLE)), rng.randrange(len(PROFESSIONS)), rng.randrange(len(TOWNS)))
        if topic.held_out == held_out:
            return topic


def capital(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def listing(items: list[str], language: Language, commas: bool) -> str:
    """The items as a list in running text, with or without commas."""
    last = " and " if language == "en" else " ja "
    return last.join([", ".join(items[:-1]), items[-1]]) if commas else last.join(items)


def sentence(kind: str, topic: Topic, language: Language, named: bool, commas: bool = True, plain: bool = False) -> str:
    """One sentence on the topic; ``plain`` leaves out the adjective that a reader could forbid."""
    if language == "en":
        return capital(_english(kind, topic, named, commas, plain)) + "."
    return capital(_finnish(kind, topic, named, commas, plain)) + "."


def _english(kind: str, topic: Topic, named: bool, commas: bool, plain: bool) -> str:
    who, job, town = topic.who, topic.job, topic.where.en
    subject = who.name if named else who.pronoun
    pet = article(who.pet if plain else f"{who.pet_look} {who.pet}")
    look, thing = topic.bought
    place = PLACES[job.place]
    forms = {
        "is": f"{subject} is {article(job.en if plain else f'{who.trait} {job.en}')} from {town}",
        "works": f"{subject} {job.does_en} {place.preposition} the {place.en} every day",
        "worked": f"{subject} {job.did_en} {place.preposition} the {place.en} last year",
        "uses": f"at work {subject} uses {listing([article(tool.en) for tool in topic.tools], 'en', commas)}",
        "likes": f"{subject} likes the town of {town} very much",
        "lives": f"{subject} lives in {town} with {pet}",
        "house": "the house is old but very warm",
        "pet": f"{subject} has {pet} at home",
        "follows": f"the {who.pet} follows {'her' if who.pronoun == 'she' else 'him'} to the {topic.visited.en}",
        "eats": f"the {who.pet} eats well every morning",
        "bought": f"last week {subject} bought {article(f'{look.en} {thing.en}')}",
        "went": f"then {subject} went to the {topic.visited.en} with a friend",
        "tired": f"in the evening {subject} was tired but happy",
        "order": "the tools are always in good order",
        "without": "without them the work would be hard",
    }
    return forms[kind]


def _finnish(kind: str, topic: Topic, named: bool, commas: bool, plain: bool) -> str:
    who, job, town = topic.who, topic.job, topic.where
    subject = who.name if named else "hän"
    pet, pet_look = ANIMALS[who.pet], ADJECTIVES[who.pet_look]
    look, thing = topic.bought
    place = PLACES[job.place]
    trait = "" if plain else f"{ADJECTIVES[who.trait].fi} "
    forms = {
        "is": f"{subject} on {trait}{job.fi} {town.from_}",
        "works": f"{subject} {job.does_fi} {place.at} joka päivä",
        "worked": f"{subject} {job.did_fi} {place.at} viime vuonna",
        "uses": f"työssään {subject} käyttää {listing([tool.part for tool in topic.tools], 'fi', commas)}",
        "likes": f"{subject} pitää {town.about} hyvin paljon",
        "lives": f"{subject} asuu {town.at} {'' if plain else f'{pet_look.gen} '}{pet.gen} kanssa",
        "house": "talo on vanha mutta hyvin lämmin",
        "pet": f"{who.on if named else 'hänellä'} on kotona {'' if plain else f'{pet_look.fi} '}{pet.fi}",
        "follows": f"{pet.fi} seuraa häntä {topic.visited.to}",
        "eats": f"{pet.fi} syö hyvin joka aamu",
        "bought": f"viime viikolla {subject} osti {look.gen} {thing.gen}",
        "went": f"sitten {subject} meni {topic.visited.to} ystävän kanssa",
        "tired": f"illalla {subject} oli väsynyt mutta iloinen",
        "order": "välineet ovat aina hyvässä järjestyksessä",
        "without": "ilman niitä työ olisi vaikeaa",
    }
    return forms[kind]


def free_sentence(rng: Random, language: Language) -> str:
    """A sentence of the demo world that is not tied to a topic."""
    en, fi = rng.choice((_deed, _past_deed, _animal, _look, _walk, _owner, _there, _town, _extra))(rng)
    return capital(en if language == "en" else fi) + "."


def _object(rng: Random) -> tuple[Word, Word]:
    return ADJECTIVES[rng.choice(LOOKS)], rng.choice(list(THINGS.values()))


def _cased(verb_case: str, look: Word, thing: Word) -> str:
    return f"{look.gen} {thing.gen}" if verb_case == "gen" else f"{look.part} {thing.part}"


def _deed(rng: Random) -> tuple[str, str]:
    who, verb, town, time = rng.choice(PEOPLE), rng.choice(VERBS), rng.choice(TOWNS), rng.choice(TIMES_NOW)
    look, thing = _object(rng)
    return (
        f"{who.name} {verb.en} {article(f'{look.en} {thing.en}')} in {town.en} {time[0]}",
        f"{who.name} {verb.fi} {town.at} {_cased(verb.case, look, thing)} {time[1]}",
    )


def _past_deed(rng: Random) -> tuple[str, str]:
    who, verb, place, time = (
        rng.choice(PEOPLE),
        rng.choice(VERBS),
        rng.choice(list(PLACES.values())),
        rng.choice(TIMES_PAST),
    )
    look, thing = _object(rng)
    return (
        f"{time[0]} {who.name} went to the {place.en} and {verb.en_past} {article(f'{look.en} {thing.en}')}",
        f"{time[1]} {who.name} meni {place.to} ja {verb.fi_past} {_cased(verb.case, look, thing)}",
    )


def _animal(rng: Random) -> tuple[str, str]:
    animal, deed, place = (
        rng.choice(list(ANIMALS.values())),
        rng.choice(ANIMAL_DEEDS),
        rng.choice(list(PLACES.values())),
    )
    look = ADJECTIVES[rng.choice(("small", "big", "white", "black", "brown", "old", "young", "beautiful"))]
    return (
        f"the {look.en} {animal.en} {deed[0]} {place.preposition} the {place.en}",
        f"{look.fi} {animal.fi} {deed[1]} {place.at}",
    )


def _look(rng: Random) -> tuple[str, str]:
    who, thing = rng.choice(PEOPLE), rng.choice(list(THINGS.values()))
    first = ADJECTIVES[rng.choice(("red", "blue", "green", "white"))]
    second = ADJECTIVES[rng.choice(("small", "light", "clean", "beautiful"))]
    return (
        f"the {thing.en} that {who.name} bought is {first.en} and {second.en}",
        f"{who.gen} ostama {thing.fi} on {first.fi} ja {second.fi}",
    )


def _walk(rng: Random) -> tuple[str, str]:
    who, place, time = rng.choice(PEOPLE), rng.choice(list(PLACES.values())), rng.choice(TIMES_NOW)
    return f"{who.name} goes to the {place.en} {time[0]}", f"{who.name} menee {place.to} {time[1]}"


def _owner(rng: Random) -> tuple[str, str]:
    who, (look, thing) = rng.choice(PEOPLE), _object(rng)
    return f"{who.name} has {article(f'{look.en} {thing.en}')}", f"{who.on} on {look.fi} {thing.fi}"


def _there(rng: Random) -> tuple[str, str]:
    place, (look, thing) = rng.choice(list(PLACES.values())), _object(rng)
    return (
        f"there is {article(f'{look.en} {thing.en}')} {place.preposition} the {place.en}",
        f"{place.at} on {look.fi} {thing.fi}",
    )


def _town(rng: Random) -> tuple[str, str]:
    town, other = rng.sample(TOWNS, 2)
    who = rng.choice(PEOPLE)
    return (
        f"{who.name} moved from {town.en} to {other.en} last year",
        f"{who.name} muutti {town.from_} {other.to} viime vuonna",
    )


def _extra(rng: Random) -> tuple[str, str]:
    extra = rng.choice(EXTRAS)
    return extra["en"][0].removesuffix("."), extra["fi"][0].removesuffix(".")
