"""The front door: ``python -m experiment [-m] [group=choice ...] [option=value ...]``."""

from __future__ import annotations

import os
import signal
import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from experiment import sweep
from experiment.errors import KirjoError
from experiment.suggest import explain

FULL_ERROR = "HYDRA_FULL_ERROR"


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="config")
def _request(_config: DictConfig) -> None:
    sweep.remember_search_path()
    sweep.request([list(HydraConfig.get().overrides.task)])


class Terminated(KeyboardInterrupt):
    """SIGTERM: what a scheduler sends, handled like Ctrl-C."""


def _terminate(_signal: int, _frame: object) -> None:
    raise Terminated


def _compose_request() -> None:
    try:
        _request()
    except ValueError as error:  # Hydra's word for a group that is set to something which is no choice
        empty = [item for item in sys.argv[1:] if item.endswith(("=null", "="))]
        raise KirjoError(f"{error}" + (f" ({', '.join(empty)})" if empty else "")) from None


def main() -> None:
    """Compose what was asked for, then plan it, then carry it out; exit 0, 1 (a step failed) or 2 (wrong request)."""
    signal.signal(signal.SIGTERM, _terminate)
    wants_traceback = os.environ.get(FULL_ERROR) == "1"
    # Hydra then raises instead of printing, and one place words every message.
    os.environ[FULL_ERROR] = "1"
    # Hydra's parser takes -m before the overrides or behind them, but not among them.
    given = sorted(sys.argv[1:], key=lambda item: item not in ("-m", "--multirun"))
    sys.argv[1:] = sweep.quote(given)
    try:
        _compose_request()
        points = sweep.take()
        if not points:  # --help, --cfg and the like have printed what was asked for
            return
        from experiment.launch import carry_out

        sys.exit(carry_out(points))
    except (HydraException, OmegaConfBaseException, KirjoError) as error:
        if wants_traceback:
            raise
        print(f"error: {explain(error)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as stop:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(143 if isinstance(stop, Terminated) else 130)


if __name__ == "__main__":
    main()
