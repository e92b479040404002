"""What takes minutes: kills at random moments, and a real sweep on real data. Run with `make test-slow`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import sweeps
from tests.tiny import TINY

pytestmark = pytest.mark.slow

SHARED = Path(os.environ.get("KIRJO_SHARED_DATA", sweeps.ROOT.parent / "shared" / "data"))
SHORT = (
    *TINY,
    # Long enough to be killed in the middle of every stage.
    "pretrain.texts.en.rows=400",
    "pretrain.texts.fi.rows=400",
    "sft.epochs=15",
    "dpo.epochs=15",
    "sft.checkpoint_every=7",
    "dpo.checkpoint_every=7",
    "pretrain.checkpoint_every=7",
    "generate.batch_size=1",
)


def succeed(module: str, *arguments: str) -> str:
    """Run a module as a user would; what it printed."""
    ended = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=sweeps.ROOT,
        env=sweeps.ENVIRONMENT,
        text=True,
        capture_output=True,
        timeout=1500,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_killed_at_random_moments_the_same_command_ends_with_the_same_scores() -> None:
    printed = succeed("benchmarks.kills", "kills=4", *SHORT)
    assert "4 kills, 0 without a complete and equal result (2 score artifacts" in printed


@pytest.mark.skipif(not (SHARED / "oasst1").is_dir(), reason=f"needs the OpenAssistant and IFEval files in {SHARED}")
def test_real_conversations_and_real_prompts_go_all_the_way(tmp_path: Path) -> None:
    store = tmp_path / "store"
    text = SHARED / "oasst1" / "train-text.jsonl.gz"
    succeed(
        *("experiment", "-m", "mix=0,100", "method=sft,dpo_both", "model=small"),
        *("data_mix=oasst1", f"data_mix.path={SHARED}/oasst1/validation.jsonl", "benchmark=ifeval"),
        *("benchmark.languages=[en]", f"benchmark.prompts.en.path={SHARED}/ifeval/en.jsonl"),
        *(f"benchmark.nltk_data={SHARED}/nltk_data", "benchmark.max_new_tokens=8", "launcher.workers=2"),
        *(f"pretrain.texts.{language}.{option}" for language in ("en", "fi") for option in (f"path={text}", "rows=60")),
        *("pretrain.architecture.hidden_size=32", "pretrain.architecture.n_layer=1", "sft.epochs=1"),
        *("pretrain.architecture.vocab_size=2000", "preflight.max_truncated=1.0", f"store={store}"),
    )
    found = sweeps.manifests(store)
    mixes = sorted(manifest["summary"]["rows"] for manifest in found if manifest["stage"] == "mix")
    pairs = {manifest["summary"]["prompts"] for manifest in found if manifest["stage"] == "pair"}
    scored = {
        manifest["summary"]["instruction_strict"].split("/")[1] for manifest in found if manifest["stage"] == "score"
    }
    assert mixes == [188, 376]
    assert pairs == {418}
    assert scored == {"783"}
