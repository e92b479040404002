"""Submit again what failed, was cancelled by others, or found no room: with dependencies on the jobs of now."""

from __future__ import annotations

from experiment.errors import KirjoError
from experiment.show import counted
from experiment.store import Store
from launchers.slurm import plans
from launchers.slurm.advance import Advanced, advance, note_waiting
from launchers.slurm.launch import refuse_without_slurm
from launchers.states import StepState


def retry(store: Store, only_waiting: bool = False) -> int:
    """Go on with every sweep that was launched from this store; returns 0 unless there is none.

    Args:
        only_waiting: leave failed steps alone and submit only what was never submitted, for want of room.

    Raises:
        KirjoError: nothing was launched from the store, or SLURM does not answer.
    """
    refuse_without_slurm()
    sweeps = plans.load(store)
    if not sweeps:
        raise KirjoError(
            f"nothing was launched on a cluster from {store.root}: python -m experiment ... launcher=slurm does that"
        )
    wanted = _never_submitted if only_waiting else _not_given_up
    found = [advance(store, sweep, wanted) for sweep in sweeps]
    note_waiting(store, any(one.waiting for one in found))
    _say(store, found)
    return 0


def _never_submitted(state: StepState) -> bool:
    return state.state == "not submitted"


def _not_given_up(state: StepState) -> bool:
    """``python -m launchers cancel`` gives steps up; only giving the sweep's command again brings them back."""
    return state.state != "cancelled"


def _say(store: Store, found: list[Advanced]) -> None:
    submitted = {key: job for one in found for key, job in one.submitted.items()}
    attached = {key for one in found for key in one.attached} - submitted.keys()
    waiting = {key for one in found for key in one.waiting} - submitted.keys()
    print(
        f"{counted(len(submitted), 'step')} submitted in {counted(len(set(submitted.values())), 'job')}, "
        f"{len(attached)} in flight already, {len(waiting)} waiting for room; store: {store.root}"
    )
