"""Records of submissions that are damaged: told of in a line, and never in the way of the others."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiment.errors import StoreError
from experiment.store import Store
from launchers import facts as facts_of
from launchers.known import known
from launchers.slurm import ledger
from launchers.status import survey
from tests import submitted
from tests.submitted import chain, save_run, say, submit

RUN = chain("10pct")
MIX, SFT = RUN["mix"], RUN["sft"]
STATE = ledger.TaskState("5", 0, "nid7", submitted.WHEN, submitted.WHEN, {MIX.key: {"state": "running"}})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return submitted.opened(tmp_path)


def edit(path: Path, **fields: Any) -> None:
    """Change fields of a record; None takes one out."""
    content = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


ODD_SUBMISSIONS = [{"tasks": None}, {"tasks": 3}, {"tasks": [{}]}, {"user": 5}, {"needs": {}}, {"allocation": []}]
ODD_STATES = [
    {"job": None},
    {"restarts": "many"},
    {"steps": []},
    {"steps": {"a": 1}},
    {"steps": {"a": {}}},
    {"steps": {"a": {"state": "running", "progress": [1]}}},
    {"steps": {"a": {"state": "failed", "since": "once"}}},
    {"updated": "yesterday"},
]


@pytest.mark.parametrize("fields", ODD_SUBMISSIONS)
def test_an_odd_submission_is_a_store_error_that_says_to_look_for_its_job(store, fields):
    found = submit(store, [[MIX]], ["5"])
    path = ledger.folder_of(store, found.id) / "submission.json"
    edit(path, **fields)
    with pytest.raises(StoreError, match=rf"not as expected .*squeue \(comment {found.comment}\) first") as told:
        ledger.read(store, found.id)
    assert str(told.value).startswith(str(path))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}', '{"format": "x"}', "\udcff"])
@pytest.mark.parametrize("name", ["submission.json", "steps.json", "state-0.json"])
def test_what_is_no_record_at_all_is_a_store_error_with_the_right_advice(store, name, text):
    found = submit(store, [[MIX]], ["5"])
    say(store, found, {})
    path = ledger.folder_of(store, found.id) / name
    path.write_bytes(text.encode(errors="surrogateescape"))
    read = {
        "submission.json": lambda: ledger.read(store, found.id),
        "steps.json": lambda: ledger.steps_of(store, found.id),
        "state-0.json": lambda: ledger.read_state(store, found.id, 0),
    }[name]
    with pytest.raises(StoreError) as told:
        read()
    assert str(path) in str(told.value)
    assert (f"squeue (comment {found.comment}) first" in str(told.value)) == (name != "state-0.json")


@pytest.mark.parametrize("fields", ODD_STATES)
def test_an_odd_state_is_a_store_error(store, fields):
    found = submit(store, [[MIX]], ["5"])
    say(store, found, {MIX.key: {"state": "running"}})
    edit(ledger.folder_of(store, found.id) / "state-0.json", **fields)
    with pytest.raises(StoreError, match=r"state-0\.json: not as expected"):
        ledger.read_state(store, found.id, 0)


@pytest.mark.parametrize("steps", [3, {"mix/0": {}}, {"mix/0": 3}, {"mix/0": {"stage": "none"}}])
def test_odd_steps_are_a_store_error(store, steps):
    found = submit(store, [[MIX]], ["5"])
    edit(ledger.folder_of(store, found.id) / "steps.json", steps=steps)
    with pytest.raises(StoreError, match=r"steps\.json: not as expected"):
        ledger.steps_of(store, found.id)


def test_status_goes_on_without_damaged_records_and_says_so_once(store, capsys, monkeypatch):
    monkeypatch.setattr("launchers.status.read_queue", dict)
    monkeypatch.setattr(facts_of, "ended", lambda *_: {})
    save_run(store, "demo/10pct", RUN)
    good = submit(store, [[MIX]], ["4"], name="20260101T000000-aaaaaa")
    say(store, good, {MIX.key: {"state": "failed", "reason": "DataError: no rows"}}, ended="failed")
    bad, stepless = submit(store, [[SFT]], ["5"]), submit(store, [[chain("other")["mix"]]], ["6"])
    torn = submit(store, [[RUN["generate.fi"]]], ["7"])
    say(store, torn, {})
    paths = [ledger.folder_of(store, bad.id) / "submission.json", ledger.folder_of(store, stepless.id) / "steps.json"]
    paths += [ledger.folder_of(store, torn.id) / "state-0.json", ledger.jobs_folder(store) / "cancelled" / "x.json"]
    paths[-1].parent.mkdir()
    for path in paths:
        path.write_text("{}")
    for _ in range(2):
        found = survey(store)
    assert (found.runs[0].state, "DataError: no rows" in found.runs[0].reason) == ("failed", True)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == len(paths)
    assert all(line.startswith("warning: left out: ") for line in told)
    assert all(any(str(path) in line for line in told) for path in paths)
    assert known(store).runs


def test_a_sound_record_comes_back_as_it_was(store):
    found = submit(store, [[MIX, SFT], [RUN["score.fi"]]], ["5_0", "5_1"], needs=["3"])
    assert ledger.read(store, found.id) == found
    assert ledger.submissions(store) == [found]
    assert ledger.steps_of(store, found.id)[SFT.key] == SFT
    ledger.write_state(store, found.id, 0, STATE)
    said = ledger.read_state(store, found.id, 0)
    assert said
    assert (said.job, said.steps) == (STATE.job, STATE.steps)
    assert ledger.read_state(store, found.id, 1) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(st.lists(st.text(max_size=200), min_size=1, max_size=4))
def test_a_state_rewritten_in_place_is_the_last_one_whatever_its_length(store, reasons):
    (ledger.jobs_folder(store) / "one").mkdir(parents=True, exist_ok=True)
    ledger.write_state(store, "one", 0, STATE)
    for reason in reasons:
        reason = reason.encode(errors="ignore").decode()
        steps = {MIX.key: {"state": "failed", "reason": reason}}
        ledger.overwrite_state(store, "one", 0, ledger.TaskState("5", 0, "", STATE.started, STATE.updated, steps))
        said = ledger.read_state(store, "one", 0)
        assert said
        assert said.steps == steps


def test_a_state_that_cannot_be_rewritten_stays_what_it_was(store, monkeypatch):
    (ledger.jobs_folder(store) / "one").mkdir(parents=True)
    ledger.write_state(store, "one", 0, STATE)
    path = ledger.jobs_folder(store) / "one" / "state-0.json"
    before, real = path.read_bytes(), os.pwrite

    def nearly_full(file: int, content: bytes, place: int) -> int:
        """A disk that takes no more than the file has already."""
        return real(file, content[: len(before)], place)

    monkeypatch.setattr(os, "pwrite", nearly_full)
    longer = {MIX.key: {"state": "failed", "reason": "x" * 5000}}
    with pytest.raises(OSError, match="in part"):
        ledger.overwrite_state(store, "one", 0, ledger.TaskState("5", 0, "", "", "", longer))
    assert path.read_bytes() == before
