"""Where artifacts live: written in a work folder, renamed when complete, never changed afterwards.

root/store.json                            the format
root/<stage>/<fingerprint>/                an artifact; its manifest.json is written last
root/<stage>/<fingerprint>.work/           the work folder of an unfinished step
root/<stage>/<fingerprint>.damaged-<n>/    put aside, never read
root/logs, root/runs, root/sweeps          logs; records that point at fingerprints
"""

from __future__ import annotations

import errno
import itertools
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from experiment.errors import StoreError
from experiment.fingerprint import finite, known_digest, read_json, sync, write_json_atomic
from experiment.provenance import FORMAT, FileInfo, Manifest, check_format

__all__ = ["FileInfo", "Manifest", "Store", "read_json", "write_json_atomic"]


class _Untouchable(StoreError):
    """What is there cannot be judged from here: it is no damage, and must be neither redone nor put aside."""


class Store:
    """The artifacts, logs and records under one root; see the module for the layout."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def open(cls, root: Path, create: bool) -> Store:
        """The store at `root`, made if it is absent and `create`; StoreError if it cannot be used."""
        marker = root / "store.json"
        try:
            if marker.exists():
                check_format(read_json(marker), marker)
            elif create:
                _refuse_foreign(root)
                root.mkdir(parents=True, exist_ok=True)
                write_json_atomic(marker, {"format": FORMAT})
            else:
                raise StoreError(
                    f"no store at {root} (it has no store.json): run an experiment first "
                    "(python -m experiment ...), or name the right folder (store=PATH, --store PATH)"
                )
            if create:
                with tempfile.TemporaryFile(dir=root) as probe:
                    probe.write(b"can this be written?")
        except OSError as error:
            raise StoreError(
                f"cannot use {root} as a store: {error.strerror or error}; "
                "name a folder that can be written with store=..."
            ) from error
        return cls(root)

    def base(self, stage: str, fingerprint: str) -> Path:
        """The path whose siblings are the claims on the step."""
        return self.root / stage / fingerprint

    def artifact(self, stage: str, fingerprint: str) -> Path:
        """The folder of the finished step."""
        return self.root / stage / fingerprint

    def work(self, stage: str, fingerprint: str) -> Path:
        """The folder in which the step is made; kept when it is interrupted."""
        return self.root / stage / f"{fingerprint}.work"

    def log(self, stage: str, fingerprint: str) -> Path:
        """The log file of the step."""
        return self.root / "logs" / f"{stage}-{fingerprint}.log"

    def read_manifest(self, stage: str, fingerprint: str) -> Manifest | None:
        """The manifest of the finished step, None if there is none; StoreError if it is damaged."""
        return _manifest_in(self.artifact(stage, fingerprint), stage, fingerprint)

    def is_complete(self, stage: str, fingerprint: str) -> bool:
        """Whether the artifact is there with every file in its right size (contents are not read).

        Raises:
            StoreError: that cannot be told: the disk does not answer, or a newer Kirjo wrote the artifact.
        """
        folder = self.artifact(stage, fingerprint)
        try:
            manifest = self.read_manifest(stage, fingerprint)
        except _Untouchable:
            raise
        except StoreError:
            return False
        with _reading(folder):
            try:
                return manifest is not None and not manifest.wrong_sizes(folder)
            except FileNotFoundError:  # gone while it was looked at
                return False

    def verify(self, stage: str, fingerprint: str) -> list[str]:
        """What is wrong with the artifact, a sentence each; empty if every file is as it was published.

        Raises:
            StoreError: that cannot be told, as in `is_complete`.
        """
        folder = self.artifact(stage, fingerprint)
        try:
            manifest = self.read_manifest(stage, fingerprint)
        except _Untouchable:
            raise
        except StoreError as error:
            return [str(error)]
        if manifest is None:
            return [f"{folder}: there is no artifact"]
        with _reading(folder):
            return manifest.wrong_sizes(folder) or manifest.wrong_contents(folder)

    def quarantine(self, stage: str, fingerprint: str) -> Path:
        """Put a damaged artifact aside, so that it is redone and never used; returns where it went."""
        folder = self.artifact(stage, fingerprint)
        with _disk(folder):
            return _set_aside(folder)

    def publish(
        self,
        stage: str,
        fingerprint: str,
        *,
        version: int,
        settings: Mapping[str, Any],
        inputs: Mapping[str, str],
        provenance: Mapping[str, Any],
        timings: Mapping[str, Any],
        execution: Mapping[str, Any],
        summary: Mapping[str, Any],
    ) -> Manifest:
        """Turn the work folder into the artifact; returns the manifest of what is there then.

        Top-level `checkpoints` and all dotfiles are no part of it and are deleted. If another process has published
        the same step meanwhile, its artifact stays and the work folder goes.

        Raises:
            StoreError: the disk is full or the work folder is missing; the work folder is kept as it is.
        """
        work = self.work(stage, fingerprint)
        with _disk(work):
            if self.is_complete(stage, fingerprint):
                return self._published(stage, fingerprint)
            manifest = Manifest(
                format=FORMAT,
                stage=stage,
                fingerprint=fingerprint,
                version=version,
                settings=dict(settings),
                inputs=dict(inputs),
                files=_settle(work),
                provenance=dict(provenance),
                timings=dict(timings),
                execution=dict(execution),
                summary=dict(summary),
            )
            write_json_atomic(work / "manifest.json", manifest.to_json())
            return self._move(stage, fingerprint)

    def finish(self, stage: str, fingerprint: str) -> Manifest | None:
        """Publish a work folder whose process died when only the rename was left; None if it was not so far."""
        work = self.work(stage, fingerprint)
        try:
            manifest = _manifest_in(work, stage, fingerprint)
        except _Untouchable:
            raise
        except StoreError:
            return None
        with _reading(work):
            if manifest is None or manifest.wrong_sizes(work) or manifest.wrong_contents(work):
                return None
        with _disk(work):
            return self._move(stage, fingerprint)

    def save_run(self, record: Mapping[str, Any]) -> None:
        """Write a run's record under its "id"."""
        _save(self.root / "runs", record)

    def save_sweep(self, record: Mapping[str, Any]) -> None:
        """Write a sweep's record under its "id"."""
        _save(self.root / "sweeps", record)

    def runs(self) -> list[dict[str, Any]]:
        """The records of all runs, by id."""
        return _records(self.root / "runs")

    def sweeps(self) -> list[dict[str, Any]]:
        """The records of all sweeps, by id."""
        return _records(self.root / "sweeps")

    def _move(self, stage: str, fingerprint: str) -> Manifest:
        work, final = self.work(stage, fingerprint), self.artifact(stage, fingerprint)
        while not self.is_complete(stage, fingerprint):
            # Only now, with the manifest written, are checkpoints of no more use.
            _discard_leftovers(work)
            if not _renamed(work, final):
                with suppress(FileNotFoundError):
                    _set_aside(final)
        return self._published(stage, fingerprint)

    def _published(self, stage: str, fingerprint: str) -> Manifest:
        shutil.rmtree(self.work(stage, fingerprint), ignore_errors=True)
        manifest = self.read_manifest(stage, fingerprint)
        if manifest is None:
            raise StoreError(f"{stage}/{fingerprint} was taken away while published; run the same command again")
        return manifest


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(f"cannot write {error.filename or folder}: {error.strerror or error}") from error
        free = "an unknown number of"
        with suppress(OSError):
            free = str(shutil.disk_usage(folder.parent).free)
        raise StoreError(
            f"disk full at {folder}: {error.strerror}, {free} bytes free; nothing was published and the work is kept. "
            "Free space (or raise the quota), then run the same command again"
        ) from error


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _Untouchable(
            f"cannot read {error.filename or path}: {error.strerror or error}; nothing was changed. "
            "Once it can be read again (disk, mount, permissions), run the same command again"
        ) from error


def _refuse_foreign(root: Path) -> None:
    if root.exists() and not root.is_dir():
        raise StoreError(f"cannot use {root} as a store: it is a file; name a folder with store=...")
    found = {path.name for path in root.iterdir()} if root.is_dir() else set()
    others = sorted(name for name in found if not name.startswith(".") and name != "lost+found")
    if others and "store.json" not in found:
        raise StoreError(
            f"{root} holds other things ({', '.join(others[:3])}) and is no store (no store.json): "
            "name an empty or a new folder with store=..."
        )


def _manifest_in(folder: Path, stage: str, fingerprint: str) -> Manifest | None:
    path = folder / "manifest.json"
    with _reading(path):
        try:
            content = read_json(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
    try:
        manifest = Manifest.from_json(content, path)
    except StoreError as error:
        found = content.get("format") if isinstance(content, dict) else None
        if isinstance(found, int) and found > FORMAT:
            raise _Untouchable(str(error)) from None
        raise
    if (manifest.stage, manifest.fingerprint) != (stage, fingerprint):
        raise StoreError(f"{path} belongs to {manifest.stage}/{manifest.fingerprint}; delete its folder to redo it")
    return manifest


def _renamed(work: Path, final: Path) -> bool:
    try:
        work.rename(final)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            return False
        raise
    sync(final.parent)
    return True


def _set_aside(folder: Path) -> Path:
    numbers = itertools.count(1)
    target = next(path for n in numbers if not (path := folder.with_name(f"{folder.name}.damaged-{n}")).exists())
    return folder.rename(target)


def _settle(work: Path) -> dict[str, FileInfo]:
    if not work.is_dir():
        raise StoreError(f"nothing to publish: there is no work folder {work}; run the same command again")
    files = {}
    for path in sorted(work.rglob("*")):
        parts = path.relative_to(work).parts
        if parts[0] in ("checkpoints", "manifest.json") or any(part.startswith(".") for part in parts):
            continue
        if path.is_symlink():
            raise StoreError(f"{path} is a symbolic link: an artifact holds its files itself; copy the file instead")
        sync(path)
        if path.is_file():
            files["/".join(parts)] = FileInfo(path.stat().st_size, known_digest(path))
    return files


def _discard_leftovers(work: Path) -> None:
    shutil.rmtree(work / "checkpoints", ignore_errors=True)
    for path in sorted(work.rglob(".*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _save(folder: Path, record: Mapping[str, Any]) -> None:
    name = record["id"]
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.+-]*", name):
        raise StoreError(f"a record's id becomes a file name: letters, digits and . + - _ are allowed, found {name!r}")
    path = folder / f"{name}.json"
    with _disk(path), suppress(StoreError, FileNotFoundError):
        if read_json(path) == json.loads(json.dumps(finite(record))):
            return
    with _disk(path):
        write_json_atomic(path, record)


def _records(folder: Path) -> list[dict[str, Any]]:
    records = []
    for path in sorted(folder.glob("*.json")):
        try:
            record = read_json(path)
        except OSError as error:
            raise StoreError(
                f"cannot read the record {path}: {error.strerror or error}; make it readable, or move it away and run "
                "the same command again"
            ) from error
        if not isinstance(record, dict) or record.get("id") != path.stem:
            raise StoreError(
                f'{path}: expected a record with "id": "{path.stem}"; delete it and run the same command again'
            )
        records.append(record)
    return records
