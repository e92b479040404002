"""Hub data sets at a pinned revision, from the local cache or the network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from experiment.errors import DataError
from experiment.sources.source import Source


def hub_rows(source: Source) -> Iterator[dict[str, Any]]:
    """The rows of a hub data set.

    Raises:
        DataError: it cannot be had (no network and not in the cache, gated, renamed, no such revision or split).
    """
    from datasets import load_dataset

    try:
        rows = load_dataset(source.hub, source.subset, split=source.split or "train", revision=source.revision)
    except Exception as error:  # noqa: BLE001 - datasets raises a dozen kinds for "cannot be had"
        raise DataError(
            f"cannot load {source.hub} at revision {source.revision} from the hub or its cache: "
            f"{type(error).__name__}: {str(error).splitlines()[0]}. "
            "Load it once where there is network (the cache is in HF_HOME), or give a local copy with path=FILE"
        ) from None
    for row in rows:
        yield dict(row)
