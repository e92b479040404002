"""From responses to verdicts: every rule set of the language judges the same response."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from experiment.errors import DataError, KirjoError
from experiment.scoring import punkt
from experiment.scoring.identify import IDENTIFIERS
from experiment.scoring.lm_checks import lm_checks
from experiment.scoring.parallel import in_order
from experiment.scoring.rules import Asked, asked_language, rule_sets
from experiment.scoring.text import Check, Text, readings
from experiment.scoring.verdict import LANGDETECT, Verdict
from experiment.sources.records import BenchmarkPrompt


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
    checks = _checks(prompt, language, asked)
    try:
        judged = [_judge(by_rules, texts, blank=not response.strip()) for by_rules in checks]
    except re.error as error:
        raise DataError(
            f"prompt {prompt.key}: a keyword or marker in the kwargs is not a regular expression, as which lm_eval "
            f"reads it: {error} in {error.pattern!r}"
        ) from None
    except LookupError as error:
        if isinstance(error, (KeyError, IndexError)):
            raise
        raise KirjoError(
            "NLTK's sentence models tokenizers/punkt_tab are not on this machine and some instructions need them "
            f"({', '.join(punkt.models(language))}): set benchmark.nltk_data=FOLDER (or NLTK_DATA)"
        ) from None
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


def _checks(prompt: BenchmarkPrompt, language: str, asked: str) -> list[dict[str, Check]]:
    """By instruction and rule set; rule sets that do not differ for an instruction have the very same check."""
    rules = rule_sets(language)
    found = []
    for instruction_id, kwargs, check in zip(prompt.instruction_ids, prompt.kwargs, lm_checks(prompt), strict=True):
        made: dict[str, Check] = {}
        for name, rule_set in rules.items():
            below = made[rule_set.extends] if rule_set.extends else check
            rule = rule_set.rules.get(instruction_id)
            other = rule(Asked(prompt, kwargs, asked, below)) if rule else None
            made[name] = other or below
        found.append(made)
    return found


def _judge(checks: Mapping[str, Check], texts: Sequence[Text], blank: bool) -> tuple[dict[str, bool], dict[str, bool]]:
    """(strict, loose) by rule set; a blank response follows nothing."""
    known: dict[Check, tuple[bool, bool]] = {}
    for check in checks.values():
        if check not in known:
            strict = not blank and check(texts[0])
            known[check] = strict, strict or any(check(text) for text in texts[1:])
    return (
        {name: known[check][0] for name, check in checks.items()},
        {name: known[check][1] for name, check in checks.items()},
    )


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
        DataError: a prompt has no response, or its instructions cannot be judged.
    """
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


def warm_up(prompts: Sequence[BenchmarkPrompt], language: str) -> None:
    """Load what scoring these prompts needs, so that processes forked off need not load it again each."""
    score(BenchmarkPrompt(0, "", ("punctuation:no_comma",), ({},)), "Hello, world.", language)
    used = {instruction_id for prompt in prompts for instruction_id in prompt.instruction_ids}
    for rules in rule_sets(language).values():
        if rules.load and used & set(rules.rules):
            rules.load()
