"""Where an answer ends: before the first stop text. The same rule for every engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

# What tokenizers give for bytes that are no whole character yet.
PARTIAL = "\ufffd"

Decode = Callable[[Sequence[int]], str]


def cut_at_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """(the text before the first stop text, whether there was one)."""
    places = [place for each in stop if each and (place := text.find(each)) >= 0]
    return (text[: min(places)], True) if places else (text, False)


class StopSearch:
    """Notices stop texts while an answer grows by one token at a time, without decoding all of it each time.

    A stop text can be complete only when a token holds its last character; only then the answer is decoded.
    """

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._pieces: dict[int, str] = {}

    def reached(self, tokens: Sequence[int], stop: Sequence[str]) -> bool:
        """Whether the text of the tokens holds a stop text; asked after every token."""
        return bool(stop) and self._may_complete(tokens[-1], stop) and cut_at_stop(self._decode(tokens), stop)[1]

    def _may_complete(self, token: int, stop: Sequence[str]) -> bool:
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self._decode([token])
        # A token that is decoded alone may lose the space it begins with; a character of several bytes may be torn.
        return any(each and (each[-1] in piece or each[-1] == " " or _torn(each[-1], piece)) for each in stop)


def _torn(last: str, piece: str) -> bool:
    return not last.isascii() and PARTIAL in piece
