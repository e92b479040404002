"""Answers and verdicts of all runs, prompt by prompt: a small index to filter by, and the texts in blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from analysis.report.rows import Row, rows_of
from experiment.results import RunResult
from experiment.scoring.verdict import LANGDETECT, PAPER

_HEAD = 100  # characters of a prompt that the list shows
_BLOCK = 250_000  # characters of prompts and answers that are packed together, and unpacked at the first look at one


@dataclass
class Block:
    """Neighbouring prompts of one language with all answers to them; answers that are the same stand once."""

    texts: list[str] = field(default_factory=list)
    prompts: list[dict[str, Any]] = field(default_factory=list)
    size: int = 0


@dataclass
class Item:
    """One prompt as the index knows it."""

    key: int
    variant: int  # 0; counts on where runs have another prompt under the same key
    head: str
    instructions: list[int]  # places in `instruction_ids`
    asked: int  # place in `codes`
    block: int
    place: int  # within the block


@dataclass
class Language:
    """The prompts of one language, with the verdicts of each run as strings: 1 yes, 0 no, - not there."""

    rules: list[str] = field(default_factory=list)
    identifiers: list[str] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    strict: dict[int, dict[str, str]] = field(default_factory=dict)  # run -> rule set -> one per instruction
    loose: dict[int, dict[str, str]] = field(default_factory=dict)
    found: dict[int, dict[str, list[int]]] = field(default_factory=dict)  # run -> identifier -> place in `codes`, or -1
    answered: dict[int, str] = field(default_factory=dict)  # run -> one per prompt
    gaps: dict[int, list[str]] = field(default_factory=dict)  # run -> what is not there, and why


@dataclass
class Index:
    """What the page needs before any text is unpacked."""

    runs: int
    languages: dict[str, Language] = field(default_factory=dict)
    instruction_ids: dict[str, int] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)

    @property
    def answers(self) -> int:
        """How many answers there are."""
        return sum(run.count("1") for language in self.languages.values() for run in language.answered.values())

    def to_json(self) -> dict[str, Any]:
        """The index as plain values."""
        return {
            "languages": {name: asdict(language) for name, language in self.languages.items()},
            "instruction_ids": list(self.instruction_ids),
            "codes": list(self.codes),
        }


def collect_answers(runs: Sequence[RunResult]) -> tuple[Index, list[Block]]:
    """All answers and verdicts there are; what is missing or damaged is told in ``gaps``."""
    index, blocks = Index(len(runs)), []
    for name in dict.fromkeys(language for run in runs for language in run.languages):
        language = index.languages[name] = Language()
        found: list[dict[int, Row]] = []
        for place, run in enumerate(runs):
            there, gaps = rows_of(run, name)
            found.append(there)
            if gaps:
                language.gaps[place] = gaps
        items = _aligned(found)
        rows = [row for there in found for row in there.values()]
        # What papers report stands first, and is what the page shows unless another is chosen.
        language.rules = _first(PAPER, (rules for row in rows for rules in row.strict))
        language.identifiers = _first(LANGDETECT, (identifier for row in rows for identifier in row.found))
        # A block holds prompts of one language only: a search opens the blocks of one language.
        blocks.append(Block())
        for item in items:
            _place(name, index, blocks, item)
        _verdicts(index, language, items, len(runs))
    return index, blocks


def _first(name: str, names: Iterable[str]) -> list[str]:
    """The distinct names, with one of them in front if it is there."""
    return sorted(dict.fromkeys(names), key=lambda other: other != name)


def _aligned(found: Sequence[Mapping[int, Row]]) -> list[dict[int, Row]]:
    """Run -> row for each distinct prompt: the same key, and the same prompt and instructions as far as known."""
    items = []
    for key in sorted({key for rows in found for key in rows}):
        variants: list[dict[int, Row]] = []
        for run, rows in enumerate(found):
            row = rows.get(key)
            if row is None:
                continue
            home = next((there for there in variants if all(row.fits(other) for other in there.values())), None)
            if home is None:
                home = {}
                variants.append(home)
            home[run] = row
        for number, there in enumerate(variants):
            for row in there.values():
                row.variant = number
        items += variants
    return items


def _place(language: str, index: Index, blocks: list[Block], there: Mapping[int, Row]) -> None:
    """Put a prompt with its answers into the last block, and its outline into the index."""
    rows = list(there.values())
    prompt = next((row.prompt for row in rows if row.prompt is not None), None)
    instructions = next((row.instructions for row in rows if row.instructions is not None), ())
    asked = next((row.asked for row in rows if row.asked is not None), language)
    if blocks[-1].size > _BLOCK:
        blocks.append(Block())
    block = blocks[-1]
    places: dict[str, int] = {}
    answer, tokens, finished = [-1] * index.runs, [-1] * index.runs, ["-"] * index.runs
    for run, row in there.items():
        if row.answer is not None:
            if row.answer not in places:
                places[row.answer] = len(block.texts)
                block.texts.append(row.answer)
                block.size += len(row.answer)
            answer[run], tokens[run] = places[row.answer], -1 if row.tokens is None else row.tokens
            finished[run] = "-" if row.finished is None else str(int(row.finished))
    item = Item(
        rows[0].key,
        rows[0].variant,
        " ".join((prompt or "")[: 4 * _HEAD].split())[:_HEAD],
        [index.instruction_ids.setdefault(name, len(index.instruction_ids)) for name in instructions],
        index.codes.setdefault(asked, len(index.codes)),
        len(blocks) - 1,
        len(block.prompts),
    )
    block.prompts.append({"prompt": prompt, "answer": answer, "tokens": tokens, "finished": "".join(finished)})
    block.size += len(prompt or "")
    index.languages[language].items.append(item)


def _verdicts(index: Index, language: Language, items: Sequence[Mapping[int, Row]], runs: int) -> None:
    for run in range(runs):
        rows = [there.get(run) for there in items]
        sizes = [len(item.instructions) for item in language.items]
        for name, verdicts in (("strict", language.strict), ("loose", language.loose)):
            verdicts[run] = {
                rules: "".join(_signs(row, name, rules, size) for row, size in zip(rows, sizes, strict=True))
                for rules in language.rules
            }
        language.answered[run] = "".join(str(int(row is not None and row.answer is not None)) for row in rows)
        language.found[run] = {
            identifier: [
                index.codes.setdefault(row.found[identifier], len(index.codes))
                if row and identifier in row.found
                else -1
                for row in rows
            ]
            for identifier in language.identifiers
        }


def _signs(row: Row | None, name: str, rules: str, size: int) -> str:
    verdicts: Sequence[bool] | None = None if row is None else getattr(row, name).get(rules)
    return "-" * size if verdicts is None else "".join("1" if followed else "0" for followed in verdicts)
