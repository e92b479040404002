"""OpenAssistant conversation trees, put together from messages in any of the three forms (``oasst_messages.py``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from experiment.errors import DataError
from experiment.sources.checks import Empties
from experiment.sources.oasst_messages import Node, read_nodes
from experiment.sources.records import Conversation, Message, Reply, ReplyGroup
from experiment.sources.source import Source
from experiment.sources.turns import check_turns

ORPHANS = "messages without the one they answer"


def conversations(source: Source, empties: Empties, dropped: Counter[str]) -> Iterator[Conversation]:
    """Follow the best-ranked reply from every root; a trailing prompt without a reply is left off.

    At each message the reply with the lowest rank is followed; where no reply is ranked, the first in the file.
    """
    for root in _roots(source, empties, dropped):
        branch, node = [root], root
        while node.children:
            node = min(node.children, key=lambda child: (child.rank is None, child.rank or 0))
            branch.append(node)
        if branch[-1].role != "assistant":
            branch.pop()
        if branch:
            messages = tuple(_message(node) for node in branch)
            check_turns(_place(source, root), messages, ends_with="assistant")
            yield Conversation(root.id, messages)


def reply_groups(source: Source, empties: Empties, dropped: Counter[str]) -> Iterator[ReplyGroup]:
    """Every prompt with two or more ranked replies, with the conversation that led to it; score = -rank."""
    for root in _roots(source, empties, dropped):
        stack: list[tuple[Node, tuple[Message, ...]]] = [(root, ())]
        while stack:
            node, before = stack.pop()
            here = (*before, _message(node))
            ranked = [child for child in node.children if child.rank is not None and child.role == "assistant"]
            if len(ranked) > 1:
                check_turns(_place(source, node), here, ends_with="user")
                yield ReplyGroup(node.id, here, tuple(Reply(child.text, -float(child.rank or 0)) for child in ranked))
            stack += [(child, here) for child in reversed(node.children)]


def _roots(source: Source, empties: Empties, dropped: Counter[str]) -> list[Node]:
    """Read the messages into trees, in the order of the file.

    A message whose parent is not there (the published split has three) is passed over with all that answers it: what it
    replies to is not known.

    Raises:
        DataError: a message is not of a known form, or stands twice; or none is in the source's language.
    """
    nodes: dict[str, Node] = {}
    others: Counter[str] = Counter()
    for where, node in read_nodes(source, empties, dropped, others):
        if node.id in nodes:
            raise DataError(f"{where}: message_id {node.id} stands twice")
        nodes[node.id] = node
    if others and not nodes:
        there = ", ".join(f"{name} ({count})" for name, count in others.most_common())
        raise DataError(f"{source.where}: no messages in '{source.language}'; there are messages in: {there}")
    roots = []
    for node in nodes.values():
        if node.parent is None:
            roots.append(node)
        elif node.parent in nodes:
            nodes[node.parent].children.append(node)
    if orphans := len(nodes) - _size(roots):
        dropped[ORPHANS] += orphans
    return roots


def _size(roots: list[Node]) -> int:
    count, stack = 0, list(roots)
    while stack:
        count += 1
        stack += stack.pop().children
    return count


def _place(source: Source, node: Node) -> str:
    return f"{source.where}, message {node.id}"


def _message(node: Node) -> Message:
    return Message("assistant" if node.role == "assistant" else "user", node.text)
