"""Rule sets: by which rules a response in a language is judged. ``paper`` is what the papers report; others correct it.

A language's rule sets stand in ``languages/<code>.py`` as ``RULE_SETS``, found by that name. A language without such a
file has ``paper`` alone: lm_eval's rules, made for English. To add Swedish, write ``languages/sv.py``:

    RULE_SETS = (
        RuleSet("paper", 1, "lm_eval's rules"),
        RuleSet("swedish", 1, "right for Swedish", extends="paper", punkt=("swedish",),
                rules={"change_case:english_capital": own_language(str.isupper), ...}),
    )

A rule set says only where it differs from the one that it extends. Its version is bumped when a verdict may change.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from experiment.scoring.spoken import asked_for
from experiment.scoring.text import Check, Text
from experiment.scoring.verdict import PAPER
from experiment.sources.records import BenchmarkPrompt

# The instruction that names the language of the answer.
RESPONSE_LANGUAGE = "language:response_language"


@dataclass(frozen=True)
class Asked:
    """One instruction of a prompt, as a rule sees it; ``check`` is that of the rule set which is extended."""

    prompt: BenchmarkPrompt
    kwargs: Mapping[str, Any]
    language: str  # asked for (ISO 639-1)
    check: Check

    def in_prompt(self, words: object) -> bool:
        """Whether the prompt's own text has these words, in capitals or not."""
        return str(words).strip().casefold() in self.prompt.prompt.casefold()


# A check in place of ``asked.check``, or None where the rule set judges this prompt no differently.
Rule = Callable[[Asked], Check | None]


@dataclass(frozen=True)
class RuleSet:
    """The rules that differ from those of the rule set it extends (without one: from lm_eval's), by instruction id."""

    name: str
    version: int
    description: str
    extends: str | None = None
    rules: Mapping[str, Rule] = field(default_factory=dict)
    punkt: tuple[str, ...] = ()  # NLTK's sentence models that its rules need besides the English one
    packages: tuple[str, ...] = ()  # whose versions decide its verdicts too
    composed: bool = False  # its rules see prompt and response in NFC: letters with their marks as one character
    load: Callable[[], object] | None = None  # loads what takes seconds, once before processes are forked off


def rule_sets(language: str) -> Mapping[str, RuleSet]:
    """The rule sets of a language (ISO 639-1) by name, each after the one it extends; ``paper`` is always the first."""
    return _rule_sets(language)


def has_own_rules(language: str) -> bool:
    """Whether there is a file of rules for the language; else lm_eval's rules, made for English, judge it alone."""
    # A module's name, not a path: what is no language code has no rules.
    return bool(re.fullmatch("[a-z]{2,3}", language)) and (
        importlib.util.find_spec(f"experiment.scoring.languages.{language}") is not None
    )


@functools.lru_cache(maxsize=32)
def _rule_sets(language: str) -> Mapping[str, RuleSet]:
    if not has_own_rules(language):
        return {PAPER: RuleSet(PAPER, 1, "lm_eval's rules, made for English")}
    found: tuple[RuleSet, ...] = importlib.import_module(f"experiment.scoring.languages.{language}").RULE_SETS
    return {rules.name: rules for rules in found}


def asked_language(prompt: BenchmarkPrompt, language: str) -> str:
    """The language a prompt asks for: the one it names, else the benchmark's."""
    for instruction_id, kwargs in zip(prompt.instruction_ids, prompt.kwargs, strict=True):
        if instruction_id == RESPONSE_LANGUAGE and isinstance(kwargs.get("language"), str):
            return str(kwargs["language"])
    return language


# Parts that rules of many languages can be made of.


def compare(relation: str, found: int, wanted: int) -> bool:
    """IFEval's two relations."""
    return found < wanted if relation == "less than" else found >= wanted


def own_language(case: Callable[[str], bool]) -> Rule:
    """Letters of one case, in the language asked for; identified in lower case, and without features followed.

    That is the language that an instruction names, else the one that the prompt's own words ask for, else the
    benchmark's.
    """

    def rule(asked: Asked) -> Check:
        named = RESPONSE_LANGUAGE in asked.prompt.instruction_ids
        wanted = asked.language if named else asked_for(asked.prompt.prompt, asked.language) or asked.language
        return lambda text: case(text.text) and text.lower_language in (wanted, None)

    return rule


def one_of(answers: Iterable[str], stock: Iterable[str]) -> Rule:
    """Contains one of the answers; ``stock`` is what lm_eval takes, taken also where the prompt itself names one."""

    def rule(asked: Asked) -> Check:
        taken = [*answers, *(answer for answer in stock if asked.in_prompt(answer))]
        return lambda text: any(answer in text.text for answer in taken)

    return rule


def translated(kwarg: str, stock: Mapping[str, Callable[[Asked], Check]]) -> Rule:
    """Where ``kwarg`` is one of lm_eval's stock values and the prompt does not name it, the check for that value."""

    def rule(asked: Asked) -> Check | None:
        value = str(asked.kwargs.get(kwarg, "")).strip()
        if value not in stock or asked.in_prompt(value):
            return None
        made = stock[value](asked)
        return lambda text: made(text) or asked.check(text)

    return rule


# What may stand before the first word of a line: marks of headings, lists, quotations and emphasis.
_LEAD = r"^[*#>_ \t\u00a0-]*"
_BLANK = r"[ \t\u00a0]"
# A word that the prompt shows with a number or X in its place: "Vaihe X".
_SHOWN = re.compile(r"\b([^\W\d_]{2,})\s(?:X|\d{1,2})\b")


def sections(words: Iterable[str]) -> Callable[[Asked], Check]:
    """As many sections as asked for, each begun by one of the words with a number of its own, in any case.

    ``Jakso 1``, ``Jakso: 1``, ``Jakso I`` and ``1. jakso`` count, at the start of a line: in the middle of one they are
    as a rule not headings but mentions. A word in capitals that the prompt itself shows (``Vaihe X``) counts as well.
    """
    known = tuple(words)

    def make(asked: Asked) -> Check:
        shown = [word for word in _SHOWN.findall(asked.prompt.prompt) if word[0].isupper()]
        word = f"(?:{'|'.join(map(re.escape, dict.fromkeys([*known, *shown])))})"
        pattern = re.compile(
            rf"{_LEAD}(?:{word}(?:{_BLANK}?:)?(?:{_BLANK}?(\d{{1,9}})|{_BLANK}(?-i:([IVXLC]{{1,9}}))\b)|(\d{{1,9}})\.{_BLANK}*{word}\b)",
            re.IGNORECASE | re.MULTILINE,
        )

        def check(text: Text) -> bool:
            found = {int(before or after or _roman(letters)) for before, letters, after in pattern.findall(text.text)}
            return len(found) >= int(asked.kwargs["num_sections"])

        return check

    return make


def _roman(letters: str) -> int:
    values = [{"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}[letter] for letter in letters]
    return sum(-value if value < max(values[place:]) else value for place, value in enumerate(values))


def begins(pattern: str) -> Callable[[Asked], Check]:
    """The expression matches at the start of a line, marks aside, in any case."""
    compiled = re.compile(_LEAD + f"(?:{pattern})", re.IGNORECASE | re.MULTILINE)
    return lambda _asked: lambda text: compiled.search(text.text) is not None


def ends(stock: Mapping[str, Iterable[str]], marks: str, closing: str) -> Rule:
    """Ends with the phrase asked for, in any case, quotation ``marks`` aside.

    Where the prompt does not name that phrase, the equivalents of lm_eval's ``stock`` values will do in its place, and
    what a prompt with a word that matches ``closing`` gives in quotation marks, behind that word if there is any.
    """
    opening = re.compile(closing, re.IGNORECASE)
    quotation = re.compile(rf"(?<!\w)[{marks}']([^{marks}]{{4,}}?)[{marks}'](?!\w)")

    def rule(asked: Asked) -> Check:
        value = str(asked.kwargs["end_phrase"]).strip()
        phrases = [value]
        if not asked.in_prompt(value):
            phrases += stock.get(value, ())
            prompt = asked.prompt.prompt
            if found := opening.search(prompt):
                phrases += quotation.findall(prompt, found.end()) or quotation.findall(prompt)
        blank = marks + " \t\n\r\u00a0"
        endings = tuple(ending for phrase in phrases if (ending := phrase.lower().strip(blank)))
        return lambda text: asked.check(text) or text.text.lower().strip(blank).endswith(endings)

    return rule


def counted(count: Callable[[str], int], wanted: str, relation: str) -> Rule:
    """The count stands in the relation asked for; ``wanted`` and ``relation`` are names of kwargs."""
    return lambda asked: lambda text: compare(asked.kwargs[relation], count(text.text), asked.kwargs[wanted])


def letter_count(asked: Asked) -> Check | None:
    """Any single character is counted; lm_eval takes only a to z and draws a letter in the place of others."""
    letter = str(asked.kwargs["letter"]).lower()
    if len(letter) != 1 or "a" <= letter <= "z":
        return None

    def check(text: Text) -> bool:
        return compare(asked.kwargs["let_relation"], text.text.lower().count(letter), asked.kwargs["let_frequency"])

    return check


def quoted(marks: str) -> Rule:
    """Something wrapped in quotation marks, any of ``marks``; as with lm_eval, others may stand within."""

    def check(text: Text) -> bool:
        stripped = text.text.strip()
        return stripped[0] in marks and stripped[-1] in marks and bool(stripped.strip(marks).strip())

    return lambda _asked: check
