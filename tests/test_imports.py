"""Imports point one way, and what is slow to import comes in only where work is done."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("experiment", "launchers", "analysis", "hydra_plugins")
OURS = {*PACKAGES, "conf", "tests"}

HEAVY = {"torch", "transformers", "trl", "datasets", "tokenizers", "accelerate", "deepspeed", "peft", "vllm", "wandb"}
MAY_TRAIN = ("experiment/stages/", "experiment/training/", "experiment/engines/")
# Heavy only once called: reading from the hub, and asking the checkers.
INSIDE_FUNCTIONS = {
    "experiment/ranks.py": {"torch"},
    "experiment/sources/hub.py": {"datasets"},
    "experiment/tracking/client.py": {"wandb"},
    "experiment/tracking/transaction_log.py": {"wandb"},
}

# What the analysis may know of the experiment: what came out, and how it is stored, counted and put into words.
FOR_ANALYSIS = {
    "results",
    "store",
    "metrics",
    "errors",
    "scoring",
    "fingerprint",
    "provenance",
    "sources",
    "suggest",
    "cleaning",
    "quality",
}


def modules(*packages: str) -> list[Path]:
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Every imported module with its full name, and whether that happens when the file itself is imported."""
    yield from walk(ast.parse(path.read_text()), at_import=True, package=path.relative_to(ROOT).parts[:-1])


def walk(node: ast.AST, at_import: bool, package: tuple[str, ...]) -> Iterator[tuple[str, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, at_import) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            above = package[: len(package) - child.level + 1] if child.level else ()
            origin = ".".join([*above, *([child.module] if child.module else [])])
            yield from ((f"{origin}.{alias.name}", at_import) for alias in child.names)
        elif not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)):
            later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from walk(child, at_import and not later, package)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_the_walk_sees_what_it_must(tmp_path):
    path = ROOT / "experiment" / "sources" / "made-up.py"
    code = (
        "import a.b as c\nfrom . import d\nfrom ..e import f\n"
        "def g():\n    from h import i\n    class J:\n        import k\n"
        "if TYPE_CHECKING:\n    import never\nclass L:\n    import m\n"
        "try:\n    import n\nexcept ImportError:\n    n = None\n"
    )
    found = list(walk(ast.parse(code), at_import=True, package=path.relative_to(ROOT).parts[:-1]))
    assert found == [
        ("a.b", True),
        ("experiment.sources.d", True),
        ("experiment.e.f", True),
        ("h.i", False),
        ("k", False),
        ("m", True),
        ("n", True),
    ]
    assert len(modules(*PACKAGES)) > 40


@pytest.mark.parametrize(
    ("package", "never"),
    [
        ("experiment", {"launchers", "analysis", "tests"}),
        ("launchers", {"analysis", "tests"}),
        ("analysis", {"launchers", "hydra_plugins", "tests"}),
        ("hydra_plugins", {"launchers", "analysis", "tests"}),
    ],
)
def test_imports_point_one_way(package, never):
    wrong = [
        f"{name(path)} imports {found}"
        for path in modules(package)
        for found, _ in imports(path)
        if found.split(".")[0] in never
    ]
    assert wrong == []


def test_the_analysis_knows_results_not_how_they_are_made():
    wrong = [
        f"{name(path)} imports {found}"
        for path in modules("analysis")
        for found, _ in imports(path)
        if found.split(".")[0] == "experiment" and found.split(".")[1] not in FOR_ANALYSIS
    ]
    assert wrong == []


def test_only_stages_and_training_touch_the_heavy_libraries():
    wrong = []
    for path in modules(*PACKAGES):
        for found, at_import in imports(path):
            top = found.split(".")[0]
            allowed = name(path).startswith(MAY_TRAIN) or (
                not at_import and top in INSIDE_FUNCTIONS.get(name(path), set())
            )
            if top in HEAVY and not allowed:
                wrong.append(f"{name(path)} imports {found}")
    assert wrong == []


def test_the_list_of_stages_stays_light():
    light = ROOT / "experiment" / "stages" / "__init__.py"
    assert not {found.split(".")[0] for found, _ in imports(light)} & HEAVY
    for stage in ("mix", "pair", "quality", "score"):
        wrong = {
            found for found, now in imports(light.with_name(f"{stage}.py")) if now and found.split(".")[0] in HEAVY
        }
        assert wrong == set()


DOORS = (
    "experiment.launch",
    "experiment.__main__",
    "launchers.local",
    "launchers.status",
    "launchers.__main__",
    "analysis.__main__",
    "experiment.stages.score",
    "experiment.stages.quality",
    "analysis.translation",
    "analysis.quality",
    "analysis.funnel",
)


def test_every_front_door_opens_without_them():
    heavy = sorted(
        HEAVY | {"pandas", "matplotlib", "scipy", "lm_eval", "nltk", "langdetect", "sacrebleu", "sentencepiece"}
    )
    code = (
        f"import importlib, sys\nfor door in {DOORS}:\n    importlib.import_module(door)\n"
        f"    print(door, [name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{door} []" for door in DOORS]
