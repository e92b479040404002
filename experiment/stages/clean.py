"""clean: throw away rows of which a part is no good translation, and account for every one of them."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from experiment.cleaning.finding import Languages
from experiment.cleaning.funnel import DROPPED, FUNNEL, Funnel, dropped_row, make_funnel, write_funnel
from experiment.cleaning.rules import Judgement, judge
from experiment.cleaning.settings import Clean
from experiment.cleaning.tongue import check_known
from experiment.errors import DataError, KirjoError
from experiment.sources.jsonl import write_jsonl
from experiment.stages.pair import ROWS as PAIRS
from experiment.task import Task
from experiment.translation.rows import Kind, TranslatedRow, read_translated

CONVERSATIONS = "conversations.jsonl"
_REPLIES = ("chosen", "rejected")
_REPORT_EVERY = 200  # rows


def run(task: Task) -> dict[str, Any]:
    """Write the rows that are left, ``dropped.jsonl`` and ``funnel.json``; report how many each rule dropped.

    Raises:
        DataError: no row is left.
    """
    settings = TypeAdapter(Clean).validate_python(task.settings["rules"])
    kind: Kind = task.settings["kind"]
    languages = Languages(task.settings["source_language"], task.settings["target_language"])
    if kind not in ("conversations", "pairs"):
        raise KirjoError(f"clean takes conversations or pairs, not {kind}")
    if settings.language:
        check_known(settings.language, languages.target)
    judgements = _judge_all(task, settings, kind, languages)
    funnel = make_funnel(settings, kind, languages, judgements)
    write_jsonl(task.work / DROPPED, (dropped_row(found) for found in judgements if found.faults))
    write_funnel(task.work, funnel)
    if not funnel.rows_out:
        raise DataError(f"{_nothing_left(funnel)}. Every dropped row: {task.work / DROPPED}")
    name, shape = (PAIRS, _pair) if kind == "pairs" else (CONVERSATIONS, _conversation)
    write_jsonl(task.work / name, (shape(found.cleaned, languages.target) for found in judgements if not found.faults))
    return {
        "rows_in": funnel.rows_in,
        "rows_out": funnel.rows_out,
        "dropped": {count.rule: count.dropped for count in funnel.rules if count.dropped},
        "cut_texts": funnel.cut["texts"],
        "warnings": _warnings(funnel),
    }


def _judge_all(task: Task, settings: Clean, kind: Kind, languages: Languages) -> list[Judgement]:
    rows = list(read_translated(task.input("translated")))
    found = []
    for number, row in enumerate(rows, start=1):
        _check_form(row, kind)
        found.append(judge(settings, row, languages))
        if number % _REPORT_EVERY == 0 or number == len(rows):
            task.progress(number, len(rows))
    return found


def _check_form(row: TranslatedRow, kind: Kind) -> None:
    roles = tuple(part.role for part in row.parts)
    turns, replies = (roles[:-2], roles[-2:]) if kind == "pairs" else (roles, ())
    if not turns or set(turns) & set(_REPLIES) or replies != (_REPLIES if kind == "pairs" else ()):
        wanted = "turns, then chosen and rejected" if kind == "pairs" else "turns only"
        raise DataError(f"row '{row.id}' of the translation: expected {wanted}, found {', '.join(roles) or 'no text'}")


def _conversation(row: TranslatedRow, language: str) -> dict[str, Any]:
    return {"id": row.id, "language": language, "messages": _turns(row)}


def _pair(row: TranslatedRow, language: str) -> dict[str, Any]:
    chosen, rejected = (part.text for part in row.parts[-2:])
    return {"id": row.id, "language": language, "prompt": _turns(row), "chosen": chosen, "rejected": rejected}


def _turns(row: TranslatedRow) -> list[dict[str, str]]:
    return [{"role": part.role, "content": part.text} for part in row.parts if part.role not in _REPLIES]


def _nothing_left(funnel: Funnel) -> str:
    worst = sorted(funnel.rules, key=lambda count: -count.would_drop)[:3]
    options = ", ".join(f"clean.{count.rule}" for count in worst if count.would_drop)
    advice = f"look at the translations, or loosen {options} (null switches a rule off)" if options else "nothing came"
    return "cleaning left no row:\n" + "\n".join(f"  {line}" for line in funnel.lines()) + f"\n{advice}"


def _warnings(funnel: Funnel) -> list[str]:
    return [
        f"{count.rule} ({count.threshold}) took {count.dropped} of {funnel.rows_in} rows; {FUNNEL} has examples"
        for count in funnel.rules
        if count.dropped * 2 > funnel.rows_in
    ]
