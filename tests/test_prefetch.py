"""prefetch=true, with the real clients against a small hub on this machine, and loading offline afterwards."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiment.errors import KirjoError
from experiment.sources import hub as client
from tests.hub_server import Hub, Repository, punkt_zip, serve
from tests.test_config import ask

ROOT = Path(__file__).resolve().parent.parent
OLD, NEW = "a" * 40, "b" * 40
HEAVY_EXPORTS = {"pytorch_model.bin": b"the same weights again", "onnx/model.onnx": b"and again", "README.md": b"# Toy"}
CONFIG = b"""---
configs:
- config_name: en
  data_files: en.jsonl
- config_name: fi
  data_files: fi.jsonl
---
# Prompts
"""


def rows_of(*rows: object) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def conversation(reply: str) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": reply}]}


def prompt(text: str) -> dict[str, object]:
    return {
        "key": 1,
        "prompt": text,
        "instruction_id_list": ["length_constraints:number_sentences"],
        "kwargs": [{"num_sentences": 3, "relation": "at least"}],
    }


@pytest.fixture(scope="module")
def hub(base: Path) -> Iterator[Hub]:
    model = {path.name: path.read_bytes() for path in base.iterdir() if path.is_file()} | HEAVY_EXPORTS
    talk = {commit: {"train.jsonl": rows_of(conversation(f"reply of {commit[0]}"))} for commit in (OLD, NEW)}
    asked = {"README.md": CONFIG, "en.jsonl": rows_of(prompt("English?")), "fi.jsonl": rows_of(prompt("Suomi?"))}
    repositories = {
        "models/org/toy": Repository({NEW: model}),
        "models/org/gated": Repository({NEW: model}, status=401),
        "models/org/huge": Repository({NEW: model}, sizes={"model.safetensors": 10**18}),
        "datasets/org/talk": Repository(talk),
        "datasets/org/prompts": Repository({NEW: asked}),
        "datasets/org/closed": Repository({NEW: asked}, status=403),
    }
    with serve(repositories, punkt_zip("english", "finnish")) as running:
        yield running


def options(**changed: str) -> list[str]:
    """A plan that reads a model, SFT data and prompts from the hub."""
    named = {
        "model": "poro-34b",
        "model.hub": "org/toy",
        "data_mix": "en-fi",
        "mix": "0",
        "data_mix.sft.en.hub": "org/talk",
        "benchmark": "ifeval",
        "benchmark.languages": "[fi]",
        "benchmark.prompts.fi.hub": "org/prompts",
        **{key.replace("__", "."): value for key, value in changed.items()},
    }
    return [f"{key}={value}" for key, value in named.items()]


def python(code: str, arguments: list[str], home: Path, endpoint: str, **more: str) -> subprocess.CompletedProcess[str]:
    hidden = ("HF_", "HTTP", "http", "NLTK_DATA", "HYDRA_FULL_ERROR")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    environment = {**clean, "HOME": str(home), "HF_HOME": str(home / "hf"), "HF_ENDPOINT": endpoint, **more}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={key: value for key, value in environment.items() if value},
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )


def prefetch(hub: Hub, home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    # NLTK's index has one address, which no variable changes, and its client refuses addresses of this machine.
    code = (
        "import urllib.request, nltk.downloader\n"
        f"nltk.downloader.Downloader.DEFAULT_URL = '{hub.url}/index.xml'\n"
        "nltk.downloader.urlopen = urllib.request.urlopen\n"
        "from experiment.__main__ import main; main()"
    )
    return python(code, ["prefetch=true", f"store={home}/store", *arguments], home, hub.url, **more)


@dataclass(frozen=True)
class Home:
    """Where everything was fetched to: a user's home, and the folder that jobs use; what was printed and sent then."""

    path: Path
    shared: Path
    said: str
    sent: list[str]

    def prefetch(self, hub: Hub, *arguments: str) -> subprocess.CompletedProcess[str]:
        return prefetch(hub, self.path, *arguments, "launcher=slurm", f"+launcher.environment.HF_HOME={self.shared}")


@pytest.fixture(scope="module")
def fetched(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Home:
    path = tmp_path_factory.mktemp("home")
    home = Home(path, path / "scratch" / "huggingface", "", [])
    hub.downloads()
    found = home.prefetch(hub, *options())
    assert found.returncode == 0, found.stderr + found.stdout
    return dataclasses.replace(home, said=found.stdout, sent=hub.downloads())


def test_everything_is_fetched_and_told(fetched):
    said = fetched.said
    assert f"model org/toy at {NEW}: fetched" in said
    assert f"dataset org/talk at {NEW}: fetched" in said
    assert f"dataset org/prompts, fi at {NEW}: fetched" in said
    assert "NLTK punkt_tab (fi): fetched" in said
    assert "4 fetched, 0 there already" in said
    assert re.search(rf"[\d.]+ kB in {fetched.shared}/hub/models--org--toy/snapshots/{NEW}", said)
    assert "model.safetensors" in fetched.sent
    assert not {"pytorch_model.bin", "model.onnx", "en.jsonl"} & set(fetched.sent), "what nobody reads is left"
    assert (fetched.path / "nltk_data/tokenizers/punkt_tab/finnish/abbrev_types.txt").exists()
    assert not (fetched.path / "store").exists(), "nothing runs, so there is no store"


def test_it_goes_where_the_launchers_jobs_will_look(fetched):
    assert (fetched.shared / "hub" / "models--org--toy" / "snapshots" / NEW / "config.json").exists()
    assert not (fetched.path / "hf").exists(), "the user's own HF_HOME"
    assert f"HF_HOME={fetched.shared}" in fetched.said


def test_what_is_not_pinned_is_named_with_the_commit_of_today(fetched):
    pins = [line.strip() for line in fetched.said.splitlines() if line.strip().endswith(f".revision={NEW}")]
    assert pins == [
        f"data_mix.sft.en.revision={NEW}",
        f"model.revision={NEW}",
        f"benchmark.prompts.fi.revision={NEW}",
    ]


def pinned(talk: str = NEW) -> list[str]:
    revisions = {
        "model__revision": NEW,
        "data_mix__sft__en__revision": talk,
        "benchmark__prompts__fi__revision": NEW,
    }
    return options(**revisions)


LOAD = """
import json, sys
from experiment.sources.read import read_conversations, read_prompts
from experiment.sources.source import Source
from experiment.sources.hub import fetch_rows
from experiment.errors import DataError, KirjoError
old, new, absent = sys.argv[1:]
def talk(revision):
    source = Source(reader="conversations", language="en", hub="org/talk", revision=revision)
    try:
        return read_conversations(source)[0].messages[1].content
    except DataError as error:
        return str(error)
def fault(**wrong):
    try:
        fetch_rows(Source(**{"reader": "ifeval", "language": "fi", "hub": "org/prompts", "revision": new, **wrong}))
    except KirjoError as error:
        return str(error)
prompts = Source(reader="ifeval", language="fi", hub="org/prompts", subset="fi", revision=new)
found = {"split": fault(subset="fi", split="nope"), "unreachable": fault(subset="en")}
found |= {"old": talk(old), "new": talk(new), "absent": talk(absent), "prompt": read_prompts(prompts, ())[0].prompt}
print(json.dumps(found))
"""
LOAD_MODEL = """
import sys
from experiment.training.models import load
model, tokenizer = load("org/toy", revision=sys.argv[1])
print(sum(p.numel() for p in model.parameters()), len(tokenizer))
"""


def test_jobs_load_it_without_network_each_commit_its_own(hub, fetched):
    """``datasets`` by itself hands out the newest cached commit when it is offline, whichever was asked for."""
    hub.downloads()
    other = fetched.prefetch(hub, *pinned(talk=OLD))
    assert other.returncode == 0, other.stderr
    assert hub.downloads() == ["train.jsonl"]
    assert "1 fetched, 3 there already" in other.stdout
    assert "the plan names no commit" not in other.stdout
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(fetched.shared)}
    found = python(LOAD, [OLD, NEW, "c" * 40], fetched.path, "http://127.0.0.1:1", **offline)
    assert found.returncode == 0, found.stderr
    loaded = json.loads(found.stdout.splitlines()[-1])
    assert (loaded["old"], loaded["new"], loaded["prompt"]) == ("reply of a", "reply of b", "Suomi?")
    assert "cannot load org/talk at revision " + "c" * 40 in loaded["absent"]
    assert "prefetch=true" in loaded["absent"]
    assert "cannot fetch dataset org/prompts" in loaded["split"]
    assert "nope" in loaded["split"]
    assert "cannot reach the hub for dataset org/prompts" in loaded["unreachable"]


@pytest.mark.slow
def test_jobs_load_the_model_without_network(fetched):
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(fetched.shared)}
    found = python(LOAD_MODEL, [NEW], fetched.path, "http://127.0.0.1:1", **offline)
    assert found.returncode == 0, found.stderr
    parameters, tokens = map(int, found.stdout.split()[-2:])
    assert parameters > 0
    assert tokens > 0


def test_the_password_of_a_mirror_is_not_told(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://me:5ecre7@mirror.example/hf")
    for status in (403, 401, 500):
        error = OSError("https://me:5ecre7@mirror.example/hf/api says no")
        error.response = SimpleNamespace(status_code=status)  # type: ignore[attr-defined]
        said = str(client.explained(error, "dataset", "org/talk", NEW))
        assert "mirror.example/hf" in said
        assert "5ecre7" not in said


def test_each_fault_has_its_own_words_and_the_rest_is_fetched(hub, tmp_path):
    wrong = options(
        model__hub="org/gated",
        data_mix__sft__en__revision="d" * 40,
        benchmark__prompts__fi__hub="org/closed",
        benchmark__prompts__en__hub="org/none",
        benchmark__languages="[en,fi]",
    )
    found = prefetch(hub, tmp_path, *wrong)
    assert found.returncode == 2
    assert "Traceback" not in found.stderr
    assert f"model org/gated is gated: accept its licence at {hub.url}/org/gated, then set HF_TOKEN" in found.stderr
    assert f"dataset org/closed is gated: accept its licence at {hub.url}/datasets/org/closed" in found.stderr
    assert f"dataset org/talk has no revision {'d' * 40}" in found.stderr
    assert "the hub has no dataset org/none, or does not show it to you" in found.stderr
    assert "what was fetched stays" in found.stderr
    assert "NLTK punkt_tab (en): fetched" in found.stdout
    assert (tmp_path / "nltk_data/tokenizers/punkt_tab/finnish").is_dir()


def test_no_network_ends_it_at_once(hub, tmp_path):
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        found = prefetch(hub, tmp_path, *pinned(), HF_ENDPOINT=endpoint)
    assert found.returncode == 2
    assert found.stderr.count("cannot reach the hub") == 1
    assert "where there is network (a login node)" in found.stderr
    assert "Traceback" not in found.stderr


def test_a_model_for_which_there_is_no_room_is_not_begun(hub, tmp_path):
    hub.downloads()
    code = "import sys; from experiment.sources.hub import fetch_model; fetch_model(*sys.argv[1:])"
    found = python(code, ["org/huge", NEW], tmp_path, hub.url)
    assert "KirjoError: org/huge needs 1000000.0 TB" in found.stderr
    assert hub.downloads() == []


@pytest.mark.parametrize(
    ("arguments", "offline", "said"),
    [
        ([], "1", "HF_HUB_OFFLINE=1 is set here"),
        (["launcher=lumi"], "0", "launcher.account is not set: launcher=lumi needs launcher.account=project_<id>"),
        (["-m", "prefetch=true,false"], "0", "prefetch must be the same for all runs of a sweep"),
    ],
)
def test_what_cannot_be_is_said(capsys, monkeypatch, arguments, offline, said):
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    code, _, err = ask(capsys, monkeypatch, *options(), "prefetch=true", *arguments)
    assert (code, said in err) == (2, True), err


def test_a_plan_that_needs_nothing_says_so(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    code, out, err = ask(capsys, monkeypatch, "prefetch=true", f"store={tmp_path}/store")
    assert (code, err) == (0, "")
    assert out.startswith("nothing to fetch")


def test_of_a_model_only_what_transformers_reads():
    small = dict.fromkeys(["config.json", "tokenizer.json", "chat_template.jinja", "tokenizer.model"], 1)
    shards = dict.fromkeys(["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"], 9)
    index = {"model.safetensors.index.json": 1}
    other = dict.fromkeys(["consolidated.safetensors", "pytorch_model.bin", "onnx/config.json", "README.md"], 9)
    assert client.needed_files("x", {**small, **shards, **index, **other}) == sorted([*small, *shards, *index])
    old = dict.fromkeys(["pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json"], 9)
    assert client.needed_files("x", {**small, **old}) == sorted([*small, *old])
    with pytest.raises(KirjoError, match="holds no model"):
        client.needed_files("x", small)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_also_where_a_library_hides_it(number):
    try:
        try:
            raise OSError(number, os.strerror(number))
        except OSError:
            raise RuntimeError("an error occurred while generating the dataset") from None
    except RuntimeError as error:
        found = client.explained(error, "dataset", "org/talk", NEW)
    assert "no room for dataset org/talk" in str(found)
    assert "HF_HOME" in str(found)


@pytest.mark.parametrize(
    ("size", "said"), [(0, "0 B"), (999, "999 B"), (68_400_000_000, "68.4 GB"), (10**18, "1000000.0 TB")]
)
def test_sizes_are_told_in_the_unit_that_fits(size, said):
    assert client.as_size(size) == said
