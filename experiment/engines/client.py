"""HTTP to a server that speaks OpenAI's API: what is worth another try, what is not, and what to do then."""

from __future__ import annotations

import email.utils
import os
import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests

from experiment.engines.settings import Server
from experiment.errors import KirjoError

T = TypeVar("T")

RETRIED = (408, 425, 429, 500, 502, 503, 504)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0
CHECK_TIMEOUT_S = 30.0
CHECK_RETRIES = 2
SHOWN = 500  # characters of what a server says
GOES_ON = "the answers so far are kept: give the same command again to go on"


@dataclass(frozen=True)
class Said:
    """A server's answer; ``tokens`` is None where it does not count them."""

    text: str
    tokens: int | None
    cut_off: bool


class _Again(Exception):
    """Worth another try; after ``pause`` seconds, if the server says so. ``answered``: something came back."""

    def __init__(self, words: str, pause: float | None = None, answered: bool = False) -> None:
        super().__init__(words)
        self.pause, self.answered = pause, answered


class Client:
    """Asks one server; from many threads, each with a connection of its own."""

    def __init__(self, settings: Server, url: str) -> None:
        self.settings = settings
        self.url = re.sub(r"(/v1)?/*$", "", url.strip())
        self.model = ""
        self._key = os.environ.get(settings.key_variable, "")
        self._own = threading.local()

    @property
    def shown(self) -> str:
        """The address without what may be secret in it."""
        return re.sub(r"(?<=://)[^/\s@]*@", "", self.url)

    def served(self, *names: str | None) -> str:
        """The name of the model to ask for: the first of ``names`` that is not None, if the server has it.

        Of a server that we have started and that calls its only model otherwise, that model.

        Raises:
            KirjoError: the server cannot be reached, or has other models.
        """
        wanted = next(name for name in names if name is not None)
        found = self._models()
        if found is None or wanted in found:
            return wanted
        if names[0] is None and len(found) == 1:
            return found[0]
        if names[0] is None:
            return wanted  # a server that loads what it is asked for need not list it
        raise KirjoError(
            f"{self.shown} does not serve {wanted!r}; it has: {', '.join(found) or 'none'} (engine.openai.model)"
        )

    def _models(self) -> list[str] | None:
        """The models that the server lists; None if it lists none at all, or cannot (transformers serve: no cache)."""

        def once() -> requests.Response:
            reply = self._send("GET", "models", None, CHECK_TIMEOUT_S)
            if reply.status_code not in (404, 405):
                self._check(reply, "models")
            return reply

        try:
            reply = self._retried(once, CHECK_RETRIES)
            return None if reply.status_code >= 400 else [str(one["id"]) for one in reply.json()["data"]]
        except _Again as error:
            if error.answered:
                return None
            raise KirjoError(
                f"no server to answer at {self.shown}: {error}. Start it, or set engine.openai.url"
            ) from None
        except (ValueError, KeyError, TypeError):
            raise KirjoError(
                f"{self.shown}/v1/models is no list of models: is it the address of a server with OpenAI's API?"
            ) from None

    def ask(self, path: str, asked: dict[str, Any], name: str, halt: threading.Event) -> Said:
        """Ask until there is an answer.

        Args:
            path: ``completions`` or ``chat/completions``.
            asked: the request's JSON.
            name: the request, for messages.
            halt: once it is set, there is no other try.

        Raises:
            KirjoError: the server refuses, or no try gave an answer.
        """

        def once() -> Said:
            reply = self._send("POST", path, asked, self.settings.timeout_s)
            self._check(reply, path)
            return _said(reply)

        try:
            return self._retried(once, self.settings.retries, halt)
        except _Again as error:
            raise KirjoError(
                f"{self.shown} gave no answer to request {name} in {self.settings.retries + 1} tries, the last: "
                f"{error}. Look at the server; {GOES_ON}"
            ) from None

    def _retried(self, once: Callable[[], T], retries: int, halt: threading.Event | None = None) -> T:
        halt = halt or threading.Event()
        for attempt in range(retries + 1):
            try:
                return once()
            except _Again as error:
                if attempt == retries:
                    raise
                pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt) * random.uniform(0.5, 1)
                if halt.wait(max(pause, error.pause or 0)):
                    raise
        raise AssertionError("unreachable")

    def _send(self, method: str, path: str, asked: dict[str, Any] | None, seconds: float) -> requests.Response:
        try:
            return self._session().request(
                method, f"{self.url}/v1/{path}", json=asked, timeout=(CHECK_TIMEOUT_S, seconds)
            )
        except requests.Timeout:
            raise _Again(f"no answer within {seconds:g} s (engine.openai.timeout_s)") from None
        except requests.exceptions.InvalidURL as error:
            raise KirjoError(f"engine.openai.url={self.shown} is no address: {error}") from None
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            raise _Again(f"the connection failed ({_root(error)})") from None
        except requests.RequestException as error:
            raise KirjoError(f"cannot ask {self.shown}: {_root(error)} (engine.openai.url)") from None

    def _check(self, reply: requests.Response, path: str) -> None:
        code = reply.status_code
        if code < 400:
            return
        words = f"{code} {reply.reason}: {self._words(reply)}"
        if code in RETRIED:
            raise _Again(words, _retry_after(reply), answered=True)
        raise KirjoError(f"{self.shown}/v1/{path} refuses: {words}. {self._advice(code)}; {GOES_ON}")

    def _advice(self, code: int) -> str:
        if code in (401, 403):
            given = "is set" if self._key else "is not set"
            return f"The key is read from the environment variable {self.settings.key_variable}, which {given}"
        if code == 404:
            return f"Check engine.openai.url and engine.openai.model ({self.model or self.settings.model})"
        if code in (400, 413, 422):
            return "If it is too long: shorter prompts or answers, or a server with a larger context"
        return "Look at the server's log"

    def _words(self, reply: requests.Response) -> str:
        try:
            document = reply.json()
            error = document.get("error", document.get("detail", document))
            text = str(error.get("message", error) if isinstance(error, dict) else error)
        except (ValueError, AttributeError):
            text = reply.text
        text = " ".join(text.split())[:SHOWN]
        return text.replace(self._key, "***") if self._key else text

    def _session(self) -> requests.Session:
        found: requests.Session | None = getattr(self._own, "session", None)
        if found is None:
            found = self._own.session = requests.Session()
            # No proxy on the way to this machine.
            host = urlsplit(self.url).hostname or ""
            found.trust_env = not (host in ("localhost", "::1") or host.startswith("127."))
            if self._key:
                found.auth = self._authorize  # not a header: requests would put what .netrc says in its place
        return found

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._key}"
        return request


def _said(reply: requests.Response) -> Said:
    try:
        document = reply.json()
        choice = document["choices"][0]
        text = choice["message"]["content"] if "message" in choice else choice["text"]
        if text is None and "message" in choice:
            text = ""
        if not isinstance(text, str):
            raise TypeError
        tokens = (document.get("usage") or {}).get("completion_tokens")
        return Said(text, int(tokens) if tokens is not None else None, choice.get("finish_reason") == "length")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise _Again(f"not the answer that was expected: {' '.join(reply.text.split())[:SHOWN]!r}") from None


def _retry_after(reply: requests.Response) -> float | None:
    """Seconds, from a number or a date."""
    value = reply.headers.get("Retry-After", "")
    try:
        seconds = float(value) if re.fullmatch(r"\d+(\.\d+)?", value) else _until(value)
    except (ValueError, TypeError):
        return None
    return min(max(seconds, 0.0), 10 * LONGEST_PAUSE_S)


def _until(date: str) -> float:
    return email.utils.parsedate_to_datetime(date).timestamp() - time.time()


def _root(error: BaseException) -> str:
    """The innermost words of an error that libraries have wrapped several times."""
    while error.args and isinstance(inner := getattr(error.args[0], "reason", error.args[0]), BaseException):
        error = inner
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
