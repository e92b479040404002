"""What one run says of each prompt of a language: its answer and the verdicts on it, as far as they are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from experiment.errors import KirjoError
from experiment.metrics import Scored
from experiment.results import RunResult


@dataclass
class Row:
    """One prompt of one run; what is not known is None or empty."""

    key: int
    variant: int = 0
    prompt: str | None = None
    answer: str | None = None
    tokens: int | None = None
    finished: bool | None = None
    instructions: tuple[str, ...] | None = None
    asked: str | None = None
    strict: dict[str, Sequence[bool]] = field(default_factory=dict)  # by rule set, one per instruction
    loose: dict[str, Sequence[bool]] = field(default_factory=dict)
    found: dict[str, str] = field(default_factory=dict)  # language, by identifier

    def fits(self, other: Row) -> bool:
        """Whether both can be the same prompt."""
        return _agree(self.prompt, other.prompt) and _agree(self.instructions, other.instructions)


def rows_of(run: RunResult, language: str) -> tuple[dict[int, Row], list[str]]:
    """The rows by key, and a sentence for each thing that is not there."""
    rows: dict[int, Row] = {}
    gaps: list[str] = []
    try:
        scored = run.scored(language)
        if scored is None:
            gaps.append(f"not scored yet ({run.steps.get(f'score.{language}', 'no such step')} is not in the store)")
        else:
            _read_verdicts(rows, scored)
    except KirjoError as error:
        gaps.append(f"the verdicts cannot be read: {error}")
    try:
        responses = run.responses(language)
        if responses is None:
            gaps.append(f"no answers ({run.steps.get(f'generate.{language}', 'no such step')} is not in the store)")
        for response in responses or ():
            _read_answer(rows, response, f"{run.steps[f'generate.{language}']}/responses.jsonl")
    except KirjoError as error:
        gaps.append(f"the answers cannot be read: {error}")
    return rows, gaps


def _read_verdicts(rows: dict[int, Row], scored: Scored) -> None:
    bounds = np.searchsorted(scored.prompt, np.arange(len(scored.keys) + 1))
    for place, key in enumerate(scored.keys.tolist()):
        mine = slice(int(bounds[place]), int(bounds[place + 1]))
        rows[key] = Row(
            key,
            instructions=scored.instruction_ids[mine],
            asked=scored.asked[place],
            strict={rules: verdicts[mine].tolist() for rules, verdicts in scored.strict.items()},
            loose={rules: verdicts[mine].tolist() for rules, verdicts in scored.loose.items()},
            found={name: languages[place] for name, languages in scored.languages.items()},
        )


def _read_answer(rows: dict[int, Row], response: dict[str, object], file: str) -> None:
    key, prompt, answer = response.get("key"), response.get("prompt"), response.get("response")
    if not isinstance(key, int) or not isinstance(prompt, str) or not isinstance(answer, str):
        raise KirjoError(
            f'{file}: expected rows with a whole number "key" and texts "prompt" and "response", found one with '
            f"{', '.join(sorted(response)) or 'nothing'}; delete its folder and give the command of its run again"
        )
    row = rows.setdefault(key, Row(key))
    tokens, finished = response.get("tokens"), response.get("finished")
    row.prompt, row.answer = prompt, answer
    row.tokens = tokens if isinstance(tokens, int) else None
    row.finished = finished if isinstance(finished, bool) else None


def _agree(mine: object, other: object) -> bool:
    return mine is None or other is None or mine == other
