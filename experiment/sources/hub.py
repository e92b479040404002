"""Hub data sets and models at a pinned commit, from the local cache or the network."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from experiment.errors import DataError, KirjoError
from experiment.sources.source import Source, is_commit

Kind = Literal["model", "dataset"]

# What transformers reads of a model beside its weights: configuration, tokenizer, templates.
_READ = (".json", ".txt", ".model", ".jinja", ".tiktoken")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_MARGIN = 1.05  # free space beyond the files' own size, so that the last one does not fill the disk


class NoNetwork(KirjoError):
    """The hub cannot be reached from here: nothing else can be had from it either."""


@dataclass(frozen=True)
class Fetched:
    """What lies where: ``files`` fetched now (0: it was there), ``size`` in bytes, of all of it."""

    folder: Path
    files: int
    size: int


def hub_rows(source: Source) -> Iterator[dict[str, Any]]:
    """The rows of a hub data set; a pinned commit that is in the cache needs no network.

    Raises:
        DataError: it cannot be had (no network and not in the cache, gated, renamed, no such revision or split).
    """
    from datasets import load_dataset

    try:
        rows = prepared(source)
        if rows is None:
            rows = load_dataset(source.hub, source.subset, split=source.split or "train", revision=source.revision)
            if is_commit(source.revision):
                # Without network datasets hands out the newest cached revision, whichever was asked for.
                rows = prepared(source)
        if rows is None:
            raise FileNotFoundError("this revision is not in the cache")
    except Exception as error:  # noqa: BLE001 - datasets raises a dozen kinds for "cannot be had"
        raise DataError(
            f"cannot load {source.hub} at revision {source.revision} from the hub or its cache: {_why(error, source)}. "
            "Fetch it where there is network (the same command with prefetch=true; the cache is in HF_HOME), "
            "or give a local copy with path=FILE"
        ) from None
    for row in rows:
        yield dict(row)


def _why(error: Exception, source: Source) -> str:
    """``datasets`` has one error for all that can be wrong with a repository; the hub itself tells more."""
    if not isinstance(error, KirjoError) and prepared_folder(source) is None:
        try:
            current_commit("dataset", str(source.hub), source.revision)
        except KirjoError as told:
            return str(told)
    return str(explained(error, "dataset", str(source.hub), source.revision))


def prepared(source: Source) -> Any:
    """The rows of exactly this commit from the cache of ``datasets``, or None; asks nobody.

    Raises:
        DataError: the cache holds several subsets of it, and the source names none.
    """
    folder = prepared_folder(source)
    if folder is None:
        return None
    from datasets.packaged_modules.cache.cache import Cache

    subset, version, commit = folder.parts[-3:]
    name = str(source.hub).rsplit("/", 1)[-1]
    builder = Cache(repo_id=source.hub, dataset_name=name, config_name=subset, version=version, hash=commit)
    return builder.as_dataset(split=source.split or "train")


def prepared_folder(source: Source) -> Path | None:
    """<cache>/<owner>___<name>/<subset>/<version>/<commit>: where ``datasets`` puts what it has prepared."""
    if not is_commit(source.revision):
        return None
    from datasets import config
    from datasets.naming import camelcase_to_snakecase

    *owner, name = str(source.hub).split("/")
    root = Path(config.HF_DATASETS_CACHE) / "___".join([*owner, camelcase_to_snakecase(name)])
    found = sorted(root.glob(f"{source.subset or '*'}/*/{source.revision}"))
    if len(found) > 1:
        names = ", ".join(folder.parts[-3] for folder in found)
        raise DataError(f"the cache holds several subsets of {source.hub}: name one, subset=NAME ({names})")
    return found[0] if found else None


def current_commit(kind: Kind, name: str, revision: str | None) -> str:
    """The commit that a repository, or a branch or tag of it, is at now, and whose files we may have.

    Raises:
        KirjoError: it cannot be had; says why and what to do.
    """
    from huggingface_hub import HfApi

    try:
        commit = str(HfApi().repo_info(name, repo_type=kind, revision=revision).sha)
        HfApi().auth_check(name, repo_type=kind)  # a gated one tells its commits to everybody
        return commit
    except Exception as error:  # noqa: BLE001 - the client raises its own, httpx's and Python's kinds
        raise explained(error, kind, name, revision) from None


def fetch_model(name: str, commit: str) -> Fetched:
    """Fetch the files that loading a model and its tokenizer needs, those that are not there yet.

    Raises:
        KirjoError: they cannot be had, or there is no room for them; what was fetched stays.
    """
    from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache

    try:
        tree = HfApi().list_repo_tree(name, revision=commit)
        sizes = {item.path: int(item.size) for item in tree if hasattr(item, "size")}
        wanted = needed_files(name, sizes)
        there = {file for file in wanted if isinstance(try_to_load_from_cache(name, file, revision=commit), str)}
        refuse_without_room(name, sum(sizes[file] for file in wanted if file not in there))
        folder = snapshot_download(name, revision=commit, allow_patterns=wanted)
    except KirjoError:
        raise
    except Exception as error:  # noqa: BLE001
        raise explained(error, "model", name, commit) from None
    return Fetched(Path(folder), len(wanted) - len(there), sum(sizes[file] for file in wanted))


def needed_files(name: str, files: dict[str, int]) -> list[str]:
    """Of a model's files those that transformers reads: one format of weights, no folders of other exports.

    Raises:
        KirjoError: the repository holds no weights that transformers loads.
    """
    for start, end in (("model", ".safetensors"), ("pytorch_model", ".bin")):
        weights = [file for file in files if file.startswith(start) and file.endswith(end)]
        if weights:
            return sorted([*weights, *(file for file in files if file.endswith(_READ) and "/" not in file)])
    raise KirjoError(
        f"{name} holds no model*.safetensors or pytorch_model*.bin, which transformers could load; "
        f"it holds: {', '.join(sorted(files)[:10]) or 'nothing'}"
    )


def fetch_rows(source: Source) -> Fetched:
    """Fetch a hub data set and prepare it, so that :func:`hub_rows` needs no network; nothing if it is there.

    Raises:
        KirjoError: it cannot be had, or has no such subset or split.
    """
    from datasets import load_dataset

    name, there = str(source.hub), prepared_folder(source) is not None
    if not there:
        # ``datasets`` has one error for all that can be wrong with a repository.
        current_commit("dataset", name, source.revision)
    try:
        if not there:
            load_dataset(name, source.subset, split=source.split or "train", revision=source.revision)
        prepared(source)  # has it this split?
    except Exception as error:  # noqa: BLE001
        raise explained(error, "dataset", name, source.revision) from None
    folder = prepared_folder(source)
    if folder is None:
        raise NoNetwork(_unreachable("dataset", name, "only another revision of it is in the cache"))
    files = [path for path in folder.iterdir() if path.is_file()]
    return Fetched(folder, 0 if there else len(files), sum(path.stat().st_size for path in files))


def refuse_without_room(name: str, size: int) -> None:
    """Refuse to begin what cannot end: ``size`` bytes where the hub's cache lies.

    Raises:
        KirjoError: there is less room.
    """
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE)
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if size * _MARGIN > free:
        raise KirjoError(
            f"{name} needs {as_size(size)}, {folder} has {as_size(free)} free: "
            "make room, or set HF_HOME to a larger disk"
        )


def as_size(size: int) -> str:
    """Bytes in the unit that fits: ``68.4 GB``."""
    value, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def explained(error: BaseException, kind: Kind, name: str, revision: str | None) -> KirjoError:
    """Why something cannot be had from the hub, and what to do."""
    from huggingface_hub import errors

    endpoint = _without_password(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    page = f"{endpoint}/{'datasets/' * (kind == 'dataset')}{name}"
    if isinstance(error, KirjoError):
        return error
    for found in _chain(error):
        status = getattr(getattr(found, "response", None), "status_code", None)
        if isinstance(found, OSError) and found.errno in _FULL:
            return KirjoError(
                f"no room for {kind} {name} ({found.strerror}): make room, or set HF_HOME to a larger disk"
            )
        if isinstance(found, errors.GatedRepoError) or status == 403:
            return KirjoError(
                f"{kind} {name} is gated: accept its licence at {page}, then set HF_TOKEN to a token of that account "
                "(or run: hf auth login)"
            )
        if isinstance(found, errors.RevisionNotFoundError):
            return KirjoError(f"{kind} {name} has no revision {revision}; {page}/commits/main lists its commits")
        if isinstance(found, errors.RepositoryNotFoundError) or status == 401:
            return KirjoError(
                f"the hub has no {kind} {name}, or does not show it to you: check the name at {page} "
                "(it may have been renamed); for a private one set HF_TOKEN to a token of an account that may read it"
            )
        if isinstance(found, errors.HfHubHTTPError) and status:
            return KirjoError(f"the hub answered {status} for {kind} {name}: try again later ({_first_line(found)})")
    if any(isinstance(found, ConnectionError | TimeoutError) or _is_httpx(found) for found in _chain(error)):
        return NoNetwork(_unreachable(kind, name, _first_line(error)))
    return KirjoError(
        f"cannot fetch {kind} {name} at revision {revision}: {type(error).__name__}: {_first_line(error)}"
    )


def _unreachable(kind: Kind, name: str, why: str) -> str:
    return (
        f"cannot reach the hub for {kind} {name} ({why}): give the command where there is network (a login node), "
        "behind a proxy with HTTPS_PROXY set. What was fetched stays"
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and all that led to it, also where that was hidden (``raise ... from None``)."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_httpx(error: BaseException) -> bool:
    """An error of the client's transport: a refused connection, a name that is not known, a time-out."""
    return type(error).__module__.split(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2", "requests")


def _first_line(error: BaseException) -> str:
    return _without_password((str(error).strip().splitlines() or [type(error).__name__])[0])


def _without_password(text: str) -> str:
    """A mirror's or a proxy's address may hold user:password@, also within a message of the client."""
    return re.sub(r"(?<=://)[^/\s@]*@", "", text)
