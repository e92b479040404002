"""How far the W&B files of earlier attempts go.

A ``.wandb`` file is a log in LevelDB's format (https://github.com/google/leveldb/blob/main/doc/log_format.md): after
seven bytes of its own, blocks of 32 KiB with chunks of CRC (4 bytes), length (2) and type (1: whole, 2: first,
3: middle, 4: last), whose contents are W&B's own protocol buffers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

_START = 7
_BLOCK = 32 * 1024
_CHUNK = struct.Struct("<IHB")


def parts(folder: Path, run_id: str = "*") -> list[Path]:
    """The files of a run's attempts (of all runs), oldest first; the later ones go on from the earlier."""
    # offline-run-20260101_120000-<id>, or run-... of an online attempt
    found = folder.glob(f"*run-*-{run_id}/run-{run_id}.wandb")
    return sorted(found, key=lambda path: path.parent.name.split("run-", 1)[1])


def holds_run(path: Path) -> bool:
    """Whether there is anything to upload: not in the file of a process that was killed before W&B wrote to disk."""
    with suppress(OSError):
        return any(record.WhichOneof("record_type") == "run" for record in records(path))
    return False


def last_step(files: Iterable[Path]) -> int:
    """The highest history step in the files, 0 where there is none; an unreadable file counts as empty."""
    highest = 0
    for path in files:
        try:
            for record in records(path):
                if record.WhichOneof("record_type") == "history":
                    highest = max(highest, record.history.step.num)
        except Exception:  # noqa: BLE001 - also another W&B's: rows twice are better than none
            continue
    return highest


def records(path: Path) -> Iterator[Any]:
    """The records of a file up to where it ends or was torn."""
    from wandb.proto import wandb_internal_pb2

    for content in _contents(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        try:
            record.ParseFromString(content)
        except Exception:  # noqa: BLE001 - protobuf's own class: a torn end
            return
        yield record


def _contents(data: bytes) -> Iterator[bytes]:
    position, parts = _START, b""
    while position + _CHUNK.size <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < _CHUNK.size:  # too little for another chunk: zeros
            position += left
            continue
        _crc, length, kind = _CHUNK.unpack_from(data, position)
        start = position + _CHUNK.size
        if kind not in (1, 2, 3, 4) or start + length > len(data):
            return
        parts += data[start : start + length]
        position = start + length
        if kind in (1, 4):
            yield parts
            parts = b""
