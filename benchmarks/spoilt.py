"""Good translations spoilt on purpose, a way each: what cleaning is measured with."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping, Sequence

from experiment.translation.rows import Part, TranslatedRow
from experiment.translation.segments import code_blocks

# Makes another row of a row, or None where the row has nothing to spoil so; the second row is another one of the data.
Spoil = Callable[[TranslatedRow, TranslatedRow, random.Random], TranslatedRow | None]
SIGNS = "#@%&*!?$€£+=~^|<>{}[]()_-.,:;/\\"
REFUSALS = (
    "Olen pahoillani, mutta en voi auttaa tämän asian kanssa.",
    "Valitettavasti en voi kääntää tätä tekstiä.",
    "Tekoälyn kielimallina minulla ei ole mielipiteitä, mutta voin auttaa sinua muissa kysymyksissä.",
    "I'm sorry, but I can't assist with that request.",
    "As an AI language model, I cannot translate this text.",
)


def _longest(row: TranslatedRow) -> int:
    return max(range(len(row.parts)), key=lambda index: len(row.parts[index].text))


def _with(row: TranslatedRow, index: int, text: str) -> TranslatedRow:
    parts = [dataclasses.replace(part, text=text) if at == index else part for at, part in enumerate(row.parts)]
    return TranslatedRow(row.id, tuple(parts))


def _of_longest(make: Callable[[Part, random.Random], str | None]) -> Spoil:
    """Spoil the longest part of a row."""

    def spoil(row: TranslatedRow, _other: TranslatedRow, draw: random.Random) -> TranslatedRow | None:
        index = _longest(row)
        text = make(row.parts[index], draw)
        return None if text is None or text == row.parts[index].text else _with(row, index, text)

    return spoil


def _paragraph_in_source_language(part: Part, draw: random.Random) -> str | None:
    source, text = part.source.split("\n"), part.text.split("\n")
    if len(source) != len(text) or sum(bool(line.strip()) for line in source) < 3:
        return None
    places = [index for index, line in enumerate(source) if len(line.split()) >= 12 and line != text[index]]
    if not places:
        return None
    chosen = draw.choice(places)
    return "\n".join(source[index] if index == chosen else line for index, line in enumerate(text))


def _loop_of_a_line(part: Part, _draw: random.Random) -> str | None:
    lines = [line for line in part.text.split("\n") if line.strip()]
    if len(part.text) < 100:
        return None
    start = "\n".join(lines[: max(1, len(lines) // 2)])
    return start + ("\n" + lines[max(0, len(lines) // 2 - 1)]) * (3 * len(part.source) // (len(lines[0]) + 1) + 2)


def _loop_of_words(part: Part, _draw: random.Random) -> str | None:
    """From the third on to the source's own length: no rule of length can see it."""
    words = part.text.split(" ")
    if len(words) < 30:
        return None
    kept = words[: len(words) // 3]
    loop, text = kept[-3:], " ".join(kept)
    while len(text) < len(part.source):
        text += " " + " ".join(loop)
    return text


def _cut_to(share: float) -> Callable[[Part, random.Random], str | None]:
    return lambda part, _draw: part.text[: int(len(part.text) * share)] if len(part.text) >= 20 else None


def _garbage(part: Part, draw: random.Random) -> str | None:
    return "".join(draw.choice(SIGNS) if draw.random() < 0.6 else character for character in part.text)


def _without_a_block(part: Part, _draw: random.Random) -> str | None:
    blocks = code_blocks(part.source)
    return part.text.replace(blocks[0], "") if blocks else None


def _changed_block(part: Part, draw: random.Random) -> str | None:
    blocks = [block for block in code_blocks(part.source) if any(map(str.isalpha, block))]
    if not blocks:
        return None
    place = draw.choice([at for at, character in enumerate(blocks[0]) if character.isalpha()])
    return part.text.replace(blocks[0], blocks[0][:place] + "_" + blocks[0][place + 1 :])


def _without_addresses(part: Part, _draw: random.Random) -> str | None:
    from experiment.cleaning.prose import ADDRESS

    return ADDRESS.sub("osoite", part.text)


def _goes_on(row: TranslatedRow, other: TranslatedRow, _draw: random.Random) -> TranslatedRow | None:
    index, more = _longest(row), other.parts[0]
    text = f"{row.parts[index].text}\nEND\n<|user|>{more.source}\n<|assistant|>{more.text}"
    return _with(row, index, text)


def _goes_on_unmarked(row: TranslatedRow, other: TranslatedRow, _draw: random.Random) -> TranslatedRow | None:
    index, more = _longest(row), other.parts[0]
    return _with(row, index, f"{row.parts[index].text}\n\n{more.text}")


def _other_row(row: TranslatedRow, other: TranslatedRow, _draw: random.Random) -> TranslatedRow | None:
    if len(row.parts) != len(other.parts) or all(a.text == b.text for a, b in zip(row.parts, other.parts, strict=True)):
        return None
    pairs = zip(row.parts, other.parts, strict=True)
    return TranslatedRow(row.id, tuple(dataclasses.replace(part, text=wrong.text) for part, wrong in pairs))


def _swapped_turns(row: TranslatedRow, _other: TranslatedRow, _draw: random.Random) -> TranslatedRow | None:
    if len(row.parts) < 2:
        return None
    first, second, *rest = row.parts
    swapped = (dataclasses.replace(first, text=second.text), dataclasses.replace(second, text=first.text))
    return TranslatedRow(row.id, (*swapped, *rest))


KINDS: Mapping[str, Spoil] = {
    "empty": _of_longest(lambda _part, draw: draw.choice(("", " ", "\n"))),
    "the source left in": _of_longest(lambda part, _draw: part.source),
    "one line of 3 or more left in": _of_longest(_paragraph_in_source_language),
    "a line repeated to 3 times the length": _of_longest(_loop_of_a_line),
    "3 words repeated, length as it should be": _of_longest(_loop_of_words),
    "cut to 30 %": _of_longest(_cut_to(0.3)),
    "cut to 50 %": _of_longest(_cut_to(0.5)),
    "cut to 70 %": _of_longest(_cut_to(0.7)),
    "END at the end": _of_longest(lambda part, _draw: part.text + "\nEND"),
    "END and another example": _goes_on,
    "another translation behind it": _goes_on_unmarked,
    "another row's translation": _other_row,
    "another row's, of its length": _other_row,
    "user and assistant exchanged": _swapped_turns,
    "a refusal instead": _of_longest(lambda _part, draw: draw.choice(REFUSALS)),
    "'Tässä on käännös:' before it": _of_longest(lambda part, _draw: "Tässä on käännös:\n\n" + part.text),
    "signs for 60 % of the characters": _of_longest(_garbage),
    "a code block lost": _of_longest(_without_a_block),
    "a letter of a code block changed": _of_longest(_changed_block),
    "addresses lost": _of_longest(_without_addresses),
}
TURNS = "user and assistant exchanged"
NEAR = "another row's, of its length"


def with_code_kept(rows: Sequence[TranslatedRow]) -> list[TranslatedRow]:
    """Rows whose code was translated too (as DeepL does), with the source's code put back."""
    return [TranslatedRow(row.id, tuple(_code_back(part) for part in row.parts)) for row in rows]


def _code_back(part: Part) -> Part:
    source, text = code_blocks(part.source), code_blocks(part.text)
    made = part.text
    if len(source) == len(text):
        for right, wrong in zip(source, text, strict=True):
            made = made.replace(wrong, right)
    return dataclasses.replace(part, text=made)
