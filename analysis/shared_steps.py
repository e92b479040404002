"""Steps that runs share: each distinct one with its runs, and the settings that tell it from others like it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.origins import command, origin
from analysis.selection import decides, shown
from analysis.table import Origin
from experiment.errors import KirjoError, StoreError
from experiment.provenance import Manifest
from experiment.results import RunResult

_MOST_TOLD = 3  # settings in a label
# What data are made by; what comes after them tells no two of these steps apart.
_SECTIONS = ("model", "data_mix", "pretrain", "translate", "clean", "quality", "seed", "data")


@dataclass(frozen=True)
class Shared:
    """A distinct step that plays a role in some runs; ``label`` tells it from others that play the same role."""

    role: str
    key: str  # stage/fingerprint
    runs: tuple[RunResult, ...]
    label: str

    @property
    def first(self) -> RunResult:
        """Any of the runs: they all lead to the same step."""
        return self.runs[0]

    @property
    def ids(self) -> tuple[str, ...]:
        """The one run that the step's numbers lead back to."""
        return (self.first.id,)

    @property
    def manifest(self) -> Manifest | None:
        """The step's manifest; None where it is not in the store (yet)."""
        return self.first.manifest(self.role)

    def artifact(self, store: str) -> Path:
        """The folder of the step, its files checked.

        Raises:
            StoreError: it is damaged; which command makes it again.
        """
        stage, fingerprint = self.key.split("/")
        if problems := self.first.store.verify(stage, fingerprint):
            again = command(self.first.overrides, store)
            raise StoreError(f"{problems[0]}. This command makes it again:\n  {again}")
        return self.first.store.artifact(stage, fingerprint)


def shared_steps(runs: Sequence[RunResult], stage: str) -> list[Shared]:
    """The distinct steps of a stage, by role in the order in which the runs name them."""
    by_role: dict[str, dict[str, list[RunResult]]] = {}
    for run in runs:
        for role, key in run.steps.items():
            if key.startswith(f"{stage}/"):
                by_role.setdefault(role, {}).setdefault(key, []).append(run)
    return [
        Shared(role, key, tuple(users), label)
        for role, groups in by_role.items()
        for (key, users), label in zip(groups.items(), _labels(list(groups.items())), strict=True)
    ]


def _labels(groups: Sequence[tuple[str, Sequence[RunResult]]]) -> Iterator[str]:
    """For each step the settings in which the runs of the one differ from those of another; "" for one alone."""
    firsts = [users[0] for _, users in groups]
    settings = dict.fromkeys(_section(name, firsts) for run in firsts for name in run.settings)
    names = [
        name
        for name in settings
        if name.split(".")[0] in _SECTIONS
        and decides(name)
        and len({_value(run, name) for run in firsts}) > 1
        # Runs of one step that differ in it themselves show that it decides nothing here.
        and not any(len({_value(run, name) for run in users}) > 1 for _, users in groups)
    ]
    labels = [", ".join(f"{name}={_value(run, name)}" for name in names[:_MOST_TOLD]) for run in firsts]
    for (key, _), label in zip(groups, labels, strict=True):
        told = label if labels.count(label) == 1 else ", ".join(filter(None, [label, key]))
        yield "" if len(groups) == 1 else told


def _section(name: str, runs: Sequence[RunResult]) -> str:
    """The setting, or the section it stands in where some run has switched that off."""
    parts = name.split(".")
    above = (".".join(parts[:end]) for end in range(1, len(parts)))
    return next((section for section in above if any(section in run.settings for run in runs)), name)


def _value(run: RunResult, name: str) -> str:
    if name not in run.settings and any(other.startswith(f"{name}.") for other in run.settings):
        return "on"
    return shown(run.settings.get(name))


def origins_of(found: Sequence[Shared], store: str) -> tuple[Origin, ...]:
    """What the steps' numbers lead back to: one run for each step."""
    roles: dict[str, list[str]] = {}
    for shared in found:
        roles.setdefault(shared.first.id, []).append(shared.role)
    runs = {shared.first.id: shared.first for shared in found}
    return tuple(origin(run, store, roles[name]) for name, run in runs.items())


def refuse_none(found: Sequence[Shared], runs: Sequence[RunResult], what: str, advice: str, store: str) -> None:
    """Refuse a table that no run has anything for.

    Raises:
        KirjoError: what would make something for it.
    """
    if found:
        return
    held = f"none of its {len(runs)} runs" if runs else "it holds no runs yet, so none"
    raise KirjoError(f"the store {store} has no {what}: {held} has such a step. This command makes one:\n  {advice}")
