"""COMET by its own program ``comet-score``, in an environment of its own.

unbabel-comet (2.2.7) wants numpy < 2, transformers < 5 and huggingface-hub < 1, Kirjo newer ones of each: the two
cannot be installed together. So Kirjo starts COMET's program and reads the file of scores that it writes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiment.errors import KirjoError
from experiment.quality import formulas
from experiment.quality.metrics import Measured
from experiment.quality.names import COMET_MODEL

VARIABLE = "KIRJO_COMET"  # names the program where it is not on the PATH


def program() -> str:
    """The path of ``comet-score``.

    Raises:
        KirjoError: it is not there; how to install it.
    """
    asked = os.environ.get(VARIABLE, "comet-score")
    found = shutil.which(asked)
    if found is None:
        raise KirjoError(
            f"COMET is not installed: there is no program {asked}. It cannot share an environment with Kirjo (it needs "
            "numpy < 2 and transformers < 5), so give it one of its own, and name its program:\n"
            "  python -m venv comet && comet/bin/pip install 'unbabel-comet>=2.2,<3'\n"
            f"  export {VARIABLE}=$PWD/comet/bin/comet-score"
        )
    return found


def measure(
    hypotheses: Sequence[str],
    references: Sequence[str],
    sources: Sequence[str],
    model: str = COMET_MODEL,
    gpus: int = 0,
) -> Measured:
    """The mean score in percent; ``model`` is a name on the hub or a local ``.ckpt``.

    Raises:
        KirjoError: COMET is not installed, or its program fails.
    """
    scores = _scores(program(), hypotheses, references, sources, model, gpus)
    counts = np.array([[100 * score, 1.0] for score in scores])
    value = float(formulas.mean(counts.sum(axis=0)[None])[0])
    return Measured(value, signature(model), counts, formulas.mean)


def signature(model: str) -> str:
    """What tells scores of this model from others."""
    return f"model:{model.rsplit('/', 1)[-1]}|program:comet-score"


def _scores(
    path: str, hypotheses: Sequence[str], references: Sequence[str], sources: Sequence[str], model: str, gpus: int
) -> list[float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, texts in (("src", sources), ("mt", hypotheses), ("ref", references)):
            # One text a line, whatever line ends it holds itself.
            lines = "".join(" ".join(text.split()) + "\n" for text in texts)
            (folder / file).write_text(lines, encoding="utf-8", errors="replace")
        local = str(Path(model).resolve()) if Path(model).is_file() else model
        files = ["-s", "src", "-t", "mt", "-r", "ref", "--to_json", "scores.json"]
        done = subprocess.run(
            [path, *files, "--model", local, "--gpus", str(gpus), "--quiet", "--only_system"],
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            told = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
            raise KirjoError(
                f"{path} failed (exit code {done.returncode}): {told}. Without network the model {model} must be in "
                "the hub's cache, or be named as a local .ckpt file"
            )
        return _read(folder / "scores.json", len(hypotheses), path)


def _read(file: Path, wanted: int, path: str) -> list[float]:
    try:
        (rows,) = json.loads(file.read_text(encoding="utf-8")).values()
        scores = [float(row["COMET"]) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise KirjoError(
            f"{path} left no scores that can be read ({error!r}); expected those of unbabel-comet 2.2"
        ) from None
    if len(scores) != wanted:
        raise KirjoError(f"{path} left {len(scores)} scores of {wanted} sentences")
    return scores
