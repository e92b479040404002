"""``python -m analysis score``: verdicts on responses from elsewhere, as tables or one JSON document."""

from __future__ import annotations

import json
import os
import re
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.metric_name import MetricName
from analysis.outside import Unmatched, join, read_responses
from analysis.panels import measured_cell
from analysis.render import render
from analysis.statistics import estimates
from analysis.table import Cell, Panel, Table
from experiment.errors import DataError, KirjoError
from experiment.metrics import Count, Scored, tally
from experiment.scoring import punkt
from experiment.scoring.identify import unknown_to_langdetect
from experiment.scoring.rules import has_own_rules
from experiment.scoring.score import verdicts
from experiment.scoring.unasked import Unasked, unasked
from experiment.scoring.verdict import PAPER
from experiment.sources.read import read_prompts
from experiment.sources.records import BenchmarkPrompt
from experiment.sources.source import Source

METRICS = ("prompt_strict", "instruction_strict", "prompt_loose", "instruction_loose")

# Below this a process costs more to start than it saves.
_PER_PROCESS = 100
_SHOWN = 20


def score_outside(asked: Namespace, width: int) -> str:
    """The text to print for a request of ``analysis score``.

    Raises:
        KirjoError: a file is not what it should be, or nothing in it belongs together.
    """
    _check(asked)
    responses = read_responses(asked.responses)
    source = Source(reader="ifeval", language=asked.language, path=str(asked.prompts))
    everything = _prompts(asked.prompts, asked.language)
    known = {name for prompt in everything for name in prompt.instruction_ids}
    if strange := [name for name in asked.exclude if name not in known]:
        raise KirjoError(
            f"--exclude {strange[0]}: no prompt has this instruction; there are: {', '.join(sorted(known))}"
        )
    prompts = [prompt for prompt in everything if not set(asked.exclude) & set(prompt.instruction_ids)]
    joined, unmatched = join(everything, responses)
    left_out = {prompt.key for prompt in everything} - {prompt.key for prompt in prompts}
    joined = {key: response for key, response in joined.items() if key not in left_out}
    unmatched = [each for each in unmatched if each.key not in left_out]
    if not joined:
        raise DataError(
            f"no response of {asked.responses} belongs to a prompt of {asked.prompts} "
            f"({unmatched[0].reason if unmatched else 'all are excluded'}): is it the right prompts file?"
        )
    if missing := punkt.unmet(source, asked.nltk_data, "--nltk-data FOLDER"):
        raise KirjoError(missing[0])
    punkt.use_nltk_data(asked.nltk_data)
    answered = [prompt for prompt in prompts if prompt.key in joined]
    processes = max(1, min(os.cpu_count() or 1, len(answered) // _PER_PROCESS))
    scored = Scored.of(list(verdicts(answered, joined, asked.language, processes)))
    odd = unasked(answered, asked.language, _prompts(asked.reference, "en") if asked.reference else None)
    if asked.json:
        return json.dumps(document(scored, unmatched, odd, len(prompts)), indent=1)
    return _as_text(scored, len(prompts), unmatched, odd, asked, width, len(left_out))


def _check(asked: Namespace) -> None:
    if not re.fullmatch("[a-z]{2,3}", asked.language):
        raise KirjoError(f"--language {asked.language}: expected an ISO 639-1 code, such as en or fi")
    if asked.nltk_data and not Path(asked.nltk_data).is_dir():
        raise KirjoError(f"--nltk-data {asked.nltk_data}: there is no such folder")


def _prompts(path: Path, language: str) -> list[BenchmarkPrompt]:
    return read_prompts(Source(reader="ifeval", language=language, path=str(path)), exclude=())


def document(scored: Scored, unmatched: Sequence[Unmatched], odd: Sequence[Unasked], of: int) -> dict[str, Any]:
    """The result for programs; the accuracies at the top are those of the paper's rules."""
    found: dict[str, Any] = {"prompts": len(scored.keys), "instructions": len(scored.prompt), "prompts_in_file": of}
    found |= {name: _count(tally(scored, name).count) for name in METRICS}
    found["response_language"] = _count(tally(scored, "response_language").count)
    found["rules"] = {
        rules: {name: _count(tally(scored, name, rules).count) for name in METRICS}
        for rules in scored.rules
        if rules != PAPER
    }
    found["unmatched"] = [each.to_json() for each in unmatched]
    found["unasked"] = [vars(each) for each in odd]
    found["by_instruction"] = {
        name: {level: _count(tally(scored, f"instruction_{level}", PAPER, name).count) for level in ("strict", "loose")}
        for name in sorted(set(scored.instruction_ids))
    }
    return found


def _count(count: Count) -> dict[str, int | float]:
    return {"correct": count.correct, "total": count.total, "percent": round(100 * count.share, 2)}


def _as_text(
    scored: Scored,
    of: int,
    unmatched: Sequence[Unmatched],
    odd: Sequence[Unasked],
    asked: Namespace,
    width: int,
    left_out: int,
) -> str:
    answered = len(scored.keys)
    panels = []
    for rules in scored.rules:
        title = "" if len(scored.rules) == 1 else f"rule set {rules}"
        names = [*METRICS, *(("response_language",) if rules == PAPER else ()), "instruction_strict_in_language"]
        panels.append(Panel(title, tuple(_row(scored, MetricName(asked.language, name, rules)) for name in names)))
    notes = (
        []
        if asked.language == "en" or has_own_rules(asked.language)
        else [f"There are no rules for '{asked.language}': lm_eval's, made for English, judged alone."]
    )
    notes += [unknown] if (unknown := unknown_to_langdetect(asked.language)) else []
    notes += [
        "Percent (k/n), rounded. Intervals: 95 %, resampling prompts with all their instructions.",
        *_told("instructions that their prompts do not ask for (they count all the same)", odd),
        *_told("responses that do not fit their prompts", [each for each in unmatched if each.line is not None]),
        *(
            [f"Not counted: {of - answered} of {of} prompts have no response (--json lists them)."]
            if answered < of
            else []
        ),
        *([f"Left out by --exclude: {left_out} prompts."] if left_out else []),
    ]
    title = f"{asked.benchmark}, {asked.language}: {answered} of {of} prompts, {len(scored.prompt)} instructions"
    overall = Table("score", title, ("metric", "measured", "95 % interval"), tuple(panels), tuple(notes))
    return "\n".join([render(overall, "terminal", width), render(_by_instruction(scored), "terminal", width)])


def _row(scored: Scored, metric: MetricName) -> tuple[Cell, ...]:
    found = metric.tally(scored)
    (estimate,) = estimates([[found]])
    return (
        Cell(metric.metric.replace("_", " "), "label"),
        measured_cell([found], estimate, (), cut=False),
        Cell(f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f}", "interval"),
    )


def _by_instruction(scored: Scored) -> Table:
    rows = []
    for name in sorted(set(scored.instruction_ids)):
        counts = {rules: tally(scored, "instruction_strict", rules, name).count for rules in scored.rules}
        total = counts[PAPER].total
        rows.append(
            (
                Cell(name, "label"),
                Cell(str(total)),
                *(Cell(f"{count.rounded} ({count.correct}/{count.total})") for count in counts.values()),
            )
        )
    headings = ("instruction", "instructions", *(f"strict, {rules}" for rules in scored.rules))
    return Table("by_instruction", "By instruction", headings, (Panel("", tuple(rows)),))


def _told(what: str, items: Sequence[Unmatched] | Sequence[Unasked]) -> list[str]:
    if not items:
        return []
    shown = [f"  {_line(item)}" for item in items[:_SHOWN]]
    more = [f"  and {len(items) - _SHOWN} more (--json lists all)"] if len(items) > _SHOWN else []
    return [f"{len(items)} {what}:", *shown, *more]


def _line(item: Unmatched | Unasked) -> str:
    if isinstance(item, Unasked):
        return f"prompt {item.key}: {item.instruction_id}: {item.reason}"
    place = [f"line {item.line}" if item.line else "", f"key {item.key}" if item.key is not None else ""]
    near = f" (nearest: key {item.nearest_key}, {item.similarity:.0%} alike)" if item.nearest_key is not None else ""
    return f"{', '.join(filter(None, place))}: {item.reason}{near}" + ("; scored by its key" if item.scored else "")
