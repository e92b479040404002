"""From responses to verdicts: every rule set of the language judges the same response."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NoReturn

from experiment.errors import DataError, KirjoError
from experiment.scoring import punkt
from experiment.scoring.identify import IDENTIFIERS
from experiment.scoring.instructions import faults
from experiment.scoring.lm_checks import WRONG_KWARGS, lm_checks, not_taken
from experiment.scoring.parallel import in_order
from experiment.scoring.rules import Asked, RuleSet, asked_language, rule_sets
from experiment.scoring.text import Check, Text, readings
from experiment.scoring.verdict import LANGDETECT, Verdict
from experiment.sources.records import BenchmarkPrompt

NAMED = 5  # of many faults in one error


def score(prompt: BenchmarkPrompt, response: str, language: str, *, identify: bool = True) -> list[Verdict]:
    """Verdicts of one response to a prompt of a benchmark in ``language``, one per instruction.

    Without ``identify`` the languages are left out; that is for measuring.

    Raises:
        DataError: an instruction id or its kwargs are unknown to the checkers, or kwargs are missing.
        KirjoError: NLTK's sentence models are not there.
    """
    texts = readings(response)
    asked = asked_language(prompt, language)
    own = Text(response) if not texts else texts[0]
    composed = readings(_composed(response)) if not unicodedata.is_normalized(FORM, response) else texts
    judged = []
    for index, by_rules in enumerate(_checks(prompt, language, asked)):
        try:
            judged.append(_judge(by_rules, texts, composed, rule_sets(language)))
        except WRONG_KWARGS as error:
            _refuse(prompt, index, error, language)
    found = _languages(own, response) if identify else {}
    return [
        Verdict(
            key=prompt.key,
            instruction=index,
            instruction_id=instruction_id,
            strict=strict,
            loose=loose,
            language=found,
            asked_language=asked,
        )
        for index, (instruction_id, (strict, loose)) in enumerate(zip(prompt.instruction_ids, judged, strict=True))
    ]


# Letters with their marks as one character: how a rule set sees a text that it is to see composed.
FORM: Literal["NFC"] = "NFC"


def _composed(value: Any) -> Any:
    """A text, or the texts of kwargs, composed."""
    match value:
        case str():
            return unicodedata.normalize(FORM, value)
        case list() | tuple():
            return type(value)(map(_composed, value))
        case dict():
            return {name: _composed(item) for name, item in value.items()}
    return value


def _checks(prompt: BenchmarkPrompt, language: str, asked: str) -> list[dict[str, Check]]:
    """By instruction and rule set; rule sets that do not differ for an instruction have the very same check."""
    rules = rule_sets(language)
    found = _made(prompt, rules, language, asked)
    if not any(rule_set.composed for rule_set in rules.values()):
        return found
    kwargs = tuple(_composed(given) for given in prompt.kwargs)
    composed = replace(prompt, prompt=_composed(prompt.prompt), kwargs=kwargs)
    if composed == prompt:
        return found
    other = _made(composed, rules, language, asked)
    return [
        {name: (after if rules[name].composed else before)[name] for name in rules}
        for before, after in zip(found, other, strict=True)
    ]


def _made(prompt: BenchmarkPrompt, rules: Mapping[str, RuleSet], language: str, asked: str) -> list[dict[str, Check]]:
    found = []
    for index, check in enumerate(lm_checks(prompt)):
        instruction_id, kwargs = prompt.instruction_ids[index], prompt.kwargs[index]
        made: dict[str, Check] = {}
        for name, rule_set in rules.items():
            below = made[rule_set.extends] if rule_set.extends else check
            rule = rule_set.rules.get(instruction_id)
            try:
                other = rule(Asked(prompt, kwargs, asked, below)) if rule else None
            except WRONG_KWARGS as error:
                _refuse(prompt, index, error, language)
            made[name] = other or below
        found.append(made)
    return found


def _refuse(prompt: BenchmarkPrompt, index: int, error: Exception, language: str) -> NoReturn:
    if type(error) is LookupError:  # as NLTK says that data is missing; kwargs end in those made from it
        raise KirjoError(
            "NLTK's sentence models tokenizers/punkt_tab are not on this machine and some instructions need them "
            f"({', '.join(punkt.models(language))}): set benchmark.nltk_data=FOLDER (or NLTK_DATA)"
        ) from None
    raise not_taken(prompt, index, error) from error


def _judge(
    checks: Mapping[str, Check], texts: Sequence[Text], composed: Sequence[Text], rules: Mapping[str, RuleSet]
) -> tuple[dict[str, bool], dict[str, bool]]:
    """(strict, loose) by rule set; a blank response, which has no texts, follows nothing."""
    known: dict[tuple[Check, int], tuple[bool, bool]] = {}
    strict, loose = {}, {}
    for name, check in checks.items():
        seen = composed if rules[name].composed else texts
        place = check, id(seen)
        if place not in known:
            follows = bool(seen) and check(seen[0])
            known[place] = follows, follows or any(check(text) for text in seen[1:])
        strict[name], loose[name] = known[place]
    return strict, loose


def _languages(own: Text, response: str) -> dict[str, str]:
    return {
        name: own.language or "unknown" if name == LANGDETECT else identify(response)
        for name, identify in IDENTIFIERS.items()
    }


def verdicts(
    prompts: Sequence[BenchmarkPrompt],
    responses: Mapping[int, str],
    language: str,
    processes: int = 1,
    *,
    identify: bool = True,
) -> Iterator[Verdict]:
    """Verdicts of all responses (by key), in the order of the prompts, found by as many processes.

    Raises:
        DataError: a prompt has no response, or its instructions cannot be judged; that is told before the first.
    """
    refuse_faults(prompts)
    for prompt in prompts:
        if prompt.key not in responses:
            raise DataError(f"prompt {prompt.key} has no response")

    def one(index: int) -> list[Verdict]:
        prompt = prompts[index]
        return score(prompt, responses[prompt.key], language, identify=identify)

    if processes > 1:
        warm_up(prompts, language)
    for found in in_order(one, len(prompts), processes):
        yield from found


def refuse_faults(prompts: Sequence[BenchmarkPrompt]) -> None:
    """Look at all prompts before the first answer is judged.

    Raises:
        DataError: instructions that no checker takes; names the first of them.
    """
    found = [fault for prompt in prompts for fault in faults(prompt)]
    if found:
        more = [f"and {len(found) - NAMED} more"] if len(found) > NAMED else []
        raise DataError("\n  ".join([*found[:NAMED], *more]))


def warm_up(prompts: Sequence[BenchmarkPrompt], language: str) -> None:
    """Load what scoring these prompts needs, so that processes forked off need not load it again each."""
    score(BenchmarkPrompt(0, "", ("punctuation:no_comma",), ({},)), "Hello, world.", language)
    used = {instruction_id for prompt in prompts for instruction_id in prompt.instruction_ids}
    for rules in rule_sets(language).values():
        if rules.load and used & set(rules.rules):
            rules.load()
