"""pretrain: a BLOOM model and its tokenizer from random weights, on text in both languages."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import BloomConfig, BloomForCausalLM, PreTrainedTokenizerFast, TrainingArguments, set_seed

from experiment.config import Architecture, Pretrain
from experiment.errors import DataError
from experiment.sources.read import read_texts
from experiment.sources.source import Source
from experiment.task import Task
from experiment.training.loop import train, trainer_arguments
from experiment.training.models import save_trained
from experiment.training.parallel import EvenRanks, teach_nothing

# Poro's own special tokens.
SPECIAL = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}


def run(task: Task) -> dict[str, Any]:
    """Write the model; report parameters, documents and tokens."""
    recorded = task.settings["texts"]
    sources = {language: task.source(language, recorded[language]) for language in recorded}
    settings = task.section(Pretrain, texts=sources)
    arguments = TrainingArguments(**trainer_arguments(task, settings))
    prepared = task.prepare("blocks", lambda: prepare(sources.values(), settings, task.settings["seed"]))
    tokenizer, blocks = wrap(Tokenizer.from_str(prepared["tokenizer"])), prepared["blocks"]
    set_seed(task.settings["seed"])
    model = make_model(settings.architecture, tokenizer)
    count = model.num_parameters()  # before it may be spread over ranks
    trainer = EvenRanks(
        model=model, args=arguments, train_dataset=Dataset.from_dict({"input_ids": blocks, "labels": blocks})
    )
    trainer.fill_with(teach_nothing)
    summary = train(trainer, task)
    save_trained(trainer, tokenizer, task, settings.precision)
    return {
        **summary,
        "parameters": count,
        "documents": prepared["documents"],
        "tokens": len(blocks) * settings.max_length,
    }


def prepare(sources: Iterable[Source], settings: Pretrain, seed: int) -> dict[str, Any]:
    """The tokenizer (as JSON text) and the blocks of token ids, as one rank makes them for all."""
    texts = [text for source in sources for text in read_texts(source)]
    random.Random(seed).shuffle(texts)
    tokenizer = make_tokenizer(texts, settings.architecture.vocab_size)
    return {
        "tokenizer": tokenizer.backend_tokenizer.to_str(),
        "blocks": pack(tokenizer, texts, settings.max_length),
        "documents": len(texts),
    }


def make_tokenizer(texts: Sequence[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: it has a token for every byte, so no text is unknown to it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return wrap(tokenizer)


def wrap(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """The tokenizer in transformers' form."""
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **SPECIAL)


def pack(tokenizer: Any, texts: Sequence[str], length: int) -> list[list[int]]:
    """Token ids of all documents, each closed by the end-of-text token, cut into blocks of ``length``.

    Raises:
        DataError: there is less text than one block.
    """
    stream: list[int] = []
    for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]:
        stream += [*ids, tokenizer.eos_token_id]
    blocks = [stream[start : start + length] for start in range(0, len(stream) - length + 1, length)]
    if not blocks:
        raise DataError(f"the pretraining text has {len(stream)} tokens; one block takes {length}")
    return blocks


def make_model(architecture: Architecture, tokenizer: Any) -> BloomForCausalLM:
    """BLOOM with random weights (seed before calling)."""
    return BloomForCausalLM(
        BloomConfig(
            vocab_size=len(tokenizer),
            hidden_size=architecture.hidden_size,
            n_layer=architecture.n_layer,
            n_head=architecture.n_head,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
