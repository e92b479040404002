"""launcher=local carries plans out: real sweeps, only small."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from experiment.compile import compile_run
from experiment.plan import merge
from experiment.store import Store
from experiment.sweep import expand
from launchers.local import LocalSweep
from launchers.worker import Worker
from tests import sweeps
from tests.tiny import TINY

TWO_MIXES = ("-m", "mix=0,100")
LONG_TRAINING = ("mix=100", "sft.epochs=12", "sft.checkpoint_every=4", "sft.learning_rate=1e-3")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A store in which a sweep of two mixes has run."""
    store = tmp_path_factory.mktemp("done") / "store"
    return store, sweeps.run(*TWO_MIXES, store=store)


@pytest.fixture
def copy(done: tuple[Path, object], tmp_path: Path) -> Path:
    """That store, to be spoilt."""
    return Path(shutil.copytree(done[0], tmp_path / "store"))


def wait_for(condition: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(0.02)


def executed(output: str) -> int:
    found = re.search(r"(\d+) steps? run", output)
    assert found, output
    return int(found.group(1))


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


def test_a_sweep_ends_complete_and_quiet(done: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    store, ended = done
    assert ended.returncode == 0, ended.stderr
    assert executed(ended.stdout) == 1 + 2 + 2 + 4 + 4  # pretrain, mix, sft, generate, score
    assert "2 of 2 runs complete;" in ended.stdout
    assert ended.stderr == ""
    assert len(ended.stdout.splitlines()) == 2  # what is to be done, and what was
    assert not list(store.glob("*/*.work"))
    assert not list(store.glob("*/*.claim-*"))


def test_the_same_command_again_runs_nothing(done: tuple[Path, object]) -> None:
    again = sweeps.run(*TWO_MIXES, store=done[0])
    assert again.returncode == 0
    assert executed(again.stdout) == 0
    states = {step["state"] for step in sweeps.plan(*TWO_MIXES, store=done[0])["steps"]}
    assert states == {"done"}


def test_manifests_tell_what_made_an_artifact(done: tuple[Path, object]) -> None:
    found = {manifest["stage"]: manifest for manifest in sweeps.manifests(done[0])}
    sft = found["sft"]
    assert sft["settings"]["training"]["learning_rate"] == 2e-3
    assert set(sft["inputs"]) == {"base", "mix"}
    assert {"python", "packages", "git", "host"} <= set(sft["provenance"])
    assert sft["provenance"]["packages"]["torch"]
    assert sft["timings"]["attempts"] == 1
    assert {"model/model.safetensors", "history.jsonl", "preflight.json"} <= set(sft["files"])
    assert found["mix"]["summary"]["source_rows"] == 24


def test_where_a_file_lies_does_not_enter_its_step(tmp_path: Path) -> None:
    row = '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}\n'
    found = []
    for folder in ("here", "there"):
        data = tmp_path / folder / "conversations.jsonl"
        data.parent.mkdir()
        data.write_text(row)
        options = ("data_mix.sft.en.reader=conversations", "data_mix.sft.en.rows=null", f"+data_mix.sft.en.path={data}")
        found.append(sweeps.plan("mix=0", *options, store=tmp_path / "store")["steps"])
        assert str(tmp_path) not in str(found[-1])
    assert found[0] == found[1]


def test_tables_read_the_store(done: tuple[Path, object]) -> None:
    table = subprocess.run(
        [sys.executable, "-m", "analysis", "table1", "--markdown", "--store", str(done[0])],
        cwd=sweeps.ROOT,
        text=True,
        capture_output=True,
    )
    assert table.returncode == 0, table.stderr
    rows = [line for line in table.stdout.splitlines() if line.startswith("| en-fi-")]
    assert len(rows) == 5 * 7  # panels, mixes
    filled = [line for line in rows if line.startswith(("| en-fi-0pct", "| en-fi-100pct"))]
    assert not any("missing" in line for line in filled)
    assert all("missing" in line for line in rows if line not in filled)


def test_workers_do_not_change_scores_and_fresh_stores_agree(done: tuple[Path, object], tmp_path: Path) -> None:
    ended = sweeps.run(*TWO_MIXES, "launcher.workers=2", store=tmp_path / "store")
    assert ended.returncode == 0, ended.stderr
    assert sweeps.scores(tmp_path / "store") == sweeps.scores(done[0])
    assert len(sweeps.scores(done[0])) == 4


def test_a_failing_step_stops_only_what_needs_it(copy: Path) -> None:
    # A learning rate at which the loss overflows: dpo fails, the plain sft run is not touched.
    wanted = ("-m", "method=sft,dpo_en", "mix=100", "dpo.learning_rate=1e20", "dpo.epochs=3")
    ended = sweeps.run(*wanted, store=copy)
    assert ended.returncode == 1
    assert "1 of 2 runs complete;" in ended.stdout
    assert "Traceback" not in ended.stderr
    table = re.sub(r"[\s│]+", "", ended.stderr)
    assert "dpoen-fi-100pct" in table
    assert "loss" in table
    logged = next(copy.glob("logs/dpo-*.log"))
    assert logged.name in table
    assert executed(ended.stdout) == 2  # pair and reference; their results stay
    again = sweeps.run(*wanted, store=copy)
    assert (again.returncode, executed(again.stdout)) == (1, 0)


def test_two_sweeps_at_once_do_each_step_once(tmp_path: Path) -> None:
    store = tmp_path / "store"
    both = [sweeps.start("-m", "mix=0,100", store=store), sweeps.start("-m", "mix=100,50", store=store)]
    ended = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    assert set(sweeps.endings(store).values()) == {1}
    assert sum(executed(out) for out, _ in ended) == len(sweeps.endings(store)) == 1 + 3 + 3 + 6 + 6


def _processes_below(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found = [int(child) for child in children.read_text().split()] if children.exists() else []
    return found + [below for child in found for below in _processes_below(child)]


def _is_worker(pid: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


Killable = tuple[subprocess.Popen[str], Path]


@pytest.fixture
def long_training(copy: Path) -> Iterator[Killable]:
    """A sweep in the middle of an sft step that takes some seconds and has a checkpoint already; its store."""
    process = sweeps.start(*LONG_TRAINING, store=copy)
    wait_for(lambda: bool(list(copy.glob("sft/*.work/checkpoints/checkpoint-*/complete"))))
    yield process, copy
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.fixture(scope="module")
def undisturbed(done: tuple[Path, object], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The scores of that sweep where nobody kills it."""
    store = Path(shutil.copytree(done[0], tmp_path_factory.mktemp("undisturbed") / "store"))
    assert sweeps.run(*LONG_TRAINING, store=store).returncode == 0
    return sweeps.scores(store)


def test_a_killed_worker_fails_its_step_and_the_same_command_resumes(
    long_training: Killable, undisturbed: dict[str, str]
) -> None:
    process, store = long_training
    (worker,) = [pid for pid in _processes_below(process.pid) if _is_worker(pid)]
    os.kill(worker, signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, out
    assert "killed" in err
    assert "Traceback" not in err
    assert sweeps.run(*LONG_TRAINING, store=store).returncode == 0
    assert sweeps.scores(store) == undisturbed
    (resumed,) = [
        found for found in sweeps.manifests(store) if found["stage"] == "sft" and found["timings"]["attempts"] > 1
    ]
    assert resumed["summary"]["resumed_from"] >= 4


def test_a_killed_launcher_takes_its_workers_along(long_training: Killable, undisturbed: dict[str, str]) -> None:
    process, store = long_training
    workers = [pid for pid in _processes_below(process.pid) if _is_worker(pid)]
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_for(lambda: not any(map(_is_worker, workers)), seconds=20)
    ended = sweeps.run(*LONG_TRAINING, store=store)
    assert ended.returncode == 0, ended.stderr
    assert not list(store.glob("*/*.claim-*"))
    assert sweeps.scores(store) == undisturbed


def test_a_damaged_input_is_made_again_before_it_is_used(copy: Path) -> None:
    weights = sorted(copy.glob("sft/*/model/model.safetensors"))
    before = {path: path.read_bytes() for path in weights}
    for path in weights:
        flip_a_byte(path)
    # Two workers: both may find the same damage.
    ended = sweeps.run(*TWO_MIXES, "benchmark.max_new_tokens=12", "launcher.workers=2", store=copy)
    assert ended.returncode == 0, ended.stderr
    assert "damaged" in ended.stderr
    assert {path: path.read_bytes() for path in weights} == before
    assert len(list(copy.glob("sft/*.damaged-1"))) == 2


def test_a_worker_that_died_between_steps_is_replaced(tmp_path: Path) -> None:
    (point,) = expand([[*TINY, "mix=0"]])
    plan = merge([compile_run(point.config, point.overrides)])
    sweep = LocalSweep(plan, Store.open(tmp_path / "store", create=True), workers=1)
    with contextlib.closing(sweep):
        dead = Worker.start(sweep.store.root)
        sweep.workers.append(dead)
        os.kill(dead.process.pid or 0, signal.SIGKILL)
        dead.process.join()
        sweep._hand_out()
        (worker,) = sweep.workers
        assert worker is not dead
        assert worker.step in sweep.running()


def test_a_damaged_result_is_made_again_and_never_shown(copy: Path) -> None:
    verdicts = sorted(copy.glob("score/*/verdicts.jsonl"))[0]
    before = verdicts.read_bytes()
    flip_a_byte(verdicts)
    table = [sys.executable, "-m", "analysis", "table1", "--store", str(copy)]
    shown = subprocess.run(table, cwd=sweeps.ROOT, text=True, capture_output=True)
    assert shown.returncode == 2
    assert "changed" in shown.stderr
    ended = sweeps.run(*TWO_MIXES, store=copy)
    assert (ended.returncode, executed(ended.stdout)) == (0, 1)
    assert verdicts.read_bytes() == before


def test_a_step_whose_result_is_there_does_not_need_its_inputs(copy: Path) -> None:
    for folder in copy.glob("sft/*"):
        shutil.rmtree(folder)
    ended = sweeps.run(*TWO_MIXES, store=copy)
    assert (ended.returncode, executed(ended.stdout)) == (0, 0)
    states = {step["stage"]: step["state"] for step in sweeps.plan(*TWO_MIXES, store=copy)["steps"]}
    assert (states["sft"], states["score"]) == ("unneeded", "done")


def test_a_broken_data_line_is_named_and_stops_only_its_step(copy: Path, tmp_path: Path) -> None:
    data = tmp_path / "conversations.jsonl"
    data.write_text('{"messages": [{"role": "user", "content": "Hi"}]\n')
    ended = sweeps.run(
        "data_mix.sft.en.reader=conversations",
        "data_mix.sft.en.rows=null",
        f"+data_mix.sft.en.path={data}",
        "mix=0",
        "seed=7",
        store=copy,
    )
    assert ended.returncode == 1
    assert "line1:notJSON" in re.sub(r"[\s│]+", "", ended.stderr)
    assert "Traceback" not in ended.stderr


def test_a_store_of_a_newer_version_is_left_alone(copy: Path) -> None:
    (copy / "store.json").write_text('{"format": 99}')
    ended = sweeps.run(*TWO_MIXES, store=copy)
    assert ended.returncode == 2
    assert "newer" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.root
def test_a_full_disk_loses_nothing(done: tuple[Path, object], tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        store = Path(shutil.copytree(done[0], disk / "store"))
        free = shutil.disk_usage(disk).free
        (disk / "ballast").write_bytes(b"x" * max(0, free - 150_000))
        wanted = ("mix=100", "sft.epochs=3")
        full = sweeps.run(*wanted, store=store)
        assert full.returncode == 1, full.stdout
        assert "diskfull" in re.sub(r"[\s│]+", "", full.stderr)
        assert "Traceback" not in full.stderr
        assert sweeps.scores(store) == sweeps.scores(done[0])
        (disk / "ballast").unlink()
        again = sweeps.run(*wanted, store=store)
        assert again.returncode == 0, again.stderr
        assert set(sweeps.scores(store)) > set(sweeps.scores(done[0]))
    finally:
        subprocess.run(["umount", str(disk)], check=False)
