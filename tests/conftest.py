"""Fixtures of several test files. What takes long to import is imported where it is used."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import clusters

# How long an example takes says more of the machine's other work than of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


# Tables are as wide as where there is no terminal, whatever the shell or pytest-xdist says.
os.environ.pop("COLUMNS", None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """pytest-xdist cannot carry half a surrogate pair, which the texts of some tests have and lm_eval prints."""
    report = yield
    report.sections = [(title, text.encode("utf-8", "backslashreplace").decode()) for title, text in report.sections]
    return report


@pytest.fixture(scope="module", autouse=True)
def _collected_once() -> Iterator[None]:
    """What a file's tests have imported is not looked through for garbage by all the tests behind them."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread, and no network."""
    import torch

    from tests import models

    torch.set_num_threads(1)
    models.refuse_network(monkeypatch)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model without chat tokens, in a local folder."""
    from tests import models

    tokenizer = models.toy_tokenizer()
    return models.save_model(tmp_path_factory.mktemp("base"), models.toy_bloom(tokenizer), tokenizer)


@pytest.fixture(scope="session")
def cluster() -> clusters.Cluster:
    """The SLURM cluster here; skips, and says why, where there is none."""
    found = clusters.find()
    if isinstance(found, str):
        pytest.skip(found)
    return found
