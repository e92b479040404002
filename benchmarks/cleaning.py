"""The rules of cleaning on real translations (OpenAssistant in Finnish, by DeepL), good ones and spoilt ones.

python -m benchmarks.cleaning                 all tables below
python -m benchmarks.cleaning good            what each rule drops of translations as they are
python -m benchmarks.cleaning spoilt          what each rule catches of 1,000 spoilt in each way
python -m benchmarks.cleaning identifiers     false alarms of py3langid and langdetect by length
python -m benchmarks.cleaning speed           CPU seconds for 10,000 rows
python -m benchmarks.cleaning dropped RULE [how many]     what a rule drops of the good ones, to be read

Options of the rules may follow as in a config: language.least=0.8 code=null.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from benchmarks.spoilt import KINDS, NEAR, TURNS, with_code_kept
from experiment.cleaning.finding import Languages
from experiment.cleaning.prose import letters, prose
from experiment.cleaning.rules import Judgement, judge
from experiment.cleaning.settings import Clean
from experiment.cleaning.tongue import identify
from experiment.scoring.identify import _detectors
from experiment.sources.jsonl import read_jsonl
from experiment.sources.read import read_conversations, read_reply_groups
from experiment.sources.source import Source
from experiment.stages.pair import make_pairs
from experiment.translation.rows import Part, TranslatedRow

SHARED = Path(os.environ.get("KIRJO_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
VALIDATION = SHARED / "oasst1" / "validation.jsonl"
TRAIN = SHARED / "oasst1" / "train-text.jsonl.gz"
EN_FI = Languages("en", "fi")
OF_EACH = 1000
BUCKETS = (10, 20, 30, 40, 50, 75, 100, 200, 500, 1000, 10**9)  # letters


def messages() -> list[TranslatedRow]:
    """The messages of the validation split, each a row of its own."""
    role = {"prompter": "user", "assistant": "assistant"}
    return [
        TranslatedRow(row["message_id"], (Part(role[row["role"]], row["text_en"], row["text_fi"]),))  # type: ignore[arg-type]
        for _, row in read_jsonl(VALIDATION)
    ]


def train() -> list[TranslatedRow]:
    """The messages of the train split; who speaks is not told."""
    return [
        TranslatedRow(str(row["index"]), (Part("assistant", row["text_en"], row["text_fi"]),))
        for _, row in read_jsonl(TRAIN)
    ]


def conversations() -> list[TranslatedRow]:
    """The conversations that follow the best-ranked replies."""
    both = [read_conversations(_source(language)) for language in ("en", "fi")]
    return [
        TranslatedRow(
            en.id,
            tuple(Part(a.role, a.content, b.content) for a, b in zip(en.messages, fi.messages, strict=True)),
        )
        for en, fi in zip(*both, strict=True)
    ]


def pairs() -> list[TranslatedRow]:
    """The best and the worst reply to each prompt."""
    both = [
        [pair for group in read_reply_groups(_source(language)) for pair in make_pairs(group, "best_worst")]
        for language in ("en", "fi")
    ]
    rows = []
    for en, fi in zip(*both, strict=True):
        turns = [Part(a.role, a.content, b.content) for a, b in zip(en.prompt, fi.prompt, strict=True)]
        replies = (Part("chosen", en.chosen, fi.chosen), Part("rejected", en.rejected, fi.rejected))
        rows.append(TranslatedRow(en.id, (*turns, *replies)))
    return rows


def good(settings: Clean) -> None:
    """Print what each rule would drop alone, and all together, of translations as they are."""
    sets = {"messages": messages(), "conversations": conversations(), "pairs": pairs(), "train": train()}
    judged = {name: judge_all(settings, rows) for name, rows in sets.items()}
    print(f"| rule | {' | '.join(f'{name} ({len(rows)})' for name, rows in sets.items())} |")
    print("|---|" + "---:|" * len(sets))
    for rule, section in settings.sections():
        cells = [_share(sum(rule in rules(found) for found in all_), len(all_)) for all_ in judged.values()]
        print(f"| {rule} ({section.threshold}) | {' | '.join(cells)} |")
    cells = [_share(sum(bool(found.faults) for found in all_), len(all_)) for all_ in judged.values()]
    print(f"| dropped | {' | '.join(cells)} |")


def spoilt(settings: Clean) -> None:
    """Print which share of each kind is caught, and by which rules, of rows that pass as they were."""
    single = [*messages(), *train()]
    random.Random(0).shuffle(single)
    turns = [*conversations(), *made_conversations(single)]
    print("| spoilt so | rows | caught | put right by cutting | by rule |\n|---|---:|---:|---:|---|")
    for kind, spoil in KINDS.items():
        rows = turns if kind == TURNS else with_code_kept(single) if "block" in kind else single
        others = sorted(rows, key=lambda row: len(row.parts[0].text)) if kind == NEAR else rows
        place = {row.id: index for index, row in enumerate(others)}
        draw, made = random.Random(1), []
        for row in rows:
            other = others[(place[row.id] + 1) % len(others)]
            bad = spoil(row, other, draw)
            if bad is not None and not judge(settings, row, EN_FI).faults:
                made.append((row, bad))
            if len(made) == OF_EACH:
                break
        report(kind, [(row, judge(settings, bad, EN_FI)) for row, bad in made])


def report(kind: str, judged: Sequence[tuple[TranslatedRow, Judgement]]) -> None:
    """Print one line of the table of spoilt rows."""
    caught = sum(bool(found.faults) for _, found in judged)
    right = sum(
        not found.faults and [part.text.rstrip() for part in row.parts] == [p.text for p in found.cleaned.parts]
        for row, found in judged
    )
    by = Counter(rule for _, found in judged for rule in rules(found))
    told = ", ".join(f"{rule} {100 * count / len(judged):.1f}" for rule, count in by.most_common())
    share = 100 * caught / len(judged)
    print(f"| {kind} | {len(judged)} | {share:.1f} % | {100 * right / len(judged):.1f} % | {told} |", flush=True)


def made_conversations(rows: Sequence[TranslatedRow]) -> list[TranslatedRow]:
    """A short text and a long one as a prompt and its reply: only what is whose translation matters here."""
    short = [row for row in rows if 20 <= len(row.parts[0].source) < 200]
    long = [row for row in rows if len(row.parts[0].source) >= 100]
    return [
        TranslatedRow(f"{one.id}+{other.id}", (Part("user", a.source, a.text), Part("assistant", b.source, b.text)))
        for one, other in zip(short, long, strict=False)
        for a, b in ((one.parts[0], other.parts[0]),)
    ]


def identifiers() -> None:
    """Print, by letters, how often Finnish translations fall below 0.9, and how often English sources reach it."""
    rows = train()[::10]  # langdetect takes its time
    table = {bucket: [0] * 5 for bucket in BUCKETS}
    seconds = [0.0, 0.0]
    for row in rows:
        part = row.parts[0]
        for side, text in enumerate((prose(part.text), prose(part.source))):
            counts = table[next(bucket for bucket in BUCKETS if letters(text) < bucket)]
            clock = time.monotonic()
            first = dict(identify(text, ())).get("fi", 0.0) >= 0.9 if text.strip() else False
            seconds[0] += time.monotonic() - clock
            clock = time.monotonic()
            second = by_langdetect(text) >= 0.9
            seconds[1] += time.monotonic() - clock
            if side == 0:
                counts[0] += 1
                counts[1] += not first
                counts[2] += not second
            else:
                counts[3] += first
                counts[4] += second
    print(
        "| letters below | texts | py3langid: fi < 0.9 | langdetect: fi < 0.9 | English >= 0.9 fi | so by langdetect |"
    )
    print("|---:|---:|---:|---:|---:|---:|")
    for bucket, (texts, one, two, three, four) in table.items():
        print(f"| {bucket} | {texts} | {_share(one, texts)} | {_share(two, texts)} | {three} | {four} |")
    print(f"seconds for {2 * len(rows)} texts: py3langid {seconds[0]:.0f}, langdetect {seconds[1]:.0f}")


def by_langdetect(text: str) -> float:
    """langdetect's probability of Finnish, seeded."""
    import langdetect

    detector = _detectors().create()
    try:
        detector.append(text)
        return float(next((found.prob for found in detector.get_probabilities() if found.lang == "fi"), 0.0))
    except langdetect.LangDetectException:
        return 0.0


def speed(settings: Clean) -> None:
    """Print how long 10,000 conversations of two turns take."""
    rows = made_conversations(train())[:10_000]
    characters = sum(len(part.text) for row in rows for part in row.parts)
    judge(settings, rows[0], EN_FI)  # loads the identifier
    clock = time.process_time()
    judge_all(settings, rows)
    print(f"{len(rows)} rows of 2 texts, {characters:,} characters: {time.process_time() - clock:.1f} CPU seconds")


def dropped(settings: Clean, rule: str, how_many: int) -> None:
    """Print what a rule drops of the good translations, drawn at random."""
    found = [j for j in judge_all(settings, [*messages(), *train()]) if rule in rules(j)]
    print(len(found), "rows")
    for judgement in random.Random(0).sample(found, min(how_many, len(found))):
        for fault in judgement.faults:
            if fault.rule == rule:
                part = judgement.row.parts[fault.part]
                print(f"\n{judgement.row.id}  {fault.finding.value}  {fault.finding.why}  (all: {rules(judgement)})")
                print(f"  EN {part.source[:300]!r}\n  FI {part.text[:300]!r}")


def judge_all(settings: Clean, rows: Iterable[TranslatedRow]) -> list[Judgement]:
    """All rows judged."""
    return [judge(settings, row, EN_FI) for row in rows]


def rules(found: Judgement) -> list[str]:
    """The names of the rules that a row breaks."""
    return list(dict.fromkeys(fault.rule for fault in found.faults))


def _source(language: str) -> Source:
    return Source(reader="oasst", language=language, path=str(VALIDATION))


def _share(count: int, of: int) -> str:
    return f"{count} ({100 * count / of:.2f} %)" if of else "-"


def _settings(options: Iterator[str]) -> Clean:
    document: dict[str, Any] = {}
    for option in options:
        name, _, value = option.partition("=")
        *above, last = name.split(".")
        place = document
        for section in above:
            place = place.setdefault(section, {})
        place[last] = yaml.safe_load(value)
    return TypeAdapter(Clean).validate_python(document)


def main() -> None:
    """Run what is asked for."""
    if not VALIDATION.exists() or not TRAIN.exists():
        print(f"skipped: {VALIDATION} or {TRAIN.name} is not there (KIRJO_SHARED_DATA names the folder of real data)")
        return
    settings = _settings(item for item in sys.argv[1:] if "=" in item)
    words = [item for item in sys.argv[1:] if "=" not in item]
    if words[:1] == ["dropped"]:
        dropped(settings, words[1], int(words[2]) if len(words) > 2 else 20)
        return
    for name, table in (("good", good), ("spoilt", spoilt), ("speed", speed)):
        if not words or name in words:
            table(settings)
    if not words or "identifiers" in words:
        identifiers()


if __name__ == "__main__":
    main()
