"""How far the W&B files of earlier attempts go.

A ``.wandb`` file is a log in LevelDB's format (https://github.com/google/leveldb/blob/main/doc/log_format.md): after
seven bytes of its own, blocks of 32 KiB with chunks of CRC (4 bytes), length (2) and type (1: whole, 2: first,
3: middle, 4: last), whose contents are W&B's own protocol buffers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_START = 7
_BLOCK = 32 * 1024
_CHUNK = struct.Struct("<IHB")


def last_step(folder: Path, run_id: str) -> int:
    """The highest history step in the files of a run, 0 where there is none; an unreadable file counts as empty."""
    highest = 0
    for path in folder.glob(f"*run-*-{run_id}/run-{run_id}.wandb"):
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
