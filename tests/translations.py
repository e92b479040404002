"""Made-up translations: references with words lost, moved and changed, always the same; and a SentencePiece model."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from experiment.plan import Run
from experiment.quality import metrics
from experiment.quality.result import QUALITY, SENTENCES, Quality, Sentence
from experiment.sources.demo import texts
from experiment.sources.jsonl import write_jsonl
from experiment.store import Store
from tests.stores import PROVENANCE, TIMINGS

SHARED = Path(os.environ.get("KIRJO_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def shared_file(name: str) -> Path:
    """A file of the shared data; skips, and says so, where there is none."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"no {path} (KIRJO_SHARED_DATA names the folder of the shared data)")
    return path


def lines_of(path: Path) -> list[str]:
    """The lines of a text file, as they are."""
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def some_sentences(count: int = 60, language: str = "fi") -> list[str]:
    """Sentences of the embedded data."""
    return [" ".join(text.split(".")[0].split()) + "." for text in texts(language, count, 1)]


def noised(references: Sequence[str], seed: int = 1, loss: float = 0.15) -> list[str]:
    """Translations as a poor model would leave them; now and then a blank one."""
    draw = random.Random(seed)
    found = []
    for reference in references:
        words = [word for word in reference.split() if draw.random() >= loss]
        if draw.random() < 0.3:
            draw.shuffle(words)
        if draw.random() < 0.1:
            words = [word.lower() for word in words]
        found.append("" if draw.random() < 0.01 else " ".join(words))
    return found


def write_lines(path: Path, lines: Sequence[str]) -> Path:
    """A file of lines, gzipped if its name ends so."""
    content = "".join(line + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def spm_folder(folder: Path, name: str = "sacrebleu_tokenizer_spm.model", size: int = 200) -> Path:
    """A folder for the variable SACREBLEU: a model trained on the embedded data lies where sacrebleu looks."""
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    both = [*texts("en", 200, 1), *texts("fi", 200, 1)]
    SentencePieceTrainer.train(
        sentence_iterator=iter(both), model_writer=model, vocab_size=size, hard_vocab_limit=False, minloglevel=2
    )
    (folder / "models").mkdir(parents=True, exist_ok=True)
    (folder / "models" / name).write_bytes(model.getvalue())
    return folder


def publish_files(store: Store, key: str, write: Callable[[Path], None], **known: Any) -> Path:
    """An artifact whose files ``write`` leaves in the folder it is given."""
    stage, fingerprint = key.split("/")
    work = store.work(stage, fingerprint)
    work.mkdir(parents=True)
    write(work)
    empty: dict[str, Any] = {}
    fields = {"settings": empty, "inputs": empty, "execution": empty, "summary": empty, "timings": TIMINGS, **known}
    store.publish(stage, fingerprint, version=1, provenance=PROVENANCE, **fields)
    return store.artifact(stage, fingerprint)


def publish_quality(
    store: Store, run: Run, role: str, hypotheses: Sequence[str], references: Sequence[str], names: Sequence[str]
) -> Path:
    """The artifact of a quality step of a run: each text is a row."""
    back = role.endswith(".round_trip")
    measured = {name: metrics.measure(name, hypotheses, references).to_json() for name in names}
    empty = sum(not hypothesis.strip() for hypothesis in hypotheses)
    size = len(references)
    quality = Quality("round_trip" if back else "references", "en", "fi", size, size, empty, measured)
    texts = [
        Sentence(str(number), 0, "line", "", *pair)
        for number, pair in enumerate(zip(references, hypotheses, strict=True))
    ]

    def write(work: Path) -> None:
        (work / QUALITY).write_text(json.dumps(quality.to_json()), encoding="utf-8")
        write_jsonl(work / SENTENCES, map(asdict, texts))

    return publish_files(store, run.steps[role], write, settings={"spbleu_tokenizer": "flores101"})
