"""translate: conversations, preference pairs or plain lines into another language, line by line, by a language model.

Every distinct line is translated once. Code blocks, blank lines and the blanks around a line stay byte for byte, so a
row has the same turns and the same form in both languages; row by row, it keeps its identity.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from experiment.engines.engine import Answer, Engine, Request
from experiment.engines.open import engine_of, model_of
from experiment.engines.shards import answer_in_shards
from experiment.errors import KirjoError
from experiment.sources.account import account
from experiment.sources.jsonl import write_jsonl
from experiment.sources.read import read_conversations, read_lines
from experiment.sources.records import Message
from experiment.stages.pair import read_pairs
from experiment.task import Task
from experiment.translation.prompts import Prompter, clean_answer
from experiment.translation.recorded import prompter_of, source_role
from experiment.translation.rows import TRANSLATED, Part, TranslatedRow, read_translated
from experiment.translation.segments import Piece, pieces, rebuild, sentences, split_long

# Tokens by which a line may be longer within a prompt than alone: tokenizers may cut its ends otherwise there.
_MARGIN = 8


@dataclass(frozen=True)
class Lines:
    """The distinct lines of all texts, each as the pieces that it is translated in (one, unless it is too long)."""

    pieces: dict[str, list[Piece]]
    limits: dict[str, int]  # piece -> tokens that its translation may have


def run(task: Task) -> dict[str, Any]:
    """Write ``translated.jsonl``; report rows, lines, and lines that were split, cut off or came back empty."""
    prompter = prompter_of(task)
    sources: dict[str, Any] = {}
    rows = list(_rows(task, sources)) if task.ranks.first else []
    keep_markers = prompter.settings.keep_markers
    texts = {part.source: pieces(part.source, keep_markers) for row in rows for part in row.parts}
    lines = Lines({}, {})
    model = None if "served" in task.settings else model_of(task)
    with engine_of(task, "translate", model) as engine:

        def prepare() -> dict[str, int]:
            nonlocal lines
            lines = _lines(texts.values(), prompter, engine)
            return lines.limits

        limits = task.prepare("lines", prepare)  # piece -> tokens that its translation may have
        answers = _answer(task, limits, prompter, engine)
    if not task.ranks.first:
        return {}
    for name, one in prompter.settings.shots.items():
        for language, file in one.files.items():
            sources[source_role(name, language)] = account(file, one.count)
    found = {line: _translation(parts, answers) for line, parts in lines.pieces.items()}
    translated = [_translated(row, texts, found) for row in rows]
    write_jsonl(task.work / TRANSLATED, (row.to_json() for row in translated))
    return {**_summary(rows, texts, lines, answers), **({"sources": sources} if sources else {})}


def _rows(task: Task, sources: dict[str, Any]) -> Iterator[TranslatedRow]:
    """What is to be translated: each text as the source of a part whose own text is still empty.

    ``sources`` is told where the rows come from.
    """
    kind = task.settings["kind"]
    if "translated" in task.step.inputs:  # back again
        for row in read_translated(task.input("translated")):
            yield TranslatedRow(row.id, tuple(Part(part.role, part.text, "") for part in row.parts))
    elif kind == "conversations":
        source, dropped = task.source("source", task.settings["source"]), Counter[str]()
        conversations = read_conversations(source, dropped)
        sources["source"] = account(source, len(conversations), dropped)
        for conversation in conversations:
            yield TranslatedRow(conversation.id, _turns(conversation.messages))
    elif kind == "pairs":
        for pair in read_pairs(task):
            replies = (Part("chosen", pair.chosen, ""), Part("rejected", pair.rejected, ""))
            yield TranslatedRow(pair.id, _turns(pair.prompt) + replies)
    else:
        source = task.source("source", task.settings["source"])
        lines = read_lines(source)
        sources["source"] = account(source, len(lines))
        for number, line in enumerate(lines):
            yield TranslatedRow(str(number), (Part("line", line, ""),))


def _turns(messages: Sequence[Message]) -> tuple[Part, ...]:
    return tuple(Part(message.role, message.content, "") for message in messages)


def _lines(texts: Any, prompter: Prompter, engine: Engine) -> Lines:
    """The distinct lines in the order of their first appearance, those that are too long cut to pieces."""
    distinct = dict.fromkeys(piece.text for parts in texts for piece in parts if not piece.keep)
    names = list(prompter.settings.shots)
    counted = engine.count_tokens([prompter.prompt_of(name, "") for name in names])
    beginnings = dict(zip(names, counted, strict=True))
    tokens = dict(zip(distinct, engine.count_tokens(list(distinct)), strict=True))

    def fits(line: str) -> bool:
        if line not in tokens:
            tokens[line] = engine.count_tokens([line])[0]
        return prompter.fits(tokens[line], beginnings[prompter.set_of(line)] + tokens[line] + _MARGIN)

    for name, taken in beginnings.items():
        if not prompter.fits(1, taken + 1 + _MARGIN):
            raise KirjoError(
                f"the examples of shots.{name} take {taken} tokens, and no line fits behind them into "
                f"translate.context={prompter.settings.context}: take fewer examples (shots.{name}.count), or a larger "
                "context if the model has one"
            )
    cut = {line: _cut(line, prompter.settings.unit, fits) for line in distinct}
    parts = dict.fromkeys(piece.text for pieces_ in cut.values() for piece in pieces_ if not piece.keep)
    for part in parts:
        fits(part)
    return Lines(cut, {part: prompter.new_tokens(tokens[part]) for part in parts})


def _cut(line: str, unit: str, fits: Callable[[str], bool]) -> list[Piece]:
    """The pieces that a line is translated in."""
    found: list[Piece] = []
    for piece in sentences(line) if unit == "sentence" else [Piece(line, False)]:
        found += [piece] if piece.keep or fits(piece.text) else split_long(piece.text, fits)
    return found


def _answer(task: Task, limits: dict[str, int], prompter: Prompter, engine: Engine) -> dict[str, Answer]:
    """The answers by line. The lines of one set of examples go together: they share the beginning of their prompts."""
    by_set: dict[str, list[Request]] = {}
    named = {_id(line): line for line in limits}
    for key, line in named.items():
        request = prompter.request(key, line, limits[line])
        by_set.setdefault(prompter.set_of(line), []).append(request)
    found: dict[str, Answer] = {}
    for name in sorted(by_set):
        before = len(found)

        def progress(done: int, _of: int, before: int = before) -> None:
            task.progress(before + done, len(limits))

        answers = answer_in_shards(task, by_set[name], engine, prompter.settings.shard_rows, progress)
        found |= {named[key]: answer for key, answer in answers.items()}
    return found


def _id(line: str) -> str:
    """A name of the line by its content: what an interrupted attempt has answered is never taken for another line's."""
    return hashlib.sha256(line.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True)
class _Found:
    """A line's translation, and how many of its pieces came back empty or were cut off."""

    text: str
    empty: int
    cut_off: int


def _translation(parts: list[Piece], answers: dict[str, Answer]) -> _Found:
    own = [answers[piece.text] for piece in parts if not piece.keep]
    texts = {piece.text: clean_answer(answers[piece.text].text) for piece in parts if not piece.keep}
    empty = sum(not text for text in texts.values())
    return _Found(rebuild(parts, texts), empty, sum(not answer.finished for answer in own))


def _translated(row: TranslatedRow, texts: dict[str, list[Piece]], found: dict[str, _Found]) -> TranslatedRow:
    translations = {line: one.text for line, one in found.items()}
    parts = []
    for part in row.parts:
        own = [found[piece.text] for piece in texts[part.source] if not piece.keep]
        parts.append(
            replace(
                part,
                text=rebuild(texts[part.source], translations),
                empty=sum(one.empty for one in own),
                cut_off=sum(one.cut_off for one in own),
            )
        )
    return TranslatedRow(row.id, tuple(parts))


def _summary(
    rows: Sequence[TranslatedRow], texts: dict[str, list[Piece]], lines: Lines, answers: dict[str, Answer]
) -> dict[str, Any]:
    per_text = {text: sum(not piece.keep for piece in parts) for text, parts in texts.items()}
    empty = sum(not clean_answer(answer.text) for answer in answers.values())
    cut_off = sum(not answer.finished for answer in answers.values())
    warnings = []
    if answers and empty + cut_off > len(answers) / 2:
        warnings.append(
            f"of {len(answers)} distinct lines {empty} came back empty and {cut_off} were cut off: the template may "
            "not suit the model (translate=...)"
        )
    return {
        "rows": len(rows),
        "texts": sum(len(row.parts) for row in rows),
        "lines": sum(per_text[part.source] for row in rows for part in row.parts),
        "distinct_lines": len(lines.pieces),
        "split_lines": sum(len(parts) > 1 for parts in lines.pieces.values()),
        "distinct_pieces": len(answers),
        "empty": empty,
        "cut_off": cut_off,
        "new_tokens": sum(answer.tokens for answer in answers.values()),
        **({"warnings": warnings} if warnings else {}),
    }
