"""Responses from elsewhere: joined to their prompts, scored, and nothing dropped without a word."""

from __future__ import annotations

import codecs
import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.outside import Response, join
from experiment.errors import DataError
from experiment.sources.records import BenchmarkPrompt
from tests.asked import ask

PROMPTS: list[dict[str, Any]] = [
    {
        "key": 1,
        "prompt": "Describe the village without any commas and name the church.",
        "instruction_id_list": ["punctuation:no_comma", "keywords:existence"],
        "kwargs": [{}, {"keywords": ["church"]}],
    },
    {
        "key": 2,
        "prompt": "Put your whole answer about the old mill in double quotes.",
        "instruction_id_list": ["startend:quotation"],
        "kwargs": [{}],
    },
    {
        "key": 3,
        "prompt": "Answer in lower case and in English only: what is a sauna good for?",
        "instruction_id_list": ["change_case:english_lowercase"],
        "kwargs": [None],
    },
]
RESPONSES = [
    {"key": 1, "response": "The church stands by the lake."},
    {"prompt": PROMPTS[1]["prompt"], "response": 'It is "old".'},
    {"key": "3", "response": "it is good for the body and for the mind, and for company."},
]


def write(path: Path, rows: Sequence[Mapping[str, Any] | str]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def score(
    tmp_path: Path, capsys, *arguments: str, prompts: Sequence[Any] = PROMPTS, responses: Sequence[Any] = RESPONSES
) -> tuple[int, str, str]:
    files = write(tmp_path / "prompts.jsonl", prompts), write(tmp_path / "responses.jsonl", responses)
    command = ["score", "--benchmark", "ifeval", "--language", "en", "--prompts", str(files[0])]
    return ask(capsys, *command, "--responses", str(files[1]), *arguments)


def test_one_document_with_every_accuracy(tmp_path, capsys):
    code, out, err = score(tmp_path, capsys, "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert (document["prompts"], document["instructions"]) == (3, 4)
    assert document["prompt_strict"] == {"correct": 2, "total": 3, "percent": 66.67}
    assert document["instruction_strict"] == {"correct": 3, "total": 4, "percent": 75.0}
    assert document["prompt_loose"]["correct"] == 2
    assert document["instruction_loose"]["correct"] == 3
    assert document["unmatched"] == []
    assert document["by_instruction"]["startend:quotation"]["strict"] == {"correct": 0, "total": 1, "percent": 0.0}
    assert sum(each["strict"]["total"] for each in document["by_instruction"].values()) == 4


def test_the_tables_say_the_same(tmp_path, capsys):
    code, out, err = score(tmp_path, capsys)
    assert (code, err) == (0, "")
    assert "instruction strict" in out
    assert "75.00 (3/4)" in out
    assert "startend:quotation" in out


def test_a_row_that_fits_nowhere_is_told_not_dropped(tmp_path, capsys):
    edited = PROMPTS[0]["prompt"].replace("the village", "our village")
    rows = [
        {"prompt": edited, "response": "x"},
        RESPONSES[1],
        {"key": 3, "prompt": PROMPTS[2]["prompt"] + " Be brief.", "response": "yes"},
        {"key": 99, "response": "x"},
        {"prompt": "Something else altogether", "response": "x"},
    ]
    code, out, _ = score(tmp_path, capsys, "--json", responses=rows)
    assert code == 0
    document = json.loads(out)
    assert document["prompts"] == 2
    by_line = {each.get("line"): each for each in document["unmatched"]}
    assert set(by_line) == {1, 3, 4, 5}
    assert (by_line[1]["nearest_key"], by_line[1]["scored"]) == (1, False)
    assert by_line[1]["similarity"] > 0.9
    assert (by_line[3]["key"], by_line[3]["scored"]) == (3, True)
    assert "nearest_key" not in by_line[5]
    code, out, _ = score(tmp_path, capsys, responses=rows)
    assert code == 0
    assert "4 responses that do not fit" in out
    assert "2 of 3 prompts, 2 instructions" in out
    assert "nearest: key 1" in out


def test_a_prompt_without_a_response_is_told(tmp_path, capsys):
    code, out, _ = score(tmp_path, capsys, "--json", responses=RESPONSES[:2])
    assert code == 0
    assert json.loads(out)["unmatched"] == [{"reason": "prompt without a response", "scored": False, "key": 3}]


def test_prompts_can_be_left_out_on_purpose(tmp_path, capsys):
    code, out, _ = score(tmp_path, capsys, "--json", "--exclude", "startend:quotation")
    document = json.loads(out)
    assert (code, document["prompts"], document["unmatched"]) == (0, 2, [])
    code, out, _ = score(tmp_path, capsys, "--json", "--exclude", "startend:quotation", responses=RESPONSES[:1])
    assert [each["key"] for each in json.loads(out)["unmatched"]] == [3]


def test_what_a_reference_does_not_ask_for_is_reported(tmp_path, capsys):
    reference = [
        {**row, "instruction_id_list": row["instruction_id_list"][:1], "kwargs": row["kwargs"][:1]} for row in PROMPTS
    ]
    path = write(tmp_path / "reference.jsonl", reference)
    code, out, _ = score(tmp_path, capsys, "--json", "--reference", str(path))
    assert code == 0
    assert [(each["key"], each["instruction_id"]) for each in json.loads(out)["unasked"]] == [(1, "keywords:existence")]
    code, out, _ = score(tmp_path, capsys, "--json")
    assert json.loads(out)["unasked"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--language", "english"], "--language english: expected an ISO 639-1 code"),
        (["--exclude", "nothing:there"], "--exclude nothing:there: no prompt has this instruction; there are: change"),
        (["--nltk-data", "/nowhere"], "--nltk-data /nowhere: there is no such folder"),
    ],
)
def test_a_wrong_option_is_not_passed_over(tmp_path, capsys, arguments, message):
    code, _, err = score(tmp_path, capsys, *arguments)
    assert code == 2
    assert message in err


def test_a_language_without_rules_or_unknown_to_langdetect_is_told(tmp_path, capsys):
    code, out, _ = score(tmp_path, capsys, "--language", "sv")
    assert code == 0
    assert "There are no rules for 'sv'" in out
    assert "langdetect does not know" not in out
    code, out, _ = score(tmp_path, capsys, "--language", "eu")
    assert code == 0
    assert "langdetect does not know 'eu'" in out


def test_the_finnish_rule_sets_stand_beside_each_other(tmp_path, capsys):
    prompts = [{**PROMPTS[2], "prompt": "Vastaa pienillä kirjaimilla ja suomeksi: mihin sauna on hyvä?"}]
    rows = [{"key": 3, "response": "sauna tekee hyvää keholle ja mielelle, ja siellä viihtyy hyvässä seurassa."}]
    code, out, _ = score(tmp_path, capsys, "--json", "--language", "fi", prompts=prompts, responses=rows)
    assert code == 0
    document = json.loads(out)
    assert document["instruction_strict"]["correct"] == 0  # the paper's harness demands English
    assert document["rules"]["finnish"]["instruction_strict"]["correct"] == 1
    assert document["response_language"]["correct"] == 1


def test_sample_logs_of_lm_eval_are_read_as_they_are(tmp_path, capsys):
    rows = [
        {"doc_id": place, "doc": prompt, "resps": [[RESPONSES[place]["response"]]]}
        for place, prompt in enumerate(PROMPTS)
    ]
    code, out, _ = score(tmp_path, capsys, "--json", responses=rows)
    assert code == 0
    assert json.loads(out)["instruction_strict"]["correct"] == 3


STRANGE = ["", " \n", "\x00", "\ud800", "\u202eabc\u202c", "<script>alert(1)</script>", "🙂" * 500, "a" * 100_000]


def test_files_as_other_programs_write_them(tmp_path, capsys):
    rows = [json.dumps({**row, "key": float(row["key"])} if "key" in row else row) for row in RESPONSES]
    text = "\r\n".join(rows).encode()
    for name, content in (("bom.jsonl", codecs.BOM_UTF8 + text), ("packed.jsonl.gz", gzip.compress(text))):
        (tmp_path / name).write_bytes(content)
        code, out, err = score(tmp_path, capsys, "--json", "--responses", str(tmp_path / name))
        assert (code, err) == (0, "")
        assert json.loads(out)["instruction_strict"]["correct"] == 3


def test_an_array_is_told_from_lines_and_a_torn_archive_from_text(tmp_path, capsys):
    (tmp_path / "array.json").write_text(json.dumps(RESPONSES, indent=1))
    (tmp_path / "torn.gz").write_bytes(gzip.compress(b"x" * 10_000)[:30])
    for name, message in (
        ("array.json", "is one JSON array: expected JSON lines"),
        ("torn.gz", "cannot read the responses"),
    ):
        code, _, err = score(tmp_path, capsys, "--responses", str(tmp_path / name))
        assert code == 2
        assert message in err


@pytest.mark.parametrize("response", STRANGE, ids=range(len(STRANGE)))
def test_any_response_gets_its_verdicts(tmp_path, capsys, response):
    code, out, err = score(tmp_path, capsys, "--json", responses=[{"key": 1, "response": response}])
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert (document["prompts"], document["instructions"]) == (1, 2)
    assert document["by_instruction"]["keywords:existence"]["strict"]["correct"] == 0


@pytest.mark.parametrize(
    ("prompts", "responses", "message"),
    [
        (PROMPTS, ["{", '{"key": 1}', '{"response": "x"}', "[]"], "4 lines are no responses; nothing is scored"),
        (PROMPTS, [RESPONSES[0], '{"key": 1, "respon'], "line 2: "),
        (PROMPTS, [], "holds no responses"),
        (PROMPTS, [{"key": True, "response": "x"}], "expected a whole number as 'key'"),
        (PROMPTS, [RESPONSES[0], RESPONSES[0]], "lines 1 and 2 both answer prompt 1"),
        (PROMPTS, [{"key": 9, "response": "x"}], "is it the right prompts file?"),
        ([{**PROMPTS[0], "instruction_id_list": [], "kwargs": []}], RESPONSES, "at least one instruction"),
        ([{"key": 1, "prompt": "x"}], RESPONSES, "expected key, prompt, instruction_id_list and kwargs"),
        ([{**PROMPTS[1], "kwargs": [{"colour": "red"}]}], [RESPONSES[1]], "colour"),
        ([{**PROMPTS[1], "instruction_id_list": ["startend:rhyme"]}], [RESPONSES[1]], "startend:rhyme"),
        ([{**PROMPTS[0], "kwargs": [{}, {}]}], [RESPONSES[0]], "keywords"),
        ([{**PROMPTS[0], "kwargs": [{}, {"keywords": "church"}]}], [RESPONSES[0]], "a list of words as keywords"),
        ([{**PROMPTS[0], "kwargs": [{}, {"keywords": [1]}]}], [RESPONSES[0]], "a list of words as keywords"),
        ([{**PROMPTS[0], "key": 2**63}], [RESPONSES[0]], "of 64 bits"),
    ],
    ids=range(14),
)
def test_a_file_that_is_wrong_is_an_error_with_its_reason(tmp_path, capsys, prompts, responses, message):
    code, out, err = score(tmp_path, capsys, "--json", prompts=prompts, responses=responses)
    assert (code, out) == (2, "")
    assert message in err


def test_files_that_are_not_there(tmp_path, capsys):
    for option in ("--prompts", "--responses"):
        code, _, err = score(tmp_path, capsys, option, str(tmp_path / "nowhere.jsonl"))
        assert code == 2
        assert "nowhere.jsonl: No such file" in err


@given(st.permutations(range(6)), st.lists(st.booleans(), min_size=6, max_size=6))
def test_the_order_of_rows_and_the_way_they_are_named_do_not_matter(order, by_key):
    prompts = [BenchmarkPrompt(key, f"prompt number {key}", ("punctuation:no_comma",), ({},)) for key in range(6)]
    rows = [
        Response(line, key if by_key[key] else None, None if by_key[key] else f"prompt number {key}", f"answer {key}")
        for line, key in enumerate(order, start=1)
    ]
    joined, unmatched = join(prompts, rows)
    assert joined == {key: f"answer {key}" for key in range(6)}
    assert unmatched == []


def test_a_row_with_an_unknown_key_alone_fits_nowhere():
    prompts = [BenchmarkPrompt(1, "", ("punctuation:no_comma",), ({},))]
    joined, unmatched = join(prompts, [Response(1, 7, None, "an answer to another prompt")])
    assert joined == {}
    assert unmatched[0].reason == "no prompt has this key"


def test_one_text_of_two_prompts_needs_the_key():
    prompts = [BenchmarkPrompt(key, "the same text", ("punctuation:no_comma",), ({},)) for key in (1, 2)]
    joined, unmatched = join(prompts, [Response(1, None, "the same text", "x"), Response(2, 2, "the same text", "y")])
    assert joined == {2: "y"}
    assert "stands several times (keys 1, 2): give the key" in unmatched[0].reason
    with pytest.raises(DataError, match="lines 1 and 2 both answer prompt 1"):
        join(prompts, [Response(1, 1, None, "x"), Response(2, 1, None, "x")])
