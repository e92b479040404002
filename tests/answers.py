"""Prompts for each of IFEval's instructions, and answers that follow them, or not, or only in the loose reading."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from experiment.scoring import punkt
from experiment.sources.read import read_prompts
from experiment.sources.records import BenchmarkPrompt
from experiment.sources.source import Source

SHARED = Path(os.environ.get("KIRJO_SHARED_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
IFEVAL = SHARED / "ifeval" / "en.jsonl"
NLTK_DATA = SHARED / "nltk_data"

needs_shared_data = pytest.mark.skipif(
    not (IFEVAL.is_file() and NLTK_DATA.is_dir()), reason=f"no IFEval prompts and NLTK data in {SHARED}"
)

ENGLISH = "Liisa builds houses in the village, and she likes her work. It is a good job, she says, because it is hers."
FINNISH = (
    "Liisa rakentaa taloja kylässä, ja hän pitää työstään kovasti. Se on hyvää työtä, hän sanoo, koska se on omaa."
)

# By instruction: kwargs it may have.
KWARGS: Mapping[str, Callable[[random.Random], dict[str, Any]]] = {
    "keywords:existence": lambda rng: {"keywords": rng.choice([["talo", "work"], ["river"], ["house", "cat"]])},
    "keywords:frequency": lambda rng: {
        "keyword": rng.choice(["house", "a", "river"]),
        "frequency": rng.randint(1, 4),
        "relation": relation(rng),
    },
    "keywords:forbidden_words": lambda rng: {"forbidden_words": rng.choice([["house", "likes"], ["Liisa"], ["river"]])},
    "keywords:letter_frequency": lambda rng: {
        "letter": rng.choice("aqzE"),
        "let_frequency": rng.randint(1, 9),
        "let_relation": relation(rng),
    },
    "language:response_language": lambda rng: {"language": rng.choice(["en", "fi", "de"])},
    "length_constraints:number_sentences": lambda rng: {
        "num_sentences": rng.randint(2, 6),
        "relation": relation(rng),
    },
    "length_constraints:number_paragraphs": lambda rng: {"num_paragraphs": rng.randint(1, 4)},
    "length_constraints:number_words": lambda rng: {"num_words": rng.randint(5, 60), "relation": relation(rng)},
    "length_constraints:nth_paragraph_first_word": lambda rng: {
        "num_paragraphs": 3,
        "nth_paragraph": rng.randint(1, 3),
        "first_word": rng.choice(["river", "Weekend"]),
    },
    "detectable_content:number_placeholders": lambda rng: {"num_placeholders": rng.randint(1, 4)},
    "detectable_content:postscript": lambda rng: {"postscript_marker": rng.choice(["P.S.", "P.P.S", "N.B."])},
    "detectable_format:number_bullet_lists": lambda rng: {"num_bullets": rng.randint(1, 4)},
    "detectable_format:constrained_response": lambda rng: {},
    "detectable_format:number_highlighted_sections": lambda rng: {"num_highlights": rng.randint(1, 3)},
    "detectable_format:multiple_sections": lambda rng: {
        "section_spliter": rng.choice(["Section", "SECTION", "Day"]),
        "num_sections": rng.randint(1, 3),
    },
    "detectable_format:json_format": lambda rng: {},
    "detectable_format:title": lambda rng: {},
    "combination:two_responses": lambda rng: {},
    "combination:repeat_prompt": lambda rng: {"prompt_to_repeat": "Write about Liisa."},
    "startend:end_checker": lambda rng: {"end_phrase": rng.choice(["Any other questions?", "That is all."])},
    "startend:quotation": lambda rng: {},
    "change_case:capital_word_frequency": lambda rng: {
        "capital_frequency": rng.randint(1, 4),
        "capital_relation": relation(rng),
    },
    "change_case:english_capital": lambda rng: {},
    "change_case:english_lowercase": lambda rng: {},
    "punctuation:no_comma": lambda rng: {},
}


def relation(rng: random.Random) -> str:
    return rng.choice(["less than", "at least"])


def followed(name: str, kwargs: Mapping[str, Any], text: str) -> str:
    """The text, changed so that it follows the instruction as well as may be."""
    few = "less than" in kwargs.values()
    number = next((value for value in kwargs.values() if isinstance(value, int)), 0)
    match name.partition(":")[2]:
        case "existence":
            return f"{text} {' '.join(kwargs['keywords']).upper()}"
        case "frequency":
            word = kwargs["keyword"]
            return text.replace(word, "") if few else f"{text} {f'{word} ' * number}"
        case "forbidden_words":
            return "Quite another text."
        case "letter_frequency":
            return "bcdf." if few else f"{text} {kwargs['letter'] * number}"
        case "response_language":
            return {"en": ENGLISH, "fi": FINNISH}.get(kwargs["language"], "Das ist mein Haus, und ich wohne gern hier.")
        case "number_sentences":
            return "One sentence." if few else " ".join(f"This is sentence {item}." for item in range(number))
        case "number_paragraphs":
            return "\n***\n".join([text] * number)
        case "number_words":
            return "Few words." if few else "word " * number
        case "nth_paragraph_first_word":
            first = kwargs["first_word"]
            return "\n\n".join(f"{first if item == kwargs['nth_paragraph'] else 'So'}, yes." for item in range(1, 4))
        case "number_placeholders":
            return text + " [name]" * number
        case "postscript":
            return f"{text}\n\n{kwargs['postscript_marker']} That is all."
        case "number_bullet_lists":
            return "\n".join(f"{'*-'[item % 2]} point {item}" for item in range(number))
        case "constrained_response":
            return f"{text} My answer is maybe."
        case "number_highlighted_sections":
            return f"{text} {'and *some part* ' * number}"
        case "multiple_sections":
            return "\n".join(f"{kwargs['section_spliter']} {item}\n{text}" for item in range(1, number + 1))
        case "json_format":
            return '```json\n{"text": ["' + text.replace("\n", " ").replace('"', "") + '"]}\n```'
        case "title":
            return f"<<A title>>\n{text}"
        case "two_responses":
            return f"{text}\n******\nSomething else."
        case "repeat_prompt":
            return f"{kwargs['prompt_to_repeat']} {text}"
        case "end_checker":
            return f"{text} {kwargs['end_phrase']}"
        case "quotation":
            return f'"{text}"'
        case "capital_word_frequency":
            return text.lower() if few else f"{text} {'GOOD ' * number}"
        case "english_capital":
            return text.upper()
        case "english_lowercase":
            return text.lower()
        case "no_comma":
            return text.replace(",", "")
    raise AssertionError(name)


# What an answer is wrapped in: only the first is what was meant; most others only the loose reading forgives.
WRAPPED: tuple[Callable[[str], str], ...] = (
    lambda text: text,
    lambda text: f"Sure, HERE it is (Section 1, quite):\n{text}",
    lambda text: f"{text}\nI hope, truly, that this HELPS.",
    lambda text: f"Sure, Sir:\n{text}\n* Is this good, Madam?",
    lambda text: f"**{text}**",
    lambda text: text.replace(" ", " *", 1),
)
HOSTILE = (
    "\u202eجسم هذا\u202c, שלום \u200f[x] <<\u200b>>",
    "a\x00b\x00 [\x00] *\x00*",
    "\ud800 and \udfff, [\ud800] <<\ud800>>",
    "🙂🙂 *🙂* <<🙂>> [🙂]",
    "\u200b\u200d\ufeff",
    "<script>alert(1)</script>, <b>BOLD</b> &amp; <<a>>",
    "𝐇𝐄𝐋𝐋𝐎 ℂ ϒ 𝐀b there.",
    "*\n* b",
    "*\n- b",
    "[[[]]] <<<>>> <<>>> *** ****** ** * -\n-\n *\n\n* \n*a",
    "\r\n\r\n* a\r\n- b\x85\u2028P.S\u2029. p. p. s",
    '"', "''", '""', "{}", "[]", "1e999", "nan", "\t", " \n ", "*", "**", "***", "******", "a******b",
)  # fmt: skip


def prompts(per_id: int, seed: int = 0) -> list[BenchmarkPrompt]:
    """Prompts that together carry every instruction, one to three each."""
    rng = random.Random(seed)
    found = []
    for name in list(KWARGS) * per_id:
        names = [name, *rng.sample(sorted(set(KWARGS) - {name}), rng.choice([0, 0, 1, 2]))]
        found.append(
            BenchmarkPrompt(len(found), "Write about Liisa.", tuple(names), tuple(KWARGS[item](rng) for item in names))
        )
    return found


def answers(prompt: BenchmarkPrompt, how_many: int, seed: int = 0) -> Iterator[str]:
    """Answers to a prompt: some or all of it followed, each wrapped in some way; or hostile text; or all of these."""
    rng = random.Random(1000 * seed + prompt.key)
    asked = list(zip(prompt.instruction_ids, prompt.kwargs, strict=True))
    for number in range(how_many):
        text = rng.choice([ENGLISH, ENGLISH, FINNISH])
        if rng.random() < 0.1:
            text += " " + rng.choice(HOSTILE)
        for name, kwargs in rng.sample(asked, rng.choice([len(asked), len(asked), 0, 1])):
            text = followed(name, kwargs, text)
        yield rng.choice(HOSTILE) if rng.random() < 0.06 else WRAPPED[number % len(WRAPPED)](text)


def as_row(prompt: BenchmarkPrompt) -> dict[str, Any]:
    """The prompt as lm_eval is given it."""
    return {
        "key": prompt.key,
        "prompt": prompt.prompt,
        "instruction_id_list": list(prompt.instruction_ids),
        "kwargs": [dict(kwargs) for kwargs in prompt.kwargs],
    }


def demo_prompts(language: str = "en", rows: int = 30) -> list[BenchmarkPrompt]:
    """The demo's own prompts."""
    return read_prompts(Source(reader="demo", language=language, rows=rows, seed=4), exclude=())


def without_punkt(prompts: Sequence[BenchmarkPrompt]) -> list[BenchmarkPrompt]:
    return [prompt for prompt in prompts if not punkt.NEEDS_PUNKT & set(prompt.instruction_ids)]
