"""Fixtures of several test files. What takes long to import is imported where it is used."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from tests import clusters

# How long an example takes says more of the machine's other work than of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


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
