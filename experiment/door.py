"""How sections of the config are checked at the door, secrets refused, and the mark of what enters no fingerprint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict

DOOR = ConfigDict(extra="forbid", allow_inf_nan=False)

# The metadata of a field that says where or how a step runs, and does not decide what it leaves.
NOT_HASHED = {"hashed": False}


def no_secrets(value: Any) -> Any:
    """What is configured is recorded, in the store and in W&B: a key may not be. What a shell fills in ($...) may."""
    if isinstance(value, Mapping):
        lines = [f"{name}={said}" for name, said in value.items()]
    else:
        lines = [str(line) for line in (value if isinstance(value, list | tuple) else [value])]
    found = next((match for line in lines if (match := _SECRET.search(line))), None)
    if found:
        raise ValueError(
            f"{found[found.lastgroup or 0]} looks like a secret, and configs are recorded: set it in the shell that "
            "launches (jobs inherit the environment) or in the tool's own file (wandb login, hf auth login)"
        )
    return value


# The groups are what may be repeated to the user: never the secret itself.
_SECRET = re.compile(
    r"""
    \b(?P<name>\w*(?:_KEY|APIKEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS))=(?!["']?\$)
    | (?P<option>--(?:\w+-)*(?:token|key|password|secret))[ =]\s*(?!["']?\$)\S
    | \b(?P<login>wandb\s+login)(?:\s+--host[ =]\S+|\s+-\S+)*\s+["']?(?!\w+://)\w
    | \b(?P<hub>hf_)[A-Za-z0-9]{16,}
    | (?P<address>\w+://)[^/\s:@]*:[^/\s@$]+@
    """,
    re.IGNORECASE | re.VERBOSE,
)
