"""Prints samples for a reader to check: python -m experiment.sources.demo --language fi --kind texts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from experiment.errors import KirjoError
from experiment.sources.demo import conversations, prompts, reply_groups, texts

_KINDS = ("texts", "conversations", "reply_groups", "prompts")


def _samples(kind: str, language: str, rows: int, seed: int) -> Iterator[str]:
    if kind == "texts":
        yield from texts(language, rows, seed)
    elif kind == "conversations":
        for conversation in conversations(language, rows, seed):
            yield "\n".join(f"{message.role}: {message.content}" for message in conversation.messages)
    elif kind == "reply_groups":
        for group in reply_groups(language, rows, seed):
            turns = [f"{message.role}: {message.content}" for message in group.prompt]
            yield "\n".join([*turns, *(f"[{reply.score:g}] {reply.content}" for reply in group.replies)])
    else:
        for prompt in prompts(language, rows, seed):
            yield f"{prompt.key}: {prompt.prompt}\n{prompt.instruction_ids} {prompt.kwargs}"


def main() -> int:
    """Prints the samples asked for on the command line."""
    parser = argparse.ArgumentParser(prog="python -m experiment.sources.demo", description="Samples of the demo data.")
    parser.add_argument("--language", default="fi")
    parser.add_argument("--kind", default="conversations", choices=_KINDS)
    parser.add_argument("--rows", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    try:
        print("\n\n".join(_samples(chosen.kind, chosen.language, chosen.rows, chosen.seed)))
    except KirjoError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
