"""Which language a text is in: langdetect, as the papers report it, and py3langid, to know how far to trust it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from experiment.scoring.verdict import LANGDETECT

LANGDETECT_SEED = 0
UNKNOWN = "unknown"
PY3LANGID = "py3langid"


def langdetect_or_none(text: str) -> str | None:
    """The language (ISO 639-1), ``unknown`` if none stands out, None where it has no features (digits, symbols)."""
    import langdetect

    detector = _detectors().create()
    try:
        detector.append(text)
        return str(detector.detect())
    except langdetect.LangDetectException:
        return None


def by_langdetect(text: str) -> str:
    """The language (ISO 639-1), or ``unknown``."""
    return langdetect_or_none(text) or UNKNOWN


def by_py3langid(text: str) -> str:
    """The language (ISO 639-1, 639-3 where there is none), or ``unknown`` for a text without letters."""
    if not any(map(str.isalpha, text)):
        return UNKNOWN
    # What is no character (half a surrogate pair) cannot be encoded.
    return str(_classifier().classify(text.encode("utf-8", "replace").decode("utf-8"))[0])


def unknown_to_langdetect(language: str) -> str | None:
    """What to say of a language that langdetect has no profile of: no response can be found to be in it."""
    import langdetect

    known = {path.name for path in (Path(langdetect.__file__).parent / "profiles").iterdir()}
    if language in known:
        return None
    return (
        f"langdetect does not know '{language}': by it no response is in that language, and response_language is 0; "
        "response_language_second tells it by py3langid"
    )


IDENTIFIERS: Mapping[str, Callable[[str], str]] = {LANGDETECT: by_langdetect, PY3LANGID: by_py3langid}


@functools.lru_cache(maxsize=1)
def _detectors() -> Any:
    """langdetect's factory of detectors, seeded: without a seed it samples at random, and verdicts change.

    Our own instance, since langdetect's seed is one for the whole process and any other code may set it.
    """
    from langdetect import detector_factory

    from experiment.scoring.fast_langdetect import FastFactory

    detector_factory.init_factory()
    return FastFactory(detector_factory._factory, LANGDETECT_SEED)


@functools.lru_cache(maxsize=1)
def _classifier() -> Any:
    from py3langid import langid

    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE)
