"""What stands in the way of judging answers to a file of prompts, told when a sweep is planned."""

from __future__ import annotations

import functools

from experiment.errors import DataError
from experiment.scoring.instructions import faults
from experiment.sources.read import read_prompts
from experiment.sources.source import Source, content_digest

_SHOWN = 10  # faults of one file


def unmet(source: Source, exclude: tuple[str, ...], drop_unasked: bool) -> list[str]:
    """Instructions of a local file that no checker takes, a line each; of the prompts that are used, not of others."""
    if source.reader == "demo" or not source.path:
        return []
    return list(_unmet(source, content_digest(source.path), exclude, drop_unasked))


@functools.lru_cache(maxsize=64)
def _unmet(source: Source, _content: str, exclude: tuple[str, ...], drop_unasked: bool) -> tuple[str, ...]:
    try:
        prompts = read_prompts(source, exclude, drop_unasked)
    except DataError as error:
        return (str(error),)
    found = [f"{source.where}: {fault}" for prompt in prompts for fault in faults(prompt)]
    more = [f"{source.where}: and {len(found) - _SHOWN} more faults"] if len(found) > _SHOWN else []
    return (*found[:_SHOWN], *more)
