"""What the analysis reads: run records, score artifacts and the answers behind them, checked; never logs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec

from experiment.errors import DataError, KirjoError, StoreError
from experiment.metrics import Scored
from experiment.provenance import Manifest
from experiment.scoring.verdict import Verdict
from experiment.sources.jsonl import read_jsonl
from experiment.stages import STAGES
from experiment.store import Store

RESPONSES = "responses.jsonl"  # of a generate artifact: one row per prompt
VERDICTS = "verdicts.jsonl"  # of a score artifact: one row per prompt and instruction, the fields of Verdict

_AXES = ("model", "data_mix", "benchmark", "mix", "method", "beta", "seed", "settings")  # of every run record
_AXES_OF_LANGUAGE = ("source_language", "target_language")

_VERDICTS = msgspec.json.Decoder(Verdict)


@dataclass(frozen=True)
class RunResult:
    """One run as the store records it; what was measured is read when it is asked for."""

    store: Store = field(repr=False, compare=False)
    id: str
    name: str
    axes: Mapping[str, Any]
    overrides: tuple[str, ...]
    steps: Mapping[str, str]  # role -> stage/fingerprint
    asked_for: str  # when last, ISO 8601, UTC
    config: Mapping[str, Any]  # resolved, nested

    @property
    def languages(self) -> tuple[str, ...]:
        """The benchmark's languages that the run is scored in."""
        return tuple(role.removeprefix("score.") for role in self.steps if role.startswith("score."))

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The resolved config, flat: ``{"sft.learning_rate": 2e-05, ...}``; the axes' own names beside it."""
        return {**dict(_flat(self.config)), **self.axes}

    @cached_property
    def _manifests(self) -> dict[str, Manifest | None]:
        return {}

    @cached_property
    def _scored(self) -> dict[str, Scored | None]:
        return {}

    def scored(self, language: str) -> Scored | None:
        """The verdicts in a language; None where they are not there (yet), or are by another version of the stage.

        Raises:
            StoreError: the artifact is damaged.
        """
        if language not in self._scored:
            self._scored[language] = self._read(language)
        return self._scored[language]

    def _read(self, language: str) -> Scored | None:
        role = f"score.{language}"
        try:
            manifest = self.manifest(role)
            if manifest is None or manifest.version != STAGES["score"].version:
                return None
            return Scored.of(read_verdicts(self.store, self.steps[role]))
        except KirjoError as error:
            again = shlex.join(["python", "-m", "experiment", *self.overrides, f"store={self.store.root}"])
            raise type(error)(f"{error}. This command makes it again:\n  {again}") from None

    def manifest(self, role: str) -> Manifest | None:
        """The manifest of a step by its role (``score.fi``, ``sft``); None where the step is not in the store."""
        if role not in self._manifests:
            key = self.steps.get(role)
            self._manifests[role] = None if key is None else self.store.read_manifest(*key.split("/"))
        return self._manifests[role]

    def responses(self, language: str) -> list[dict[str, Any]] | None:
        """The rows of the answers: ``key, prompt, response, tokens, finished``; None where they are not there.

        Raises:
            StoreError: the artifact is damaged.
        """
        key = self.steps.get(f"generate.{language}")
        if key is None or self.manifest(f"generate.{language}") is None:
            return None
        _verify(self.store, key)
        stage, fingerprint = key.split("/")
        return [row for _, row in read_jsonl(self.store.artifact(stage, fingerprint) / RESPONSES)]


def load_results(store: Store) -> list[RunResult]:
    """All runs the store knows, in the order of their ids.

    Raises:
        StoreError: a run record is damaged.
    """
    results = []
    for record in store.runs():
        try:
            results.append(_result(store, record))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StoreError(
                f"{store.root / 'runs'}/{record.get('id')}.json is not a run record ({error!r}): "
                "delete it and give the command of its run again, which writes it anew"
            ) from None
    return results


def _result(store: Store, record: Mapping[str, Any]) -> RunResult:
    axes, steps = dict(record["axes"]), dict(record["steps"])
    if missing := [name for name in (*_AXES, *_AXES_OF_LANGUAGE) if name not in axes]:
        raise KeyError(missing[0])
    if not isinstance(record["asked_for"], str) or not isinstance(axes["mix"], int | float):
        raise TypeError("asked_for is to be a text, the mix a number")
    if any(str(key).count("/") != 1 for key in steps.values()):
        raise ValueError("a step is to be stage/fingerprint")
    return RunResult(
        store,
        record["id"],
        record["name"],
        axes,
        tuple(record["overrides"]),
        steps,
        record["asked_for"],
        dict(record["config"]),
    )


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def read_verdicts(store: Store, key: str) -> Sequence[Verdict]:
    """The rows of a score artifact.

    Raises:
        StoreError: there is no such artifact, or it is damaged.
        DataError: its rows are not verdicts.
    """
    stage, fingerprint = key.split("/")
    _verify(store, key)
    path = store.artifact(stage, fingerprint) / VERDICTS
    try:
        return _VERDICTS.decode_lines(path.read_bytes())
    except msgspec.DecodeError as error:
        raise DataError(
            f"{path}: not the rows that this version reads ({error}): delete {path.parent}, and it is scored anew"
        ) from None


def _verify(store: Store, key: str) -> None:
    problems = store.verify(*key.split("/"))
    if problems:
        raise StoreError(problems[0])
