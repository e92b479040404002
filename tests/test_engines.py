"""The engine in this process: greedy, the same whatever the batch, within memory, and for any model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Cache, MambaConfig, MambaForCausalLM, MistralConfig, MistralForCausalLM, set_seed
from transformers.cache_utils import DynamicLayer

from experiment.engines.decoding import Budget, Decoder, Passes, Row, common_prefix
from experiment.engines.endings import StopSearch, cut_at_stop
from experiment.engines.engine import Answer, Request
from experiment.engines.in_process import InProcessEngine
from experiment.engines.open import ModelPlace, open_engine
from experiment.engines.plain import PlainDecoder
from experiment.engines.settings import Engines, InProcess
from experiment.engines.slots import Slots
from experiment.engines.tokens import load_tokenizer
from experiment.engines.trial import agrees
from experiment.errors import KirjoError
from experiment.sources.records import Message
from experiment.training.chat import add_chat_format
from tests import models
from tests.answered import answers_of

pytestmark = pytest.mark.usefixtures("alone")

SHOTS = "Pekka has a dog.\nPekalla on koira.\n\nThe harbour is cold.\nSatama on kylmä.\n\n"
LINES = (
    "Is it cold?",
    "The fisher stands in the harbour with a bucket, and talks to the baker about the weather.",
    "Ok",
    "Liisa goes to work in Tampere every day. " * 4,
    "",
    "Who is Pekka?",
    "Name three towns.",
    "It rains.",
    "The ship is late, says the captain.",
    "Hello",
    "What does the baker sell on a Sunday?",
    "No.",
)
NEW_TOKENS = 16


def requests_of(prompts: Sequence[str], *, limit: int = NEW_TOKENS, stop: tuple[str, ...] = ()) -> list[Request]:
    """Requests with limits that differ a little."""
    return [Request(f"r{at}", limit + at % 3, prompt=prompt, stop=stop) for at, prompt in enumerate(prompts)]


FEW_SHOT = [f"{SHOTS}{line}\n" for line in LINES]


@pytest.fixture(scope="module", params=["bloom", "llama"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Path]:
    """(model, tokenizer, folder): random, and with an end that comes now and then."""
    tokenizer = models.toy_tokenizer()
    made = {"bloom": lambda it: models.toy_bloom(it, layers=2), "llama": models.toy_llama}[request.param](tokenizer)
    made.eval()
    answers = [alone(made, tokenizer, one, ends=False)[0] for one in requests_of(FEW_SHOT)]
    shares = {token: sum(token in answer for answer in answers) for answer in answers for token in answer[2:]}
    token = min(shares, key=lambda token: (abs(shares[token] - len(answers) / 2), token))
    with torch.no_grad():
        head = made.get_output_embeddings().weight
        head[tokenizer.eos_token_id] = 1.02 * head[token]
    return made, tokenizer, models.save_model(tmp_path_factory.mktemp("model"), made, tokenizer)


def alone(model: Any, tokenizer: Any, request: Request, ends: bool = True) -> tuple[list[int], bool]:
    """(tokens, finished): the most likely token after the other, no batch, no padding, no cache."""
    ids = list(tokenizer(request.prompt)["input_ids"]) or [tokenizer.bos_token_id]
    answer: list[int] = []
    while len(answer) < request.max_new_tokens:
        with torch.no_grad():
            token = int(model(torch.tensor([ids + answer]), use_cache=False).logits[0, -1].argmax())
        if ends and token == tokenizer.eos_token_id:
            return answer, True
        answer.append(token)
        if any(stop in tokenizer.decode(answer, skip_special_tokens=True) for stop in request.stop):
            return answer, True
    return answer, False


EXPECTED: dict[tuple[int, Request], Answer] = {}


def expected(model: Any, tokenizer: Any, request: Request) -> Answer:
    """The answer of one at a time; remembered, for it takes long."""
    key = (id(model), request)
    if key not in EXPECTED:
        EXPECTED[key] = by_itself(model, tokenizer, request)
    return EXPECTED[key]


def by_itself(model: Any, tokenizer: Any, request: Request) -> Answer:
    tokens, finished = alone(model, tokenizer, request)
    return Answer(
        cut_at_stop(tokenizer.decode(tokens, skip_special_tokens=True), request.stop)[0], len(tokens), finished
    )


def engine_of(folder: Path, rows: int = 4, tokens: int = 65536) -> InProcessEngine:
    engine = open_engine(
        "transformers",
        Engines(transformers=InProcess(batch_tokens=tokens)),
        model=folder,
        batch_rows=rows,
        work=folder,
    )
    assert isinstance(engine, InProcessEngine)
    return engine


@pytest.mark.parametrize(
    "spoil", [lambda text: text[:300], lambda text: text.replace('"BPE"', '"NEW"'), lambda _: "{}"]
)
def test_a_tokenizer_that_cannot_be_read_is_named(tmp_path: Path, spoil: Callable[[str], str]) -> None:
    tokenizer = models.toy_tokenizer()
    folder = models.save_model(tmp_path / "model", models.toy_bloom(tokenizer), tokenizer)
    file = folder / "tokenizer.json"
    whole = file.read_text()
    file.write_text(spoil(whole))
    assert file.read_text() != whole
    with pytest.raises(KirjoError, match=f"cannot load the tokenizer of the model in {folder}: "):
        load_tokenizer(ModelPlace(folder))


@pytest.mark.parametrize("prompts", [FEW_SHOT, LINES], ids=["few-shot", "nothing in common"])
@pytest.mark.parametrize(("rows", "tokens"), [(1, 65536), (3, 65536), (5, 300), (64, 65536)])
def test_answers_are_those_of_one_at_a_time(
    model: tuple[Any, Any, Path], prompts: Sequence[str], rows: int, tokens: int
) -> None:
    requests = requests_of(prompts)
    right = {one.id: expected(*model[:2], one) for one in requests}
    assert 0 < sum(answer.finished for answer in right.values()) < len(right)
    with engine_of(model[2], rows, tokens) as engine:
        assert answers_of(engine, requests) == right
        assert isinstance(engine._decoder, Decoder)
        assert answers_of(engine, requests[::-1]) == right, "not the order of the requests"
        assert answers_of(engine, requests[:1]) == {"r0": right["r0"]}
        assert answers_of(engine, []) == {}


def test_answers_end_before_stop_texts(model: tuple[Any, Any, Path]) -> None:
    made, tokenizer, folder = model
    free = [expected(made, tokenizer, one).text for one in requests_of(FEW_SHOT)]
    # Pieces of real answers, within tokens and across their borders, and one that is everywhere.
    stops = tuple(text[at : at + length] for text in free for at, length in ((1, 1), (3, 4), (9, 9)) if len(text) > 20)
    assert stops
    for stop in (stops[:2], stops[2:4], stops[4:], ("no such text",)):
        requests = requests_of(FEW_SHOT, stop=stop)
        right = {one.id: expected(made, tokenizer, one) for one in requests}
        with engine_of(folder) as engine:
            found = answers_of(engine, requests)
        assert found == right
        assert not any(each in answer.text for answer in found.values() for each in stop)


def test_edges(model: tuple[Any, Any, Path]) -> None:
    made, tokenizer, folder = model
    with engine_of(folder) as engine:
        assert engine.count_tokens(["", "Is it cold?"]) == [0, len(tokenizer.tokenize("Is it cold?"))]
        assert engine._decoder is None, "counting loads no model"
        assert answers_of(engine, [Request("none", 0, prompt="Is it cold?")]) == {"none": Answer("", 0, False)}
        empty = Request("empty", 4)
        assert answers_of(engine, [empty]) == {"empty": expected(made, tokenizer, empty)}
        with pytest.raises(KirjoError, match="has no chat template, so it is a base model"):
            answers_of(engine, [Request("chat", 4, messages=(Message("user", "Hi"),))])


def test_a_prompt_must_leave_room(tmp_path: Path) -> None:
    tokenizer = models.toy_tokenizer()
    made = models.toy_llama(tokenizer)
    made.config.max_position_embeddings = 24
    folder = models.save_model(tmp_path, made, tokenizer)
    long = Request("long", 5, prompt="harbour " * 40)
    with engine_of(folder) as engine:
        with pytest.raises(KirjoError, match=r"request long has \d+ tokens, and the model holds 24 with the answer"):
            answers_of(engine, [long])
        short = answers_of(engine, [Request("short", 100, prompt="harbour")])["short"]
        assert short.tokens == 24 - len(tokenizer("harbour")["input_ids"])
        assert not short.finished


class Full:
    """A model's forward on a device that holds so many rows, or tokens, and no more."""

    def __init__(
        self, model: Any, error: Callable[[], BaseException], fits: Callable[[torch.Tensor, int], bool]
    ) -> None:
        self.forward, self.error, self.fits = model.forward, error, fits
        self.__signature__ = __import__("inspect").signature(model.forward)
        self.refused = self.passes = 0

    def __call__(self, *args: Any, **more: Any) -> Any:
        self.passes += 1
        if not self.fits(more["input_ids"], self.passes):
            self.refused += 1
            raise self.error()
        return self.forward(*args, **more)


ERRORS: dict[str, Callable[[], BaseException]] = {
    "device": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "host": lambda: RuntimeError(
        "[enforce fail at alloc_cpu.cpp:125] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to"
    ),
    "python": MemoryError,
}
FITS: dict[str, Callable[[torch.Tensor, int], bool]] = {
    "five rows": lambda ids, _: ids.shape[0] <= 5,
    "one row": lambda ids, _: ids.shape[0] <= 1,
    "a short pass": lambda ids, _: ids.shape[0] == 1 or ids.numel() <= 60,
    "now and then": lambda ids, passes: ids.shape[0] == 1 or passes % 11 != 0,
}


@pytest.mark.parametrize(
    ("error", "fits"), [*(("device", fits) for fits in FITS), ("host", "five rows"), ("python", "five rows")]
)
def test_memory_that_ends_loses_no_answer(
    model: tuple[Any, Any, Path], capsys: pytest.CaptureFixture[str], error: str, fits: str
) -> None:
    requests = requests_of(FEW_SHOT)
    right = {one.id: expected(*model[:2], one) for one in requests}
    with engine_of(model[2], rows=12) as engine:
        engine._decoder = engine._load()
        full = Full(engine._model, ERRORS[error], lambda ids, passes: ids.shape[1] > 100 or FITS[fits](ids, passes))
        engine._model.forward = full
        engine._decoder.passes = Passes(engine._model, engine._decoder.passes.layers, 0)
        capsys.readouterr()
        assert answers_of(engine, requests) == right
        assert full.refused
        assert capsys.readouterr().err.count("out of memory with ") == 1, "it is said, and said once"
        before = full.refused
        assert answers_of(engine, requests) == right
        assert fits == "now and then" or full.refused <= before + 1, "what did not fit is not tried again and again"


def test_not_even_one_fits(model: tuple[Any, Any, Path]) -> None:
    with engine_of(model[2], rows=12) as engine:
        engine._decoder = engine._load()
        engine._model.forward = Full(engine._model, ERRORS["device"], lambda ids, _: False)
        with pytest.raises(KirjoError, match=r"a single answer in work, of up to \d+ tokens with its prompt: lower"):
            answers_of(engine, requests_of(FEW_SHOT))


def test_another_error_is_not_taken_for_full_memory(model: tuple[Any, Any, Path]) -> None:
    with engine_of(model[2], rows=12) as engine:
        engine._decoder = engine._load()
        engine._model.forward = Full(engine._model, lambda: RuntimeError("shape mismatch"), lambda ids, _: False)
        with pytest.raises(RuntimeError, match="shape mismatch"):
            answers_of(engine, requests_of(FEW_SHOT))


def sliding_window(tokenizer: Any) -> Any:
    """A model that sees only the last few tokens."""
    config = MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        sliding_window=8,
        initializer_range=0.3,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return MistralForCausalLM(config)


def state_space(tokenizer: Any) -> Any:
    """A model that keeps a state and no keys and values."""
    config = MambaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        state_size=8,
        initializer_range=0.3,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return MambaForCausalLM(config)


@pytest.mark.parametrize("make", [sliding_window, state_space])
def test_a_model_with_another_cache_goes_the_plain_way(
    make: Callable[[Any], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    set_seed(models.SEED)
    tokenizer = models.toy_tokenizer()
    made = make(tokenizer)
    made.eval()
    folder = models.save_model(tmp_path, made, tokenizer)
    requests = requests_of(FEW_SHOT[:6] + FEW_SHOT[:3], stop=("\n", "aa"))
    right = {one.id: expected(made, tokenizer, one) for one in requests}
    with engine_of(folder) as engine:
        assert answers_of(engine, requests) == right
        assert isinstance(engine._decoder, PlainDecoder)
        assert "answers come from transformers' generate" in capsys.readouterr().err
        engine._decoder.budget = Budget(8, 65536)
        engine._model.forward = Full(engine._model, ERRORS["device"], lambda ids, _: ids.shape[0] <= 1)
        assert answers_of(engine, requests) == right, "out of memory on the way"


def test_a_model_that_does_not_mask_is_not_trusted(model: tuple[Any, Any, Path]) -> None:
    with engine_of(model[2]) as engine:
        engine._load()
        made = engine._model
        layers = made.config.num_hidden_layers
        assert agrees(Passes(made, layers, 0))
        forward = made.forward

        class Blind(Full):
            def __call__(self, *args: Any, **more: Any) -> Any:
                if more.get("past_key_values") is not None:
                    more["attention_mask"] = torch.ones_like(more["attention_mask"])
                return self.forward(*args, **more)

        made.forward = Blind(made, MemoryError, lambda ids, _: True)
        assert not agrees(Passes(made, layers, 0))
        made.forward = forward


def test_a_model_from_before_fine_tuning_and_after(tmp_path: Path) -> None:
    """A base model has no template; the same one with it takes conversations and texts alike."""
    tokenizer = models.toy_tokenizer()
    made = models.toy_bloom(tokenizer)
    add_chat_format(tokenizer, made)
    made.eval()
    folder = models.save_model(tmp_path, made, tokenizer)
    chat = Request("chat", 5, messages=(Message("user", "Is it cold?"),))
    text = Request("text", 5, prompt="<|im_start|>user\nIs it cold?<|im_end|>\n<|im_start|>assistant\n")
    with engine_of(folder) as engine:
        found = answers_of(engine, [chat, text])
    assert found["chat"] == found["text"] == expected(made, tokenizer, text)


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=5))
def test_the_common_prefix_is_what_all_begin_with_and_leaves_each_a_token(prompts: list[list[int]]) -> None:
    found = common_prefix(prompts)
    assert all(prompt[: len(found)] == found and len(found) < len(prompt) for prompt in prompts)
    longer = len(found) + 1
    assert any(len(prompt) <= longer for prompt in prompts) or len({tuple(p[:longer]) for p in prompts}) > 1


PIECES = ("a", "b", "ab", "\n", " a", "ä", "\ufffd", "ba\n", "")


@given(st.lists(st.integers(0, len(PIECES) - 1), max_size=12), st.lists(st.text("ab\n ä", min_size=1), max_size=4))
def test_a_stop_text_is_noticed_with_the_token_that_completes_it(tokens: list[int], stop: list[str]) -> None:
    def decode(tokens: Sequence[int]) -> str:
        return "".join(PIECES[token] for token in tokens)

    search = StopSearch(decode)
    for length in range(1, len(tokens) + 1):
        text = decode(tokens[:length])
        there = any(each in text for each in stop)
        assert search.reached(tokens[:length], stop) == there
        if there:
            cut, found = cut_at_stop(text, stop)
            assert found
            assert not any(each in cut for each in stop)
            return


@settings(deadline=None)
@given(st.data())
def test_slots_hold_each_row_whatever_comes_and_goes(data: st.DataObject) -> None:
    """Keys are numbers here, so that a row can be told from every other."""
    shared = data.draw(st.integers(0, 3))
    prefix = filled([[[-1.0] * shared]] if shared else None)
    slots = Slots(prefix)
    rows: list[list[float]] = []
    fresh = iter(range(1, 10_000))
    for _ in range(data.draw(st.integers(1, 12))):
        act = data.draw(st.sampled_from(["put", "token", "keep"]))
        if act == "put":
            new = [[-1.0] * shared + [float(next(fresh)) for _ in range(length)] for length in data.draw(LENGTHS)]
            width = max(map(len, new))
            padded = [[*row[:shared], *[0.0] * (width - len(row)), *row[shared:]] for row in new]
            slots.put(filled([[row] for row in padded]), [len(row) for row in new])
            rows += new
        elif act == "token" and rows:
            added = [float(next(fresh)) for _ in rows]
            rows = [[*row, value] for row, value in zip(rows, added, strict=True)]
            cache = slots.next_token()
            keys, values = cache.update(*[torch.tensor(added)[:, None, None, None]] * 2, 0)
            assert cache.get_mask_sizes(1, 0) == (keys.shape[2], 0)
            for key, row in zip(keys[:, 0, :, 0].tolist(), rows, strict=True):
                assert key[: len(row)] == row
            assert torch.equal(keys, values)
        elif act == "keep" and rows:
            kept = [at for at in range(len(rows)) if data.draw(st.booleans())]
            order = slots.keep(kept)
            assert sorted(order) == kept
            rows = [rows[at] for at in order]
        assert slots.lengths == [len(row) for row in rows]


LENGTHS = st.lists(st.integers(1, 70), min_size=1, max_size=4)


def filled(rows: Sequence[Sequence[Sequence[float]]] | None) -> Cache:
    """A cache of one layer and one head whose keys and values are these numbers, [rows, 1, columns]."""
    layer = DynamicLayer()
    if rows is not None:
        keys = torch.tensor(rows)[..., None]
        layer.update(keys, keys.clone())
    return Cache(layers=[layer])


def test_rows_that_may_get_longest_begin_and_the_budget_holds(model: tuple[Any, Any, Path]) -> None:
    """At no time may more be held than the budget says, each row counted as the longest."""
    with engine_of(model[2], rows=6, tokens=400) as engine:
        engine._decoder = engine._load()
        decoder = engine._decoder
        assert isinstance(decoder, Decoder)
        held: list[int] = []
        before = decoder.passes.token

        def token(slots: Slots, tokens: Sequence[int]) -> torch.Tensor:
            held.append(len(slots.lengths) * max(slots.lengths))
            return before(slots, tokens)

        decoder.passes.token = token  # type: ignore[method-assign]
        told: list[str] = []
        rows = [Row(str(at), [5] * (10 + 10 * (at % 7)), 5 + at % 4) for at in range(40)]
        with torch.inference_mode():
            decoder.answer(rows, lambda row: told.append(row.id))
        assert sorted(told) == sorted(str(at) for at in range(40))
        assert max(held) <= 400
        assert max(held) > 250, "and it is used"
