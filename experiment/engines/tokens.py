"""From requests to token ids and back, with a model's own tokenizer: the same for every engine that holds one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from experiment.engines.engine import Request
from experiment.engines.open import ModelPlace
from experiment.errors import KirjoError


def load_tokenizer(place: ModelPlace) -> Any:
    """The tokenizer of a model.

    Raises:
        KirjoError: it cannot be had; says where it was looked for.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(place.name, revision=place.revision)
    except Exception as error:
        words = " ".join(str(error).split())
        raise KirjoError(f"cannot load the tokenizer of the model in {place.name}: {words}") from error


def encode(tokenizer: Any, request: Request) -> list[int]:
    """Token ids of a request, up to where the answer begins; never none at all.

    Raises:
        KirjoError: a conversation for a tokenizer without a chat template.
    """
    if request.messages:
        if not tokenizer.chat_template:
            raise KirjoError(
                f"{tokenizer.name_or_path} has no chat template, so it is a base model: it can go on from a text, and "
                "answers no conversation before it is fine-tuned"
            )
        from experiment.training.chat import encode_prompt

        messages = [replace(message, content=whole(message.content)) for message in request.messages]
        return encode_prompt(tokenizer, messages)
    ids = list(tokenizer(whole(request.prompt))["input_ids"])
    return ids or [start_of(tokenizer)]


def start_of(tokenizer: Any) -> int:
    """The token to go on from where there is no text."""
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id):
        if token is not None:
            return int(token)
    raise KirjoError(
        f"{tokenizer.name_or_path} has no token for the start of a text, so an empty prompt cannot be answered"
    )


def count(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """The length of each text in tokens, without special ones."""
    if not texts:
        return []
    return [len(ids) for ids in tokenizer(list(map(whole, texts)), add_special_tokens=False)["input_ids"]]


def whole(text: str) -> str:
    """The text with ``?`` for half a surrogate pair, which JSON can hold and no tokenizer takes."""
    return text.encode("utf-8", "replace").decode("utf-8")


def special_stops(tokenizer: Any, stop: Sequence[str]) -> list[int]:
    """The special tokens among the stop texts: an answer's text never shows them, and ends with them all the same."""
    special = set(tokenizer.all_special_tokens)
    return [int(tokenizer.convert_tokens_to_ids(text)) for text in stop if text in special]


def context_of(config: Any) -> int | None:
    """How many tokens a model can hold at most, prompt and answer; None where there is no limit that it would name."""
    text = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
    found = getattr(text, "max_position_embeddings", None)
    return int(found) if found else None


def check_length(name: str, tokens: int, context: int | None) -> None:
    """Raise a KirjoError if a prompt leaves no room for an answer."""
    if context is not None and tokens >= context:
        raise KirjoError(
            f"request {name} has {tokens} tokens, and the model holds {context} with the answer: shorten or drop it "
            "(of a translation: fewer examples), or take a model with a larger context"
        )
