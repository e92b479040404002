"""A verdict: whether a response followed one instruction of its prompt, under every rule set."""

from __future__ import annotations

import msgspec

# The rule set every language has: what lm_eval's checkers say, which is what the papers report.
PAPER = "paper"

# The identifier whose answer the papers report; others are compared with it.
LANGDETECT = "langdetect"


class Verdict(msgspec.Struct, frozen=True):
    """One row of ``verdicts.jsonl``; the last two fields are those of the whole response, the same in all its rows."""

    key: int
    instruction: int
    instruction_id: str
    strict: dict[str, bool]  # by rule set
    loose: dict[str, bool]  # by rule set
    language: dict[str, str]  # the language found (ISO 639-1, or "unknown"), by identifier
    asked_language: str  # the language the prompt asks for
