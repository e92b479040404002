"""spBLEU's SentencePiece model: where sacrebleu looks for it, and what to do where it is not. Nothing is downloaded.

sacrebleu would fetch it when it is first needed; on a compute node that fails, or waits for a connection for minutes.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True)
class Model:
    """The file that a tokenizer needs; ``reason`` says why it cannot be used, and what to do."""

    path: Path
    reason: str = ""


def find(tokenizer: str) -> Model:
    """The model of ``flores101`` or ``flores200`` in sacrebleu's own folder (``SACREBLEU``, else ``~/.sacrebleu``)."""
    from sacrebleu.tokenizers.tokenizer_spm import SPM_MODELS
    from sacrebleu.utils import SACREBLEU_DIR

    url = SPM_MODELS[tokenizer]["url"]
    path = Path(SACREBLEU_DIR) / "models" / url.rsplit("/", 1)[-1]
    if find_spec("sentencepiece") is None:
        return Model(path, "the package sentencepiece is not installed (pip install sentencepiece)")
    try:
        status = path.stat()
    except OSError:
        fault = f"the SentencePiece model of the tokenizer '{tokenizer}' is not there"
    else:
        fault = _fault(path, status.st_size, status.st_mtime_ns)
    advice = (
        f"put it at {path} (with network: curl -L --create-dirs -o '{path}' {url}), or name with the variable "
        f"SACREBLEU the folder that holds it as models/{path.name}"
    )
    return Model(path, f"{fault}: {advice}" if fault else "")


@functools.lru_cache(maxsize=8)
def _fault(path: Path, _size: int, _mtime_ns: int) -> str:
    """Why the file cannot be used, empty if it can; an interrupted download leaves a part of it, or nothing."""
    from sentencepiece import SentencePieceProcessor

    try:
        SentencePieceProcessor().Load(str(path))
    except (OSError, RuntimeError):
        return f"{path} is no SentencePiece model, or only a part of one"
    return ""
