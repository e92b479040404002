"""ChatML: the template, its two tokens, and token ids with a mask of what the assistant said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiment.sources.records import Message

TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
PAD = "<|pad|>"  # for a tokenizer that has nothing else to pad with

# The generation marks hold the end of the turn too: a model that is not trained on it never learns to stop.
TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}"
    "{{ '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def add_chat_format(tokenizer: Any, model: Any) -> None:
    """Give a base model the ChatML template and tokens; the embedding grows by the tokens it lacks."""
    if tokenizer.pad_token in (None, TURN_END):
        # The old end-of-text token: padding with the end of a turn would mask that token from the loss.
        spare = [token for token in (tokenizer.eos_token, tokenizer.unk_token, PAD) if token not in (None, TURN_END)]
        tokenizer.add_special_tokens({"pad_token": spare[0]})
    missing = [token for token in (TURN_START, TURN_END) if token not in tokenizer.get_vocab()]
    if missing:
        tokenizer.add_special_tokens({"extra_special_tokens": missing}, replace_extra_special_tokens=False)
    tokenizer.eos_token = TURN_END
    tokenizer.chat_template = TEMPLATE
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer))
    model.config.eos_token_id = model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id


def encode_conversation(tokenizer: Any, messages: Sequence[Message], loss_on: str, max_length: int) -> dict[str, Any]:
    """Token ids and labels of a conversation, cut at ``max_length``; -100 where nothing is learned.

    Returns:
        ``input_ids`` and ``labels`` (same length), ``cut``: whether tokens were left off, ``answers``: how many turns
        are the assistant's, and ``ends``: how many of those have their end-of-turn token among the labels.
    """
    encoded = tokenizer.apply_chat_template(
        turns(messages), tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    ids, said = encoded["input_ids"], encoded["assistant_masks"]
    labels = [token if mine or loss_on == "all" else -100 for token, mine in zip(ids, said, strict=True)][:max_length]
    end = tokenizer.convert_tokens_to_ids(TURN_END)
    return {
        "input_ids": ids[:max_length],
        "labels": labels,
        "cut": len(ids) > max_length,
        "answers": sum(message.role == "assistant" for message in messages),
        "ends": sum(place < len(labels) and labels[place] == end for place in _places_of_ends(ids, said, end)),
    }


def _places_of_ends(ids: Sequence[int], said: Sequence[int], end: int) -> list[int]:
    """Where the assistant's turns end: the last token said, or the token right after it where the mask lacks that."""
    last = [at for at, mine in enumerate(said) if mine and not (at + 1 < len(said) and said[at + 1])]
    return [at if ids[at] == end else at + 1 for at in last]


def encode_prompt(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Token ids of a prompt up to where the assistant starts to speak."""
    encoded = tokenizer.apply_chat_template(
        turns(messages), tokenize=True, return_dict=True, add_generation_prompt=True
    )
    return list(encoded["input_ids"])


def encode_reply(tokenizer: Any, reply: str) -> list[int]:
    """Token ids of an assistant's reply with the end of its turn, as they follow :func:`encode_prompt`."""
    return list(tokenizer(reply + TURN_END + "\n", add_special_tokens=False)["input_ids"])


def turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Messages in the form chat templates take."""
    return [{"role": message.role, "content": message.content} for message in messages]
