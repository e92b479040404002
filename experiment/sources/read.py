"""Read a source into rows, checking them on the way: every fault names where it stands.

Each reader takes a counter, ``dropped``, for what it leaves out and why; :mod:`experiment.sources.account` records it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from experiment.errors import DataError
from experiment.scoring.unasked import without
from experiment.sources import conversations, demo, lines, oasst, preferences, prompts
from experiment.sources.checks import Empties
from experiment.sources.records import BenchmarkPrompt, Conversation, ReplyGroup
from experiment.sources.source import Source

T = TypeVar("T")


def read_conversations(source: Source, dropped: Counter[str] | None = None) -> list[Conversation]:
    """SFT conversations: alternating turns that end with the assistant.

    Raises:
        DataError: the source is unreadable, empty, or holds a conversation that does not alternate.
    """
    dropped = Counter() if dropped is None else dropped
    empties = Empties(source, dropped)
    if source.reader == "demo":
        return demo.conversations(source.language, source.rows or 0, source.seed)
    if source.reader == "oasst":
        return _first(oasst.conversations(source, empties, dropped), source, empties)
    if source.reader == "conversations":
        return _first(conversations.conversations(source, empties), source, empties)
    raise _wrong_reader(source, "SFT conversations", "demo, oasst, conversations")


def read_reply_groups(source: Source, dropped: Counter[str] | None = None) -> list[ReplyGroup]:
    """Prompts with two or more scored replies.

    Raises:
        DataError: the source is unreadable or empty, or a prompt does not end with the user.
    """
    dropped = Counter() if dropped is None else dropped
    empties = Empties(source, dropped)
    if source.reader == "demo":
        return demo.reply_groups(source.language, source.rows or 0, source.seed)
    if source.reader == "oasst":
        return _first(oasst.reply_groups(source, empties, dropped), source, empties)
    if source.reader == "scored_pairs":
        return _first(preferences.scored_pairs(source, empties), source, empties)
    if source.reader == "pairs":
        return _first(preferences.pairs(source, empties), source, empties)
    raise _wrong_reader(source, "preference data", "demo, oasst, scored_pairs, pairs")


def read_prompts(source: Source, exclude: Sequence[str], drop_unasked: bool = False) -> list[BenchmarkPrompt]:
    """Benchmark prompts, without those that carry an excluded instruction.

    ``drop_unasked`` first takes away the instructions that their prompt does not ask for.

    Raises:
        DataError: the source is unreadable, a prompt has no instructions, or nothing is left.
    """
    if source.reader == "demo":
        found = demo.prompts(source.language, source.rows or 0, source.seed)
    elif source.reader == "ifeval":
        found = list(prompts.prompts(source))
    else:
        raise _wrong_reader(source, "benchmark prompts", "demo, ifeval")
    keys = [prompt.key for prompt in found]
    if len(set(keys)) != len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise DataError(f"{source.where}: key {twice} stands twice; every prompt needs its own")
    if drop_unasked:
        found = without(found, source.language)
    return _some([prompt for prompt in found if not set(exclude) & set(prompt.instruction_ids)], source)


def read_texts(source: Source) -> Iterator[str]:
    """Documents for pretraining: of a language, or (``en-fi``) pairs of a line and its translation.

    Raises:
        DataError: the source is unreadable or a row has no text in the language.
    """
    if source.reader == "demo":
        made = demo.translation_pairs if "-" in source.language else demo.texts
        yield from made(source.language, source.rows or 0, source.seed)
        return
    if source.reader != "text":
        raise _wrong_reader(source, "pretraining text", "demo, text")
    yield from islice(lines.texts(source), source.rows)


def read_lines(source: Source) -> list[str]:
    """Sentences, a line each; a blank line is an empty or blank text, so that files that belong together stay aligned.

    Raises:
        DataError: the source is unreadable or empty, or a row has no text in the language.
    """
    if source.reader == "demo":
        return demo.aligned_sentences(source.language, source.rows or 0, source.seed)
    if source.reader != "lines":
        raise _wrong_reader(source, "lines", "demo, lines")
    return _some(islice(lines.lines(source), source.rows), source)


def _first(rows: Iterable[T], source: Source, empties: Empties) -> list[T]:
    """As many rows as are asked for, of those that are left."""
    found = list(islice(rows, source.rows))
    empties.settle()
    return _some(found, source)


def _some(rows: Iterable[T], source: Source) -> list[T]:
    found = list(rows)
    if not found:
        raise DataError(f"{source.where}: no rows are left ({source.reader}, '{source.language}')")
    return found


def _wrong_reader(source: Source, what: str, allowed: str) -> DataError:
    return DataError(f"the reader '{source.reader}' does not give {what}; use one of: {allowed}")
