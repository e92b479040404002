from __future__ import annotations

import errno
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiment.errors import StoreError
from experiment.store import Manifest, Store, read_json

ROOT = Path(__file__).resolve().parent.parent
STEP = ("sft", "0123456789abcdef")
FIELDS = {
    "version": 1,
    "settings": {"lr": 1e-5},
    "inputs": {"data": "mix/fedcba9876543210"},
    "provenance": {"python": "3.11"},
    "timings": {"seconds": 1.5},
    "execution": {"ranks": 1},
    "summary": {"loss": 0.5},
}

# Makes the same step again and again, each time under a new fingerprint, until it is killed.
PUBLISH = """
import itertools, json, sys
from pathlib import Path
from experiment.store import Store
store, fields = Store.open(Path(sys.argv[1]), create=True), json.loads(sys.argv[2])
for number in itertools.count():
    work = store.work("sft", f"{number:04d}")
    (work / "sub").mkdir(parents=True, exist_ok=True)
    for index in range(8):
        (work / "sub" / f"{index}.txt").write_text(f"{number}" * 2000)
    (work / "checkpoints").mkdir(exist_ok=True)
    print(number, flush=True)
    store.publish("sft", f"{number:04d}", **fields)
"""


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "store", create=True)


def fill(store: Store, content: str = "weights", step: tuple[str, str] = STEP) -> Path:
    work = store.work(*step)
    (work / "tokenizer").mkdir(parents=True, exist_ok=True)
    (work / "model.bin").write_text(content)
    (work / "tokenizer" / "vocab.json").write_text("{}")
    return work


def published(store: Store, content: str = "weights") -> Path:
    fill(store, content)
    store.publish(*STEP, **FIELDS)
    return store.artifact(*STEP)


def test_publish_leaves_the_artifact_and_its_manifest_only(store):
    work = fill(store)
    (work / "checkpoints" / "step-1").mkdir(parents=True)
    (work / "checkpoints" / "step-1" / "optimizer.bin").write_text("o")
    (work / ".cache").mkdir()
    (work / ".cache" / "x").write_text("x")
    (work / "tokenizer" / ".lock").write_text("")
    (work / "tokenizer" / "checkpoints").write_text("a file of this name deeper down belongs to it")
    manifest = store.publish(*STEP, **FIELDS)
    folder = store.artifact(*STEP)
    names = ["manifest.json", "model.bin", "tokenizer/checkpoints", "tokenizer/vocab.json"]
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()) == names
    assert sorted(manifest.files) == names[1:]
    assert manifest.files["model.bin"].bytes == 7
    assert not work.exists()
    assert store.read_manifest(*STEP) == manifest
    assert store.is_complete(*STEP)
    assert store.verify(*STEP) == []
    assert Manifest.from_json(json.loads(json.dumps(manifest.to_json())), folder) == manifest


def test_a_step_that_was_never_made_is_absent(store):
    assert store.read_manifest(*STEP) is None
    assert not store.is_complete(*STEP)
    assert "no artifact" in store.verify(*STEP)[0]
    with pytest.raises(StoreError, match="nothing to publish"):
        store.publish(*STEP, **FIELDS)
    with pytest.raises(StoreError, match="cannot write"):
        store.quarantine(*STEP)


def test_a_diverged_training_can_be_published(store):
    fill(store)
    assert store.publish(*STEP, **{**FIELDS, "summary": {"loss": float("nan")}}).summary == {"loss": None}


def test_kill_while_publishing_never_leaves_a_readable_incomplete_artifact(tmp_path):
    chance = random.Random(7)
    finished = 0
    for round_ in range(10):
        root = tmp_path / str(round_)
        command = [sys.executable, "-c", PUBLISH, str(root), json.dumps(FIELDS)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(1 + round_ % 3):  # a number is printed before it is published, however slow the disk
            process.stdout.readline()
        time.sleep(chance.uniform(0, 0.05))
        process.kill()
        process.communicate()
        store = Store.open(root, create=False)
        for folder in (root / "sft").iterdir():
            number = folder.name.removesuffix(".work")
            if folder.suffix != ".work":
                assert store.verify("sft", number) == []
                assert len(store.read_manifest("sft", number).files) == 8
                finished += 1
                continue
            assert store.read_manifest("sft", number) is None
            # The same command again: what was interrupted is completed from the work folder.
            if store.finish("sft", number) is None:
                (folder / "sub").mkdir(exist_ok=True)
                store.publish("sft", number, **FIELDS)
            assert store.verify("sft", number) == []
    assert finished > 0


def test_killed_before_the_rename_is_finished_without_the_work_being_redone(store):
    folder = published(store)
    manifest = store.read_manifest(*STEP)
    folder.rename(store.work(*STEP))
    assert store.read_manifest(*STEP) is None
    assert store.finish(*STEP) == manifest
    assert store.verify(*STEP) == []


def test_an_old_manifest_in_a_changed_work_folder_is_not_believed(store):
    folder = published(store)
    folder.rename(store.work(*STEP))
    assert fill(store, "WEIGHTS").exists()
    assert store.finish(*STEP) is None
    store.publish(*STEP, **FIELDS)
    assert store.verify(*STEP) == []


def test_a_changed_file_is_found_by_verify_and_a_short_one_by_is_complete(store):
    folder = published(store)
    (folder / "extra").write_text("ignored")
    assert store.verify(*STEP) == []
    (folder / "model.bin").write_text("WEIGHTS")
    assert store.is_complete(*STEP)
    assert store.verify(*STEP) == [f"{folder / 'model.bin'}: the content has changed since it was published"]
    (folder / "model.bin").write_text("w")
    (folder / "tokenizer" / "vocab.json").unlink()
    assert not store.is_complete(*STEP)
    problems = store.verify(*STEP)
    assert [problem.split(": ")[1] for problem in problems] == [
        "expected 7 bytes, found 1",
        "expected 2 bytes, found no file",
    ]


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', '{"format": "1"}', "\xff"])
def test_a_damaged_manifest_is_said_and_never_complete(store, text):
    path = published(store) / "manifest.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(StoreError, match=r"manifest\.json"):
        store.read_manifest(*STEP)
    assert not store.is_complete(*STEP)
    assert "manifest.json" in store.verify(*STEP)[0]


FAULTS = [errno.EIO, errno.EACCES, errno.ESTALE]


@pytest.fixture
def disk_fault(monkeypatch):
    """From the call on, files of that name cannot be read, nor asked for their size."""

    def broken(name: str, number: int) -> None:
        def failing(real):
            def call(path, *args, **kwargs):
                if path.name == name:
                    raise OSError(number, os.strerror(number), str(path))
                return real(path, *args, **kwargs)

            return call

        for method in ("read_text", "stat", "is_file"):
            monkeypatch.setattr(Path, method, failing(getattr(Path, method)))

    return broken


def refuses_to_judge(store: Store, match: str) -> None:
    for ask in (store.is_complete, store.verify):
        with pytest.raises(StoreError, match=match):
            ask(*STEP)


@pytest.mark.parametrize("number", FAULTS)
@pytest.mark.parametrize("name", ["manifest.json", "model.bin"])
def test_a_fault_of_the_disk_is_said_and_not_taken_for_damage(store, disk_fault, monkeypatch, name, number):
    folder = published(store, "first")
    fill(store, "second")
    disk_fault(name, number)
    refuses_to_judge(store, rf"cannot read .*{re.escape(name)}: {os.strerror(number)}.*run the same command again")
    with pytest.raises(StoreError, match="cannot read"):
        store.publish(*STEP, **FIELDS)
    monkeypatch.undo()
    assert [path.name for path in folder.parent.iterdir() if "damaged" in path.name] == []
    assert store.is_complete(*STEP)
    assert (folder / "model.bin").read_text() == "first"


def test_a_fault_of_the_disk_leaves_a_finished_work_folder(store, disk_fault, monkeypatch):
    published(store).rename(store.work(*STEP))
    disk_fault("manifest.json", errno.EIO)
    with pytest.raises(StoreError, match="cannot read"):
        store.finish(*STEP)
    monkeypatch.undo()
    assert store.finish(*STEP) is not None


def test_a_newer_versions_artifact_is_refused_and_never_put_aside(store):
    path = published(store, "newer") / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    fill(store, "older")
    refuses_to_judge(store, r"newer Kirjo \(format 2\)")
    with pytest.raises(StoreError, match="newer Kirjo"):
        store.publish(*STEP, **FIELDS)
    assert (store.artifact(*STEP) / "model.bin").read_text() == "newer"
    store.artifact(*STEP).rename(store.root / "kept")
    shutil.rmtree(store.work(*STEP))
    (store.root / "kept").rename(store.work(*STEP))
    with pytest.raises(StoreError, match="newer Kirjo"):
        store.finish(*STEP)


def test_an_artifact_in_anothers_place_is_not_taken_for_it(store):
    published(store).rename(store.artifact("sft", "other"))
    with pytest.raises(StoreError, match="belongs to sft/0123456789abcdef"):
        store.read_manifest("sft", "other")


def test_quarantined_artifacts_are_never_read_and_never_overwritten(store):
    assert published(store, "one").is_dir()
    first = store.quarantine(*STEP)
    assert not store.is_complete(*STEP)
    assert published(store, "two").is_dir()
    second = store.quarantine(*STEP)
    assert (first.name, second.name) == (f"{STEP[1]}.damaged-1", f"{STEP[1]}.damaged-2")
    assert [(path / "model.bin").read_text() for path in (first, second)] == ["one", "two"]


def test_the_first_of_two_publishers_stays(store):
    folder = published(store, "first")
    fill(store, "second")
    assert store.publish(*STEP, **{**FIELDS, "summary": {}}).summary == {"loss": 0.5}
    assert (folder / "model.bin").read_text() == "first"
    assert not store.work(*STEP).exists()


def test_publishing_over_an_incomplete_artifact_puts_that_aside(store):
    (published(store) / "model.bin").unlink()
    published(store, "again")
    assert store.verify(*STEP) == []
    assert store.artifact(*STEP).with_name(f"{STEP[1]}.damaged-1").is_dir()


def test_a_symbolic_link_is_refused(store, tmp_path):
    (tmp_path / "outside").write_text("cache")
    (fill(store) / "linked").symlink_to(tmp_path / "outside")
    with pytest.raises(StoreError, match="linked is a symbolic link"):
        store.publish(*STEP, **FIELDS)


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill_disk(path: Path) -> None:
    subprocess.run(["dd", "if=/dev/zero", f"of={path}", "bs=4k"], stderr=subprocess.DEVNULL, check=False)


@pytest.mark.root
def test_a_full_disk_publishes_nothing_and_loses_nothing(small_disk):
    store = Store.open(small_disk / "store", create=True)
    work = fill(store)
    (work / "checkpoints").mkdir()
    (work / "checkpoints" / "step-1").write_text("o")
    fill_disk(small_disk / "ballast")
    with pytest.raises(StoreError, match=rf"disk full at {work}: .* 0 bytes free"):
        store.publish(*STEP, **FIELDS)
    with pytest.raises(StoreError, match="disk full"):
        store.save_run({"id": "r1"})
    assert not store.artifact(*STEP).exists()
    assert store.runs() == []
    assert (work / "checkpoints" / "step-1").exists()
    (small_disk / "ballast").unlink()
    store.publish(*STEP, **FIELDS)
    assert store.verify(*STEP) == []


@pytest.mark.root
def test_a_read_only_disk_is_refused_when_opened(small_disk):
    Store.open(small_disk / "store", create=True)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreError, match=r"cannot use .*store as a store: Read-only file system"):
        Store.open(small_disk / "store", create=True)
    assert Store.open(small_disk / "store", create=False).runs() == []


def test_a_store_opens_again_and_keeps_what_it_has(store):
    published(store)
    again = Store.open(store.root, create=True)
    assert again.is_complete(*STEP)
    assert read_json(store.root / "store.json") == {"format": 1}
    assert sorted(path.name for path in store.root.iterdir()) == ["sft", "store.json"]


def test_a_newer_store_is_refused(store):
    (store.root / "store.json").write_text('{"format": 2}')
    with pytest.raises(StoreError, match=r"newer Kirjo \(format 2\); this one reads up to 1: upgrade"):
        Store.open(store.root, create=True)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"format": null}'])
def test_a_broken_store_file_is_said(store, text):
    (store.root / "store.json").write_text(text)
    with pytest.raises(StoreError, match=r"store\.json"):
        Store.open(store.root, create=True)


def test_a_folder_with_other_things_is_not_made_a_store(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(StoreError, match=r"holds other things \(thesis\.tex\) and is no store"):
        Store.open(tmp_path, create=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_empty_folder_becomes_a_store_and_an_absent_one_is_asked_for(tmp_path):
    with pytest.raises(StoreError, match="run an experiment first"):
        Store.open(tmp_path / "absent", create=False)
    assert not (tmp_path / "absent").exists()
    (tmp_path / ".gitkeep").write_text("")
    assert Store.open(tmp_path, create=True).runs() == []


@pytest.mark.parametrize(("root", "reason"), [("file", "it is a file"), ("file/store", "Not a directory")])
def test_a_path_that_cannot_be_a_folder_is_said(tmp_path, root, reason):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=f"cannot use .*{root} as a store: {reason}"):
        Store.open(tmp_path / root, create=True)


def test_records_are_kept_by_id(store):
    store.save_run({"id": "b", "steps": ["sft/1"]})
    store.save_run({"id": "a", "steps": []})
    store.save_sweep({"id": "s", "runs": ["a", "b"]})
    assert [record["id"] for record in store.runs()] == ["a", "b"]
    assert store.sweeps() == [{"id": "s", "runs": ["a", "b"]}]
    path = store.root / "runs" / "a.json"
    before = path.stat()
    store.save_run({"id": "a", "steps": ()})
    assert path.stat().st_ino == before.st_ino
    store.save_run({"id": "a", "steps": ["sft/2"]})
    assert store.runs()[0]["steps"] == ["sft/2"]


@pytest.mark.parametrize("text", ["{", '{"id": "other"}', "[]"])
def test_a_broken_record_is_named_and_mended_by_writing_it_again(store, text):
    store.save_run({"id": "a", "mix": 10})
    (store.root / "runs" / "a.json").write_text(text)
    with pytest.raises(StoreError, match=r"runs/a\.json.*delete it and run the same command again"):
        store.runs()
    store.save_run({"id": "a", "mix": 10})
    assert store.runs() == [{"id": "a", "mix": 10}]


@pytest.mark.parametrize("ask", [Store.runs, Store.sweeps])
def test_a_record_that_cannot_be_read_is_named(store, disk_fault, ask):
    for folder in ("runs", "sweeps"):
        (store.root / folder / "x.json").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"cannot read the record .*x\.json: Is a directory; .*move it away"):
        ask(store)
    disk_fault("x.json", errno.EACCES)
    with pytest.raises(StoreError, match=r"cannot read the record .*x\.json: Permission denied; make it readable"):
        ask(store)


@pytest.mark.parametrize("name", ["../a", "", ".a", 7])
def test_an_id_that_is_no_file_name_is_refused(store, name):
    with pytest.raises(StoreError, match="file name"):
        store.save_run({"id": name})


def test_paths(tmp_path):
    store = Store(tmp_path)
    assert store.base("sft", "f") == store.artifact("sft", "f") == tmp_path / "sft" / "f"
    assert store.work("sft", "f") == tmp_path / "sft" / "f.work"
    assert store.log("sft", "f") == tmp_path / "logs" / "sft-f.log"
