"""The same conversations and preference data in the forms in which sets are published."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from experiment.sources.records import Conversation, Message, ReplyGroup

Row = dict[str, Any]


def write_rows(path: Path, rows: Sequence[Row]) -> str:
    """Rows in the form that the name asks for: JSON lines, a JSON array or parquet; .gz is packed."""
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return str(path)
    array = path.name.removesuffix(".gz").endswith(".json")
    text = json.dumps(rows, indent=2) if array else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


def hub_messages(rows: Iterable[Row], language: str, mark: str = "") -> list[Row]:
    """Messages in both languages as the hub has them in one: oasst1's columns; ``mark`` makes other ids of the same."""
    return [
        {
            "message_id": row["message_id"] + mark,
            "parent_id": row["parent_id"] and row["parent_id"] + mark,
            "user_id": "somebody",
            "created_date": "2023-02-05T14:23:50.983374+00:00",
            "text": row[f"text_{language}"],
            "role": row["role"],
            "lang": language,
            "review_count": 3,
            "review_result": True,
            "deleted": False,
            "rank": row["rank"],
            "synthetic": False,
            "model_name": None,
            "detoxify": {"toxicity": 0.01},
            "message_tree_id": row["message_tree_id"] + mark,
            "tree_state": "ready_for_export",
            "emojis": {"name": ["+1"], "count": [1]},
            "labels": {"name": ["spam"], "value": [0.0], "count": [3]},
        }
        for row in rows
    ]


def nested(messages: Iterable[Row]) -> list[Row]:
    """Messages as trees, a row each, as oasst publishes them; what answers a message that is not there is lost."""
    messages = list(messages)
    answers: dict[str | None, list[Row]] = defaultdict(list)
    for message in messages:
        answers[message["parent_id"]].append(message)

    def of(message: Row) -> Row:
        kept = {key: value for key, value in message.items() if value is not None and key != "message_tree_id"}
        return {**kept, "replies": [of(answer) for answer in answers[message["message_id"]]]}

    return [
        {"message_tree_id": root["message_id"], "tree_state": "ready_for_export", "prompt": of(root)}
        for root in answers[None]
    ]


def turns(messages: Iterable[Message], role: str = "role", content: str = "content", **names: str) -> list[Row]:
    return [{role: names.get(message.role, message.role), content: message.content} for message in messages]


def chats(rows: Iterable[Conversation]) -> list[Row]:
    """oasst2_curated's and no_robots' form."""
    return [{"id": row.id, "messages": turns(row.messages)} for row in rows]


def share_gpt(rows: Iterable[Conversation]) -> list[Row]:
    names = {"user": "human", "assistant": "gpt"}
    return [{"id": row.id, "conversations": turns(row.messages, "from", "value", **names)} for row in rows]


def help_steer(groups: Iterable[ReplyGroup]) -> list[Row]:
    """HelpSteer2's form: a row a reply, the turns of the prompt in one text."""
    return [
        {"prompt": in_one_text(group.prompt), "response": reply.content, "helpfulness": reply.score, "verbosity": 2}
        for group in groups
        for reply in group.replies
    ]


def in_one_text(prompt: Sequence[Message]) -> str:
    label = {"user": "User", "assistant": "Assistant"}
    later = "".join(f"\n<extra_id_1>{label[message.role]}\n{message.content}" for message in prompt[1:])
    return prompt[0].content + later


def ultra_feedback(groups: Iterable[ReplyGroup]) -> list[Row]:
    """UltraFeedback binarized: the best and the worst reply, each with the whole conversation before it."""
    found = []
    for group in groups:
        ranked = sorted(group.replies, key=lambda reply: -reply.score)
        whole = [turns([*group.prompt, Message("assistant", reply.content)]) for reply in (ranked[0], ranked[-1])]
        found.append(
            {
                "prompt": group.prompt[0].content,
                "prompt_id": group.id,
                "chosen": whole[0],
                "rejected": whole[1],
                "score_chosen": ranked[0].score,
                "score_rejected": ranked[-1].score,
            }
        )
    return found
