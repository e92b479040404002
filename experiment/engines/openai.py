"""A server with OpenAI's API: /v1/completions for a text to go on from, /v1/chat/completions for a conversation."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiment import stop
from experiment.engines.client import Client
from experiment.engines.endings import cut_at_stop
from experiment.engines.engine import Answer, Done, Request
from experiment.engines.open import ModelPlace
from experiment.engines.serving import StartedServer
from experiment.engines.settings import Server
from experiment.engines.tokens import count, load_tokenizer
from experiment.errors import KirjoError

# What the API allows; we cut at all of them ourselves.
STOP_TEXTS = 4
LOOK_AGAIN_S = 1.0

_Found = tuple[str, "Answer | BaseException"]


# Ours, where the tokenizer is not known: a length that is taken too large costs a line that is split at its sentences,
# one too small a request that the server refuses.
BYTES_A_TOKEN = 2


class OpenAIEngine:
    """Asks many requests at the same time; the server makes batches of them."""

    # An answer stands for itself, as far as the server goes: those of half a shard may be kept.
    piecewise = True

    def __init__(self, settings: Server, model: ModelPlace | None, work: Path) -> None:
        self.settings, self.place, self.work = settings, model, work
        if (settings.url is None) == (settings.start is None):
            raise KirjoError(
                "the engine openai needs one of engine.openai.url (a server that runs) and engine.openai.start (a "
                "command that starts one), and not both"
            )
        if settings.url is not None and not settings.model:
            raise KirjoError(
                "engine.openai.url needs engine.openai.model too: the name under which the server has the model"
            )
        if settings.start is not None and model is None:
            raise KirjoError("engine.openai.start needs the model that the server is to have")
        self._server: StartedServer | None = None
        self._client: Client | None = None
        self._tokenizer: Any = None

    def __enter__(self) -> OpenAIEngine:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._server:
            self._server.close()
            self._server = self._client = None

    def answer(self, requests: Sequence[Request], done: Done) -> None:
        """Answer all requests.

        Raises:
            KirjoError: the server cannot be reached, refuses a request, or ended. What it had answered is told first.
        """
        if self._client is None:
            self._client = self._connect()
        waiting: queue.SimpleQueue[Request] = queue.SimpleQueue()
        found: queue.SimpleQueue[_Found] = queue.SimpleQueue()
        for request in requests:
            waiting.put(request)
        halt = threading.Event()
        for _ in range(min(self.settings.concurrency, len(requests))):
            # Daemons: a request under way must not hold up a process that was told to stop.
            threading.Thread(target=self._work, args=(self._client, waiting, found, halt), daemon=True).start()
        failure: BaseException | None = None
        try:
            for _ in requests:
                id, answer = self._next(found)
                if isinstance(answer, BaseException):
                    failure = answer
                    break
                done(id, answer)
        finally:
            halt.set()
        if failure:
            with contextlib.suppress(queue.Empty):
                while True:
                    id, answer = found.get_nowait()
                    if isinstance(answer, Answer):
                        done(id, answer)
            if self._server:
                self._server.check()
            raise failure

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The length of each text in tokens by the model's own tokenizer; without it, estimated from its bytes."""
        if self._tokenizer is None:
            self._tokenizer = self._load_tokenizer() or False
        if self._tokenizer:
            return count(self._tokenizer, texts)
        return [len(text.encode("utf-8", "surrogatepass")) // BYTES_A_TOKEN + 1 for text in texts]

    def _load_tokenizer(self) -> Any:
        if self.place is not None:
            with contextlib.suppress(KirjoError):
                return load_tokenizer(self.place)
        print(
            f"the server's tokenizer is not here: every {BYTES_A_TOKEN} bytes of a text are taken to be a token",
            file=sys.stderr,
            flush=True,
        )
        return None

    def _connect(self) -> Client:
        settings = self.settings
        if settings.url is not None:
            client = Client(settings, settings.url)
            client.model = client.served(str(settings.model))
            return client
        assert settings.start is not None
        assert self.place is not None
        with stop.deferred():  # or a request to stop would leave it behind
            self._server = StartedServer(settings.start, self.place.name, self.work)
        if stop.requested():
            stop.obey()
        self._server.wait_until_ready(settings.start_timeout_s)
        client = Client(settings, self._server.url)
        client.model = client.served(settings.model, str(self.place.name))
        return client

    def _next(self, found: queue.SimpleQueue[_Found]) -> _Found:
        while True:
            try:
                return found.get(timeout=LOOK_AGAIN_S)
            except queue.Empty:
                if self._server:
                    self._server.check()

    def _work(
        self,
        client: Client,
        waiting: queue.SimpleQueue[Request],
        found: queue.SimpleQueue[_Found],
        halt: threading.Event,
    ) -> None:
        while not halt.is_set():
            try:
                request = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                found.put((request.id, self._ask(client, request, halt)))
            except BaseException as error:  # noqa: BLE001 - the thread that waits for it gets it
                found.put((request.id, error))
                return

    def _ask(self, client: Client, request: Request, halt: threading.Event) -> Answer:
        if request.max_new_tokens <= 0:
            return Answer("", 0, False)
        asked: dict[str, Any] = {"model": client.model, "max_tokens": request.max_new_tokens, "temperature": 0}
        if request.stop:
            asked["stop"] = list(request.stop[:STOP_TEXTS])
        if request.messages:
            asked["messages"] = [{"role": one.role, "content": one.content} for one in request.messages]
        else:
            asked["prompt"] = request.prompt
        said = client.ask("chat/completions" if request.messages else "completions", asked, request.id, halt)
        text, stopped = cut_at_stop(said.text, request.stop)
        tokens = said.tokens if said.tokens is not None else self.count_tokens([said.text])[0]
        return Answer(text, tokens, stopped or not said.cut_off)
