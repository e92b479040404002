"""How much work a step is: its rows and tokens, counted where they can be, else as expected, else at most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiment.cost.known import Known
from experiment.plan import Step
from experiment.resources import MANY_RANKS
from experiment.stages.mix import share

# A row a line, as nothing that a reader would put together or leave out.
_ROW_A_LINE = ("conversations", "pairs", "ifeval")
_COUNTED_MB = 64


@dataclass(frozen=True)
class Work:
    """Rows of a step (conversations, pairs, prompts) and the tokens in them, each row counted once an epoch.

    ``tokens_are``: ``counted`` (of these very rows), ``measured`` (rows of finished steps, by their mean), or ``bound``
    (every row as long as it may be). None: not known.
    """

    rows: int | None
    epochs: float = 1.0
    tokens: float | None = None
    tokens_are: str | None = None

    @property
    def units(self) -> float | None:
        """What time is proportional to: tokens where they are known, else rows, over all epochs."""
        return self.tokens if self.tokens is not None else (self.rows * self.epochs if self.rows else None)


def work_of(step: Step, known: Known) -> Work:
    """The work of a step that has not run."""
    rows = rows_of(step.key, known)
    settings = step.settings
    training = settings.get("training", {})
    epochs = float(training.get("epochs", 1))
    if rows is None or step.stage not in (*MANY_RANKS, "reference"):
        return Work(rows, epochs)
    counted = _counted_tokens(step, known)
    if counted is not None:
        return Work(rows, epochs, counted * epochs, "counted")
    mean = mean_tokens(step, known)
    if mean is not None:
        return Work(rows, epochs, rows * mean * epochs, "measured")
    longest = training.get("max_length", settings.get("max_length"))
    if step.stage == "pretrain" or not longest:
        return Work(rows, epochs)
    sequences = 1 if step.stage == "sft" else 2
    return Work(rows, epochs, float(rows * sequences * longest) * epochs, "bound")


def rows_of(key: str, known: Known) -> int | None:
    """Conversations, pairs or prompts of a step; None if that is not known before the data is there."""
    if key not in known.counted:
        known.counted[key] = _rows(key, known)
    return known.counted[key]


def _rows(key: str, known: Known) -> int | None:
    step = known.plan.steps.get(key)
    if step is None or known.manifest(key) is not None:
        return known.rows(key)
    if step.stage in ("sft", "reference"):
        return rows_of(step.inputs["mix" if step.stage == "sft" else "pairs"], known)
    if step.stage == "dpo":
        return _sum([rows_of(step.inputs[role], known) for role in step.inputs if role.startswith("reference.")])
    upstream = next((step.inputs[role] for role in ("translated", "pairs") if role in step.inputs), None)
    if upstream is not None:  # translate, clean, quality: at most all of what they are given
        return rows_of(upstream, known)
    sources = step.execution.get("sources", {})
    if step.stage == "mix":
        target: int | None = 0
        if "target" in step.inputs:
            target = rows_of(step.inputs["target"], known)
        elif "target" in sources:
            target = source_rows(sources["target"])
        kept = None if target is None else share(target, step.settings["percent"])
        return _sum([source_rows(sources["source"]), kept])
    if step.stage == "translate":  # its other sources are the examples
        return source_rows(sources["source"])
    return _sum([source_rows(source) for source in sources.values()])


def _sum(numbers: list[int | None]) -> int | None:
    found = [number for number in numbers if number is not None]
    return sum(found) if len(found) == len(numbers) and found else None


def source_rows(source: Mapping[str, Any]) -> int | None:
    """How many rows a source gives: asked for, counted in a plain local file of one row a line, or as expected."""
    if source.get("rows"):
        return int(source["rows"])
    path = Path(source["path"]) if source.get("path") else None
    if path and source["reader"] in _ROW_A_LINE and path.suffix == ".jsonl":
        counted = _lines(path)
        if counted is not None:
            return counted
    return source.get("expected_rows")


def _lines(path: Path) -> int | None:
    try:
        if path.stat().st_size > _COUNTED_MB * 1_000_000:
            return None
        with path.open("rb") as lines:
            return sum(bool(line.strip()) for line in lines)
    except OSError:
        return None


def _counted_tokens(step: Step, known: Known) -> float | None:
    """Tokens of one epoch of DPO, which reads what the reference steps have tokenised."""
    if step.stage != "dpo":
        return None
    told = [known.preflight(key).get("tokens") for role, key in step.inputs.items() if role.startswith("reference.")]
    found = [float(tokens) for tokens in told if tokens is not None]
    return sum(found) if found and len(found) == len(told) else None


def mean_tokens(step: Step, known: Known) -> float | None:
    """Tokens a row in finished steps of the same stage and model, cut at the same length; None if there are none."""
    length = step.settings.get("training", step.settings).get("max_length")
    model = known.model(step.key)
    return known.once(("tokens", step.stage, model, length), lambda: _mean_tokens(step.stage, model, length, known))


def _mean_tokens(stage: str, model: str | None, length: int | None, known: Known) -> float | None:
    rows = tokens = 0.0
    for manifest in known.finished(stage):
        found = manifest.settings.get("training", manifest.settings).get("max_length")
        key = f"{manifest.stage}/{manifest.fingerprint}"
        if found != length or known.model(key) != model:
            continue
        one = tokens_and_rows(key, manifest.summary, known)
        if one is not None:
            tokens, rows = tokens + one[0], rows + one[1]
    return tokens / rows if rows else None


def tokens_and_rows(key: str, summary: Mapping[str, Any], known: Known) -> tuple[float, float] | None:
    """Tokens and rows of one epoch of a finished step, from its summary or from the check of its rows."""
    told = summary if "tokens" in summary else known.preflight(key)
    rows = told.get("rows") or told.get("documents")
    return (float(told["tokens"]), float(rows)) if told.get("tokens") and rows else None
