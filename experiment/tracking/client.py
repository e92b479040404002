"""The one place that talks to the W&B library: runs whose files are few and free of secrets."""

from __future__ import annotations

import atexit
import http.client
import netrc
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from experiment.errors import KirjoError
from experiment.tracking.transaction_log import holds_run, last_step, parts

FOLDER = "wandb"  # in the store
CLOUD = "https://api.wandb.ai"
CONNECT_S = 5.0
INIT_S = 15.0
FINISH_S = 30.0

MISSING = "W&B is not installed: pip install wandb"
LATER = "written to files instead; upload them with: python -m launchers sync"

Warn = Callable[[str], None]


class NotOnline(Exception):
    """W&B did not start online; its service in this process is of no more use."""


class NotUploaded(NotOnline):
    """W&B did not end in time; what the server has not taken is in the run's file."""


@dataclass(frozen=True)
class Identity:
    """What W&B shows a run under; the id is the same for the same work, so an interrupted run is gone on with."""

    id: str
    name: str
    job_type: str
    group: str | None
    tags: list[str]
    config: Mapping[str, Any] = field(repr=False)


class OpenRun:
    """A W&B run that is being written; steps that it has already are left out."""

    def __init__(self, wandb: Any, run: Any, seen: int, earlier: Sequence[Path] = ()) -> None:
        self._wandb, self._run, self._seen, self._earlier = wandb, run, seen, earlier

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """One row of the history."""
        if step > self._seen and values:
            self._run.log(dict(values), step=step, commit=True)
            self._seen = step

    def show(self, name: str, columns: list[str], rows: list[list[Any]]) -> None:
        """A table, as the last row of the history."""
        table = self._wandb.Table(columns=columns, data=rows, allow_mixed_types=True)
        self.log(self._seen + 1, {name: table})

    def conclude(self, summary: Mapping[str, Any]) -> None:
        """What came out; stands beside the last values of the history."""
        self._run.summary.update(dict(summary))

    def finish(self, failed: bool) -> None:
        """Close the run; a run uploaded as it went on is marked, so that it is not uploaded again.

        So are files of earlier online attempts, once this one has logged all that they have.

        Raises:
            NotUploaded: the server did not take all in time.
        """
        try:
            self._run.finish(exit_code=int(failed))
        except TimeoutError as error:
            raise NotUploaded(f"W&B did not upload everything within {FINISH_S:.0f} s") from error
        if not self._run.settings._offline:
            mark(Path(self._run.settings.sync_file))
            for file in self._earlier:
                if last_step([file]) <= self._seen:
                    mark(file)


def mark(file: Path) -> None:
    """Note that a file is uploaded, as W&B itself does."""
    file.with_suffix(".wandb.synced").touch()


def is_marked(file: Path) -> bool:
    """Whether a file is uploaded."""
    return file.with_suffix(".wandb.synced").exists()


def is_online(file: Path) -> bool:
    """Whether the server may have some of a file: it was written by an online attempt."""
    return file.parent.name.startswith("run-")


def library() -> Any:
    """The wandb module.

    Raises:
        KirjoError: it is not installed.
    """
    # Outside the store: logs of W&B's service, which nobody needs.
    # Named by the session, whose leader's parent removes it if it has to kill it.
    os.environ["WANDB_CACHE_DIR"] = cache = tempfile.mkdtemp(prefix=f"kirjo-wandb-{os.getsid(0)}-")
    atexit.register(shutil.rmtree, cache, ignore_errors=True)
    os.environ["WANDB_ERROR_REPORTING"] = "false"
    try:
        import wandb
    except ImportError as error:
        raise KirjoError(f"{MISSING} ({error})") from None
    if not hasattr(wandb, "init"):  # a folder of that name
        raise KirjoError(MISSING)
    return wandb


def leave(code: int) -> NoReturn:
    """End this process without W&B's own ending, which would wait for the server."""
    shutil.rmtree(os.environ.get("WANDB_CACHE_DIR", ""), ignore_errors=True)
    os._exit(code)


def open_run(
    wandb: Any, root: Path, tracking: Mapping[str, Any], identity: Identity, warn: Warn, *, waiting_ok: bool = False
) -> OpenRun:
    """Start or go on with a run; without a way to the server it is written to files.

    Also where earlier parts of it wait for their upload, which would put them after this one (unless ``waiting_ok``:
    the caller sends them now). Files of online attempts are no such parts: the server says what it has of them, and
    a step that goes on tells the rest again.

    Raises:
        NotOnline: the server answers, and does not take the run.
    """
    mode, folder = tracking["mode"], root / FOLDER
    waiting = [file for file in parts(folder, identity.id) if not is_marked(file)]
    if mode == "online" and (reason := _unreachable(wandb)):
        warn(f"W&B cannot be reached ({reason}): {LATER}")
        mode = "offline"
    elif mode == "online" and not waiting_ok and any(not is_online(file) and holds_run(file) for file in waiting):
        warn(f"earlier parts of the W&B run {identity.id} wait for their upload: {LATER}")
        mode = "offline"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):  # W&B would quietly go to another folder
        pass
    # Rows of a table wait here for their upload.
    os.environ["WANDB_DATA_DIR"] = str(folder)
    before = set(folder.glob(f"run-*-{identity.id}"))
    try:
        run = _init(wandb, root, tracking, identity, mode)
    except Exception as error:
        if mode == "offline":
            raise
        for empty in set(folder.glob(f"run-*-{identity.id}")) - before:
            shutil.rmtree(empty, ignore_errors=True)
        raise NotOnline(f"W&B did not start online ({type(error).__name__})") from error
    # Online, the server has said where the run stands; offline, the files of earlier attempts do.
    if mode == "online":
        return OpenRun(wandb, run, int(run.step) - 1, [file for file in waiting if is_online(file)])
    return OpenRun(wandb, run, max(int(run.step) - 1, last_step(parts(folder, identity.id))))


def credentials(url: str) -> bool:
    """Whether there is a key for the server: from the environment, or as ``wandb login`` leaves one."""
    known = os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE")
    host = urlsplit(url).hostname or ""
    return bool(known) or any(file.authenticators(host) for file in _netrc())


def masked(text: str) -> str:
    """The text without any key that W&B could have: a message of a library may repeat it."""
    keys = {entry[2] for file in _netrc() for entry in file.hosts.values() if entry[2]}
    for key in sorted({*keys, os.environ.get("WANDB_API_KEY", "")} - {""}, key=len, reverse=True):
        text = text.replace(key, "***")
    return text


def _netrc() -> Iterator[netrc.netrc]:
    for path in filter(None, (os.environ.get("NETRC"), "~/.netrc", "~/_netrc")):
        with suppress(OSError, netrc.NetrcParseError, RuntimeError):
            yield netrc.netrc(str(Path(path).expanduser()))


def refused(url: str) -> str | None:
    """Why there is no talking to the server; None if it, or a proxy on the way, answers whatever it may be."""
    if not credentials(url):
        return "there is no key: set WANDB_API_KEY, or run wandb login"
    try:
        urllib.request.urlopen(url, timeout=CONNECT_S).close()
    except urllib.error.HTTPError:
        return None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        return f"no connection to {urlsplit(url).hostname}: {getattr(reason, 'strerror', None) or reason}"
    return None


def _unreachable(wandb: Any) -> str | None:
    return refused(str(wandb.setup().settings.base_url or CLOUD))


def _init(wandb: Any, root: Path, tracking: Mapping[str, Any], identity: Identity, mode: str) -> Any:
    settings = wandb.Settings(
        root_dir=str(root),
        # Nothing of the machine, the command line, the environment or the code.
        console="off",
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        save_code=False,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
        program="kirjo",
        silent=True,
        symlink=False,
        init_timeout=INIT_S,
        finish_timeout=FINISH_S,
        finish_timeout_raises=True,
    )
    run = wandb.init(
        settings=settings,
        mode=mode,
        project=tracking["project"],
        entity=tracking["entity"],
        id=identity.id,
        name=identity.name,
        group=identity.group,
        job_type=identity.job_type,
        tags=identity.tags,
        config=dict(identity.config),
        resume="allow",
        reinit="finish_previous",
    )
    # A link to a log of the service that goes with this process.
    (Path(run.settings.sync_file).parent / "logs" / "debug-core.log").unlink(missing_ok=True)
    return run
