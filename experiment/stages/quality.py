"""quality: translations against references, or against the texts that a round trip began with."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from experiment.errors import DataError, KirjoError
from experiment.quality import comet, metrics, versions
from experiment.quality.metrics import Absent, Measured
from experiment.quality.names import CHRF, COMET, TITLES, TOKENIZERS
from experiment.quality.result import QUALITY, ROWS, SENTENCES, Quality, Sentence
from experiment.quality.sentences import refuse_blank
from experiment.sources.account import account
from experiment.sources.jsonl import write_jsonl
from experiment.sources.read import read_lines
from experiment.task import Task
from experiment.translation.rows import TranslatedRow, read_translated


def run(task: Task) -> dict[str, Any]:
    """Write ``quality.json`` and ``sentences.jsonl``, of a round trip also ``rows.jsonl``; report the values."""
    settings = task.settings
    _refuse_other_versions(settings)
    back = "original" in task.step.inputs
    sources: dict[str, Any] = {}
    texts = list(_of_a_round_trip(task) if back else _with_references(task, sources))
    if not texts:
        raise DataError("there is nothing to compare: the translations hold no text")
    places: dict[str, int] = {}
    units = [places.setdefault(text.id, len(places)) for text in texts]
    found: dict[str, Measured | Absent] = {}
    for number, name in enumerate(settings["metrics"], start=1):
        found[name] = _measure(name, texts, task)
        task.progress(number, len(settings["metrics"]))
    _write_texts(task, texts, units, found.get(CHRF) or metrics.measure(CHRF, *_columns(texts)), back)
    quality = Quality(
        "round_trip" if back else "references",
        settings["source_language"],
        settings["target_language"],
        len(texts),
        len(places),
        sum(not text.hypothesis.strip() for text in texts),
        {name: (one.by_unit(units) if isinstance(one, Measured) else one).to_json() for name, one in found.items()},
    )
    document = json.dumps(quality.to_json(), ensure_ascii=False, indent=1, sort_keys=True)
    (task.work / QUALITY).write_text(document + "\n", encoding="utf-8")
    return {**_summary(quality), **({"sources": sources} if sources else {})}


def _write_texts(
    task: Task, texts: Sequence[Sentence], units: Sequence[int], chrf: Measured | Absent, back: bool
) -> None:
    """Every text with the chrF++ it has by itself, to look at the worst; of a round trip every row as well."""
    assert isinstance(chrf, Measured)  # it needs nothing that could be missing
    rows = ({**asdict(text), "chrf": value} for text, value in zip(texts, chrf.each(), strict=True))
    write_jsonl(task.work / SENTENCES, rows)
    if back:
        parts = Counter(text.id for text in texts)  # in the order of the units
        each = zip(parts.items(), chrf.by_unit(units).each(), strict=True)
        write_jsonl(task.work / ROWS, ({"id": name, "parts": count, "chrf": value} for (name, count), value in each))


def _summary(quality: Quality) -> dict[str, Any]:
    values = {name: found["value"] for name, found in quality.metrics.items()}
    warnings = [
        f"{TITLES[name]} is not measured: {found['reason']}"
        for name, found in quality.metrics.items()
        if found["value"] is None
    ]
    return {"sentences": quality.sentences, "empty": quality.empty, **values, "warnings": warnings}


def _measure(name: str, texts: Sequence[Sentence], task: Task) -> Measured | Absent:
    """One metric. spBLEU that lacks its model is told, and made good by the table; who asks for COMET must have it."""
    if name != COMET:
        return metrics.measure(name, *_columns(texts), task.settings.get("spbleu_tokenizer", TOKENIZERS[0]))
    sources = [text.source for text in texts]
    return comet.measure(*_columns(texts), sources, gpus=int(task.how("quality").get("gpus", 0)))


def _columns(texts: Iterable[Sentence]) -> tuple[list[str], list[str]]:
    pairs = [(text.hypothesis, text.reference) for text in texts]
    return [hypothesis for hypothesis, _ in pairs], [reference for _, reference in pairs]


def _with_references(task: Task, sources: dict[str, Any]) -> Iterator[Sentence]:
    """Every translated line with its reference, in the same order; ``sources`` is told where references are from."""
    source = task.source("references", task.settings["references"])
    references = read_lines(source)
    sources["references"] = account(source, len(references))
    parts = [
        (row.id, place, part)
        for row in read_translated(task.input("translated"))
        for place, part in enumerate(row.parts)
    ]
    if len(parts) != len(references):
        raise DataError(
            f"{source.where} holds {len(references)} references, but {len(parts)} texts were translated: the two must "
            "be the same sentences in the same order"
        )
    both = list(zip(parts, references, strict=True))
    # A line that is blank in both files only keeps them aligned.
    refuse_blank(source.where, [reference or " " if part.source.strip() else "-" for (_, _, part), reference in both])
    extra = [
        number for number, ((_, _, part), text) in enumerate(both, start=1) if text.strip() and not part.source.strip()
    ]
    if extra:
        raise DataError(
            f"{source.where}, line {extra[0]}: a reference for a line that is blank: are the files aligned?"
        )
    for (row, place, part), reference in both:
        if reference.strip():
            yield Sentence(row, place, part.role, part.source, reference, part.text)


def _of_a_round_trip(task: Task) -> Iterator[Sentence]:
    """What came back beside what the way out began with, row by row and part by part."""
    originals = {row.id: row for row in read_translated(task.input("original"))}
    for row in read_translated(task.input("translated")):
        original = originals.get(row.id)
        if original is None or _roles(original) != _roles(row):
            there = "no such row" if original is None else f"parts {', '.join(_roles(original))}"
            raise DataError(
                f"row {row.id} of the way back ({', '.join(_roles(row))}) is not one of the way out ({there}): was it "
                "made from other translations?"
            )
        for place, (first, back) in enumerate(zip(original.parts, row.parts, strict=True)):
            # A text of blanks has nothing to be compared with.
            if first.source.strip():
                yield Sentence(row.id, place, back.role, back.source, first.source, back.text)


def _roles(row: TranslatedRow) -> list[str]:
    return [part.role for part in row.parts]


def _refuse_other_versions(settings: Mapping[str, Any]) -> None:
    """Where another sacrebleu counts than was planned with, the values would be filed wrongly."""
    here = versions.identity()
    planned = settings.get("scorers", here)
    if planned != here:
        raise KirjoError(
            f"this machine's sacrebleu is {here['sacrebleu']}, planned was {planned['sacrebleu']}: install that one "
            "here, or give the command again from here"
        )
