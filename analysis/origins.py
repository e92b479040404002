"""The way back from a number: the runs behind a table, what made them, and the command that makes them again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from analysis.selection import Setting
from analysis.table import Origin
from experiment.results import RunResult


def command(overrides: Sequence[str], store: str) -> str:
    """The command line of a run."""
    return shlex.join(["python", "-m", "experiment", *overrides, f"store={store}"])


def origin(run: RunResult, store: str, roles: Sequence[str] = ()) -> Origin:
    """What a run's numbers lead back to; ``roles`` are the steps that made them, its scores if none is named."""
    versions: dict[str, str] = {}
    for role in roles or [f"score.{language}" for language in run.languages]:
        manifest = run.manifest(role)
        if manifest is not None:
            packages = manifest.provenance.get("packages") or {}
            git = manifest.provenance.get("git") or {}
            versions |= {name: str(version) for name, version in packages.items()}
            if git.get("commit"):
                versions["git"] = str(git["commit"]) + ("+changes" if git.get("dirty") else "")
    return Origin(run.id, run.name, command(run.overrides, store), run.settings, dict(run.steps), versions)


def origins(settings: Iterable[Setting | None], store: str) -> tuple[Origin, ...]:
    """The origins of all runs of some settings, each once."""
    runs = {run.id: run for setting in settings if setting for run in setting.runs}
    return tuple(origin(run, store) for run in runs.values())
