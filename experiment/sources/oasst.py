"""OpenAssistant conversation trees with every message in several languages (``text_en``, ``text_fi``)."""

from __future__ import annotations

from dataclasses import dataclass, field

from experiment.errors import DataError
from experiment.sources.jsonl import read_jsonl
from experiment.sources.records import Conversation, Message, Reply, ReplyGroup


@dataclass
class Node:
    """One message of a tree with the replies to it; rank 0 is the best among siblings."""

    id: str
    parent: str | None
    role: str
    rank: int | None
    text: str
    children: list[Node] = field(default_factory=list)


def conversations(path: str, language: str) -> list[Conversation]:
    """Follow the best-ranked reply from every root; a trailing prompt without a reply is left off.

    At each message the reply with the lowest rank is followed; where no reply is ranked, the first in the file.
    """
    found = []
    for root in _roots(path, language):
        branch, node = [root], root
        while node.children:
            node = min(node.children, key=lambda child: (child.rank is None, child.rank or 0))
            branch.append(node)
        if branch[-1].role != "assistant":
            branch.pop()
        if branch:
            found.append(Conversation(root.id, tuple(_message(node) for node in branch)))
    return found


def reply_groups(path: str, language: str) -> list[ReplyGroup]:
    """Every prompt with two or more ranked replies, with the conversation that led to it; score = -rank."""
    found: list[ReplyGroup] = []
    for root in _roots(path, language):
        stack: list[tuple[Node, tuple[Message, ...]]] = [(root, ())]
        while stack:
            node, before = stack.pop()
            here = (*before, _message(node))
            ranked = [child for child in node.children if child.rank is not None and child.role == "assistant"]
            if len(ranked) > 1:
                replies = tuple(Reply(child.text, -float(child.rank or 0)) for child in ranked)
                found.append(ReplyGroup(node.id, here, replies))
            stack += [(child, here) for child in reversed(node.children)]
    return found


def _roots(path: str, language: str) -> list[Node]:
    """Read the file into trees, in the order of the file.

    A message whose parent is not in the file (the published split has three) is passed over with all that answers
    it: what it replies to is not known.

    Raises:
        DataError: a message lacks a field or its text in this language, or stands twice.
    """
    nodes: dict[str, Node] = {}
    for number, row in read_jsonl(path):
        node = _node(f"{path}, line {number}", row, language)
        if node.id in nodes:
            raise DataError(f"{path}, line {number}: message_id {node.id} stands twice")
        nodes[node.id] = node
    roots = []
    for node in nodes.values():
        if node.parent is None:
            roots.append(node)
        elif node.parent in nodes:
            nodes[node.parent].children.append(node)
    return roots


def _node(where: str, row: dict[str, object], language: str) -> Node:
    column = f"text_{language}"
    text, role, rank = row.get(column), row.get("role"), row.get("rank")
    parent = row.get("parent_id")
    if not isinstance(text, str) or not text.strip():
        languages = sorted(name.removeprefix("text_") for name in row if name.startswith("text_"))
        raise DataError(
            f"{where}: no text in column '{column}'; languages in this row: {', '.join(languages) or 'none'}"
        )
    if role not in ("prompter", "assistant") or not isinstance(row.get("message_id"), str):
        raise DataError(f"{where}: expected message_id and a role of prompter or assistant; got role {role!r}")
    if not (rank is None or isinstance(rank, int)) or not (parent is None or isinstance(parent, str)):
        raise DataError(f"{where}: expected rank as a whole number or null, parent_id as a text or null")
    return Node(str(row["message_id"]), parent, str(role), rank, text)


def _message(node: Node) -> Message:
    return Message("assistant" if node.role == "assistant" else "user", node.text)
