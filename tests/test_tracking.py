"""W&B tracking with the real client: what it writes, what it must not, and that its faults stay its own.

There is no W&B server here. Files are read back twice: with W&B's own messages, and by W&B's own reader when
`wandb sync` sends them to a server of the tests (`wandb_server.py`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiment import launch
from experiment.claims import Claim
from experiment.compile import compile_run
from experiment.config import Tracking
from experiment.plan import Step, make_step, merge
from experiment.results import load_results
from experiment.sources.jsonl import read_jsonl
from experiment.store import Store
from experiment.sweep import expand
from experiment.tracking import belongs, client, rows, tracker
from experiment.tracking.measured import metrics
from experiment.tracking.speed import Speed
from experiment.tracking.tracker import Tracker, write_rows
from experiment.tracking.transaction_log import _contents, last_step, records
from launchers import sync as syncing
from launchers.sync import not_uploaded, sync
from tests import sweeps
from tests.tiny import TINY
from tests.wandb_server import Recorder

pytest.importorskip("wandb")

KEY = "local-" + "5ecre7" * 6 + "abcd"
NOWHERE = "http://127.0.0.1:9"
FEWER = ("pretrain.texts.en.rows=20", "pretrain.texts.fi.rows=20", "sft.epochs=1")
SWEEP = ("mix=0", "benchmark.languages=[fi]", "tracking=wandb", "tracking.answers=5", *FEWER)


@dataclasses.dataclass
class Read:
    """One W&B file, as W&B's own messages have it."""

    run: Any = None
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    summary: dict[str, Any] = dataclasses.field(default_factory=dict)
    exit_code: int | None = None

    @classmethod
    def of(cls, path: Path) -> Read:
        found = cls()
        for record in records(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                found.run = record.run
                found.config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
            elif kind == "history":
                found.history.append(
                    {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
                )
            elif kind == "summary":
                for item in record.summary.update:
                    found.summary["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
            elif kind == "exit":
                found.exit_code = record.exit.exit_code
        return found


def files_of(root: Path, run_id: str = "*") -> list[Path]:
    return sorted((root / "wandb").glob(f"*run-*/run-{run_id}.wandb"))


def read_all(root: Path) -> dict[str, Read]:
    return {path.stem.removeprefix("run-"): Read.of(path) for path in files_of(root)}


def steps_of(found: Read) -> list[int]:
    return [row["_step"] for row in found.history]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real sweep of one row, with a key and other variables of W&B in the environment."""
    from tests import models

    store = Store.open(tmp_path_factory.mktemp("swept") / "store", create=True)
    points = expand([[*TINY, *SWEEP, "method=dpo_en", f"store={store.root}"]])
    plan = merge(compile_run(point.config, point.overrides) for point in points)
    launch._record(plan, store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracker, "_gave_up", [])
        for name, value in {"API_KEY": KEY, "PROJECT": "not-this", "MODE": "disabled", "RUN_ID": "mine"}.items():
            patch.setenv(f"WANDB_{name}", value)
        for step in plan.steps.values():
            outcome = models.attempt(store, step)
            assert outcome.state == "done", outcome.reason
            assert not [warning for warning in outcome.warnings if "W&B" in warning]
    return store.root


@pytest.fixture
def copy(swept: Path, tmp_path: Path) -> Store:
    return Store(Path(shutil.copytree(swept, tmp_path / "copy")))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    server = Recorder()
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    yield server
    server.close()


class TestASweep:
    def test_one_run_per_step_and_per_row(self, swept: Path) -> None:
        store = Store(swept)
        steps = {key for record in store.runs() for key in record["steps"].values()}
        wanted = {key.replace("/", "-") for key in steps if key.split("/")[0] in tracker.TRACKED}
        wanted |= {rows.row_id(record["id"]) for record in store.runs()}
        assert len(wanted) == 6  # pretrain, sft, dpo, generate, score, the row
        assert sorted(path.stem.removeprefix("run-") for path in files_of(swept)) == sorted(wanted)

    def test_groups_tags_and_types(self, swept: Path) -> None:
        found = read_all(swept)
        (sweep,) = Store(swept).sweeps()
        assert {item.run.run_group for item in found.values()} == {sweep["id"]}
        assert {item.run.project for item in found.values()} == {"kirjo"}
        assert all(item.run.resume for item in found.values())
        tags = ["beta=0.05", "data_mix=demo", "method=dpo_en", "mix=0", "model=demo"]
        for run_id, item in found.items():
            assert item.run.job_type == run_id.split("-")[0]
            assert item.exit_code == 0
            assert list(item.run.tags) == tags

    def test_curves_are_those_of_the_artifacts(self, swept: Path) -> None:
        curves = 0
        for run_id, item in read_all(swept).items():
            stage, _, fingerprint = run_id.partition("-")
            path = swept / stage / fingerprint / "history.jsonl"
            if not path.exists():
                continue
            curves += 1
            expected = [row for _, row in read_jsonl(path)]
            ours = ("tokens_per_second", "_step", "_timestamp", "_runtime")
            shown = [{name: value for name, value in row.items() if name not in ours} for row in item.history]
            assert shown == [{name: value for name, value in row.items() if name != "step"} for row in expected]
            assert steps_of(item) == [row["step"] for row in expected]
            assert all({"loss", "learning_rate", "grad_norm"} <= set(row) for row in item.history)
            assert all(row["tokens_per_second"] > 0 for row in item.history[1:])
            times = [row["_timestamp"] for row in item.history]
            assert times == sorted(set(times))
            if stage == "dpo":
                wanted = {f"rewards/{name}" for name in ("chosen", "rejected", "margins", "accuracies")}
                assert all(wanted <= set(row) for row in item.history)
        assert curves == 3

    def test_configs_are_whole(self, swept: Path) -> None:
        store, found = Store(swept), read_all(swept)
        for run_id, item in found.items():
            stage, _, fingerprint = run_id.partition("-")
            if stage == "row":
                continue
            manifest = store.read_manifest(stage, fingerprint)
            assert manifest is not None
            assert item.config["settings"] == manifest.settings
            assert item.config["inputs"] == manifest.inputs
            assert item.config["fingerprint"] == fingerprint
            assert item.config["label"] == manifest.execution["label"]
            how = {**item.config["execution"], "threads": manifest.execution["threads"]}
            assert how == {name: manifest.execution[name] for name in how}
        for record in store.runs():
            config = found[rows.row_id(record["id"])].config
            assert record["config"].items() <= config.items()
            assert config["axes"] == record["axes"]
            assert config["steps"] == record["steps"]

    def test_summaries_are_what_came_out(self, swept: Path) -> None:
        store, found = Store(swept), read_all(swept)
        for run in load_results(store):
            scored = run.scored("fi")
            assert scored is not None
            shown = found[run.steps["score.fi"].replace("/", "-")].summary
            row = found[rows.row_id(run.id)].summary
            assert {"instruction_loose@finnish", "prompt_strict", "response_language"} <= set(shown)
            for name in ("instruction_strict", "instruction_loose", "prompt_strict"):
                for rules in scored.rules:
                    values = getattr(scored, name.split("_")[1])[rules]
                    if name.startswith("instruction"):
                        expected = float(values.mean())
                        label = name if rules == "paper" else f"{name}@{rules}"
                        assert shown[label] == pytest.approx(expected)
                        assert row[f"fi/{label}"] == pytest.approx(expected)
            manifest = run.manifest("sft")
            assert manifest is not None
            assert row["sft/final_loss"] == manifest.summary["final_loss"]
            assert found[run.steps["sft"].replace("/", "-")].summary["final_loss"] == manifest.summary["final_loss"]

    def test_tables_hold_the_first_answers(self, swept: Path) -> None:
        tables = {
            path.parts[-5].split("-")[3]: path for path in (swept / "wandb").glob("*run-*/files/media/table/*.json")
        }
        assert set(tables) == {"generate", "score"}
        shown = json.loads(tables["generate"].read_text())
        assert shown["columns"] == ["key", "prompt", "response", "tokens", "finished"]
        fingerprint = tables["generate"].parts[-5].rpartition("-")[2]
        answers = [row for _, row in read_jsonl(swept / "generate" / fingerprint / "responses.jsonl")]
        assert shown["data"] == [[row[name] for name in shown["columns"]] for row in answers[:5]]
        judged = json.loads(tables["score"].read_text())
        assert {"prompt", "response", "instruction", "strict paper", "loose finnish"} <= set(judged["columns"])
        assert len(judged["data"]) == 5

    def test_no_key_lies_anywhere(self, swept: Path) -> None:
        seen = 0
        for path in swept.rglob("*"):
            if path.is_file():
                seen += 1
                assert KEY.encode() not in path.read_bytes(), path
        assert seen > 50
        assert not list((swept / "wandb").rglob("wandb-metadata.json"))
        assert not list((swept / "wandb").rglob("requirements.txt"))


class TestSync:
    @pytest.mark.slow
    def test_everything_arrives_once(self, copy: Store, recorder: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
        for stage in ("pretrain", "generate", "score"):  # a few are enough
            for path in files_of(copy.root, f"{stage}-*"):
                shutil.rmtree(path.parent)
        refused = next(run_id for run_id in not_uploaded(copy) if run_id.startswith("sft"))
        recorder.refuse = {refused}
        assert sync(copy) == 1
        out, err = capsys.readouterr()
        assert "2 W&B runs uploaded, 1 failed" in out
        assert f"failed    {refused}" in err
        assert list(not_uploaded(copy)) == [refused]
        recorder.refuse, before = set(), len(recorder.text)
        assert sync(copy) == 0
        assert set(recorder.runs) == set(read_all(copy.root))
        assert "1 W&B runs uploaded, 0 failed" in capsys.readouterr().out
        assert not any("dpo-" in text for text in recorder.text[before:])
        for run_id, item in read_all(copy.root).items():
            assert recorder.runs[run_id]["groupName"] == item.run.run_group
            assert recorder.runs[run_id]["tags"] == list(item.run.tags)
            losses = [row.get("loss") for row in recorder.history.get(run_id, [])]
            assert losses == [row.get("loss") for row in item.history]
            told = {name: value for name, value in item.summary.items() if "/" not in name and not name.startswith("_")}
            assert {name: recorder.summary[run_id].get(name) for name in told} == told
        assert sync(copy) == 0
        assert "nothing to upload" in capsys.readouterr().out
        for path in copy.root.rglob("*"):
            assert not path.is_file() or KEY.encode() not in path.read_bytes(), path

    @pytest.mark.parametrize(("key", "why"), [(KEY, "no connection to 127.0.0.1"), ("", "there is no key")])
    def test_without_a_way_nothing_is_lost(
        self, copy: Store, key: str, why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("WANDB_BASE_URL", NOWHERE)
        monkeypatch.setenv("WANDB_API_KEY", key)
        monkeypatch.setenv("NETRC", "/dev/null")
        monkeypatch.setenv("HOME", str(copy.root))
        before = not_uploaded(copy)
        assert sync(copy) == 1
        assert why in capsys.readouterr().err
        assert not_uploaded(copy) == before

    @pytest.mark.slow
    def test_the_real_client_gives_up_in_time(self, copy: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WANDB_BASE_URL", NOWHERE)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        run_id, files = next(iter(not_uploaded(copy).items()))
        assert "within 4 s" in syncing.upload(run_id, files, timeout_s=4).problem
        assert not_uploaded(copy)[run_id] == files

    def test_rows_that_lack_their_run_get_it_once(self, copy: Store) -> None:
        for path in files_of(copy.root, "row-*"):
            shutil.rmtree(path.parent)
        shutil.rmtree(copy.root / "wandb" / "rows")
        threads = [threading.Thread(target=write_rows, args=(copy,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert write_rows(copy) == []
        assert len(files_of(copy.root, "row-*")) == len(copy.runs()) == 1


def follow(store: Store, *numbers: int, mode: str = "offline", fail: BaseException | None = None) -> list[str]:
    """Track a made-up training; returns the warnings."""
    with Tracker(made_up(mode), store) as tracked:
        for number in numbers:
            tracked.log(number, {"loss": 1 / number, "num_tokens": 10 * number})
        if fail:
            raise fail
        tracked.done({"final_loss": 1 / numbers[-1]})
    return tracked.warnings


def made_up(mode: str = "offline") -> Step:
    tracking = dataclasses.asdict(Tracking(name="wandb", mode=mode))  # type: ignore[arg-type]
    return make_step("sft", settings={"toy": 1}, execution={"tracking": tracking}, label="toy")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(tracker, "_gave_up", [])
    return Store.open(tmp_path / "store", create=True)


class TestResuming:
    def test_offline_parts_make_one_curve(self, store: Store, recorder: Recorder) -> None:
        with pytest.raises(RuntimeError):
            follow(store, 1, 2, 3, 4, 5, fail=RuntimeError("preempted"))
        run_id = made_up().key.replace("/", "-")
        assert last_step(files_of(store.root, run_id)) == 5
        assert follow(store, 4, 5, 6, 7) == []  # resumed from the checkpoint of step 3
        first, second = map(Read.of, files_of(store.root))
        assert (steps_of(first), first.exit_code) == ([1, 2, 3, 4, 5], 1)
        assert (steps_of(second), second.exit_code) == ([6, 7], 0)
        assert sync(store) == 0
        assert [row["_step"] for row in recorder.history[run_id]] == [1, 2, 3, 4, 5, 6, 7]
        assert recorder.summary[run_id]["final_loss"] == 1 / 7

    @pytest.mark.slow
    def test_a_killed_step_leaves_what_it_logged(self, store: Store) -> None:
        code = (
            "import os, sys, time\nfrom pathlib import Path\nfrom experiment.store import Store\n"
            "from experiment.tracking.tracker import Tracker\nfrom tests.test_tracking import made_up\n"
            "with Tracker(made_up(), Store(Path(sys.argv[1]))) as tracked:\n"
            "    for number in (1, 2, 3):\n        tracked.log(number, {'loss': 1.0})\n"
            "    time.sleep(0.3)\n    print(tracked.process.pid, flush=True)\n    os.kill(os.getpid(), 9)\n"
        )
        killed = subprocess.run(
            [sys.executable, "-c", code, str(store.root)], cwd=sweeps.ROOT, capture_output=True, text=True, timeout=60
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        _wait_for_end(int(killed.stdout))
        (path,) = files_of(store.root)
        assert (steps_of(Read.of(path)), Read.of(path).exit_code) == ([1, 2, 3], 1)

    def test_online_goes_on_where_the_server_is(self, store: Store, recorder: Recorder) -> None:
        with pytest.raises(RuntimeError):
            follow(store, 1, 2, 3, mode="online", fail=RuntimeError("preempted"))
        assert follow(store, 3, 4, mode="online") == []
        run_id = made_up().key.replace("/", "-")
        assert [row["_step"] for row in recorder.history[run_id]] == [1, 2, 3, 4]
        assert recorder.summary[run_id]["final_loss"] == 1 / 4
        assert not_uploaded(store) == {}  # both parts are marked
        assert all(KEY.encode() not in path.read_bytes() for path in store.root.rglob("*") if path.is_file())

    @pytest.mark.slow
    def test_what_the_server_refuses_goes_to_files(self, store: Store, recorder: Recorder) -> None:
        run_id = made_up().key.replace("/", "-")
        recorder.refuse = {run_id}
        (warning,) = follow(store, 1, 2, mode="online")
        assert warning.startswith("W&B did not start online")
        (path,) = files_of(store.root)
        assert path.parent.name.startswith("offline-run-")
        assert (steps_of(Read.of(path)), Read.of(path).exit_code) == ([1, 2], 0)


BEGUN = """
import os, sys, time
from pathlib import Path
from experiment.store import Store
from experiment.tracking.tracker import Tracker
from tests.test_tracking import made_up
with Tracker(made_up("online"), Store(Path(sys.argv[1]))) as tracked:
    for number in (1, 2, 3):
        tracked.log(number, {"loss": 1 / number})
    print(tracked.process.pid, flush=True)
    time.sleep(600)
"""
RUN_ID = made_up().key.replace("/", "-")


def arrived(recorder: Recorder) -> list[int]:
    return [row["_step"] for row in recorder.history.get(RUN_ID, [])]


class TestBrokenOff:
    """A run whose attempts were not all of one mode, or did not end."""

    def killed(self, store: Store, recorder: Recorder) -> None:
        """An online attempt: the server has steps 1 to 3, then everything is killed."""
        begun = subprocess.Popen(
            [sys.executable, "-c", BEGUN, str(store.root)], cwd=sweeps.ROOT, stdout=subprocess.PIPE, text=True
        )
        assert begun.stdout is not None
        child = int(begun.stdout.readline())
        for _ in range(900):
            if len(arrived(recorder)) == 3:
                break
            threading.Event().wait(0.1)
        os.killpg(child, signal.SIGKILL)
        begun.kill()
        begun.wait()
        assert arrived(recorder) == [1, 2, 3]
        assert list(not_uploaded(store)) == [RUN_ID]

    @pytest.mark.slow
    def test_a_killed_online_attempt_is_gone_on_with(self, store: Store, recorder: Recorder) -> None:
        self.killed(store, recorder)
        assert follow(store, 1, 2, 3, 4, 5, mode="online") == []
        assert not_uploaded(store) == {}
        assert sync(store) == 0
        assert arrived(recorder) == [1, 2, 3, 4, 5]
        assert recorder.summary[RUN_ID]["final_loss"] == 1 / 5

    @pytest.mark.slow
    def test_of_a_killed_online_attempt_only_the_rest_is_sent(self, store: Store, recorder: Recorder) -> None:
        self.killed(store, recorder)
        assert follow(store, 2, 3, 4, 5) == []  # offline: it cannot know what the server has
        assert sync(store) == 0
        assert arrived(recorder) == [1, 2, 3, 4, 5]
        assert recorder.summary[RUN_ID]["final_loss"] == 1 / 5
        assert not_uploaded(store) == {}

    def test_online_waits_for_parts_that_are_not_uploaded(self, store: Store, recorder: Recorder) -> None:
        with pytest.raises(RuntimeError):
            follow(store, 1, 2, 3, fail=RuntimeError("preempted"))
        (warning,) = follow(store, 1, 2, 3, 4, 5, mode="online")
        assert "earlier parts of the W&B run" in warning
        assert arrived(recorder) == []
        assert sync(store) == 0
        assert arrived(recorder) == [1, 2, 3, 4, 5]
        assert recorder.summary[RUN_ID]["final_loss"] == 1 / 5

    @pytest.mark.slow
    def test_an_upload_that_takes_too_long_is_not_marked(self, store: Store, recorder: Recorder) -> None:
        recorder.hold = threading.Event()
        (warning,) = follow(store, 1, 2, 3, mode="online")
        assert "did not upload everything within 30 s" in warning
        assert list(not_uploaded(store)) == [RUN_ID]
        recorder.hold.set()
        assert sync(store) == 0
        assert arrived(recorder) == [1, 2, 3]
        assert recorder.summary[RUN_ID]["final_loss"] == 1 / 3

    def test_an_empty_part_is_told_once(
        self, store: Store, recorder: Recorder, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for number, content in enumerate((b"", b":W&B123", as_log([b"x" * 99])[:40])):
            part = store.root / "wandb" / f"run-20260101_00000{number}-{RUN_ID}"
            part.mkdir(parents=True)
            (part / f"run-{RUN_ID}.wandb").write_bytes(content)
        assert sync(store) == 0
        assert capsys.readouterr().out.count("nothing in run-20260101_00000") == 3
        assert not_uploaded(store) == {}
        assert recorder.runs == {}

    def test_signals_for_the_step_end_nothing_of_wandb(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        with Tracker(made_up(), store) as tracked:
            assert tracked.process is not None
            group = tracked.process.pid
            os.killpg(group, signal.SIGUSR2)  # from its very start
            assert KEY.encode() not in Path(f"/proc/{group}/environ").read_bytes(), "offline, it needs no key"
            tracked.log(1, {"loss": 1.0})
            while not files_of(store.root):
                assert tracked.process.poll() is None
                threading.Event().wait(0.05)
            for number in (signal.SIGTERM, signal.SIGUSR2):
                os.killpg(group, number)
            tracked.done({"final_loss": 1.0})
        assert tracked.warnings == []
        (path,) = files_of(store.root)
        assert (steps_of(Read.of(path)), Read.of(path).exit_code) == ([1], 0)

    @pytest.mark.slow
    def test_a_row_whose_writer_was_killed_elsewhere_is_written(self, copy: Store) -> None:
        for path in files_of(copy.root, "row-*"):
            shutil.rmtree(path.parent)
        (marker,) = (copy.root / "wandb" / "rows").glob("*.json")
        marker.unlink()
        claim = Claim.acquire(marker.with_suffix(""))
        assert claim is not None
        claim.release()
        claim.folder.mkdir()
        owner = dataclasses.replace(claim.owner, host="elsewhere", boot="another")
        (claim.folder / "owner.json").write_text(json.dumps(dataclasses.asdict(owner)))
        (claim.folder / "beat").write_text("1\n")
        assert write_rows(copy) == []
        assert marker.exists()
        assert len(files_of(copy.root, "row-*")) == 1


def test_no_key_is_told_also_not_one_of_wandb_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {KEY}\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_API_KEY", "another")
    assert client.masked(f"{KEY} and another are wrong") == "*** and *** are wrong"
    assert client.credentials("https://api.wandb.ai")
    assert KEY not in str(tracker.environment(keys=False))
    assert tracker.environment(keys=True)["WANDB_API_KEY"] == "another"
    assert "WANDB_API_KEY" not in tracker.environment(keys=False)


def _wait_for_end(pid: int) -> None:
    for _ in range(300):
        if not Path(f"/proc/{pid}").exists():
            return
        threading.Event().wait(0.1)
    raise AssertionError(f"process {pid} goes on")


FAKE = "class Settings:\n    sync_file = '/nowhere/x'\n    def __init__(self, **_): pass\n"
RUN = "class Run:\n    step, settings = 0, Settings()\n    def log(self, *_, **__): {fault}\ninit = lambda **_: Run()\n"
FAULTS = {
    "missing": ("raise ImportError('no such thing')", "pip install wandb"),
    "hangs": (f"{FAKE}import time\ndef init(**_): time.sleep(600)\n", "was left behind"),
    "raises at init": (f"{FAKE}def init(**_): raise RuntimeError('no')\n", "RuntimeError: no"),
    "raises at log": (FAKE + RUN.format(fault="raise RuntimeError('no')"), "RuntimeError: no"),
    "tells the key": (f"def init(): pass\ndef setup(): raise RuntimeError('{KEY} is wrong')\n", "*** is wrong"),
    "dies at log": (FAKE + "import os\n" + RUN.format(fault="os.kill(os.getpid(), 9)"), "exit code -9"),
    "no folder": (None, "FileExistsError"),
    "no network": (None, "no connection to 127.0.0.1"),
    "no key": (None, "there is no key"),
}


QUICK = ("missing", "raises at log", "dies at log", "tells the key", "no network")


@pytest.fixture(scope="module")
def untracked(tmp_path_factory: pytest.TempPathFactory, base: Path) -> tuple[Store, Step]:
    """A small training, and what it leaves without tracking."""
    from tests import models, test_training

    store, mix = test_training.new_store(tmp_path_factory.mktemp("untracked"))
    step = models.sft_step(mix, base, micro_batch=2)
    models.finish(store, step)
    return store, step


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    "fault", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FAULTS]
)
def test_no_fault_of_wandb_reaches_a_training(
    fault: str, untracked: tuple[Store, Step], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests import models

    library, said = FAULTS[fault]
    (tmp_path / "fake" / "wandb").mkdir(parents=True)
    if library is not None:
        (tmp_path / "fake" / "wandb" / "__init__.py").write_text(library)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
    monkeypatch.setattr(tracker, "_gave_up", [])
    monkeypatch.setattr(tracker, "PATIENCE_S", {"offline": 3.0, "online": 15.0})
    monkeypatch.setenv("WANDB_API_KEY", "" if fault == "no key" else KEY)
    monkeypatch.setenv("NETRC", os.devnull)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_BASE_URL", NOWHERE)
    straight, step = untracked
    store = Store.open(tmp_path / "store", create=True)
    shutil.copytree(straight.root / "mix", store.root / "mix")
    if fault == "no folder":
        (store.root / "wandb").write_text("")
    mode = "online" if library is None or KEY in library else "offline"
    tracking = dataclasses.asdict(Tracking(name="wandb", mode=mode))  # type: ignore[arg-type]
    tracked = dataclasses.replace(step, execution={**step.execution, "tracking": tracking})
    assert tracked.fingerprint == step.fingerprint
    outcome = models.attempt(store, tracked)
    assert outcome.state == "done", outcome.reason
    ours = [warning for warning in outcome.warnings if "W&B" in warning]
    assert any(said in warning for warning in ours), outcome.warnings
    assert len(ours) == 1 + (fault == "no folder")  # asked to go online, it cannot either
    assert KEY not in str(outcome.warnings)
    left, right = (place.read_manifest("sft", step.fingerprint) for place in (straight, store))
    assert left is not None
    assert right is not None
    assert left.files == right.files  # sizes and checksums of weights, curve and all
    assert left.summary == right.summary


def test_after_being_left_behind_wandb_is_not_waited_for_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "__init__.py").write_text(FAULTS["hangs"][0] or "")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(tracker, "PATIENCE_S", {"offline": 0.5})
    monkeypatch.setattr(tracker, "PATIENCE_STOPPED_S", 0.2)
    monkeypatch.setattr(tracker, "MOST_WAITING", 3)
    left, lost = follow(store, *range(1, 3000))  # more than a pipe holds: none of it waits
    assert "was left behind" in left
    assert "did not take" in lost
    (skipped,) = follow(store, 1)
    assert skipped.startswith("not tracked by W&B: ")


def test_all_of_a_resumed_trainings_history_has_room(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "__init__.py").write_text(FAULTS["hangs"][0] or "")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(tracker, "PATIENCE_S", {"offline": 0.5})
    monkeypatch.setattr(tracker, "MOST_WAITING", 3)
    with Tracker(made_up(), store) as tracked:
        for number in range(1, 3000):
            tracked.log(number, {"loss": 1.0, "step": number})
    (left,) = tracked.warnings
    assert "was left behind" in left
    assert tracked.process is not None
    assert not list(Path(tempfile.gettempdir()).glob(f"kirjo-wandb-{tracked.process.pid}-*"))


def test_a_full_disk_costs_only_the_tracking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    monkeypatch.setattr(tracker, "_gave_up", [])
    try:
        store = Store.open(disk / "store", create=True)
        ballast = os.open(disk / "ballast", os.O_WRONLY | os.O_CREAT)
        with contextlib.suppress(OSError):
            while os.write(ballast, b"x" * 4096):
                pass
        os.close(ballast)
        assert shutil.disk_usage(disk).free == 0
        assert any("W&B" in warning for warning in follow(store, 1, 2, 3))
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def test_what_is_not_tracked_starts_nothing(store: Store) -> None:
    plain = make_step("sft", settings={"toy": 1})
    elsewhere = dataclasses.replace(made_up(), stage="mix")
    for step in (plain, elsewhere):
        with Tracker(step, store) as tracked:
            tracked.log(1, {"loss": 1.0})
        assert tracked.process is None
    assert not (store.root / "wandb").exists()


def test_the_newest_sweep_has_a_shared_step(store: Store) -> None:
    for number, when in (("a", "2026-01-02"), ("b", "2026-01-01")):
        store.save_run(
            {
                "id": f"run-{number}",
                "name": number,
                "axes": {"mix": 40, "beta": None, "method": number},
                "steps": {"sft": "sft/1"},
            }
        )
        store.save_sweep({"id": f"sweep-{number}", "runs": [f"run-{number}"], "asked_for": when})
    users = belongs.users(store, "sft/1")
    assert [user["id"] for user in users] == ["run-a", "run-b"]
    assert belongs.group(store, users) == "sweep-a"
    assert belongs.group(store, users[1:]) == "sweep-b"
    assert belongs.group(store, []) is None
    assert belongs.tags(users) == ["method=a", "method=b", "mix=40"]
    assert belongs.tags([{"axes": {"model": "x" * 99}}]) == ["model=" + "x" * 58]


@given(st.lists(st.binary(max_size=70_000), max_size=6), st.integers(0, 100_000))
def test_logs_are_read_over_blocks_up_to_where_they_were_torn(contents: list[bytes], torn: int) -> None:
    whole = as_log(contents)
    assert list(_contents(whole)) == contents
    some = list(_contents(whole[:torn]))
    assert some == contents[: len(some)]


def as_log(contents: list[bytes]) -> bytes:
    """LevelDB's log format, written as its description says; the checksums are left 0."""
    out = bytearray(b":W&B123")
    for content in contents:
        first, rest = True, content
        while True:
            room = 32768 - len(out) % 32768
            if room < 7:
                out += bytes(room)
                continue
            piece, rest = rest[: room - 7], rest[room - 7 :]
            kind = (1 if first else 4) if not rest else (2 if first else 3)
            out += struct.pack("<IHB", 0, len(piece), kind) + piece
            first = False
            if not rest:
                break
    return bytes(out)


def test_metrics_of_nothing_are_no_error() -> None:
    assert metrics([])["instruction_strict"] == 0.0


def test_tokens_per_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([10.0, 12.0, 13.0])
    monkeypatch.setattr("experiment.tracking.speed.time.monotonic", lambda: next(now))
    speed = Speed(make_step("sft", settings={}))
    assert speed.of(1, {"loss": 1.0, "num_tokens": 100}) == {}
    assert speed.of(2, {"loss": 1.0, "num_tokens": 300}) == {"tokens_per_second": 100.0}
    assert speed.of(2, {"loss": 1.0, "num_tokens": 300, "step": 2}) == {}
    assert speed.of(2, {"train_runtime": 1.0}) == {}
    blocks = Speed(make_step("pretrain", settings={"training": {"global_batch": 4, "max_length": 8}}))
    monkeypatch.setattr("experiment.tracking.speed.time.monotonic", iter([0.0, 2.0]).__next__)
    assert blocks.of(1, {"loss": 1.0}) == {}
    assert blocks.of(2, {"loss": 1.0}) == {"tokens_per_second": 16.0}
