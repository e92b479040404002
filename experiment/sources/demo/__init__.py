"""Small bilingual data that Kirjo makes itself, so that a whole experiment runs without a network."""

from __future__ import annotations

from experiment.sources.demo.documents import texts
from experiment.sources.demo.rows import conversations, prompts, reply_groups
from experiment.sources.demo.translations import aligned_sentences, translation_pairs

# Bumped whenever a function here gives anything else than before for the same arguments.
VERSION: int = 1

__all__ = ["VERSION", "aligned_sentences", "conversations", "prompts", "reply_groups", "texts", "translation_pairs"]
