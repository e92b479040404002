"""Submit again what failed, was cancelled by others, or found no room: with dependencies on the jobs of now."""

from __future__ import annotations

import sys
from collections.abc import Callable

from experiment.claims import Claim
from experiment.errors import KirjoError
from experiment.show import counted
from experiment.store import Store
from launchers.slurm import plans
from launchers.slurm.advance import (
    ENDING_JOB_WAITS_S,
    WAIT_FOR_CLAIM_S,
    Advanced,
    advance,
    ledger_claim,
    note_waiting,
)
from launchers.slurm.launch import STALLED, refuse_without_slurm
from launchers.states import StepState


def retry(store: Store, only_waiting: bool = False) -> int:
    """Go on with every sweep that was launched from this store.

    Args:
        only_waiting: leave failed steps alone and submit only what was never submitted, for want of room.

    Returns:
        0; 1 if sbatch refused one of the sweeps (the others went on), or one waits for room that nobody will make.

    Raises:
        KirjoError: nothing was launched from the store, or SLURM does not answer.
    """
    refuse_without_slurm()
    with ledger_claim(store, ENDING_JOB_WAITS_S if only_waiting else WAIT_FOR_CLAIM_S) as claim:
        sweeps = plans.load(store)
        if not sweeps:
            raise KirjoError(
                f"nothing was launched on a cluster from {store.root}; python -m experiment ... launcher=slurm does"
            )
        wanted = _never_submitted if only_waiting else _not_given_up
        found = [_one(store, sweep, claim, wanted) for sweep in sweeps]
        note_waiting(store, any(one is None or one.waiting for one in found))
    return _say(store, found)


def _one(store: Store, sweep: plans.Launched, claim: Claim, wanted: Callable[[StepState], bool]) -> Advanced | None:
    """One sweep that is refused must not keep the others back."""
    try:
        return advance(store, sweep, claim, wanted)
    except KirjoError as error:
        print(f"error: sweep {sweep.sweep}, launched {sweep.asked_for}: {error}", file=sys.stderr)
        return None


def _never_submitted(state: StepState) -> bool:
    return state.state == "not submitted"


def _not_given_up(state: StepState) -> bool:
    """``python -m launchers cancel`` gives steps up; only giving the sweep's command again brings them back."""
    return state.state != "cancelled"


def _say(store: Store, found: list[Advanced | None]) -> int:
    known = [one for one in found if one is not None]
    submitted = {key: job for one in known for key, job in one.submitted.items()}
    attached = {key for one in known for key in one.attached} - submitted.keys()
    waiting = {key for one in known for key in one.waiting} - submitted.keys()
    print(
        f"{counted(len(submitted), 'step')} submitted in {counted(len(set(submitted.values())), 'job')}, "
        f"{len(attached)} in flight already, {len(waiting)} waiting for room; store: {store.root}"
    )
    words = " ".join(dict.fromkeys(one.words for one in known if one.words))
    if waiting and not submitted and not attached:
        print(STALLED.format(words=f" ({words})" if words else ""), file=sys.stderr)
    return int(None in found or bool(waiting and not submitted and not attached))
