"""The state of every step, from what is known of it; who submits asks here what is in flight.

done            its artifact is in the store
running         a job or another process works on it
queued          its job is in the queue, and will start
waiting         its job waits for the steps in ``waits_for``
held            its job is in the queue, and will not start by itself
failed          the newest attempt ended without a result
blocked         a step that it needs failed, was cancelled or is blocked itself
cancelled       given up by ``python -m launchers cancel``
not submitted   no job was submitted for it yet, for want of room in the queue or because submitting was cut short
missing         the same of a step that was never launched on a cluster
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiment.plan import Step
from experiment.store import Store
from launchers import reasons
from launchers.facts import Attempt, Facts, gather
from launchers.slurm.queue import QueueEntry

IN_FLIGHT = ("running", "queued", "waiting", "held")
# States after which a step that needs this one can never start.
_DEAD = ("failed", "cancelled", "blocked")
_STARTED = ("RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING")


@dataclass(frozen=True)
class StepState:
    """How a step stands. ``job``: ``123`` or ``123_4``; ``since``: ISO 8601, UTC; ``waits_for``: keys of steps."""

    key: str
    state: str
    job: str | None = None
    restarts: int = 0
    log: Path | None = None
    reason: str = ""
    since: str | None = None
    waits_for: tuple[str, ...] = ()


def look(
    store: Store, steps: Mapping[str, Step], queue: Mapping[str, QueueEntry] | None, local: frozenset[str] = frozenset()
) -> dict[str, StepState]:
    """The state of each of the steps, now.

    Args:
        queue: what `read_queue` gave a moment ago.
        local: which of them were never launched on a cluster; their logs are read.

    Raises:
        KirjoError: SLURM does not answer; StoreError: the store cannot be read.
    """
    return with_logs(store, states_of(gather(store, steps, queue, local)))


def in_flight(states: Mapping[str, StepState]) -> dict[str, str]:
    """The steps that SLURM has a job for, running or to be run, with the job."""
    return {key: one.job for key, one in states.items() if one.state in IN_FLIGHT and one.job}


def states_of(facts: Facts) -> dict[str, StepState]:
    """The state of each step, from what is known. Pure."""
    judge = _Judge(facts)
    return {key: judge.of(key) for key in facts.steps}


def with_logs(store: Store, states: Mapping[str, StepState]) -> dict[str, StepState]:
    """The states with the place of each log: the step's own, or its job's if the step never started."""
    found = {}
    for key, state in states.items():
        own = store.log(*key.split("/"))
        other = state.state != "done" and state.log is not None and not own.exists() and state.log.exists()
        found[key] = state if other else replace(state, log=own)
    return found


class _Judge:
    """Judges each step once; a step's state can depend on those of the steps that it needs."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.found: dict[str, StepState] = {}

    def of(self, key: str) -> StepState:
        if key not in self.found:
            attempt = self.facts.attempts.get(key)
            state = self._judged(key, attempt)
            if attempt:
                entry = self._entry(attempt)
                restarts = max(attempt.said.restarts if attempt.said else 0, entry.restarts if entry else 0)
                # A claim of somebody else's is not this job's work, once the job has left the queue.
                elsewhere = state.state == "running" and entry is None and self.facts.queue is not None
                state = replace(state, job=None if elsewhere else attempt.job, restarts=restarts, log=attempt.log)
            self.found[key] = state
        return self.found[key]

    def _judged(self, key: str, attempt: Attempt | None) -> StepState:
        if key in self.facts.complete:
            return StepState(key, "done")
        entry = self._entry(attempt)
        if attempt and entry and key not in self._given_up(entry):
            return self._in_queue(key, attempt, entry)
        claim = self.facts.claims.get(key)
        if claim:
            return StepState(key, "running", reason=claim.where, since=claim.since)
        if key in self.facts.cancelled:
            return StepState(key, "cancelled", reason="by python -m launchers cancel")
        if key in self.facts.failures:
            reason = reasons.failure(self.facts.failures[key], key.split("/")[0])
            return self._blocked(key) or StepState(key, "failed", reason=reason)
        if attempt is None or attempt.job is None:
            state = "missing" if key in self.facts.local else "not submitted"
            return self._blocked(key) or StepState(key, state, waits_for=self._open_inputs(key))
        if self.facts.queue is None:
            return self._without_slurm(key, attempt)
        return self._vanished(key, attempt)

    def _entry(self, attempt: Attempt | None) -> QueueEntry | None:
        return (self.facts.queue or {}).get(attempt.job or "") if attempt else None

    def _given_up(self, entry: QueueEntry) -> frozenset[str]:
        """A job that ends because it was cancelled is still in the queue for a while."""
        return self.facts.cancelled if entry.state == "COMPLETING" else frozenset()

    def _in_queue(self, key: str, attempt: Attempt, entry: QueueEntry) -> StepState:
        said = attempt.said
        started = entry.state in _STARTED
        # What a task said before it was requeued is of no more meaning.
        words = said.steps.get(key) if started and said and said.restarts >= entry.restarts else None
        if words and words["state"] != "stopped":
            return self._from_words(key, words)
        blocked = self._blocked(key)
        if blocked:
            return blocked
        claim = self.facts.claims.get(key)
        if claim:
            return StepState(key, "running", reason=claim.where, since=claim.since)
        waits_for = self._open_inputs(key)
        stage = key.split("/")[0]
        if waits_for and set(waits_for) <= set(attempt.steps):  # on steps before it in its own job
            return StepState(key, "waiting", waits_for=waits_for)
        if started:
            first = next((one for one in attempt.steps if one not in self.facts.complete), key) == key
            if words:
                return StepState(key, "running", reason="stops in good order, to be started again", since=entry.start)
            if first:
                return StepState(key, "running", reason="is starting", since=entry.start)
            return StepState(key, "queued", reason="comes next in its job, which is running", since=entry.start)
        held = reasons.held(entry, stage)
        if held:
            return StepState(key, "held", reason=held, waits_for=waits_for)
        if reasons.never_satisfied(entry):
            return StepState(key, "blocked", reason=f"a job that it waited for failed: {reasons.RETRY}")
        if waits_for or entry.reason == "Dependency":
            # A step without needs of its own waits with the job that it shares.
            return StepState(key, "waiting", waits_for=waits_for or self._job_waits_for(attempt))
        return StepState(key, "queued", reason=reasons.queued(entry), since=entry.start)

    def _from_words(self, key: str, words: Mapping[str, Any]) -> StepState:
        """What the task says of the step."""
        since, said = str(words.get("since") or "") or None, str(words["state"])
        if said == "running":
            far = words.get("progress")
            return StepState(key, "running", reason=f"{far[0]} of {far[1]}" if far else "", since=since)
        if said == "done":
            return StepState(
                key, "failed", reason=f"was done, but its artifact is gone or damaged: {reasons.RETRY}", since=since
            )
        blocked = self._blocked(key)
        if blocked:
            return blocked
        stage = key.split("/")[0]
        return StepState(key, "failed", reason=reasons.failure(str(words.get("reason") or ""), stage), since=since)

    def _vanished(self, key: str, attempt: Attempt) -> StepState:
        """Its job is not in the queue any more, and the artifact is not there."""
        said, stage = attempt.said, key.split("/")[0]
        words = said.steps.get(key) if said else None
        if words and words["state"] not in ("running", "stopped"):
            return self._from_words(key, words)
        since = said.updated if said else None
        blocked = self._blocked(key)
        if blocked:
            return blocked
        if said and said.ended and said.reason:
            return StepState(key, "failed", reason=reasons.failure(said.reason, stage), since=since)
        found = self.facts.ended.get(attempt.job or "")
        if found and found.reason == "DependencyNeverSatisfied":
            return StepState(
                key, "blocked", reason=f"the job that it waited for failed: {reasons.RETRY} submits it again"
            )
        if found:
            return StepState(key, "failed", reason=reasons.ending(found, stage, attempt.exit), since=since)
        if attempt.exit:
            return StepState(key, "failed", reason=reasons.exited(attempt.exit, stage), since=since)
        return StepState(key, "failed", reason=reasons.unknown(attempt.user, started=said is not None), since=since)

    def _without_slurm(self, key: str, attempt: Attempt) -> StepState:
        """SLURM cannot be asked here: what the task said last is all there is."""
        words = attempt.said.steps.get(key) if attempt.said else None
        if words and words["state"] in ("failed", "done"):
            return self._from_words(key, words)
        open_inputs = self._open_inputs(key)
        why = "no SLURM commands here: whether its job is still in the queue cannot be told"
        return self._blocked(key) or StepState(
            key, "waiting" if open_inputs else "queued", reason=why, waits_for=open_inputs
        )

    def _open_inputs(self, key: str) -> tuple[str, ...]:
        needed = dict.fromkeys(self.facts.steps[key].inputs.values())
        return tuple(one for one in needed if one not in self.facts.complete)

    def _job_waits_for(self, attempt: Attempt) -> tuple[str, ...]:
        needed = [one for key in attempt.steps if key in self.facts.steps for one in self._open_inputs(key)]
        return tuple(one for one in dict.fromkeys(needed) if one not in attempt.steps)

    def _blocked(self, key: str) -> StepState | None:
        """Whether a step that this one needs can no longer be made."""
        for needed in self._open_inputs(key):
            if needed in self.facts.steps and (state := self.of(needed)).state in _DEAD:
                how = {"failed": "failed", "cancelled": "was cancelled", "blocked": "is blocked itself"}[state.state]
                label = self.facts.steps[needed].label
                return StepState(
                    key,
                    "blocked",
                    reason=f"needs {needed.split('/')[0]} {label}, which {how}".replace("  ", " "),
                    waits_for=(needed,),
                )
        return None
