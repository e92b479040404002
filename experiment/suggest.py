"""Words for what Hydra refuses: what is allowed, and which of it is nearest to what was typed."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from hydra import compose, initialize_config_module
from hydra.errors import HydraException
from omegaconf import OmegaConf

from experiment.sweep import quote_numbers

GROUPS = (
    "data_mix",
    "translate",
    "clean",
    "quality",
    "method",
    "dpo_beta",
    "model",
    "benchmark",
    "launcher",
    "tracking",
    "experiment",
)


def explain(error: Exception) -> str:
    """The message for a user: an unknown option or choice comes with the nearest valid ones."""
    text = str(error)
    option = re.search(r"Could not override '([^']+)'", text)
    if option:
        return _unknown_option(option.group(1))
    choice = re.search(r"Could not find '([^']+)/([^'/]+)'", text)
    if choice:
        return _unknown_choice(choice.group(1), choice.group(2), text)
    if text.startswith("Ambiguous value"):
        named = re.search(r"'([^']+)'", text)
        asked = named.group(1) if named else "an option"
        return f"{asked} has several values: put -m in front to run them all (python -m experiment -m {asked})"
    lines = [line for line in text.splitlines() if line.strip() and "HYDRA_FULL_ERROR" not in line]
    return "\n".join(lines) or type(error).__name__


def _unknown_option(name: str) -> str:
    known = _options()
    last = name.rsplit(".", 1)[-1]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    near += [item for item in known if item.rsplit(".", 1)[-1] == last and item not in near][:3]
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"there is no option '{name}'{hint} (all options: python -m experiment --cfg job)"


def _unknown_choice(group: str, name: str, text: str) -> str:
    listed = re.search(rf"Available options in '{re.escape(group)}':\n((?:\t.*\n?)+)", text)
    known = [line.strip() for line in listed.group(1).splitlines()] if listed else []
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    more = ". Any other beta: dpo.beta=" + name if group == "dpo_beta" else ""
    return f"{group}={name} is not there{hint} ({group} may be: {', '.join(known)}){more}"


def _options() -> list[str]:
    """The config groups, and every option that there is with the choices on the command line, dotted."""
    chosen = [item for item in sys.argv[1:] if item.partition("=")[0] in GROUPS and "," not in item]
    for overrides in (quote_numbers(chosen), []):
        try:
            with initialize_config_module("conf", version_base="1.3"):
                composed = OmegaConf.to_container(compose("config", overrides=overrides), resolve=False)
        except HydraException:
            continue
        return list(dict.fromkeys([*GROUPS, *_dotted(composed, "")]))
    return list(GROUPS)


def _dotted(node: Any, prefix: str) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from _dotted(value, f"{prefix}{key}.")
