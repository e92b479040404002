"""From overrides to composed runs: expands the grids of experiment files and composes each point once."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiment.config import Config, Sweep, typed
from experiment.errors import KirjoError

# Hydra refuses a group's choice that looks like a number unless it is quoted.
GROUPS_NAMED_BY_NUMBERS = ("dpo_beta",)

_requested: list[list[str]] = []
_search_path: list[str] = []


@dataclass(frozen=True)
class Point:
    """One point of a sweep: the overrides that name it and the config they compose to."""

    overrides: tuple[str, ...]
    config: Config


def request(points: Iterable[Sequence[str]]) -> None:
    """Keep what Hydra was asked for; called by the sweeper and by the job function, taken by :func:`take`."""
    _requested.extend(list(point) for point in points)


def take() -> list[list[str]]:
    """The points that were requested since the last call."""
    taken, _requested[:] = list(_requested), []
    return taken


def remember_search_path() -> None:
    """Carry Hydra's ``--config-dir`` over to the composing of the single points."""
    sources = HydraConfig.get().runtime.config_sources
    extra = [f"{source.schema}://{source.path}" for source in sources if source.provider == "command-line"]
    _search_path[:] = [f"hydra.searchpath=[{','.join(extra)}]"] if extra else []


def quote_numbers(arguments: Iterable[str]) -> list[str]:
    """Quote the values of groups whose choices are numbers: ``dpo_beta=0.01,0.1`` -> ``dpo_beta='0.01','0.1'``."""
    quoted = []
    for argument in arguments:
        key, equals, values = argument.partition("=")
        if equals and key in GROUPS_NAMED_BY_NUMBERS:
            values = re.sub(r"(?<![\w.'\"+-])([+-]?[\d.]+(?:[eE][+-]?\d+)?)(?![\w.'\"])", r"'\1'", values)
        quoted.append(f"{key}{equals}{values}")
    return quoted


def quote(arguments: Iterable[str]) -> list[str]:
    """Quote what Hydra's grammar does not take bare: numbers that name a choice, spaces, letters outside ASCII."""
    quoted = []
    for argument in quote_numbers(arguments):
        key, equals, value = argument.partition("=")
        bare = bool(value) and value[0] not in "'\"[{(" and not key.startswith("-")
        if equals and bare and re.search(r"[^!-~]", value) and "'" not in value:
            value = f"'{value}'"
        quoted.append(f"{key}{equals}{value}")
    return quoted


def unquote_numbers(override: str) -> str:
    """Undo :func:`quote_numbers`, so that an override reads as a user would type it."""
    key, _, values = override.partition("=")
    return f"{key}={values.replace(chr(39), '')}" if key in GROUPS_NAMED_BY_NUMBERS else override


def expand(points: Iterable[Sequence[str]]) -> list[Point]:
    """Compose every point, once; an experiment file's grids become points of their own.

    Raises:
        KirjoError: any point is wrong; then none is returned, so nothing of the sweep runs.
    """
    found: dict[tuple[str, ...], Point] = {}
    with initialize_config_module("conf", version_base="1.3", job_name="experiment"):
        for overrides in points:
            for point in _expand_one(list(overrides)):
                found.setdefault(point.overrides, point)
    return list(found.values())


def _expand_one(overrides: list[str]) -> list[Point]:
    config = _compose(overrides)
    if not config.sweep.grids:
        return [Point(tuple(map(unquote_numbers, overrides)), config)]
    base = [item for item in overrides if _key(item) != "experiment"]
    file = [item for item in overrides if _key(item) == "experiment"]
    # A file that sets more than axes stays in its points; one that only names axes has done its part.
    kept = (
        []
        if _without_file(tuple(base), tuple(_search_path)) == replace(config, sweep=Sweep())
        else [*file, "sweep.grids=[]"]
    )
    asked = {_key(item) for item in base}
    points = []
    for grid in config.sweep.grids:
        if kept and "experiment" in grid:
            raise KirjoError(f"{' '.join(file)} sets options and names other experiments; their files must set them")
        # What the user names on the command line wins over the grid's own axis.
        axes = [
            [f"{key}={value.strip()}" for value in values.split(",")]
            for key, values in grid.items()
            if key not in asked
        ]
        for choice in itertools.product(*axes):
            points += _expand_one([*kept, *choice, *base])
    return points


@functools.lru_cache(maxsize=4)
def _without_file(overrides: tuple[str, ...], _search_path: tuple[str, ...]) -> Config:
    return _compose(list(overrides))


def _compose(overrides: list[str]) -> Config:
    try:
        composed = OmegaConf.to_container(
            compose("config", overrides=[*_search_path, *quote_numbers(overrides)]), resolve=True
        )
    except (OmegaConfBaseException, ValueError) as error:  # ValueError: a group that is set to null
        raise KirjoError(f"{' '.join(overrides)}: {str(error).splitlines()[0]}") from None
    if not isinstance(composed, dict):
        raise KirjoError("the composed config is not a mapping")
    try:
        return typed({str(key): value for key, value in composed.items()})
    except KirjoError as error:
        point = f"in {' '.join(overrides)}:\n" if overrides else ""
        raise KirjoError(f"{point}{error}") from None


def _key(override: str) -> str:
    return re.split(r"[=@]", override, maxsplit=1)[0].lstrip("+~")
