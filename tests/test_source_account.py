"""Where rows are from and under which licence: of data sets on a hub, with and without network, and of files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiment.sources.account import account
from experiment.sources.source import Source
from tests.formats import write_rows
from tests.hub_server import Hub, Repository, serve
from tests.test_prefetch import python, rows_of
from tests.test_source_formats import TREE
from tests.test_sources import turns

PIN = "a" * 40
CARD = b"---\nlicense: cc-by-4.0\nlanguage:\n- en\n---\n# Scores\nlicense: none of this\n"
SCORED = rows_of(*({"prompt": "p", "response": text, "helpfulness": score} for text, score in (("x", 1), ("y", 2))))
SETS = {
    "scored": {"README.md": CARD, "train.jsonl": SCORED},
    "trees": {"README.md": b"---\nlicense: [apache-2.0, mit]\n---\n", "train.jsonl": rows_of(*TREE)},
    "pairs": {
        "README.md": b"# No head\n",
        "train.jsonl": rows_of({"prompt": "p", "chosen": "c", "rejected": "r"}),
    },
    "talk": {"train.jsonl": rows_of({"messages": turns("a", "b")})},
    "lines": {
        "README.md": b"---\nlicense: other\nlicense_name: ours\n---\n",
        "train.jsonl": rows_of({"text": "one"}, {"text": "two"}),
    },
    "closed": {"train.jsonl": rows_of({"text": "one"})},
}

READ = """
import json, sys
from experiment.errors import DataError
from experiment.sources.account import account
from experiment.sources.read import read_conversations, read_lines, read_reply_groups
from experiment.sources.source import Source
pin = sys.argv[1]
def told(read, **more):
    source = Source(**{"language": "en", "revision": pin, **more})
    try:
        return account(source, len(read(source)))
    except DataError as error:
        return str(error)
print(json.dumps({
    "scored": told(read_reply_groups, reader="scored_pairs", hub="org/scored", licence="CC0"),
    "trees": told(read_conversations, reader="oasst", hub="org/trees"),
    "ranked": told(read_reply_groups, reader="oasst", hub="org/trees"),
    "pairs": told(read_reply_groups, reader="pairs", hub="org/pairs", licence="MIT"),
    "talk": told(read_conversations, reader="conversations", hub="org/talk"),
    "lines": told(read_lines, reader="lines", hub="org/lines"),
    "changed": told(read_conversations, reader="conversations", hub="org/pairs"),
    "split": told(read_conversations, reader="conversations", hub="org/talk", split="nope"),
    "closed": told(read_lines, reader="lines", hub="org/closed"),
    "renamed": told(read_reply_groups, reader="pairs", hub="org/renamed"),
    "revision": told(read_conversations, reader="oasst", hub="org/trees", revision="d" * 40),
}))
"""


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    repositories = {f"datasets/org/{name}": Repository({PIN: files}) for name, files in SETS.items()}
    repositories["datasets/org/closed"].status = 403
    with serve(repositories) as running:
        yield running


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def online(hub: Hub, home: Path) -> dict[str, Any]:
    done = python(READ, [PIN], home, hub.url)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def offline(online: dict[str, Any], home: Path) -> dict[str, Any]:
    done = python(READ, [PIN], home, "http://127.0.0.1:1", HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


READABLE = ("scored", "trees", "ranked", "pairs", "talk", "lines")


def test_every_reader_reads_the_hub_and_tells_its_licence(online):
    assert {name: (online[name]["rows"], online[name]["licence"]) for name in READABLE} == {
        "scored": (1, "cc-by-4.0"),
        "trees": (1, "apache-2.0, mit"),
        "ranked": (1, "apache-2.0, mit"),
        "pairs": (1, "MIT"),
        "talk": (1, "not stated"),
        "lines": (2, "ours"),
    }
    assert online["trees"] == {
        "where": "org/trees",
        "language": "en",
        "revision": PIN,
        "subset": None,
        "split": "train",
        "licence": "apache-2.0, mit",
        "rows": 1,
    }
    assert online["scored"]["licence_in_config"] == "CC0"


def test_it_is_the_same_without_network(online, offline):
    assert {name: offline[name] for name in READABLE} == {name: online[name] for name in READABLE}


def test_what_the_hub_does_not_give_is_told_by_every_reader(online, offline):
    assert "dataset org/closed is gated: accept its licence at" in online["closed"]
    assert "the hub has no dataset org/renamed" in online["renamed"]
    assert "it may have been renamed" in online["renamed"]
    assert f"dataset org/trees has no revision {'d' * 40}" in online["revision"]
    for name in ("closed", "renamed", "revision"):
        assert "cannot reach the hub" in offline[name]
        assert "prefetch=true" in offline[name]
        assert "path=FILE" in offline[name]


def test_a_split_that_is_not_there_is_told(online, offline):
    for told in (online["split"], offline["split"]):
        assert "cannot load org/talk" in told
        assert "nope" in told


def test_a_set_whose_columns_are_others_now_is_told(online):
    assert online["changed"].startswith(
        f"org/pairs@{PIN}, row 1: expected a list of turns in column 'messages'; columns: chosen, prompt, rejected"
    )


# Files


def test_a_file_is_told_by_its_content(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", [{"messages": turns("a", "b")}])
    source = Source(reader="conversations", language="en", path=path, hub="org/talk", revision=PIN, licence="CC0")
    dropped = Counter({"rows without a text": 2, "messages in another language": 0})
    assert account(source, 1, dropped) == {
        "where": path,
        "language": "en",
        "sha256": source.identity()["sha256"],
        "licence": "CC0",
        "rows": 1,
        "dropped": {"rows without a text": 2},
    }


def test_the_embedded_data_is_ours():
    told = account(Source(reader="demo", language="fi", rows=3), 3)
    assert (told["where"], told["licence"]) == ("the embedded demo data", "Apache-2.0")
