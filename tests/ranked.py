"""Real processes that carry out one step together, as the ranks of a job do; on CPUs, over gloo."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from experiment.execute import Outcome
from experiment.plan import Step
from experiment.store import Store

ROOT = Path(__file__).resolve().parents[1]


def spread(step: Step, parallel: str, micro_batch: int, **more: Any) -> Step:
    """The same step, to be carried out in another topology."""
    training = {**step.execution["training"], "micro_batch": micro_batch, **more}
    return replace(
        step, execution={**step.execution, "training": training, "parallel": {"name": parallel, "offload": "none"}}
    )


def environment(rank: int, size: int, ports: tuple[int, int]) -> dict[str, str]:
    """What a launcher of ranks sets."""
    return {
        **os.environ,
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(ports[0]),
        "CONTROL_PORT": str(ports[1]),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }


def free_ports() -> tuple[int, int]:
    """Two ports that nobody has now."""
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def start(commands: Sequence[Sequence[str]], folder: Path) -> list[subprocess.Popen[bytes]]:
    """One process a command, as the ranks 0, 1 ...; each with a log of its own in the folder."""
    ports = free_ports()
    started = []
    for rank, command in enumerate(commands):
        with (folder / f"{rank}.log").open("wb") as log:
            started.append(
                subprocess.Popen(
                    [sys.executable, *command],
                    cwd=ROOT,
                    env=environment(rank, len(commands), ports),
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
    return started


def together(store: Store, step: Step, size: int = 2, does: Mapping[int, str] | None = None) -> list[Outcome]:
    """Run the step with real ranks; ``does`` says what a rank does at a step: ``kill 3``, ``stop 3``, ``fail 3``.

    ``stop loading``: it is told to stop while it loads the model.

    The warnings of a failed outcome are the end of that rank's log.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "step.json").write_text(json.dumps(step.to_json()))
        acts = does or {}
        ranks = start(
            [["-m", "tests.ranked", str(store.root), name, acts.get(rank, "")] for rank in range(size)], folder
        )
        try:
            for rank in ranks:
                rank.wait(timeout=300)
        finally:
            for rank in ranks:
                rank.kill()
        return [outcome_of(folder, number, rank.returncode) for number, rank in enumerate(ranks)]


def outcome_of(folder: Path, rank: int, code: int | None) -> Outcome:
    """What a rank has left."""
    path, log = folder / f"{rank}.json", (folder / f"{rank}.log").read_text(errors="replace")
    found = Outcome(**json.loads(path.read_text())) if path.exists() else Outcome("failed", f"ended with {code}")
    assert code == (found.state == "failed") or not path.exists()
    return replace(found, warnings=(log[-5000:],)) if found.state == "failed" else found


def _stop_loading() -> None:
    from transformers import AutoModelForCausalLM

    before = AutoModelForCausalLM.from_pretrained

    def from_pretrained(*args: Any, **more: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return before(*args, **more)

    AutoModelForCausalLM.from_pretrained = from_pretrained


class Elsewhere:
    """Work in a thread of its own: a test that it would hang fails instead."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._found: list[Any] = []
        self._failed = False
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def goes_on(self, seconds: float) -> bool:
        """Whether the work is not done after so long."""
        self._thread.join(seconds)
        return self._thread.is_alive()

    def outcome(self, seconds: float = 20.0) -> Any:
        """What the work returned or raised."""
        assert not self.goes_on(seconds), f"hangs after {seconds} s"
        return self._found[0]

    def result(self, seconds: float = 20.0) -> Any:
        """What the work returned; raises what it raised."""
        found = self.outcome(seconds)
        if self._failed:
            raise found
        return found

    def _run(self, work: Callable[[], Any]) -> None:
        try:
            self._found.append(work())
        except BaseException as error:  # noqa: BLE001 - the one who asks gets it
            self._failed = True
            self._found.append(error)


def soon(work: Callable[[], Any], seconds: float = 20.0) -> Any:
    """What the work returns, which may hang."""
    return Elsewhere(work).result(seconds)


def main(root: str, folder: str, act: str) -> None:
    """One rank."""
    import torch

    from experiment import stop
    from experiment.claims import Observer
    from experiment.errors import KirjoError
    from experiment.execute import execute
    from experiment.ranks import Ranks
    from experiment.training.loop import TaskCallback

    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, lambda _signal, _frame: stop.request())
    if act == "stop loading":
        _stop_loading()
    elif act:
        what, at = act.split()
        before = TaskCallback.on_step_end

        def on_step_end(self: Any, args: Any, state: Any, control: Any, **more: Any) -> None:
            if state.global_step == int(at) and what == "fail":
                raise KirjoError("no disk")
            if state.global_step == int(at):
                os.kill(os.getpid(), {"kill": signal.SIGKILL, "stop": signal.SIGTERM}[what])
            before(self, args, state, control, **more)

        TaskCallback.on_step_end = on_step_end  # type: ignore[method-assign]
    step = Step.from_json(json.loads((Path(folder) / "step.json").read_text()))
    ranks = Ranks.from_environment(step.key)
    outcome = execute(step, Store.open(Path(root), create=False), lambda done, of: None, 1, Observer(), ranks)
    (Path(folder) / f"{ranks.rank}.json").write_text(json.dumps(asdict(outcome)))
    sys.stdout.flush()
    os._exit(outcome.state == "failed")


if __name__ == "__main__":
    main(*sys.argv[1:])
