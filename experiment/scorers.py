"""Scorers: from a response to verdicts. IFEval by lm_eval's own checkers, response language by seeded langdetect."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiment.errors import DataError, KirjoError
from experiment.sources.jsonl import read_jsonl
from experiment.sources.records import BenchmarkPrompt
from experiment.sources.source import Source

LANGDETECT_SEED = 0
GUESSES_SEED = 0
UNKNOWN_LANGUAGE = "unknown"

# The checkers that split sentences or words with NLTK's punkt model; all others run without it.
NEEDS_PUNKT = frozenset({"length_constraints:number_sentences", "change_case:capital_word_frequency"})


@dataclass(frozen=True)
class Verdict:
    """Whether a response followed one instruction of its prompt; ``language`` is that of the whole response."""

    key: int
    instruction: int
    instruction_id: str
    strict: bool
    loose: bool
    language: str


def identity() -> dict[str, Any]:
    """What decides a verdict besides prompt and response: the checkers' versions and seeds.

    Raises:
        KirjoError: a package is not installed.
    """
    return {
        "ifeval": {"lm_eval": _version("lm_eval"), "nltk": _version("nltk"), "seed": GUESSES_SEED},
        "response_language": {"langdetect": _version("langdetect"), "seed": LANGDETECT_SEED},
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise KirjoError(
            f"{package} is not installed here, and its version decides verdicts: pip install {package} "
            f"(with {sys.executable})"
        ) from None


def score(prompt: BenchmarkPrompt, response: str) -> list[Verdict]:
    """Verdicts of one response, one per instruction of its prompt.

    Raises:
        DataError: an instruction id or its kwargs are unknown to lm_eval's checkers, or kwargs are missing.
    """
    ifeval = _ifeval()
    _langdetect()  # some checkers ask it too
    given = ifeval.InputExample(
        key=prompt.key,
        instruction_id_list=list(prompt.instruction_ids),
        prompt=prompt.prompt,
        kwargs=[dict(kwargs) for kwargs in prompt.kwargs],
    )
    try:
        _refuse_missing_kwargs(prompt, ifeval.instructions_registry.INSTRUCTION_DICT)
        with _same_guesses():
            strict = ifeval.test_instruction_following_strict(given, response).follow_instruction_list
        with _same_guesses():
            loose = ifeval.test_instruction_following_loose(given, response).follow_instruction_list
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"prompt {prompt.key}: lm_eval's checkers do not take its instructions {', '.join(prompt.instruction_ids)} "
            f"with the given kwargs: {type(error).__name__}: {error}"
        ) from None
    language = response_language(response)
    return [
        Verdict(prompt.key, index, instruction_id, bool(strict[index]), bool(loose[index]), language)
        for index, instruction_id in enumerate(prompt.instruction_ids)
    ]


def response_language(text: str) -> str:
    """The language langdetect finds (ISO 639-1), or ``unknown`` where it finds no features (digits, symbols)."""
    langdetect = _langdetect()
    try:
        return str(langdetect.detect(text))
    except langdetect.LangDetectException:
        return UNKNOWN_LANGUAGE


def _langdetect() -> Any:
    """langdetect, seeded: without a seed it samples at random, and verdicts change from run to run."""
    import langdetect

    langdetect.DetectorFactory.seed = LANGDETECT_SEED
    return langdetect


@contextlib.contextmanager
def _same_guesses() -> Iterator[None]:
    """Let lm_eval draw the same each time: it draws a letter where IFEval's prompts 1122 and 1129 count '#' and '!'."""
    state = random.getstate()
    random.seed(GUESSES_SEED)
    try:
        yield
    finally:
        random.setstate(state)


def _refuse_missing_kwargs(prompt: BenchmarkPrompt, checkers: Mapping[str, Any]) -> None:
    """lm_eval makes up, at random, what is missing, and takes 0 and empty values for missing."""
    for instruction_id, kwargs in zip(prompt.instruction_ids, prompt.kwargs, strict=True):
        missing = [
            name
            for name in checkers[instruction_id](instruction_id).get_instruction_args_keys()
            if not kwargs.get(name)
        ]
        if missing:
            raise DataError(
                f"prompt {prompt.key}: {instruction_id} needs values for {', '.join(missing)} in its kwargs"
            )


def use_nltk_data(folder: str | None) -> None:
    """Let NLTK look for its data in ``folder`` first; must come before the first score."""
    if folder:
        others = [item for item in os.environ.get("NLTK_DATA", "").split(os.pathsep) if item and item != folder]
        os.environ["NLTK_DATA"] = os.pathsep.join([folder, *others])
        if "nltk" in sys.modules:
            import nltk

            nltk.data.path.insert(0, folder)


def unmet(source: Source, nltk_data: str | None) -> list[str]:
    """What must be set before answers to these prompts can be scored."""
    if not _needs_punkt(source) or any(_has_punkt(folder) for folder in _nltk_folders(nltk_data)):
        return []
    return [
        "NLTK's sentence model tokenizers/punkt_tab is not on this machine and some instructions need it: "
        "set benchmark.nltk_data=FOLDER (or NLTK_DATA), or run once with network: python -m nltk.downloader punkt_tab"
    ]


def _needs_punkt(source: Source) -> bool:
    if source.reader == "demo":
        return False
    return _file_needs_punkt(source.path) if source.path else True


@functools.lru_cache(maxsize=64)
def _file_needs_punkt(path: str) -> bool:
    asked = (row.get("instruction_id_list") for _, row in read_jsonl(path))
    return any(NEEDS_PUNKT & set(map(str, ids)) for ids in asked if isinstance(ids, list))


def _nltk_folders(nltk_data: str | None) -> Iterator[Path]:
    """Where NLTK looks, in its order (nltk.data.path), without the second that importing it takes."""
    if nltk_data:
        yield Path(nltk_data)
    yield from (Path(item) for item in os.environ.get("NLTK_DATA", "").split(os.pathsep) if item)
    yield Path("~/nltk_data").expanduser()
    yield from (Path(sys.prefix) / part for part in ("nltk_data", "share/nltk_data", "lib/nltk_data"))
    yield from (Path(part) / "nltk_data" for part in ("/usr/share", "/usr/local/share", "/usr/lib", "/usr/local/lib"))


def _has_punkt(folder: Path) -> bool:
    return (folder / "tokenizers" / "punkt_tab" / "english").is_dir()


@functools.lru_cache(maxsize=1)
def _ifeval() -> Any:
    with _no_downloads():
        from lm_eval.tasks.ifeval import utils
    return utils


@contextlib.contextmanager
def _no_downloads() -> Iterator[None]:
    """lm_eval fetches punkt_tab from the network as it is imported; what is missing is told at plan time instead."""
    import nltk

    download = nltk.download
    nltk.download = lambda *_args, **_kwargs: False
    try:
        with contextlib.redirect_stdout(None):
            yield
    finally:
        nltk.download = download


def verdicts(prompts: Sequence[BenchmarkPrompt], responses: dict[int, str]) -> Iterator[Verdict]:
    """Verdicts of all responses, in the order of the prompts.

    Raises:
        DataError: a prompt has no response.
    """
    for prompt in prompts:
        if prompt.key not in responses:
            raise DataError(f"prompt {prompt.key} has no response")
        yield from score(prompt, responses[prompt.key])
