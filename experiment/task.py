"""What a stage is given: its step, where its inputs lie, where to write, and whom to tell how far it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from experiment import stop
from experiment.errors import DataError, KirjoError
from experiment.plan import Step
from experiment.ranks import ALONE, Ranks
from experiment.sources.source import Source
from experiment.store import Store

T = TypeVar("T")

Progress = Callable[[int, int], None]  # (done, of how many), in units of the stage's own
Track = Callable[[int, Mapping[str, Any]], None]  # what was measured at an optimizer step


def untracked(_step: int, _values: Mapping[str, Any]) -> None:
    """Nobody follows the curve while it grows."""


@dataclass(frozen=True)
class Task:
    """One step about to run. ``work`` survives a kill: a stage may go on from what it finds there.

    With several ``ranks`` every one of them has the same task, and the same work folder.
    """

    step: Step
    store: Store
    work: Path
    progress: Progress
    ranks: Ranks = ALONE
    track: Track = untracked

    @property
    def settings(self) -> Mapping[str, Any]:
        """What decides the result."""
        return self.step.settings

    def input(self, role: str) -> Path:
        """The artifact folder of the input that plays ``role``."""
        stage, fingerprint = self.step.inputs[role].split("/")
        return self.store.artifact(stage, fingerprint)

    def how(self, section: str) -> Mapping[str, Any]:
        """The execution settings of ``section``."""
        found = self.step.execution.get(section, {})
        return found if isinstance(found, Mapping) else {}

    def section(self, kind: type[T], **more: Any) -> T:
        """The ``training`` section of the config, put together again from settings and execution."""
        document = {**self.settings["training"], **self.how("training"), **more}
        return TypeAdapter(kind).validate_python(document)

    def source(self, role: str, recorded: Mapping[str, Any]) -> Source:
        """The source that plays ``role``, refused if its content is no longer what was planned.

        Raises:
            DataError: the file changed between planning and running.
        """
        document = self.step.execution.get("sources", {}).get(role)
        if document is None:
            raise KirjoError(f"step {self.step.key} names no source for '{role}'")
        source = TypeAdapter(Source).validate_python(document)
        if source.identity() != recorded:
            raise DataError(f"{source.where} has changed since this step was planned; give the command again")
        return source

    def prepare(self, name: str, make: Callable[[], T]) -> T:
        """What ``make`` returns, a JSON value: made by rank 0 once, left in the work folder and read by the others.

        One rank reads and tokenises, not all of them at once, and the others wait without a limit. Dotfiles are no part
        of the artifact. A process that is alone writes no file.
        """
        ranks, path = self.ranks, self.work / ".prepared" / f"{name}.json"
        if ranks.size == 1:
            return make()
        if not ranks.first:
            ranks.hear(f"prepared {name}")
            found: T = json.loads(path.read_text(encoding="utf-8"))
            return found
        with stop.at_once():  # it may take long, and the others only wait
            made = make()
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(made), encoding="utf-8")
        ranks.tell(f"prepared {name}", True)
        return made
