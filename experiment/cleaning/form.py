"""Rules that look at a translation's form alone: emptiness, length, repetition, signs."""

from __future__ import annotations

import gzip

from experiment.cleaning.finding import Finding, Languages, share
from experiment.cleaning.settings import Alphanumeric, Compression, Empty, LengthRatio, Unfinished
from experiment.translation.rows import Part


def empty(rule: Empty, part: Part, _languages: Languages) -> Finding | None:
    """A source without a translation, or one of its lines; a translation of nothing."""
    if part.source.strip() and not part.text.strip():
        return Finding(0, "no translation")
    if part.text.strip() and not part.source.strip():
        return Finding(len(part.text), "a translation of nothing")
    if part.empty > rule.lines:
        return Finding(part.empty, f"{part.empty} lines came back empty")
    return None


def unfinished(rule: Unfinished, part: Part, _languages: Languages) -> Finding | None:
    """Lines at whose limit of tokens the model was still going on."""
    return Finding(part.cut_off, f"{part.cut_off} lines cut off") if part.cut_off > rule.lines else None


def length_ratio(rule: LengthRatio, part: Part, _languages: Languages) -> Finding | None:
    """Characters of the translation by those of the source, white space around them left out."""
    source, text = len(part.source.strip()), len(part.text.strip())
    if not source or not text:
        return None
    if text > rule.most * source + rule.slack:
        return Finding(share(text, source), f"{text} characters for {source}: too long")
    if text < rule.least * source - rule.slack:
        return Finding(share(text, source), f"{text} characters for {source}: too short")
    return None


def compression(rule: Compression, part: Part, _languages: Languages) -> Finding | None:
    """gzip-compressed bytes by characters. gzip's frame alone is 20 bytes, so short texts never come out low."""
    if not part.text.strip() or not part.source.strip():
        return None
    found, source = compressed(part.text), compressed(part.source)
    if found < rule.least and not (rule.as_source and source < rule.least):
        return Finding(found, "repeats itself")
    if len(part.text) >= rule.from_characters and found < rule.relative * source:
        return Finding(found, f"repeats what the source does not: {source:g} there")
    return None


def alphanumeric(rule: Alphanumeric, part: Part, _languages: Languages) -> Finding | None:
    """The share of signs among the characters."""
    found = signs(part.text, rule.white_space)
    if found <= rule.most or (rule.as_source and signs(part.source, rule.white_space) > rule.most):
        return None
    return Finding(found, "signs in the place of words")


def compressed(text: str) -> float:
    """gzip-compressed bytes for each character; of an empty text infinite."""
    return share(len(gzip.compress(text.encode("utf-8", "replace"), mtime=0)), len(text)) if text else float("inf")


def signs(text: str, white_space: bool) -> float:
    """The share of characters that are neither letters nor digits."""
    counted = text if white_space else "".join(text.split())
    return share(sum(not character.isalnum() for character in counted), len(counted)) if counted else 0.0
