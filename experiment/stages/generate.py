"""generate: answers to the benchmark's prompts, greedy, batched, longest prompts first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from experiment import stop
from experiment.results import RESPONSES
from experiment.sources.jsonl import json_line, read_jsonl, write_jsonl
from experiment.sources.read import read_prompts
from experiment.sources.records import BenchmarkPrompt, Message
from experiment.task import Task
from experiment.training.chat import encode_prompt
from experiment.training.models import MODEL, load_whole

# Dotfiles are no part of the artifact, and go only once its manifest is written: a kill before that loses no answer.
PARTIAL = ".responses.partial.jsonl"


def run(task: Task) -> dict[str, Any]:
    """Write ``responses.jsonl`` in the order of the prompts; report tokens and answers cut off at the limit."""
    prompts = read_prompts(
        task.source("prompts", task.settings["prompts"]),
        exclude=task.settings["exclude_instructions"],
        drop_unasked="drop_unasked" in task.settings,
    )
    model, tokenizer = load_whole(task.input("model") / MODEL, dtype="auto")
    if torch.cuda.is_available() and getattr(model, "hf_device_map", None) is None:
        model = model.to("cuda")
    model.eval()
    model.generation_config = GenerationConfig()  # a hub model's own may penalise repetitions or sample
    done = _answer_all(task, prompts, model, tokenizer)
    write_jsonl(task.work / RESPONSES, (done[prompt.key] for prompt in prompts))
    rows = list(done.values())
    return {
        "prompts": len(prompts),
        "new_tokens": sum(row["tokens"] for row in rows),
        "cut_off": sum(not row["finished"] for row in rows),
    }


def _answer_all(
    task: Task, prompts: Sequence[BenchmarkPrompt], model: Any, tokenizer: Any
) -> dict[int, dict[str, Any]]:
    encoded = {prompt.key: encode_prompt(tokenizer, [Message("user", prompt.prompt)]) for prompt in prompts}
    # Longest first: a batch that does not fit in memory shows at once, and batches hold little padding.
    ordered = sorted(prompts, key=lambda prompt: (-len(encoded[prompt.key]), prompt.key))
    size = task.how("generate")["batch_size"]
    partial = task.work / PARTIAL
    # Whole batches only: the same prompts stand together whether or not the step was interrupted.
    done = _read_partial(task)
    with partial.open("ab") as out, stop.deferred():
        for start in range(0, len(ordered), size):
            batch = ordered[start : start + size]
            if not all(prompt.key in done for prompt in batch):
                rows = _answer(batch, [encoded[prompt.key] for prompt in batch], model, tokenizer, task)
                out.write(b"".join(map(json_line, rows)))
                out.flush()
                done |= {row["key"]: row for row in rows}
            task.progress(min(start + size, len(ordered)), len(ordered))
            stop.obey()
    return done


def _answer(
    batch: Sequence[BenchmarkPrompt], encoded: Sequence[list[int]], model: Any, tokenizer: Any, task: Task
) -> list[dict[str, Any]]:
    width = max(map(len, encoded))
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in encoded], device=model.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in encoded], device=model.device)
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=task.settings["max_new_tokens"],
            do_sample=False,
            eos_token_id=end,
            pad_token_id=pad,
        )
    rows = []
    for prompt, tokens in zip(batch, out[:, width:].tolist(), strict=True):
        finished = end in tokens
        kept = tokens[: tokens.index(end)] if finished else tokens
        text = tokenizer.decode(kept, skip_special_tokens=True)
        rows.append(
            {"key": prompt.key, "prompt": prompt.prompt, "response": text, "tokens": len(kept), "finished": finished}
        )
    return rows


def _read_partial(task: Task) -> dict[int, dict[str, Any]]:
    """What an interrupted attempt has written; a last line torn by the interruption is cut off."""
    partial = task.work / PARTIAL
    if not partial.exists():
        return {}
    content = partial.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    partial.write_bytes(whole)
    return {row["key"]: row for _, row in read_jsonl(partial)}
