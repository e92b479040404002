"""generate: greedy answers to the benchmark's prompts, by any engine, in shards that outlive a kill."""

from __future__ import annotations

from typing import Any

from experiment.engines.engine import Request
from experiment.engines.open import engine_of, model_of
from experiment.engines.shards import answer_in_shards
from experiment.results import RESPONSES
from experiment.sources.jsonl import write_jsonl
from experiment.sources.read import read_prompts
from experiment.sources.records import Message
from experiment.task import Task

# Of a step that was planned before shards had a setting.
SHARD_ROWS = 512


def run(task: Task) -> dict[str, Any]:
    """Write ``responses.jsonl`` in the order of the prompts; report tokens and answers cut off at the limit."""
    prompts = read_prompts(
        task.source("prompts", task.settings["prompts"]),
        exclude=task.settings["exclude_instructions"],
        drop_unasked="drop_unasked" in task.settings,
    )
    limit = task.settings["max_new_tokens"]
    requests = [Request(str(one.key), limit, messages=(Message("user", one.prompt),)) for one in prompts]
    with engine_of(task, "generate", model_of(task)) as engine:
        answers = answer_in_shards(
            task, requests, engine, task.how("generate").get("shard_rows", SHARD_ROWS), task.progress
        )
    if not task.ranks.first:
        return {}
    rows = [
        {
            "key": one.key,
            "prompt": one.prompt,
            "response": answers[str(one.key)].text,
            "tokens": answers[str(one.key)].tokens,
            "finished": answers[str(one.key)].finished,
        }
        for one in prompts
    ]
    write_jsonl(task.work / RESPONSES, rows)
    return {
        "prompts": len(prompts),
        "new_tokens": sum(row["tokens"] for row in rows),
        "cut_off": sum(not row["finished"] for row in rows),
    }
