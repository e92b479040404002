"""Write constraints.txt: the versions that `make` installs, resolved anew for each given Python.

    python tools/pin.py python3.10 python3.11 python3.12 python3.13

Each interpreter resolves the project's requirements with its own pip (nothing is installed). A version that is the same
everywhere is written once; others carry a marker. CUDA packages are left out: which of them torch wants is its affair.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Chosen, not resolved: these were seen working together.
PINNED = (
    "torch==2.13.0",
    'transformers==5.23.0; python_version >= "3.11"',
    'transformers==5.20.2; python_version < "3.11"',
    'trl==1.16.0; python_version >= "3.11"',
    'trl==1.14.2; python_version < "3.11"',
    "datasets==5.2.0",
    "accelerate==1.15.0",
    "hydra-core==1.3.8",
    "omegaconf==2.3.1",
    "lm_eval==0.4.13",
    "nltk==3.10.4",
    "langdetect==1.0.9",
    "py3langid==0.4.0",
    "simplemma==2.0.0",
    "submitit==1.5.4",
    "wandb==0.31.0",
    "deepspeed==0.19.8",
)
EXTRAS = "dev,wandb,deepspeed"
LEFT_OUT = ("nvidia-", "cuda-", "triton", "kirjo", "pip")


def resolve(python: str) -> tuple[str, dict[str, str]]:
    """(``3.11``, name -> version) of everything the project and its development need on this interpreter."""
    version = _output(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
    with tempfile.TemporaryDirectory() as folder:
        environment, pins, report = (Path(folder) / name for name in ("env", "pins.txt", "report.json"))
        pins.write_text("\n".join(PINNED))
        _output(python, "-m", "venv", str(environment))
        pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "-q"]
        subprocess.run([*pip, "--upgrade", "pip"], check=True)
        subprocess.run([*pip, "--dry-run", "--report", str(report), "-c", str(pins), f"{ROOT}[{EXTRAS}]"], check=True)
        found = json.loads(report.read_text())["install"]
    named = {item["metadata"]["name"].lower().replace("_", "-"): item["metadata"]["version"] for item in found}
    return version, {name: number.split("+")[0] for name, number in named.items() if not name.startswith(LEFT_OUT)}


def write(resolved: dict[str, dict[str, str]], target: Path) -> None:
    """Write one line per version of a package, with a marker where Pythons differ."""
    lines = ["# Written by tools/pin.py for Python " + ", ".join(resolved) + "; do not edit."]
    for name in sorted({name for versions in resolved.values() for name in versions}):
        by_number: dict[str, list[str]] = {}
        for python, versions in resolved.items():
            if name in versions:
                by_number.setdefault(versions[name], []).append(python)
        for number, pythons in by_number.items():
            marker = " or ".join(f'python_version == "{python}"' for python in pythons)
            lines.append(f"{name}=={number}" + ("" if len(by_number) == 1 else f"; {marker}"))
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    write(dict(map(resolve, sys.argv[1:])), ROOT / "constraints.txt")
