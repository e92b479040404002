"""The runs of a store and all their steps, from its records alone: nothing is composed or compiled again."""

from __future__ import annotations

import contextlib
import difflib
import fnmatch
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiment.errors import KirjoError, StoreError
from experiment.plan import Step, needed, targets
from experiment.store import Store
from launchers.slurm import ledger, plans

# Who needs whom within a run whose plan was not kept (launcher=local); roles as `experiment.compile` names them, those
# of a stage in general or one by its whole name, "*" the language (or other part) of both. A role that a run does not
# have is left out; generate reads dpo, or sft if there is none, and reference the cleaned pairs if there are no others.
_NEEDS = {
    "translate": ("pretrain",),
    "translate.preference": ("pretrain", "pair.??", "pair.???"),
    "translate.sft.back": ("pretrain", "translate.sft"),
    "translate.preference.back": ("pretrain", "translate.preference"),
    "clean": ("translate.*",),
    "quality": ("translate.*",),
    "quality.sft.round_trip": ("translate.sft.back", "translate.sft"),
    "quality.preference.round_trip": ("translate.preference.back", "translate.preference"),
    "mix": ("clean.sft",),
    "sft": ("mix", "pretrain"),
    "reference": ("sft", "pair.*"),
    "dpo": ("sft", "reference.*"),
    "generate": ("dpo", "sft"),
    "score": ("generate.*",),
}


@dataclass(frozen=True)
class KnownRun:
    """A run as the store records it; ``steps``: role -> key, in order of work."""

    id: str
    name: str
    steps: Mapping[str, str]

    def targets(self) -> list[str]:
        """The keys of the steps that the run exists for."""
        return targets(self.steps)


@dataclass(frozen=True)
class Known:
    """Runs, newest sweep first, and their steps; ``launched``: the keys of those that were launched on a cluster."""

    runs: tuple[KnownRun, ...]
    steps: Mapping[str, Step]
    launched: frozenset[str]

    def needed(self, runs: Sequence[KnownRun], complete: Mapping[str, bool]) -> set[str]:
        """The steps that must run for these runs: what leads to their scores, short of what is complete."""
        # A record may name steps whose own documents are gone: these are not complete as far as is known.
        return needed(self.steps, (key for run in runs for key in run.targets()), defaultdict(bool, complete))


def known(store: Store) -> Known:
    """What the store knows of runs and steps.

    Raises:
        StoreError: a record cannot be read.
    """
    runs = _runs(store)
    steps: dict[str, Step] = {}
    for plan in plans.load(store):
        steps.update(plan.steps)
    for submission in ledger.submissions(store):
        if not all(key in steps for task in submission.tasks for key in task.steps):
            with contextlib.suppress(FileNotFoundError), ledger.skipped_if_damaged():
                steps.update(ledger.steps_of(store, submission.id))
    launched = frozenset(steps)
    for run in runs:
        for role, key in run.steps.items():
            if key not in steps:
                stage, fingerprint = key.split("/")
                steps[key] = Step(stage, {}, _inputs(store, run, role, key), {}, _label(run, role), (), fingerprint)
    return Known(tuple(runs), steps, launched)


def chosen(runs: Sequence[KnownRun], pattern: str, within: bool = False) -> list[KnownRun]:
    """The runs of a name or id; ``*`` and ``?`` stand for any text.

    Args:
        within: a name that only holds the pattern somewhere will do too, if no other matches.

    Raises:
        KirjoError: there is none; names the nearest.
    """
    found = [run for run in runs if pattern in (run.name, run.id)]
    # Brackets are no pattern here: names hold them (benchmark.languages=[en]).
    found = found or [run for run in runs if fnmatch.fnmatchcase(run.name, pattern.replace("[", "[[]"))]
    if within:
        found = found or [run for run in runs if pattern in run.name]
    if found:
        return found
    names = list(dict.fromkeys(run.name for run in runs))
    near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.4)
    meant = f"did you mean {' or '.join(near)}?" if near else "python -m launchers status lists them"
    raise KirjoError(f"no run is named {pattern}; {meant}")


def _runs(store: Store) -> list[KnownRun]:
    records = {record["id"]: record for record in store.runs()}
    sweeps = sorted(store.sweeps(), key=lambda sweep: str(sweep.get("asked_for")), reverse=True)
    ordered = [record for sweep in sweeps for record in sweep["runs"] if record in records]
    ordered += sorted(records, key=lambda name: str(records[name].get("asked_for")), reverse=True)
    return [_run(records[name]) for name in dict.fromkeys(ordered)]


def _run(record: Mapping[str, Any]) -> KnownRun:
    return KnownRun(record["id"], record["name"], record["steps"])


def _inputs(store: Store, run: KnownRun, role: str, key: str) -> dict[str, str]:
    """What the artifact says it was made of, else what such a step needs in every run."""
    manifest = _manifest_inputs(store, key)
    if manifest is not None:
        return manifest
    stage, _, language = role.partition(".")
    wanted = [needed.replace("*", language or "*") for needed in _NEEDS.get(role, _NEEDS.get(stage, ()))]
    if stage == "reference" and f"pair.{language}" not in run.steps:
        wanted.append("clean.preference")
    found = {other: run.steps[other] for needed in wanted for other in fnmatch.filter(run.steps, needed)}
    return dict(list(found.items())[:1]) if stage == "generate" else found


def _manifest_inputs(store: Store, key: str) -> dict[str, str] | None:
    try:
        manifest = store.read_manifest(*key.split("/"))
    except StoreError:  # damaged: made again, like one that is not there
        return None
    return manifest.inputs if manifest else None


def _label(run: KnownRun, role: str) -> str:
    language = role.partition(".")[2]
    return f"{run.name} {language}".strip()
