"""What decides a verdict besides prompt and response: the versions of checkers and rules, and seeds."""

from __future__ import annotations

import importlib.metadata
import sys
from typing import Any

from experiment.errors import KirjoError
from experiment.scoring.identify import LANGDETECT_SEED
from experiment.scoring.lm_checks import GUESSES_SEED
from experiment.scoring.rules import rule_sets


def identity(language: str) -> dict[str, Any]:
    """The scorers of a benchmark in a language; hashed into its score step.

    Raises:
        KirjoError: a package is not installed.
    """
    rules = rule_sets(language)
    packages = sorted({name for item in rules.values() for name in item.packages})
    return {
        "ifeval": {"lm_eval": package_version("lm_eval"), "nltk": package_version("nltk"), "seed": GUESSES_SEED},
        "rules": {
            **{item.name: item.version for item in rules.values()},
            **{name: package_version(name) for name in packages},
        },
        "response_language": {
            "langdetect": package_version("langdetect"),
            "seed": LANGDETECT_SEED,
            "py3langid": package_version("py3langid"),
        },
    }


def package_version(package: str) -> str:
    """The version that is installed.

    Raises:
        KirjoError: it is not installed.
    """
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise KirjoError(
            f"{package} is not installed here, and its version decides verdicts: pip install {package} "
            f"(with {sys.executable})"
        ) from None
