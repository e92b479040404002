"""All rules by name, and what they say of one row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from experiment.cleaning import form, kept, spoken, tongue
from experiment.cleaning.finding import Finding, Languages
from experiment.cleaning.settings import Clean, RuleName
from experiment.translation.rows import Part, TranslatedRow

# A rule is given its section of the settings, a part and the languages; it is None where the section is.
Rule = Callable[[Any, Part, Languages], Finding | None]

PART_RULES: Mapping[RuleName, Rule] = {
    "leftovers": spoken.leftovers,
    "empty": form.empty,
    "unfinished": form.unfinished,
    "refusal": spoken.refusal,
    "copy": tongue.copy,
    "language": tongue.language,
    "length_ratio": form.length_ratio,
    "compression": form.compression,
    "alphanumeric": form.alphanumeric,
    "code": kept.code,
    "placeholders": kept.placeholders,
    "numbers": kept.numbers,
    "alignment": kept.alignment,
}


@dataclass(frozen=True)
class Fault:
    """What a rule has against a row, and against which of its parts (counted from 0)."""

    rule: RuleName
    part: int
    finding: Finding


@dataclass(frozen=True)
class Judgement:
    """A row as it came and with its leftovers cut off, how many texts were cut, its faults in order of the rules."""

    row: TranslatedRow
    cleaned: TranslatedRow
    cuts: int
    faults: tuple[Fault, ...]


def judge(settings: Clean, row: TranslatedRow, languages: Languages) -> Judgement:
    """Apply every rule to every part, whatever the others have found: the funnel tells what each would drop alone."""
    cleaned = _cut(settings, row)
    faults: list[Fault] = []
    for name, section in settings.sections():
        if name == "same_replies":
            faults += _same_replies(cleaned)
            continue
        for index, part in enumerate(cleaned.parts):
            if finding := PART_RULES[name](section, part, languages):
                faults.append(Fault(name, index, finding))
        if name == "leftovers":
            faults += _nothing_left(row, cleaned)
    cuts = sum(before is not after for before, after in zip(row.parts, cleaned.parts, strict=True))
    return Judgement(row, cleaned, cuts, tuple(faults))


def _cut(settings: Clean, row: TranslatedRow) -> TranslatedRow:
    rule = settings.leftovers
    return TranslatedRow(row.id, tuple(spoken.cut(rule, part) or part for part in row.parts)) if rule else row


def _nothing_left(row: TranslatedRow, cleaned: TranslatedRow) -> list[Fault]:
    """Texts that were nothing but leftovers."""
    return [
        Fault("leftovers", index, Finding(before.text.strip()[:40], "nothing stands before it"))
        for index, (before, after) in enumerate(zip(row.parts, cleaned.parts, strict=True))
        if before is not after and not after.text.strip()
    ]


def _same_replies(row: TranslatedRow) -> list[Fault]:
    """A pair whose two replies are the same text teaches nothing."""
    places = {part.role: index for index, part in enumerate(row.parts)}
    if "chosen" not in places or "rejected" not in places:
        return []
    chosen, rejected = (row.parts[places[role]].text.strip() for role in ("chosen", "rejected"))
    same = Finding(len(rejected), "chosen and rejected are the same text")
    return [Fault("same_replies", places["rejected"], same)] if chosen == rejected else []
