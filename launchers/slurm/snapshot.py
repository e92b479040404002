"""A snapshot of this program's code in the store: what jobs run, even if the checkout changes while they wait.

store/code/<digest>/   the packages, and code.json: the commit they were taken from, and whether the tree was dirty
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from experiment.errors import StoreError
from experiment.provenance import CODE, checkout
from experiment.store import Store

PACKAGES = ("experiment", "launchers", "conf", "analysis", "hydra_plugins")


@dataclass(frozen=True)
class Code:
    """The code that jobs run: its digest, and the folder to import it from."""

    digest: str
    path: Path


def snapshot(store: Store, source: Path | None = None) -> Code:
    """Copy the packages beside this one into the store, unless the same code is there already.

    Raises:
        StoreError: the store cannot be written.
    """
    root = source or Path(__file__).resolve().parent.parent.parent
    files = {path.relative_to(root): path for name in PACKAGES for path in sorted((root / name).rglob("*"))}
    kept = {name: path for name, path in files.items() if path.is_file() and "__pycache__" not in name.parts}
    digest = _digest(kept)
    folder = store.root.resolve() / "code" / digest
    if not (folder / CODE).exists():
        try:
            _copy(kept, folder, digest)
        except OSError as error:
            raise StoreError(f"cannot write the code's snapshot {folder}: {error.strerror or error}") from error
    return Code(digest, folder)


def stored(store: Store, digest: str) -> Code:
    """A snapshot that is in the store already.

    Raises:
        StoreError: it is gone.
    """
    folder = store.root.resolve() / "code" / digest
    if not (folder / CODE).exists():
        raise StoreError(f"the code that the sweep was launched with is gone ({folder}): give its command again")
    return Code(digest, folder)


def _digest(files: dict[Path, Path]) -> str:
    total = hashlib.sha256()
    for name, path in sorted(files.items()):
        total.update(f"{name.as_posix()}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()[:16]


def _copy(files: dict[Path, Path], folder: Path, digest: str) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f".{digest}.", dir=folder.parent))
    try:
        making.chmod(0o755)
        for name, path in files.items():
            (making / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, making / name)
        commit, dirty = checkout()
        (making / CODE).write_text(json.dumps({"commit": commit, "dirty": dirty, "digest": digest}) + "\n")
        with contextlib.suppress(OSError):  # another launch was faster; what it left is looked for below
            making.rename(folder)
        if not (folder / CODE).exists():
            raise OSError(None, "the snapshot could not be put in place")
    finally:
        shutil.rmtree(making, ignore_errors=True)
