"""Responses from elsewhere: joined to their prompts by key or exact text, nothing dropped without a word."""

from __future__ import annotations

import codecs
import difflib
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiment.errors import DataError
from experiment.sources.records import BenchmarkPrompt

# Above this a response to an edited prompt is told with the prompt it seems to belong to.
_NEAR = 0.8
_SHOWN = 10
_COMPARED = 2000  # characters


@dataclass(frozen=True)
class Response:
    """A row of a responses file."""

    line: int
    key: int | None
    prompt: str | None
    response: str


@dataclass(frozen=True)
class Unmatched:
    """What could not be joined, or only with a doubt; ``scored`` says whether it counts all the same."""

    reason: str
    scored: bool = False
    line: int | None = None
    key: int | None = None
    nearest_key: int | None = None
    similarity: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields that are known."""
        return {name: value for name, value in vars(self).items() if value is not None}


def read_responses(path: Path) -> list[Response]:
    """The rows of a file of JSON lines: ``key`` or ``prompt``, and ``response``; lm_eval's sample logs as well.

    Raises:
        DataError: the file cannot be read, or lines are not such rows; every one of them is named.
    """
    rows, faults = [], []
    lines = _lines(path)
    if lines[0].lstrip().startswith(b"[") and not lines[0].strip().endswith(b"]"):
        raise DataError(f"{path} is one JSON array: expected JSON lines, an object a line (jq -c '.[]' makes them)")
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                rows.append(_response(number, json.loads(line.decode("utf-8"))))
            except (ValueError, RecursionError) as error:  # JSON's and UTF-8's errors are ValueErrors, too
                faults.append(f"line {number}: {error}")
    if faults:
        more = f"\n  and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise DataError(
            f"{path}: {len(faults)} lines are no responses; nothing is scored. Mend or remove them:\n  "
            + "\n  ".join(faults[:_SHOWN])
            + more
        )
    if not rows:
        raise DataError(f"{path} holds no responses: expected JSON lines with 'key' or 'prompt', and 'response'")
    return rows


def _lines(path: Path) -> list[bytes]:
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read the responses file {path}: {getattr(error, 'strerror', None) or error}") from None
    return content.removeprefix(codecs.BOM_UTF8).split(b"\n")


def _response(number: int, row: Any) -> Response:
    if not isinstance(row, dict):
        raise ValueError(f"expected a JSON object, got {type(row).__name__}")
    row = _from_samples(row)
    key, prompt, response = row.get("key"), row.get("prompt"), row.get("response")
    if not isinstance(response, str):
        raise ValueError(f"expected a text in 'response', got {type(response).__name__} (columns: {', '.join(row)})")
    if isinstance(key, str) and key.strip().lstrip("-").isdecimal():
        key = int(key)
    if isinstance(key, float) and key.is_integer():  # what a table with gaps makes of whole numbers
        key = int(key)
    if (key is not None and (not isinstance(key, int) or isinstance(key, bool))) or not isinstance(prompt, str | None):
        raise ValueError("expected a whole number as 'key' and a text as 'prompt'")
    if key is None and prompt is None:
        raise ValueError(f"expected 'key' or 'prompt' beside 'response' (columns: {', '.join(row)})")
    return Response(number, key, prompt, response)


def _from_samples(row: dict[str, Any]) -> dict[str, Any]:
    """A row of lm_eval's ``samples_*.jsonl`` in our columns."""
    document, answers = row.get("doc"), row.get("resps")
    if not isinstance(document, dict) or "response" in row:
        return row
    while isinstance(answers, list) and answers:
        answers = answers[0]
    return {"key": document.get("key"), "prompt": document.get("prompt"), "response": answers}


def join(prompts: Sequence[BenchmarkPrompt], responses: Sequence[Response]) -> tuple[dict[int, str], list[Unmatched]]:
    """The response to each prompt, by key, and everything that did not fit.

    Raises:
        DataError: two responses belong to the same prompt.
    """
    by_key = {prompt.key: prompt for prompt in prompts}
    by_text: dict[str, list[int]] = {}
    for prompt in prompts:
        by_text.setdefault(prompt.prompt, []).append(prompt.key)
    joined: dict[int, tuple[int, str]] = {}
    unmatched: list[Unmatched] = []
    for row in responses:
        key = _key_of(row, by_key, by_text, unmatched)
        if key is None:
            continue
        if key in joined:
            raise DataError(
                f"lines {joined[key][0]} and {row.line} both answer prompt {key}: keep one response a prompt "
                "(several samples are several files)"
            )
        joined[key] = (row.line, row.response)
    told = {each.nearest_key for each in unmatched}
    unmatched += [Unmatched("prompt without a response", key=key) for key in by_key if key not in joined.keys() | told]
    return {key: response for key, (_, response) in joined.items()}, unmatched


def _key_of(
    row: Response,
    by_key: Mapping[int, BenchmarkPrompt],
    by_text: Mapping[str, Sequence[int]],
    unmatched: list[Unmatched],
) -> int | None:
    if row.key is not None and row.key in by_key:
        text = by_key[row.key].prompt
        if row.prompt is not None and row.prompt != text:
            unmatched.append(
                Unmatched(
                    "the key is known, but the prompt beside it is not its text: edited later, or another language?",
                    scored=True,
                    line=row.line,
                    key=row.key,
                    similarity=round(_alike(row.prompt, text), 3),
                )
            )
        return row.key
    exact = by_text.get(row.prompt, ()) if row.prompt is not None else ()
    if len(exact) == 1:
        return exact[0]
    if exact:
        reason = f"the prompt stands several times (keys {', '.join(map(str, exact))}): give the key"
        unmatched.append(Unmatched(reason, line=row.line, key=row.key))
        return None
    if row.prompt is None:
        unmatched.append(Unmatched("no prompt has this key", line=row.line, key=row.key))
        return None
    near, similarity = _nearest(row.prompt, by_key)
    reason = (
        "no prompt has exactly this text, one is near: edited later? Give its key to score the response"
        if near is not None
        else "no prompt has this text or key"
    )
    unmatched.append(
        Unmatched(reason, line=row.line, key=row.key, nearest_key=near, similarity=None if near is None else similarity)
    )
    return None


def _alike(one: str, other: str) -> float:
    """How alike two texts are, from 0 to 1, by their beginnings: comparing takes time that grows with the square."""
    return difflib.SequenceMatcher(None, one[:_COMPARED], other[:_COMPARED], autojunk=False).ratio()


def _nearest(text: str, by_key: Mapping[int, BenchmarkPrompt]) -> tuple[int | None, float]:
    """The prompt most like the text, if it is like it at all."""
    matcher = difflib.SequenceMatcher(None, "", text[:_COMPARED], autojunk=False)
    best: tuple[int | None, float] = (None, _NEAR)
    for key, prompt in _of_like_length(text, by_key):
        matcher.set_seq1(prompt[:_COMPARED])
        if matcher.real_quick_ratio() > best[1] and matcher.quick_ratio() > best[1]:
            ratio = matcher.ratio()
            best = (key, ratio) if ratio > best[1] else best
    return best[0], round(best[1], 3)


def _of_like_length(text: str, by_key: Mapping[int, BenchmarkPrompt]) -> Iterator[tuple[int, str]]:
    """Only such can be near; comparing takes time that grows with the product of the lengths."""
    for key, prompt in by_key.items():
        shorter, longer = sorted((len(text), len(prompt.prompt)))
        if shorter >= longer * _NEAR / (2 - _NEAR):
            yield key, prompt.prompt
