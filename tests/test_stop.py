"""Requests to stop: when they are obeyed, when they wait, and that a second one spoils nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from experiment import claims, stop
from experiment.sources.source import Source
from experiment.stages import mix
from experiment.store import Store
from experiment.task import Task
from tests import models


@pytest.fixture(autouse=True)
def unasked() -> Iterator[None]:
    yield
    assert stop._deferred == 0
    stop._requested = False


def test_a_request_stops_at_once() -> None:
    assert not stop.requested()
    stop.obey()
    with pytest.raises(stop.Stopped):
        stop.request()
    assert stop.requested()
    with pytest.raises(stop.Stopped):
        stop.obey()


def test_a_deferred_request_waits_until_it_is_asked_for_however_deep() -> None:
    with stop.deferred():
        with stop.deferred():
            stop.request()
        stop.request()
        with pytest.raises(stop.Stopped):
            stop.obey()
    with pytest.raises(stop.Stopped):  # nothing is deferred any more
        stop.request()


def test_leaving_does_not_obey_by_itself() -> None:
    with stop.deferred():
        stop.request()
    assert stop.requested()


def test_what_was_requested_before_stops_what_may_be_stopped_at_once() -> None:
    with stop.deferred():
        stop.request()
        with pytest.raises(stop.Stopped), stop.at_once():
            pytest.fail("it was entered")
        stop.request()  # deferred again


def test_a_request_at_once_within_deferred_and_deferred_within_that() -> None:
    with stop.deferred():
        with stop.at_once(), stop.deferred():
            stop.request()
        with pytest.raises(stop.Stopped), stop.at_once():
            pytest.fail("it was entered")
        stop._requested = False
        with pytest.raises(stop.Stopped), stop.at_once():
            stop.request()
        stop.request()


def test_an_error_leaves_no_trace() -> None:
    for block in (stop.deferred, stop.at_once):
        with pytest.raises(ValueError, match="within"), block():
            raise ValueError("within")
    with pytest.raises(stop.Stopped):
        stop.request()


def test_stopped_is_no_exception_that_a_library_swallows() -> None:
    assert not issubclass(stop.Stopped, Exception)


def test_a_second_request_does_not_cut_the_release_of_the_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(tmp_path / "store", create=True)
    step = models.mix_step(Source(reader="demo", language="en", rows=4, seed=2))
    remove, run = claims._remove, mix.run

    def run_when_asked(task: Task) -> object:
        stop.request()
        return run(task)

    def remove_when_asked_again(folder: Path, token: str | None) -> None:
        stop.request()
        remove(folder, token)

    monkeypatch.setattr(claims, "_remove", remove_when_asked_again)
    monkeypatch.setattr(mix, "run", run_when_asked)
    assert models.attempt(store, step).state == "stopped"
    assert not list(store.base("mix", step.fingerprint).parent.glob("*.claim-*"))
    assert not store.artifact("mix", step.fingerprint).exists()


def test_a_request_while_a_step_is_published_leaves_it_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(tmp_path / "store", create=True)
    step = models.mix_step(Source(reader="demo", language="en", rows=4, seed=2))
    publish = Store.publish

    def publish_when_asked(*args: object, **more: object) -> None:
        stop.request()
        publish(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "publish", publish_when_asked)
    assert models.attempt(store, step).state == "done"
    assert store.is_complete("mix", step.fingerprint)
    assert models.attempt(store, step).state == "stopped"  # the next step is not begun
