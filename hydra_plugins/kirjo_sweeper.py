"""Hydra sweeper that hands the points of ``-m`` to Kirjo as one request, instead of running them one by one."""

from __future__ import annotations

from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from experiment import sweep


class KirjoSweeper(Sweeper):
    """Expands ``a=1,2 b=x,y`` into points; composing, planning and launching happen after Hydra returns."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what is needed to parse overrides; no Hydra launcher is made, for none is used."""
        self.hydra_context = hydra_context
        HydraConfig.instance().set_config(config)
        sweep.remember_search_path()

    def sweep(self, arguments: list[str]) -> Any:
        """Record one list of overrides per point of the sweep."""
        assert self.hydra_context is not None  # Hydra calls setup first
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        (points,) = BasicSweeper.split_arguments(parser.parse_overrides(arguments), max_batch_size=None)
        sweep.request(points)
        return []


# A mapping, not a dataclass: Hydra runs plugin modules without entering them in sys.modules, which dataclasses need.
ConfigStore.instance().store(
    group="hydra/sweeper", name="kirjo", node={"_target_": "hydra_plugins.kirjo_sweeper.KirjoSweeper"}, provider="kirjo"
)
