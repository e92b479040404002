"""How prompts name languages and small numbers: beginnings of words by language of the prompt, in lower case."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

# By the prompt's language and the code of the language named; Finnish endings follow these (suomeksi, hindiksi).
LANGUAGE_NAMES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "en": {
        "ar": ("arabic",),
        "bg": ("bulgarian",),
        "bn": ("bengali", "bangla"),
        "cs": ("czech",),
        "da": ("danish",),
        "de": ("german",),
        "en": ("english",),
        "es": ("spanish",),
        "et": ("estonian",),
        "eu": ("basque",),
        "fa": ("persian", "farsi"),
        "fi": ("finnish",),
        "fr": ("french",),
        "gu": ("gujarati",),
        "hi": ("hindi",),
        "hu": ("hungarian",),
        "it": ("italian",),
        "ja": ("japanese",),
        "kn": ("kannada",),
        "ko": ("korean",),
        "mr": ("marathi",),
        "ne": ("nepali",),
        "nl": ("dutch",),
        "no": ("norwegian",),
        "pa": ("punjabi", "panjabi"),
        "pl": ("polish",),
        "pt": ("portuguese",),
        "ru": ("russian",),
        "sv": ("swedish",),
        "sw": ("swahili", "kiswahili"),
        "ta": ("tamil",),
        "te": ("telugu",),
        "th": ("thai",),
        "tr": ("turkish",),
        "uk": ("ukrainian",),
        "ur": ("urdu",),
        "vi": ("vietnamese",),
        "zh": ("chinese", "mandarin"),
    },
    "fi": {
        "ar": ("arabia",),
        "bg": ("bulgaria",),
        "bn": ("bengali", "bangla"),
        "cs": ("tšek", "tsek"),
        "da": ("tanska",),
        "de": ("saksa",),
        "en": ("englan", "english"),
        "es": ("espanja",),
        "et": ("viro", "viron", "eesti"),
        "eu": ("bask",),
        "fa": ("persia", "farsi"),
        "fi": ("suome", "suomi"),
        "fr": ("ranska",),
        "gu": ("gudžarati", "gujarati", "gudzarati"),
        "hi": ("hindi",),
        "hu": ("unkari",),
        "it": ("italia",),
        "ja": ("japani",),
        "kn": ("kannada",),
        "ko": ("korea",),
        "mr": ("marathi",),
        "ne": ("nepali",),
        "nl": ("hollanti", "hollanni", "alankom"),
        "no": ("norja",),
        "pa": ("punjabi", "panjabi", "pandžabi", "pandzabi"),
        "pl": ("puola",),
        "pt": ("portugali",),
        "ru": ("venäj",),
        "sv": ("ruotsi",),
        "sw": ("swahili", "suahili"),
        "ta": ("tamili",),
        "te": ("telugu",),
        "th": ("thai", "thaimaa"),
        "tr": ("turki", "turkki", "turkin"),
        "uk": ("ukraina",),
        "ur": ("urdu",),
        "vi": ("vietnami",),
        "zh": ("kiina", "mandariini"),
    },
}

_EN = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
_FI = (
    ("nolla",), ("yksi", "yhde", "yhtä", "kerran"), ("kaksi", "kahde", "kahta", "kahte"), ("kolme",),
    ("neljä",), ("viisi", "viide", "viittä"), ("kuusi", "kuude", "kuutta"), ("seitsemä",), ("kahdeksa",),
    ("yhdeksä",), ("kymmene",), ("yksitoista", "yhdentoista", "yhtätoista"), ("kaksitoista", "kahdentoista"),
    ("kolmetoista", "kolmentoista"), ("neljätoista", "neljäntoista"), ("viisitoista", "viidentoista"),
    ("kuusitoista", "kuudentoista"), ("seitsemäntoista",), ("kahdeksantoista",), ("yhdeksäntoista",),
    ("kaksikymmentä", "kahdenkymmenen", "kahtakymmentä"),
)  # fmt: skip
# By the prompt's language: how the numbers up to 20 begin.
NUMBERS: Mapping[str, Mapping[int, tuple[str, ...]]] = {
    "en": {
        number: (word, *{1: ("once", "single"), 2: ("twice", "both")}.get(number, ()))
        for number, word in enumerate(_EN)
    },
    "fi": dict(enumerate(_FI)),
}

# By the prompt's language: how it asks for an answer in a language, whose name stands for NAME. A name alone does not
# ask (Englannin historia), nor does a translation from it (englannista).
_ASKING: Mapping[str, str] = {
    "fi": r"\bNAME\w{0,3}ksi\b|\bNAME\w{0,3}[ -]?kiel(?:ellä|isesti|ise[nk]|inen|istä)|"
    r"\bkäyt\w+ (?:vain |ainoastaan )?NAME\w{0,3}(?:[ -]?kieltä|[aä]\b)|\bin english\b",
}


@functools.lru_cache(maxsize=4096)
def asked_for(prompt: str, language: str) -> str | None:
    """The language (ISO 639-1) that a prompt's own words ask for; None where they ask for none, or for several."""
    text = prompt.casefold()
    found = {code for code, pattern in _asking(language).items() if pattern.search(text)}
    return found.pop() if len(found) == 1 else None


@functools.lru_cache(maxsize=32)
def _asking(language: str) -> Mapping[str, re.Pattern[str]]:
    asking = _ASKING.get(language)
    if asking is None:
        return {}
    return {
        code: re.compile(
            (asking if code == "en" else asking.rpartition("|")[0]).replace("NAME", f"(?:{'|'.join(names)})")
        )
        for code, names in LANGUAGE_NAMES[language].items()
    }
