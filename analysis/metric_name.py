"""Names of metrics as users type them: ``ifeval_fi.instruction_strict@finnish/keywords``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass

from experiment.errors import KirjoError
from experiment.metrics import METRICS, Scored, Tally, tally
from experiment.scoring.verdict import PAPER

SCORER = "ifeval"
ACCURACY = "instruction_strict"  # what the papers report

_FORM = re.compile(
    r"(?P<scorer>\w+?)_(?P<language>[a-z]{2,3})\.(?P<metric>\w+)(?:@(?P<rules>\w+))?(?:/(?P<category>\S+))?"
)


@dataclass(frozen=True)
class MetricName:
    """A metric in one of the benchmark's languages, under a rule set, over all instructions or one category of them."""

    language: str
    metric: str
    rules: str = PAPER
    category: str | None = None

    @classmethod
    def parse(cls, text: str, languages: Collection[str]) -> MetricName:
        """Read a name; ``languages`` are those that something is scored in.

        Raises:
            KirjoError: it is not of the form, or there is no such metric or language.
        """
        found = _FORM.fullmatch(text)
        if found is None or found["scorer"] != SCORER or found["metric"] not in METRICS:
            raise KirjoError(_unknown(text, languages))
        if languages and found["language"] not in languages:
            known = ", ".join(sorted(languages))
            raise KirjoError(f"the metric {text}: nothing is scored in '{found['language']}'; languages: {known}")
        return cls(found["language"], found["metric"], found["rules"] or PAPER, found["category"])

    def __str__(self) -> str:
        """The name as it is typed."""
        rules = "" if self.rules == PAPER else f"@{self.rules}"
        return f"{SCORER}_{self.language}.{self.metric}{rules}" + (f"/{self.category}" if self.category else "")

    def tally(self, scored: Scored) -> Tally:
        """The metric's count, prompt by prompt.

        Raises:
            KirjoError: the verdicts have no such rule set or category.
        """
        return tally(scored, self.metric, self.rules, self.category)


def valid_names(languages: Collection[str]) -> list[str]:
    """All metrics by name, without rule sets and categories."""
    return [f"{SCORER}_{language}.{metric}" for language in sorted(languages) or ["en"] for metric in METRICS]


def _unknown(text: str, languages: Collection[str]) -> str:
    names = valid_names(languages)
    close = difflib.get_close_matches(text, names, n=1, cutoff=0.5)
    meant = f" (did you mean {close[0]}?)" if close else ""
    return (
        f"there is no metric '{text}'{meant}. A metric is {SCORER}_<language>.<metric>, then, if wanted, @<rule set> "
        f"and /<category>, such as {SCORER}_fi.instruction_strict@finnish/keywords; there are: {', '.join(names)}"
    )
