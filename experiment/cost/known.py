"""What finished steps in the store tell: how many rows and tokens they had, and how many seconds they took."""

from __future__ import annotations

import heapq
import json
import os
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from experiment.errors import KirjoError
from experiment.plan import Plan
from experiment.provenance import Manifest
from experiment.store import Store

T = TypeVar("T")

# The newest of a stage are looked at: planning stays light in a store of thousands of steps.
MOST = 48


@dataclass
class Known:
    """The steps of a plan and the manifests of a store, by key, each read once."""

    plan: Plan
    store: Store | None
    manifests: dict[str, Manifest | None] = field(default_factory=dict)
    counted: dict[str, int | None] = field(default_factory=dict)
    answers: dict[Hashable, Any] = field(default_factory=dict)

    def once(self, question: Hashable, find: Callable[[], T]) -> T:
        """The answer to a question, found out the first time it is asked: many steps ask the same."""
        if question not in self.answers:
            self.answers[question] = find()
        found: T = self.answers[question]
        return found

    def manifest(self, key: str) -> Manifest | None:
        """The manifest of a finished step; None if there is none that can be read."""
        if self.store is None:
            return None
        if key not in self.manifests:
            self.manifests[key] = None
            with suppress(KirjoError):
                self.manifests[key] = self.store.read_manifest(*key.split("/"))
        return self.manifests[key]

    def step(self, key: str) -> tuple[Mapping[str, Any], Mapping[str, str]] | None:
        """Settings and inputs of a step of the plan or the store; None if neither has it."""
        if key in self.plan.steps:
            return self.plan.steps[key].settings, self.plan.steps[key].inputs
        found = self.manifest(key)
        return (found.settings, found.inputs) if found else None

    def model(self, key: str) -> str | None:
        """Which model a training, reference or generating step works on: the same for all sizes of data and methods."""
        return self.once(("model", key), lambda: self._model(key))

    def _model(self, key: str) -> str | None:
        seen = self.step(key)
        if seen is None:
            return None
        settings, inputs = seen
        if key.startswith("pretrain/"):
            return json.dumps(settings["training"]["architecture"], sort_keys=True)
        if "base" in settings:
            base = settings["base"]
            return str(base.get("hub") or base.get("folder"))
        upstream = inputs.get("base") or inputs.get("model")
        return self.model(upstream) if upstream else ""

    def precision(self, key: str) -> str | None:
        """The precision that a step computes in, or that the checkpoint it reads was saved in."""
        seen = self.step(key)
        if seen is None:
            return None
        settings, inputs = seen
        said = settings.get("training", settings).get("precision")
        upstream = inputs.get("model") or inputs.get("base")
        return str(said) if said else (self.precision(upstream) if upstream else "")

    def finished(self, stage: str) -> list[Manifest]:
        """The manifests of a stage's newest finished steps, the newest first."""
        if self.store is None:
            return []
        found = (self.manifest(key) for key in self.once(("newest", stage), lambda: self._newest(stage)))
        return [manifest for manifest in found if manifest is not None]

    def _newest(self, stage: str) -> list[str]:
        assert self.store is not None
        dated = []
        with suppress(OSError), os.scandir(self.store.root / stage) as entries:
            for entry in entries:
                if "." not in entry.name:  # neither a work folder nor a claim
                    with suppress(OSError):
                        dated.append((entry.stat().st_mtime, f"{stage}/{entry.name}"))
        return [key for _, key in heapq.nlargest(MOST, dated)]

    def rows(self, key: str) -> int | None:
        """Conversations, pairs, prompts or documents of a finished step; of a score those of the answers it judged."""
        manifest = self.manifest(key)
        if manifest is None:
            return None
        if manifest.stage == "score":
            return self.rows(manifest.inputs["responses"])
        said = (manifest.summary.get(name) for name in ("pairs", "rows", "prompts", "documents"))
        return next((int(value) for value in said if value is not None), None)

    def preflight(self, key: str) -> Mapping[str, Any]:
        """What the check of a finished step's rows found; empty if there is none."""
        if self.store is None:
            return {}
        with suppress(OSError, ValueError):
            found = json.loads((self.store.artifact(*key.split("/")) / "preflight.json").read_text(encoding="utf-8"))
            return found if isinstance(found, dict) else {}
        return {}
