"""Preference data: scored replies, a row each (HelpSteer2), or chosen and rejected in one row (UltraFeedback)."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from experiment.errors import DataError
from experiment.sources.checks import Empties, Identifiers
from experiment.sources.columns import Columns
from experiment.sources.raw import raw_rows
from experiment.sources.records import Message, Reply, ReplyGroup, Role
from experiment.sources.source import Source
from experiment.sources.turns import check_turns, empty_turn, read_turns, with_system

# HelpSteer2 writes the turns of a prompt into one text, the first being the user's.
_TURN = re.compile(r"\n<extra_id_1>(User|Assistant)(?=\n)")
_ID_DIGITS = 16  # hex digits of SHA-256


def scored_pairs(source: Source, empties: Empties) -> Iterator[ReplyGroup]:
    """Prompts with two or more scored replies, in the order in which the prompts first appear.

    All rows with the same prompt belong together, wherever they stand: a reply is one to the prompt, and the order of
    the rows is an accident of the file. HelpSteer2 has the two of a prompt next to each other; should a prompt occur
    again further down, it is still one prompt, with more replies. The id comes from the prompt alone, so it stays when
    rows are added, left out or shuffled.

    Raises:
        DataError: a row lacks a prompt, a response or a finite score.
    """
    columns = source.named()
    prompts: dict[tuple[Message, ...], list[Reply]] = {}
    for where, row in ((raw.where, raw.row) for raw in raw_rows(source)):
        prompt, response = _prompt(where, row, columns, told_apart=True), columns.text(where, row, "response")
        score = columns.value(where, row, "helpfulness", "a finite number")
        if not _is_score(score):
            raise columns.wrong(where, row, "helpfulness", "a finite number")
        if fault := empty_turn(where, prompt) or _without_text(where, response=response):
            empties.add(fault)
            continue
        check_turns(where, prompt, ends_with="user")
        prompts.setdefault(prompt, []).append(Reply(response or "", float(score)))
    for prompt, replies in prompts.items():
        if len(replies) > 1:
            yield ReplyGroup(_name(prompt), prompt, tuple(replies))


def pairs(source: Source, empties: Empties) -> Iterator[ReplyGroup]:
    """A chosen (score 1) and a rejected reply (score 0) a row; the same text twice is a tie (both 0).

    Chosen and rejected are texts, or lists of turns: the reply alone, or all of the conversation, whose common turns
    are the prompt then.

    Raises:
        DataError: a row lacks one of the three, or has the id of another.
    """
    columns = source.named()
    identifiers = Identifiers(columns)
    for raw in raw_rows(source):
        prompt, chosen, rejected = _pair(raw.where, raw.row, columns)
        name = identifiers.take(raw)
        if fault := empty_turn(raw.where, prompt) or _without_text(raw.where, chosen=chosen, rejected=rejected):
            empties.add(fault)
            continue
        check_turns(raw.where, prompt, ends_with="user")
        yield ReplyGroup(name, prompt, (Reply(chosen, float(chosen != rejected)), Reply(rejected, 0.0)))


def split_turns(text: str) -> tuple[Message, ...]:
    """The turns that HelpSteer2 has written into one prompt."""
    first, *rest = _TURN.split(text)
    roles: dict[str, Role] = {"User": "user", "Assistant": "assistant"}
    later = (Message(roles[label], said[1:]) for label, said in zip(rest[::2], rest[1::2], strict=True))
    return (Message("user", first), *later)


def _prompt(where: str, row: Mapping[str, Any], columns: Columns, told_apart: bool) -> tuple[Message, ...]:
    """The prompt as turns: a list of them, or a text, which may hold HelpSteer2's marks (``told_apart``)."""
    value = columns.value(where, row, "prompt", "a text or a list of turns")
    if isinstance(value, list):
        return read_turns(where, row, "prompt", columns)
    if value is not None and not isinstance(value, str):
        raise columns.wrong(where, row, "prompt", "a text or a list of turns")
    text = value or ""
    return with_system(where, row, split_turns(text) if told_apart else (Message("user", text),), columns)


def _pair(where: str, row: Mapping[str, Any], columns: Columns) -> tuple[tuple[Message, ...], str, str]:
    """Prompt, chosen and rejected; a text that is null comes out empty."""
    sides = [columns.value(where, row, what, "a text or a list of turns") for what in ("chosen", "rejected")]
    if not any(isinstance(side, list) for side in sides):
        chosen, rejected = (columns.text(where, row, what) or "" for what in ("chosen", "rejected"))
        return _prompt(where, row, columns, told_apart=False), chosen, rejected
    better, worse = (read_turns(where, row, what, columns) for what in ("chosen", "rejected"))
    shorter = min(len(better), len(worse)) - 1  # the reply is none of the common turns, even where it is the same
    common = next((n for n in range(shorter) if better[n] != worse[n]), shorter)
    ends = [side[common:] for side in (better, worse)]
    for what, end in zip(("chosen", "rejected"), ends, strict=True):
        if len(end) != 1 or end[0].role != "assistant":
            roles = ", ".join(message.role for message in end)
            raise DataError(
                f"{where}: expected one reply by the assistant in column '{columns.name(what)}', after the {common} "
                f"turns that chosen and rejected have in common; got {len(end)} turns ({roles})"
            )
    prompt = better[:common] or _prompt(where, row, columns, told_apart=False)
    return prompt, ends[0][0].content, ends[1][0].content


def _without_text(where: str, **replies: str | None) -> str | None:
    return next((f"{where}: the {what} is empty" for what, text in replies.items() if not (text or "").strip()), None)


def _is_score(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _name(prompt: tuple[Message, ...]) -> str:
    told = "\n".join(f"{message.role}\n{message.content}" for message in prompt)
    # Half a surrogate pair, which JSON can hold, is no UTF-8.
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:_ID_DIGITS]
