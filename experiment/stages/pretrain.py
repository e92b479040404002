"""pretrain: a BLOOM model and its tokenizer from random weights, on text in both languages."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import BloomConfig, BloomForCausalLM, PreTrainedTokenizerFast, Trainer, TrainingArguments, set_seed

from experiment.config import Architecture, Pretrain
from experiment.errors import DataError
from experiment.sources.read import read_texts
from experiment.task import Task
from experiment.training.loop import train, trainer_arguments
from experiment.training.models import save

# Poro's own special tokens.
SPECIAL = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}


def run(task: Task) -> dict[str, Any]:
    """Write the model; report parameters, documents and tokens."""
    recorded = task.settings["texts"]
    sources = {language: task.source(language, recorded[language]) for language in recorded}
    settings = task.section(Pretrain, texts=sources)
    texts = [text for source in sources.values() for text in read_texts(source)]
    random.Random(task.settings["seed"]).shuffle(texts)
    tokenizer = make_tokenizer(texts, settings.architecture.vocab_size)
    blocks = pack(tokenizer, texts, settings.max_length)
    set_seed(task.settings["seed"])
    model = make_model(settings.architecture, tokenizer)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**trainer_arguments(task, settings)),
        train_dataset=Dataset.from_dict({"input_ids": blocks, "labels": blocks}),
    )
    summary = train(trainer, task)
    save(model, tokenizer, task.work, settings.precision)
    return {
        **summary,
        "parameters": model.num_parameters(),
        "documents": len(texts),
        "tokens": len(blocks) * settings.max_length,
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
