"""NLTK's sentence models: sentences and words by them, and whether they are on this machine. Nothing is downloaded."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from experiment.scoring.rules import rule_sets
from experiment.sources.parquet import read_rows
from experiment.sources.records import BenchmarkPrompt
from experiment.sources.source import Source

PUNKT = "tokenizers/punkt_tab"
MODEL_FILES = ("abbrev_types.txt", "collocations.tab", "ortho_context.tab", "sent_starters.txt")

# The checkers that split sentences or words with a sentence model; all others run without it.
NEEDS_PUNKT = frozenset({"length_constraints:number_sentences", "change_case:capital_word_frequency"})


# The number of a list's item, which the models take for a sentence; a year at the start of a line is none.
_LIST_NUMBER = re.compile(r"^[ \t]*\d{1,2}\.(?=[ \t])", re.MULTILINE)


def sentences(model: str, abbreviations: frozenset[str] = frozenset()) -> Callable[[str], int]:
    """Counts sentences by NLTK's model of that name (``finnish``), with abbreviations that it does not know.

    The numbers of lists are none. What still goes wrong: a sentence that ends with an abbreviation or an ordinal is not
    told from one that goes on behind it ("syntyi 3. Toukokuuta juhlittiin", "44 eKr. Sitten"), so two count as one; and
    the items of a list without full stops are one sentence.
    """
    return lambda text: len(_tokenizer(model, abbreviations).tokenize(_LIST_NUMBER.sub("", text)))


def capital_words(model: str) -> Callable[[str], int]:
    """Counts the words in capitals, as ``nltk.word_tokenize`` splits words: sentence by sentence."""
    return lambda text: sum(map(_capital_words, _tokenizer(model).tokenize(text)))


# The readings of a response have most sentences in common.
@functools.lru_cache(maxsize=4096)
def _capital_words(sentence: str) -> int:
    # Not every capital has a lower-case form: ℂ, ϒ, 𝐀.
    if not any(map(str.isupper, sentence)):
        return 0
    import nltk

    return sum(word.isupper() for word in nltk.word_tokenize(sentence, preserve_line=True))


@functools.lru_cache(maxsize=8)
def _tokenizer(model: str, abbreviations: frozenset[str] = frozenset()) -> Any:
    from nltk.tokenize.punkt import PunktTokenizer

    tokenizer = PunktTokenizer(model)  # with parameters of its own
    tokenizer._params.abbrev_types |= abbreviations
    return tokenizer


def use_nltk_data(folder: str | None) -> None:
    """Let NLTK look for its data in ``folder`` first; must come before the first score."""
    if folder:
        others = [item for item in os.environ.get("NLTK_DATA", "").split(os.pathsep) if item and item != folder]
        os.environ["NLTK_DATA"] = os.pathsep.join([folder, *others])
        if "nltk" in sys.modules:
            import nltk

            nltk.data.path.insert(0, folder)


def models(language: str) -> tuple[str, ...]:
    """The sentence models that the rule sets of a language use, the English one (lm_eval's own) first."""
    return tuple(dict.fromkeys(["english", *(name for rules in rule_sets(language).values() for name in rules.punkt)]))


def unmet(source: Source, nltk_data: str | None, option: str = "benchmark.nltk_data=FOLDER") -> list[str]:
    """What must be set before answers to these prompts can be scored; ``option`` is what sets it."""
    if not needs_punkt(source):
        return []
    folders = list(nltk_folders(nltk_data))
    missing = [model for model in models(source.language) if not any(has_punkt(folder, model) for folder in folders)]
    if not missing:
        return []
    return [
        f"NLTK's sentence model tokenizers/punkt_tab is not on this machine for {' and '.join(missing)} and some "
        f"instructions need it: set {option} (or NLTK_DATA), or run once with network: "
        "python -m nltk.downloader punkt_tab"
    ]


def needs_punkt(source: Source) -> bool:
    """Whether answers to these prompts are judged with a sentence model; prompts still on the hub may be."""
    if source.reader == "demo":
        return False
    return _file_needs_punkt(source.path) if source.path else True


@functools.lru_cache(maxsize=64)
def _file_needs_punkt(path: str) -> bool:
    asked = (row.get("instruction_id_list") for _, row in read_rows(path))
    return any(NEEDS_PUNKT & set(map(str, ids)) for ids in asked if isinstance(ids, list))


def nltk_folders(nltk_data: str | None) -> Iterator[Path]:
    """Where NLTK looks, in its order (nltk.data.path), without the second that importing it takes."""
    if nltk_data:
        yield Path(nltk_data)
    yield from (Path(item) for item in os.environ.get("NLTK_DATA", "").split(os.pathsep) if item)
    yield Path("~/nltk_data").expanduser()
    yield from (Path(sys.prefix) / part for part in ("nltk_data", "share/nltk_data", "lib/nltk_data"))
    yield from (Path(part) / "nltk_data" for part in ("/usr/share", "/usr/local/share", "/usr/lib", "/usr/local/lib"))


def has_punkt(folder: Path, model: str = "english") -> bool:
    """Whether a folder of NLTK data has the sentence model, with all that NLTK reads of it."""
    return all((folder / PUNKT / model / name).is_file() for name in MODEL_FILES)


def used(prompts: Iterable[BenchmarkPrompt], language: str) -> dict[str, str]:
    """SHA-256 (12 hex digits) of the sentence models that judge these prompts, by name."""
    if not any(NEEDS_PUNKT & set(prompt.instruction_ids) for prompt in prompts):
        return {}
    import nltk

    return {model: _model_digest(Path(nltk.data.find(f"{PUNKT}/{model}/"))) for model in models(language)}


def _model_digest(folder: Path) -> str:
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in MODEL_FILES)).hexdigest()[:12]
