"""What a source is: which reader reads it, from where, and what decides its rows."""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass

from experiment.errors import DataError
from experiment.sources.columns import Columns, check_mapping

Reader = Literal["demo", "oasst", "conversations", "scored_pairs", "pairs", "lines", "ifeval", "text"]

# Bumped when a reader turns the same bytes into other rows.
READER_VERSIONS: dict[str, int] = {
    "demo": 1,
    "oasst": 1,
    "conversations": 1,
    "scored_pairs": 2,  # 2: the turns within a HelpSteer2 prompt are told apart
    "pairs": 1,
    "lines": 1,
    "ifeval": 1,
    "text": 1,
}

# A config file may say null, so that the command line can put a whole mapping there.
Names = Annotated[dict[str, str], BeforeValidator(lambda value: {} if value is None else value)]

# To the other readers these would be settings without effect.
TAKES_ROWS = ("demo", "oasst", "conversations", "scored_pairs", "pairs", "lines", "text")
MAY_DROP = ("oasst", "conversations", "scored_pairs", "pairs")


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Source:
    """One body of rows in one language.

    ``demo`` makes ``rows`` rows from ``seed``; the others read ``path`` (a local file) or, without a path, the
    hub data set ``hub`` at the commit ``revision``, of which ``rows`` are the first that the reader gives. ``columns``
    and ``roles`` say what the set calls what the reader looks for (docs/data.md).
    """

    reader: Reader
    language: str
    path: str | None = None
    hub: str | None = None
    revision: str | None = None
    subset: str | None = None
    split: str = "train"
    rows: PositiveInt | None = None
    seed: NonNegativeInt = 0
    columns: Names = field(default_factory=dict, hash=False)
    roles: Names = field(default_factory=dict, hash=False)
    on_empty: Literal["refuse", "drop"] = "refuse"
    # No part of the identity, and not checked: for estimates, and for the record.
    expected_rows: PositiveInt | None = None
    licence: str | None = None

    def __post_init__(self) -> None:
        """Refuse a source that no reader could read."""
        if self.reader == "demo" and self.rows is None:
            raise ValueError("the demo reader needs rows: how many to make")
        if self.rows is not None and self.reader not in TAKES_ROWS:
            raise ValueError(f"the {self.reader} reader reads all rows; only {', '.join(TAKES_ROWS)} take rows=N")
        if self.on_empty == "drop" and self.reader not in MAY_DROP:
            raise ValueError(f"on_empty=drop is for {', '.join(MAY_DROP)}; the {self.reader} reader leaves no row out")
        check_mapping(self.reader, self.columns, self.roles)

    @property
    def where(self) -> str:
        """The place a message should name."""
        return self.path or self.hub or f"the embedded {self.reader} data"

    def identity(self) -> dict[str, Any]:
        """What decides this source's rows: content of a local file, revision on the hub, seed of the generator."""
        shared: dict[str, Any] = {"reader": self.reader, "language": self.language, **self._changed()}
        if self.reader == "demo":
            return {**shared, "seed": self.seed, "generator": _generator_version()}
        if not (self.path or self.hub):
            return {**shared, "unset": True}  # nothing is read yet, by whatever version of the reader
        if READER_VERSIONS[self.reader] != 1:
            shared["reader_version"] = READER_VERSIONS[self.reader]
        if self.path:
            return {**shared, "sha256": content_digest(self.path)}
        place = {"hub": self.hub, "revision": self.revision, "subset": self.subset, "split": self.split}
        return {**shared, **{key: value for key, value in place.items() if value is not None}}

    def _changed(self) -> dict[str, Any]:
        """What decides the rows only where it is set: without it the identity is what it always was."""
        found = {"rows": self.rows, "columns": self.columns, "roles": self.roles}
        drop = {"on_empty": "drop"} if self.on_empty == "drop" else {}
        return {**{name: value for name, value in found.items() if value}, **drop}

    def named(self) -> Columns:
        """The columns that the reader looks into."""
        return Columns(self.reader, self.columns, self.roles)

    def unmet(self, option: str) -> list[str]:
        """What must be set before this source can be read, naming the config ``option`` it stands at."""
        if self.reader == "demo" or self.path:
            return []
        if not self.hub:
            if self.reader == "oasst":  # one file holds all languages, for SFT and preference data alike
                return ["data_mix.path=FILE is not set (the OpenAssistant trees)"]
            return [f"{option}.path=FILE is not set ({self.reader}, '{self.language}')"]
        lines = unpinned(option, self.revision, f"https://huggingface.co/datasets/{self.hub}/commits/main")
        return [f"{line}, or {option}.path=FILE" for line in lines]


def _generator_version() -> int:
    from experiment.sources import demo

    return demo.VERSION


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a full commit hash: a branch or a tag may move."""
    return bool(revision and re.fullmatch("[0-9a-f]{40}", revision))


def unpinned(option: str, revision: str | None, where: str) -> list[str]:
    """What to set if ``revision`` is no commit: a branch moves, and would do so without another fingerprint."""
    if is_commit(revision):
        return []
    came = f" (came: {revision})" if revision else ""
    return [f"{option}.revision=COMMIT must be a full commit hash, 40 hex digits{came}; see {where}"]


def content_digest(path: str) -> str:
    """SHA-256 of a local file's content; read once per process while its size and time stay the same.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    try:
        status = Path(path).stat()
        if Path(path).is_dir():
            raise DataError(f"{path} is a folder; expected a data file")
        return _digest_once(str(Path(path).resolve()), status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise DataError(f"cannot read the data file {path}: {error.strerror or error}") from None


@functools.lru_cache(maxsize=1024)
def _digest_once(path: str, _size: int, _mtime_ns: int) -> str:
    from experiment.fingerprint import file_digest

    return file_digest(Path(path))


def folder_digest(path: str) -> str:
    """SHA-256 over the names and contents of a folder's files (a local model).

    Raises:
        DataError: the folder is missing, empty or cannot be read.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(f"{path} is not a folder; expected a model saved with save_pretrained")
    files = sorted(item for item in folder.rglob("*") if item.is_file())
    if not files:
        raise DataError(f"{path} is empty; expected a model saved with save_pretrained")
    parts = [f"{item.relative_to(folder).as_posix()} {content_digest(str(item))}" for item in files]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
