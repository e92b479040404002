"""What a model says when it speaks for itself where it should translate, and what excuses it."""

from __future__ import annotations

# Openings of a model that speaks for itself, by language (ISO 639-1); small letters, straight apostrophes.
REFUSALS: dict[str, tuple[str, ...]] = {
    "en": (
        "as an ai",
        "as a language model",
        "i'm sorry, but i",
        "i am sorry, but i",
        "i apologize, but i",
        "i cannot translate",
        "i can't translate",
        "i am unable to",
        "i'm unable to",
        "here is the translation",
        "here's the translation",
        "here is the finnish",
        "translated text:",
        "translation:",
    ),
    "fi": (
        "tekoälyn kielimallina",
        "tekoälynä en",
        "tekoälymallina",
        "kielimallina en",
        "olen pahoillani, mutta en",
        "pahoittelen, mutta en",
        "valitettavasti en voi",
        "valitettavasti en pysty",
        "en voi kääntää",
        "en pysty kääntämään",
        "en osaa kääntää",
        "tässä on käännös",
        "tässä käännös",
        "tässä on tekstin käännös",
        "käännös:",
        "suomennos:",
    ),
}
# What in a source says that it is such a text itself, or of translations.
EXCUSES: dict[str, tuple[str, ...]] = {
    "en": (
        "sorry",
        "apolog",
        "unfortunately",
        "regret",
        "afraid",
        "cannot",
        "can't",
        "can not",
        "unable",
        "not able",
        "language model",
        "as an ai",
        "translat",
    ),
    "fi": (
        "pahoillani",
        "pahoittel",
        "valitettavasti",
        "en voi",
        "en pysty",
        "kielimalli",
        "tekoäly",
        "käänn",
        "suomen",
    ),
}
