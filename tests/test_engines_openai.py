"""The engine that asks a server, against real servers: well-behaved ones, broken ones, and ones that it starts."""

from __future__ import annotations

import email.utils
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from experiment import stop
from experiment.engines import client, guard, openai
from experiment.engines.endings import cut_at_stop
from experiment.engines.engine import Answer, Request
from experiment.engines.open import open_engine
from experiment.engines.openai import OpenAIEngine
from experiment.engines.settings import Engines
from experiment.engines.settings import Server as Settings
from experiment.errors import KirjoError
from experiment.sources.records import Message
from tests import answered, completion_server, models, ranked
from tests.completion_server import Server, as_json, running

TEXTS = ("one two three", "a", "the fisher stands in the harbour", "hei hei hei hei", "x y")
REQUESTS = [Request(f"r{at}", 4, prompt=text) for at, text in enumerate(TEXTS)]
NOTHING = Request("none", 0, prompt="one two")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that a test can wait for, and a proxy that would break every connection that takes it."""
    monkeypatch.setattr(client, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(openai, "LOOK_AGAIN_S", 0.05)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def engine_of(
    server: Server | None = None, work: Path = Path(), place: Path | None = None, **more: Any
) -> OpenAIEngine:
    given = {"url": server.url, "model": completion_server.MODEL} if server else {}
    settings = Engines(openai=Settings(**{**given, "retries": 2, **more}))
    engine = open_engine("openai", settings, model=place, batch_rows=4, work=work)
    assert isinstance(engine, OpenAIEngine)
    return engine


def answers_of(engine: OpenAIEngine, requests: Sequence[Request] = REQUESTS) -> dict[str, Answer]:
    return answered.answers_of(engine, requests)


def right(request: Request) -> Answer:
    text, reason, tokens = completion_server.answer_to(
        {"prompt": request.prompt, "max_tokens": request.max_new_tokens, "stop": list(request.stop[:4])}
    )
    text, stopped = cut_at_stop(text, request.stop)
    return Answer(text, tokens, reason == "stop" or stopped)


RIGHT = {request.id: right(request) for request in REQUESTS}


def test_texts_are_gone_on_from() -> None:
    assert {answer.finished for answer in RIGHT.values()} == {True, False}
    with running(Server()) as server, engine_of(server, url=f"{server.url}/v1/") as engine:
        assert answers_of(engine) == RIGHT
        assert {one["temperature"] for one in server.asked} == {0}
        assert {one["max_tokens"] for one in server.asked} == {4}
        assert {one["model"] for one in server.asked} == {completion_server.MODEL}
        assert not any("stop" in one or "messages" in one for one in server.asked)
        assert server.paths == ["/v1/models"]
        assert answers_of(engine, [NOTHING]) == {"none": Answer("", 0, False)}
        answers_of(engine)
        assert server.paths == ["/v1/models"], "asked for once"
        assert not any("Authorization" in one for one in server.headers)


def test_conversations_are_answered() -> None:
    talk = (Message("system", "Be short."), Message("user", "one two three"))
    with running(Server()) as server, engine_of(server) as engine:
        found = answers_of(engine, [Request("chat", 9, messages=talk)])
        assert found == {"chat": Answer("three two one ", 3, True)}
        assert server.asked[0]["messages"] == [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "one two three"},
        ]


def test_all_stop_texts_count_though_the_api_takes_four() -> None:
    stops = ("no", "such", "text", "here", "the", "stands ")
    request = Request("many", 20, prompt="the fisher stands in the harbour", stop=stops)
    with running(Server()) as server, engine_of(server) as engine:
        assert answers_of(engine, [request]) == {"many": Answer("harbour ", 6, True)}
        assert server.asked[0]["stop"] == list(stops[:4])
        few = Request("few", 20, prompt="the fisher stands in the harbour", stop=("in",))
        assert answers_of(engine, [few]) == {"few": Answer("harbour the ", 3, True)}


def test_so_many_are_asked_at_once_and_no_more() -> None:
    many = [Request(f"q{at}", 3, prompt=f"word {at}") for at in range(24)]
    with running(Server(pause_s=0.05)) as server, engine_of(server, concurrency=6) as engine:
        answers_of(engine, many)
        assert 3 <= server.most_at_once <= 6


TRANSIENT = {
    "500": as_json({"error": {"message": "CUDA error"}}, 500),
    "502": (502, {}, b"<html>Bad Gateway</html>"),
    "503": as_json({"detail": "loading"}, 503),
    "504": (504, {}, b""),
    "429": as_json({"error": "slow down"}, 429, **{"Retry-After": "0.2"}),
    "not JSON": (200, {}, b"<html>hello</html>"),
    "no choices": as_json({"choices": []}),
    "no text": as_json({"choices": [{"finish_reason": "stop"}]}),
    "a list": as_json([1]),
    "hang": "hang",
    "drop": "drop",
    "half": "half",
}


@pytest.mark.parametrize("trouble", TRANSIENT)
def test_trouble_that_passes_costs_nothing_but_time(trouble: str) -> None:
    seen: dict[str, float] = {}

    def behave(number: int, asked: dict[str, Any]) -> Any:
        if number < 0 or asked["prompt"] in seen:
            return None
        seen[asked["prompt"]] = time.monotonic()
        return TRANSIENT[trouble]

    begun = time.monotonic()
    with running(Server(behave)) as server, engine_of(server, timeout_s=0.3) as engine:
        assert answers_of(engine) == RIGHT
        assert len(server.asked) == 2 * len(REQUESTS)
    if trouble == "429":
        assert time.monotonic() - begun >= 0.2


def test_a_server_may_say_until_when_to_wait() -> None:
    def after(value: str) -> float | None:
        reply = client.requests.Response()
        reply.headers["Retry-After"] = value
        return client._retry_after(reply)

    assert after("7") == 7.0
    assert after("") is after("soon") is None
    assert after("99999") == 10 * client.LONGEST_PAUSE_S
    later = after(email.utils.formatdate(time.time() + 30, usegmt=True))
    assert later is not None
    assert 20 < later <= 31


@pytest.mark.parametrize("trouble", ["500", "not JSON", "hang", "drop", "429"])
def test_trouble_that_stays_is_told_with_what_came_before(trouble: str) -> None:
    def behave(number: int, asked: dict[str, Any]) -> Any:
        return TRANSIENT[trouble] if asked and asked["prompt"] == TEXTS[2] else None

    found: dict[str, Answer] = {}
    words = {
        "500": "500 .*CUDA error",
        "not JSON": "not the answer",
        "hang": "no answer within 0.3",
        "429": "slow down",
    }
    with running(Server(behave)) as server, engine_of(server, timeout_s=0.3, concurrency=1) as engine:
        with pytest.raises(
            KirjoError, match=f"gave no answer to request r2 in 3 tries.*{words.get(trouble, '')}"
        ) as error:
            engine.answer(REQUESTS, found.__setitem__)
        assert "give the same command again" in str(error.value)
        assert len(server.asked) == 5
    assert found == {id: RIGHT[id] for id in ("r0", "r1")}


@pytest.mark.parametrize(
    ("status", "advice"),
    [(400, "shorter prompts"), (401, "MY_KEY, which is set"), (404, "engine.openai.model"), (418, "server's log")],
)
def test_what_will_never_work_fails_at_once(monkeypatch: pytest.MonkeyPatch, status: int, advice: str) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    refusal = as_json({"error": {"message": "this model holds 128 tokens, says sk-secret"}}, status)
    server = Server(lambda number, asked: refusal if number >= 0 else None)
    with running(server), engine_of(server, key_variable="MY_KEY", concurrency=1) as engine:
        with pytest.raises(KirjoError, match=f"refuses: {status} .*this model holds 128 tokens.*{advice}") as error:
            answers_of(engine)
        assert len(server.asked) == 1
        assert server.headers[0]["Authorization"] == "Bearer sk-secret"
        assert "sk-secret" not in str(error.value)


def test_a_server_that_is_not_there() -> None:
    port = ranked.free_ports()[0]
    words = f"no server to answer at http://127.0.0.1:{port}: the connection failed"
    with engine_of(url=f"http://127.0.0.1:{port}", model="toy") as engine, pytest.raises(KirjoError, match=words):
        answers_of(engine)
    with engine_of(url="http://*x", model="toy") as engine, pytest.raises(KirjoError, match=r"engine\.openai\.url"):
        answers_of(engine)


def test_a_model_that_is_not_served() -> None:
    with running(Server(models=("base", "chat"))) as server:
        with engine_of(server, model="poro") as engine, pytest.raises(KirjoError, match="'poro'; it has: base, chat"):
            answers_of(engine)
        assert server.asked == []
    for no_list in (as_json({"detail": "Not Found"}, 404), (500, {}, b"Internal Server Error")):
        silent = Server(lambda number, asked, no_list=no_list: no_list if number < 0 else None)
        with running(silent), engine_of(silent) as engine:
            assert answers_of(engine) == RIGHT, "a server that lists no models may have them all the same"
    other = as_json({"hello": "world"})
    with (
        running(Server(lambda number, asked: other if number < 0 else None)) as server,
        engine_of(server) as engine,
        pytest.raises(KirjoError, match="is no list of models"),
    ):
        answers_of(engine)


def test_settings_that_do_not_go_together() -> None:
    for more, words in (
        ({}, "needs one of engine.openai.url"),
        ({"url": "http://x", "model": "m", "start": "serve {model} {port}"}, "and not both"),
        ({"url": "http://x"}, "needs engine.openai.model too"),
        ({"start": "serve {model} {port}"}, "needs the model that the server is to have"),
    ):
        with pytest.raises(KirjoError, match=words):
            engine_of(**more)


def test_tokens_are_counted_by_the_models_own_tokenizer_or_from_above(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = models.toy_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    texts = ["", "Is it cold?", "Mitä äiti söi?"]
    own = [len(tokenizer.tokenize(text)) for text in texts]
    with open_engine(
        "openai", Engines(openai=Settings(url="http://x", model="m")), model=tmp_path, batch_rows=1, work=tmp_path
    ) as engine:
        assert engine.count_tokens(texts) == own
    assert "tokenizer is not here" not in capsys.readouterr().err
    unknown = engine_of(url="http://x", model="m")
    assert unknown.count_tokens(["", "abcd", "äö"]) == [1, 3, 3]
    unknown.count_tokens(texts)
    assert capsys.readouterr().err.count("tokenizer is not here") == 1


class TestStarted:
    """Servers that the engine starts, each a real process."""

    def command(self, behaviour: str = "") -> str:
        return f"{shlex.quote(sys.executable)} -m tests.completion_server {{port}} {{model}} {behaviour}"

    def engine(self, folder: Path, behaviour: str = "", **more: Any) -> OpenAIEngine:
        return engine_of(None, folder, folder / "model", start=self.command(behaviour), **more)

    def test_it_serves_and_ends(self, tmp_path: Path) -> None:
        with self.engine(tmp_path) as engine:
            assert answers_of(engine) == RIGHT
            assert engine._server is not None
            pid = engine._server._process.pid
            assert answers_of(engine) == RIGHT, "the same server"
            assert engine._server._process.pid == pid
            assert engine._client is not None
            assert engine._client.model == str(tmp_path / "model")
        assert gone(pid)
        assert [path.read_text().split()[0] for path in tmp_path.glob(".server.*.log")] == ["ready"]

    def test_no_request_starts_no_server(self, tmp_path: Path) -> None:
        with self.engine(tmp_path, "crash") as engine:
            assert engine.count_tokens(["a"]) == [1]
        assert list(tmp_path.iterdir()) == []

    def test_one_that_does_not_start_tells_why(self, tmp_path: Path) -> None:
        begun = time.monotonic()
        with self.engine(tmp_path, "crash") as engine:
            with pytest.raises(KirjoError, match=r"ended with exit code 1: .*completion_server") as error:
                answers_of(engine)
            assert "no GPU is free" in str(error.value)
        assert time.monotonic() - begun < 20
        with engine_of(None, tmp_path, tmp_path, start="no-such-command {model} {port}") as engine:
            with pytest.raises(KirjoError, match="exit code 127") as error:
                answers_of(engine)
            assert "cannot start no-such-command" in str(error.value)

    def test_one_that_never_answers_is_given_up(self, tmp_path: Path) -> None:
        with self.engine(tmp_path, "never", start_timeout_s=0.5) as engine:
            with pytest.raises(KirjoError, match=r"does not answer after 0.5 s \(engine.openai.start_timeout_s\)"):
                answers_of(engine)
            assert engine._server is not None
            pid = engine._server._process.pid
        assert gone(pid)

    def test_one_that_dies_half_way_leaves_what_it_has_answered(self, tmp_path: Path) -> None:
        found: dict[str, Answer] = {}
        many = [Request(f"q{at}", 3, prompt=f"word {at}") for at in range(20)]
        begun = time.monotonic()
        words = "the server ended with exit code 137"
        with (
            self.engine(tmp_path, "die:7", retries=50, concurrency=2) as engine,
            pytest.raises(KirjoError, match=words),
        ):
            engine.answer(many, found.__setitem__)
        assert 1 <= len(found) <= 7
        assert time.monotonic() - begun < 20, "it does not go on asking a dead server"

    @pytest.mark.parametrize("behaviour", ["family", pytest.param("stubborn", marks=pytest.mark.slow)])
    def test_nothing_of_it_is_left(self, tmp_path: Path, behaviour: str) -> None:
        with self.engine(tmp_path, behaviour) as engine:
            assert answers_of(engine) == RIGHT
            assert engine._server is not None
            group = engine._server._process.pid
            assert len(members(group)) == {"family": 3, "stubborn": 2}[behaviour]
        assert members(group) == []

    def test_a_request_to_stop_ends_it_too(self, tmp_path: Path) -> None:
        many = [Request(f"q{at}", 3, prompt=f"word {at}") for at in range(20)]
        group = 0

        def done(_id: str, _answer: Answer) -> None:
            nonlocal group
            assert engine._server is not None
            group = engine._server._process.pid
            stop.request()

        try:
            with pytest.raises(stop.Stopped), self.engine(tmp_path) as engine:
                engine.answer(many, done)
        finally:
            stop._requested = False
        assert members(group) == []

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
    def test_it_does_not_outlive_its_starter(self, tmp_path: Path, number: signal.Signals) -> None:
        code = (
            "import time\nfrom pathlib import Path\nfrom experiment.engines.serving import StartedServer\n"
            f"server = StartedServer({self.command('family')!r}, 'toy', Path({str(tmp_path)!r}))\n"
            "server.wait_until_ready(60)\n"
            f"Path({str(tmp_path / 'group')!r}).write_text(str(server._process.pid))\n"
            "time.sleep(60)\n"
        )
        starter = subprocess.Popen([sys.executable, "-c", code], cwd=ranked.ROOT)
        try:
            end = time.monotonic() + 60
            while not (tmp_path / "group").exists() or not (tmp_path / "group").read_text():
                assert time.monotonic() < end
                time.sleep(0.05)
        finally:
            starter.send_signal(number)
            starter.wait()
        group = int((tmp_path / "group").read_text())
        end = time.monotonic() + guard.GRACE_S + 5
        while members(group) and time.monotonic() < end:
            time.sleep(0.05)
        assert members(group) == []

    def test_it_is_not_taken_for_a_rank(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RANK", "1")
        monkeypatch.setenv("WORLD_SIZE", "2")
        engine = engine_of(None, tmp_path, tmp_path, start="sh -c 'env; exit 3' {model} {port}")
        with engine, pytest.raises(KirjoError, match="exit code 3"):
            answers_of(engine)
        (log,) = tmp_path.glob(".server.*.log")
        assert "PATH=" in log.read_text()
        assert "RANK=" not in log.read_text()
        assert "WORLD_SIZE" not in log.read_text()


def members(group: int) -> list[int]:
    """The living processes of a process group."""
    return [pid for pid, (found, state) in states() if found == group and state != "Z"]


def gone(pid: int) -> bool:
    return all(found != pid or state == "Z" for found, (_, state) in states())


def states() -> Iterator[tuple[int, tuple[int, str]]]:
    """(pid, (group, state)) of all processes."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            yield int(entry.name), (int(fields[2]), fields[0])
