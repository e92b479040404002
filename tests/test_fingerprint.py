from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiment.fingerprint import FingerprintError, canonical, digest, file_digest, known_digest, read_json
from experiment.fingerprint import write_json_atomic as write
from experiment.provenance import describe

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=4) | st.dictionaries(TEXT, v, max_size=4), max_leaves=12)


def marked(value: object) -> object:
    """The value with booleans told from numbers, since Python has True == 1."""
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, dict):
        return {key: marked(item) for key, item in value.items()}
    return [marked(item) for item in value] if isinstance(value, list) else value


@given(VALUES)
def test_canonical_reads_back_as_the_same_value(value):
    assert marked(json.loads(canonical(value))) == marked(value)


@given(VALUES, VALUES)
def test_two_values_share_a_canonical_form_only_if_they_are_equal(one, other):
    assert (canonical(one) == canonical(other)) == (marked(one) == marked(other))


@given(st.dictionaries(TEXT, VALUES, max_size=5), st.randoms())
def test_the_order_of_keys_is_irrelevant(value, random):
    items = list(value.items())
    random.shuffle(items)
    assert digest(dict(items)) == digest(value)


@given(st.integers(-(2**53), 2**53))
def test_a_whole_float_is_the_integer(number):
    assert canonical(float(number)) == canonical(number) == str(number)


def test_the_form_is_fixed():
    assert canonical({"b": [1.0, -0.0, 0.1, True], "a": ("ä", "\n")}) == '{"a":["ä","\\n"],"b":[1,0,0.1,true]}'
    assert digest({"lr": 1e-5}) == hashlib.sha256(b'{"lr":1e-05}').hexdigest()[:16]
    assert len(digest({}, length=40)) == 40


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"settings": {"sft": {"path": Path("/x")}}}, r"settings\.sft\.path is a \w*Path"),
        ({"a": [1, {2}]}, r"a\[1\] is a set"),
        ({"a": b"x"}, "a is a bytes"),
        ({"a": {"lr": float("nan")}}, r"a\.lr is the float nan"),
        ([float("-inf")], r"\[0\] is the float -inf"),
        ({"a": {1: 2}}, "a has the key 1, a int"),
        (object(), "the value itself is a object"),
        ({"a": "\ud800"}, "a is a str that is not Unicode text"),
    ],
)
def test_a_value_without_canonical_form_is_refused_with_its_place(value, message):
    with pytest.raises(FingerprintError, match=message):
        digest(value)


def test_file_digest_is_the_sha256_of_a_file_longer_than_a_block(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"kirjo" * 500_000)
    assert file_digest(path) == hashlib.sha256(b"kirjo" * 500_000).hexdigest()


def test_known_digest_notices_a_changed_file(tmp_path):
    path = tmp_path / "f"
    path.write_text("one")
    first = known_digest(path)
    path.write_text("three")
    assert known_digest(path) == file_digest(path) != first


def test_a_json_file_holds_null_for_what_json_lacks_and_leaves_no_temporary_files(tmp_path):
    write(tmp_path / "new" / "a.json", {"loss": float("nan"), "steps": [1, float("inf")], "name": "ä"})
    assert read_json(tmp_path / "new" / "a.json") == {"loss": None, "steps": [1, None], "name": "ä"}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.json"]


def test_provenance_names_versions_and_no_secrets(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret_value")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    found = describe()
    assert found["packages"]["hydra-core"].startswith("1.3")
    assert found["job"] == "4711"
    assert "hf_secret_value" not in canonical(found)


def test_importing_is_light():
    code = "import sys, experiment.store, experiment.claims; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
