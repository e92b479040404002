"""Ranks: what they tell each other, who publishes, and that training on many is training on one."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from experiment import stop
from experiment.errors import KirjoError
from experiment.execute import reason_of, what_to_do
from experiment.plan import Step
from experiment.ranks import ALONE, Ranks, _connect
from experiment.resources import Parallel
from experiment.sources.source import Source
from experiment.store import Store
from experiment.task import Task
from experiment.training.models import weights_bytes
from experiment.training.parallel import FilledSampler, deepspeed_config, parallel_of
from tests import models
from tests.ranked import ROOT, Elsewhere, environment, free_ports, soon, spread, together
from tests.test_training import PAIRS, checkpoint, new_store

# Twice the pairs with other prompts: 14, so that the last of the batches of 8 has 6.
MANY_PAIRS = [(f"{number}: {prompt}", chosen, rejected) for number in (1, 2) for prompt, chosen, rejected in PAIRS[:7]]
SAME = ("loss", "grad_norm", "learning_rate", "step")
OF_PAIRS = (
    "rewards/chosen",
    "rewards/rejected",
    "rewards/margins",
    "rewards/accuracies",
    "logps/chosen",
    "logps/rejected",
)


def sft(base: Path, folder: Path, **settings: Any) -> tuple[Store, Step]:
    """22 rows in batches of 8: the last one has 6."""
    store, mix = new_store(folder)
    return store, models.sft_step(mix, base, micro_batch=8, **{"global_batch": 8, **settings})


def dpo(folder: Path, **settings: Any) -> tuple[Store, Step]:
    folder.mkdir(exist_ok=True)
    store = Store.open(folder / "store", create=True)
    model = checkpoint(store)
    pairs = models.pair_step(models.pairs_file(folder.parent / "pairs.jsonl", MANY_PAIRS))
    reference = models.reference_step(model, pairs)
    for step in (pairs, reference):
        models.finish(store, step)
    return store, models.dpo_step(model, {"en": reference}, micro_batch=8, **{"global_batch": 8, **settings})


def done_by(store: Store, step: Step, size: int = 2) -> None:
    outcomes = together(store, step, size)
    assert [outcome.state for outcome in outcomes] == ["done"] * size, outcomes
    assert outcomes[0] == outcomes[1]


def alike(left: tuple[Store, Step], right: tuple[Store, Step], rel: float = 1e-4, gap: float = 1e-6) -> None:
    """The curves tell of the same training, and it ends at the same weights, in the same files."""
    ours, theirs = models.history(*left), models.history(*right)
    assert len(ours) == len(theirs) > 3
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.keys() == other.keys()
        for name in SAME:
            assert mine[name] == pytest.approx(other[name], rel=rel, abs=1e-6), (name, mine, other)
    folders = [store.artifact(step.stage, step.fingerprint) for store, step in (left, right)]
    names = [sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")) for folder in folders]
    assert names[0] == names[1]
    tensors = [load_file(folder / "model" / "model.safetensors") for folder in folders]
    assert tensors[0].keys() == tensors[1].keys()
    for name, tensor in tensors[0].items():
        assert tensor.dtype == tensors[1][name].dtype
        # A key's bias adds the same to all scores of a query: its gradient is rounding alone, and Adam divides by that.
        if not name.endswith("query_key_value.bias"):
            assert float((tensor.float() - tensors[1][name].float()).abs().mean()) < gap, name


class TestTheSameTraining:
    def test_sft_of_two_ranks_that_is_told_to_stop_is_gone_on_with_by_one_and_ends_as_one_process_does(
        self, base: Path, tmp_path: Path
    ) -> None:
        alone = sft(base, tmp_path / "alone", loss_on="assistant")
        models.finish(*alone)
        store, step = sft(base, tmp_path / "ranks", loss_on="assistant")
        step = spread(step, "ddp", micro_batch=4)
        # One rank alone hears of it; the other learns it at the end of the step.
        outcomes = together(store, step, does={1: "stop 4"})
        assert [outcome.state for outcome in outcomes] == ["stopped", "stopped"], outcomes
        assert not list(store.base("sft", step.fingerprint).parent.glob("*.claim-*"))
        # With ddp each rank holds the whole optimizer, as one process does.
        models.finish(store, spread(step, "single", micro_batch=8))
        assert models.summary(store, step)["resumed_from"] == 4  # in the second epoch, which has another order
        alike((store, step), alone)

    @pytest.mark.slow
    def test_sft_whose_second_rank_is_killed_goes_on_from_the_last_whole_checkpoint(
        self, base: Path, tmp_path: Path
    ) -> None:
        alone = sft(base, tmp_path / "alone", loss_on="assistant", checkpoint_every=2)
        models.finish(*alone)
        store, step = sft(base, tmp_path / "ranks", loss_on="assistant", checkpoint_every=2)
        step = spread(step, "ddp", micro_batch=4)
        first, second = together(store, step, does={1: "kill 5"})
        assert (first.state, second.reason) == ("failed", "ended with -9")
        assert first.reason.startswith("another rank died or hung: look at the end of its log"), first
        assert not store.is_complete(step.stage, step.fingerprint)
        done_by(store, step)
        assert models.summary(store, step)["resumed_from"] == 4
        alike((store, step), alone)

    @pytest.mark.slow
    def test_two_ranks_go_on_with_what_one_process_has_saved(self, base: Path, tmp_path: Path) -> None:
        alone = sft(base, tmp_path / "alone", checkpoint_every=2)
        models.finish(*alone)
        store, step = sft(base, tmp_path / "ranks", checkpoint_every=2)

        def fail(done: int, _of: int) -> None:
            if done == 5:
                raise KirjoError("no disk")

        assert models.attempt(store, step, fail).state == "failed"
        step = spread(step, "ddp", micro_batch=4)
        done_by(store, step)
        assert models.summary(store, step)["resumed_from"] == 4
        alike((store, step), alone)
        manifest = store.read_manifest(step.stage, step.fingerprint)
        assert manifest is not None
        assert manifest.execution["ranks"] == 2
        assert not list(store.artifact(step.stage, step.fingerprint).glob(".*"))

    @pytest.mark.slow
    def test_who_is_told_to_stop_while_the_model_is_loaded_does_not_train(self, base: Path, tmp_path: Path) -> None:
        store, step = sft(base, tmp_path)
        step = spread(step, "ddp", micro_batch=4)
        outcomes = together(store, step, does={1: "stop loading"})
        assert [outcome.state for outcome in outcomes] == ["stopped", "stopped"], outcomes
        assert not list(store.work(step.stage, step.fingerprint).glob("checkpoints/*"))
        assert not list(store.base("sft", step.fingerprint).parent.glob("*.claim-*"))

    @pytest.mark.slow
    def test_dpo_that_was_told_to_stop_saves_and_goes_on(self, tmp_path: Path) -> None:
        alone = dpo(tmp_path / "alone")
        models.finish(*alone)
        store, step = dpo(tmp_path / "ranks")
        step = spread(step, "ddp", micro_batch=2)
        # One rank alone hears of it; the other learns it at the end of the step.
        outcomes = together(store, step, does={1: "stop 3"})
        assert [outcome.state for outcome in outcomes] == ["stopped", "stopped"], outcomes
        assert not list(store.base("dpo", step.fingerprint).parent.glob("*.claim-*"))
        done_by(store, step)
        assert models.summary(store, step)["resumed_from"] == 3
        alike((store, step), alone)
        for mine, other in zip(models.history(store, step), models.history(*alone), strict=True):
            for name in OF_PAIRS:
                assert mine[name] == pytest.approx(other[name], rel=1e-4, abs=1e-4), (name, mine, other)

    def test_one_process_that_is_told_to_stop_saves_and_goes_on(self, base: Path, tmp_path: Path) -> None:
        alone = sft(base, tmp_path / "alone")
        models.finish(*alone)
        store, step = sft(base, tmp_path / "stopped")

        def progress(done: int, _of: int) -> None:
            if done == 4:
                stop.request()

        try:
            assert models.attempt(store, step, progress).state == "stopped"
            assert models.attempt(store, step).state == "stopped"  # the request stands
        finally:
            stop._requested = False
        models.finish(store, step)
        assert models.summary(store, step)["resumed_from"] == 4
        assert models.weights(store, step) == models.weights(*alone)
        assert models.history(store, step) == models.history(*alone)


class TestWhoWrites:
    @pytest.mark.slow
    def test_a_failing_rank_says_why_and_nothing_is_published(self, base: Path, tmp_path: Path) -> None:
        """The fault shows before training, on rank 0 alone: the others hear of it instead of waiting."""
        store, step = sft(base, tmp_path, max_length=4, max_truncated=0.1)
        outcomes = together(store, spread(step, "ddp", micro_batch=4))
        assert [outcome.state for outcome in outcomes] == ["failed", "failed"]
        assert "preflight" in outcomes[0].reason
        assert not store.artifact("sft", step.fingerprint).exists()

    @pytest.mark.slow
    def test_what_a_rank_says_before_it_leaves_is_what_rank_0_says(self, base: Path, tmp_path: Path) -> None:
        store, step = sft(base, tmp_path)
        outcomes = together(store, spread(step, "ddp", micro_batch=4), does={1: "fail 3"})
        assert [outcome.reason for outcome in outcomes] == ["rank 1 failed: no disk", "no disk"]
        assert not store.artifact("sft", step.fingerprint).exists()

    def test_each_rank_would_train_alone(self, base: Path, tmp_path: Path) -> None:
        store, step = sft(base, tmp_path)
        task = Task(spread(step, "single", 4), store, tmp_path, models.quiet, Ranks(0, 2))
        with pytest.raises(KirjoError, match="2 ranks would each train alone: choose parallel=ddp"):
            parallel_of(task)


@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 6), st.integers(0, 3))
def test_ranks_share_out_the_permutation_of_one_process(rows: int, micro: int, size: int, epoch: int) -> None:
    from accelerate.data_loader import BatchSamplerShard, SeedableRandomSampler
    from torch.utils.data import BatchSampler

    one = SeedableRandomSampler(range(rows), data_seed=7)
    one.set_epoch(epoch)
    expected = list(one)
    shares = [
        list(
            BatchSamplerShard(
                BatchSampler(FilledSampler(rows, micro * size, 7, lambda: epoch), micro, drop_last=False), size, rank
            )
        )
        for rank in range(size)
    ]
    passes = list(zip(*shares, strict=True))  # as many passes on each rank
    assert all(len(batch) == micro for one_pass in passes for batch in one_pass)
    seen = [row for one_pass in passes for batch in one_pass for row in batch]
    assert seen[:rows] == expected
    assert seen[rows:] == [rows] * (len(seen) - rows)
    assert len(seen) - rows < micro * size


def test_deepspeed_is_told_what_the_trainer_is() -> None:
    from experiment.config import Training

    training = Training(**{**models.SFT, "global_batch": 128, "precision": "bf16"}, micro_batch=2, max_grad_norm=0.5)
    config = deepspeed_config(Parallel(name="zero3", offload="optimizer"), training, 32)
    assert config["data_types"] == {"grad_accum_dtype": "fp32"}  # two passes
    assert "data_types" not in deepspeed_config(Parallel(name="zero3"), training, 64)
    assert "data_types" not in deepspeed_config(Parallel(name="zero3"), replace(training, precision="float32"), 32)
    assert (config["train_batch_size"], config["gradient_accumulation_steps"]) == (128, 2)
    assert config["train_micro_batch_size_per_gpu"] == 2
    assert config["gradient_clipping"] == 0.5
    assert config["bf16"] == {"enabled": True}
    assert config["zero_optimization"]["stage"] == 3
    assert config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] is True
    assert config["zero_optimization"]["offload_optimizer"]["device"] == "cpu"
    assert "optimizer" not in config
    assert "scheduler" not in config
    with pytest.raises(KirjoError, match="a global batch of 128 cannot be made"):
        deepspeed_config(Parallel(name="zero2"), training, 48)


class TestTelling:
    """Threads with a connection each stand for processes here; the server is the real one."""

    @pytest.fixture
    def pair(self) -> tuple[Ranks, Ranks]:
        port = free_ports()[0]
        ranks = [Ranks(rank, 2, _connect(rank, 2, "127.0.0.1", port, "sft/1")) for rank in range(2)]
        for one in ranks:
            one.begin("sft/1")
        return ranks[0], ranks[1]

    def test_who_waits_hears_it_however_late_it_comes(self, pair: tuple[Ranks, Ranks]) -> None:
        first, second = pair
        hearing = Elsewhere(lambda: second.hear("news"))
        assert hearing.goes_on(0.3)
        first.tell("news", {"ä": [1, 2.5, None]})
        assert hearing.result() == {"ä": [1, 2.5, None]}
        assert soon(lambda: second.hear("news")) == {"ä": [1, 2.5, None]}

    def test_only_rank_0_makes_what_they_agree_on(self, pair: tuple[Ranks, Ranks]) -> None:
        first, second = pair
        agreeing = Elsewhere(lambda: second.agree("number", lambda: 1 / 0))
        assert first.agree("number", lambda: 5) == 5
        assert agreeing.result() == 5

    def test_nobody_leaves_a_meeting_before_all_are_there(self, pair: tuple[Ranks, Ranks]) -> None:
        first, second = pair
        for name in ("here", "there"):
            meeting = Elsewhere(lambda name=name: second.meet(name))
            assert meeting.goes_on(0.2)
            soon(lambda name=name: first.meet(name))
            meeting.result()

    def test_names_are_free_again_in_the_next_attempt(self, pair: tuple[Ranks, Ranks]) -> None:
        first, second = pair
        for number in (1, 2):
            first.tell("number", number)
            assert soon(lambda: second.hear("number")) == number
            first.begin("sft/1")
            second.begin("sft/1")

    def test_two_steps_do_not_hear_each_other(self, pair: tuple[Ranks, Ranks]) -> None:
        first, second = pair
        first.begin("dpo/2")
        second.begin("sft/2")
        first.tell("number", 1)
        hearing = Elsewhere(lambda: second.hear("number"))
        assert hearing.goes_on(0.3)
        second.leave("stopped", "")  # lets the thread end
        assert isinstance(hearing.outcome(), stop.Stopped)

    @pytest.mark.parametrize(("state", "expected"), [("failed", KirjoError), ("stopped", stop.Stopped)])
    def test_a_rank_that_leaves_is_waited_for_by_nobody(
        self, pair: tuple[Ranks, Ranks], state: str, expected: type[BaseException]
    ) -> None:
        first, second = pair
        meeting = Elsewhere(lambda: first.meet("end"))
        soon(lambda: second.leave(state, "the disk is full"))
        error = meeting.outcome()
        assert isinstance(error, expected)
        if state == "failed":
            assert str(error) == "rank 1 failed: the disk is full"

    def test_of_two_that_leave_the_first_is_heard(self, pair: tuple[Ranks, Ranks]) -> None:
        """The second one fails because the first has."""
        first, second = pair
        soon(lambda: second.leave("failed", "the disk is full"))
        soon(lambda: first.leave("failed", "Connection closed by peer"))
        assert first.failure() == "rank 1 failed: the disk is full"
        assert second.failure() is None  # it knows its own failure better
        for one in pair:
            with pytest.raises(KirjoError, match=r"^rank 1 failed: the disk is full$"):
                soon(lambda one=one: one.hear("anything"))

    def test_who_stops_has_not_failed(self, pair: tuple[Ranks, Ranks]) -> None:
        first, second = pair
        soon(lambda: second.leave("stopped", ""))
        assert first.failure() is None

    def test_rank_0_stays_until_the_others_have_parted(self, pair: tuple[Ranks, Ranks]) -> None:
        first, second = pair
        parting = Elsewhere(first.part)
        assert parting.goes_on(0.3)
        soon(second.part)
        parting.result()

    def test_rank_0_does_not_stay_for_ever(self, pair: tuple[Ranks, Ranks]) -> None:
        started = time.monotonic()
        soon(lambda: pair[0].part(seconds=0.3))
        assert time.monotonic() - started >= 0.3

    def test_prepared_data_is_made_once_and_read_by_the_others(self, pair: tuple[Ranks, Ranks], tmp_path: Path) -> None:
        rows = [{"input_ids": [1, 2], "labels": [-100, 2], "text": "ä"}]
        step = models.mix_step(Source(reader="demo", language="en", rows=2, seed=2))
        tasks = [Task(step, Store(tmp_path), tmp_path, models.quiet, ranks) for ranks in (*pair, ALONE)]
        preparing = Elsewhere(lambda: tasks[1].prepare("rows", lambda: 1 / 0))
        assert tasks[0].prepare("rows", lambda: rows) == rows
        assert preparing.result() == rows
        assert [path.name for path in tmp_path.iterdir()] == [".prepared"]
        assert tasks[2].prepare("alone", lambda: rows) == rows
        assert [path.name for path in (tmp_path / ".prepared").iterdir()] == ["rows.json"]


class TestConnecting:
    def test_a_rank_does_not_talk_to_the_server_of_the_step_before(self) -> None:
        port = free_ports()[0]
        before = _connect(0, 2, "127.0.0.1", port, "sft/1")
        before.begin("sft/1")
        before.leave(0, "failed", "of the step before")
        connecting = Elsewhere(lambda: _connect(1, 2, "127.0.0.1", port, "dpo/2"))
        assert connecting.goes_on(0.5)
        del before  # its process ends; the port is free
        first = soon(lambda: _connect(0, 2, "127.0.0.1", port, "dpo/2"))
        second = connecting.result()
        for channel in (first, second):
            channel.begin("dpo/2")
        first.put("news", 5)
        assert second.left() is None
        assert soon(lambda: second.wait("news")) == 5

    @pytest.mark.parametrize("listens", [True, False])
    def test_who_finds_no_rank_0_of_its_step_says_so(self, monkeypatch: pytest.MonkeyPatch, listens: bool) -> None:
        monkeypatch.setattr("experiment.ranks.CONNECT_S", 1)
        port = free_ports()[0]
        other = _connect(0, 2, "127.0.0.1", port, "sft/1") if listens else None
        said = r"who answers there serves sft/1, not dpo/2" if listens else ""
        with pytest.raises(KirjoError, match=rf"rank 0 does not answer at 127.0.0.1:{port}: .*{said}"):
            soon(lambda: _connect(1, 2, "127.0.0.1", port, "dpo/2"))
        del other

    def test_a_port_that_is_taken(self) -> None:
        port = free_ports()[0]
        other = _connect(0, 2, "127.0.0.1", port, "sft/1")
        with pytest.raises(KirjoError, match=f"rank 0 cannot listen on port {port}: another process may have"):
            soon(lambda: _connect(0, 2, "127.0.0.1", port, "dpo/2"))
        del other


def test_a_dead_rank_0_is_not_waited_for() -> None:
    begin = "import os, time\nfrom experiment.ranks import Ranks\nranks = Ranks.from_environment()\nranks.begin()\n"
    die, hear = begin + "time.sleep(1)\nos._exit(9)", begin + "ranks.hear('never')"
    ports = free_ports()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=environment(rank, 2, ports),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank, program in enumerate((die, hear))
    ]
    said, _ = processes[1].communicate(timeout=60)
    assert processes[0].wait(timeout=60) == 9
    assert processes[1].returncode == 1
    assert f"KirjoError: rank 0 at 127.0.0.1:{ports[1]} cannot be reached any more: it died" in said, said


class TestEnvironment:
    def test_one_process_is_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("RANK", "WORLD_SIZE"):
            monkeypatch.delenv(name, raising=False)
        assert Ranks.from_environment() is ALONE
        assert ALONE.first
        ALONE.begin("sft/1")
        ALONE.meet("nobody")
        assert ALONE.agree("anything", lambda: 3) == 3

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            ({}, "MASTER_ADDR is not set"),
            ({"MASTER_ADDR": "h"}, "MASTER_PORT is not set"),
            ({"MASTER_ADDR": "h", "MASTER_PORT": "many"}, "must be numbers"),
            ({"MASTER_ADDR": "h", "MASTER_PORT": "1", "RANK": "2"}, "RANK=2 is none of the 2 ranks"),
        ],
    )
    def test_what_is_missing_is_named(self, monkeypatch: pytest.MonkeyPatch, more: dict[str, str], said: str) -> None:
        for name in ("MASTER_ADDR", "MASTER_PORT", "CONTROL_PORT"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"RANK": "0", "WORLD_SIZE": "2", **more}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(KirjoError, match=said):
            Ranks.from_environment()


def test_a_model_is_weighed_without_loading_it(base: Path, tmp_path: Path) -> None:
    """What decides whether one GPU holds it."""
    tokenizer = models.toy_tokenizer()
    model = models.toy_bloom(tokenizer).to(torch.bfloat16)
    folder = models.save_model(tmp_path / "half", model, tokenizer)
    parameters = model.num_parameters()
    assert weights_bytes(folder, "auto") == 2 * parameters
    assert weights_bytes(folder, "float32") == weights_bytes(base, "auto") == 4 * parameters


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "out of memory: lower micro_batch"),
        ("OutOfMemoryError: HIP out of memory. Tried to allocate 2.00 GiB", "out of memory"),
        ("RuntimeError: [enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory", "out of me"),
        ("MemoryError: no message", "out of memory"),
        ("OSError: [Errno 12] Cannot allocate memory", "out of memory"),
        (
            "RuntimeError: [../third_party/gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.1]:2",
            "died",
        ),
        ("RuntimeError: Connection reset by peer", "another rank died or hung"),
        ("DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:1970, remote process exited", "another rank died"),
        ("RuntimeError: [Rank 3] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=12)", "another rank"),
        ("RuntimeError: Timed out waiting 1800000ms for recv operation to complete", "another rank died or hung"),
        ("DistStoreError: Timed out after 601 seconds waiting for clients. 1/2 clients joined.", "another rank"),
        ("DistStoreError: wait timeout after 1000ms, keys: /x", "another rank"),
        ("ReadTimeout: HTTPSConnectionPool(host='store.example', port=443): Read timed out.", ""),
        ("ValueError: the memory of a fish", ""),
        ("OSError: [Errno 2] No such file or directory: 'broadcast.json'", ""),
    ],
)
def test_what_to_do_about_it(text: str, advice: str) -> None:
    found = what_to_do(text, ranks=2)
    assert advice in found
    assert bool(advice) == bool(found)


@pytest.mark.parametrize(
    "text",
    [
        "BrokenPipeError: [Errno 32] Broken pipe",
        "ConnectionRefusedError: [Errno 111] Connection refused",
        "ReadTimeout: HTTPSConnectionPool(host='store.example', port=443): Read timed out. (read timeout=10)",
        "RuntimeError: Timed out waiting 1800000ms for recv operation to complete",
    ],
)
def test_who_works_alone_has_lost_no_other_rank(text: str, tmp_path: Path) -> None:
    assert what_to_do(text, ranks=1) == ""
    assert "another rank" not in reason_of(RuntimeError(text), tmp_path)


def test_the_real_words_of_a_failed_allocation() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert what_to_do(f"{type(caught.value).__name__}: {caught.value}", ranks=1).startswith("out of memory")
