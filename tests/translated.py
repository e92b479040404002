"""English texts with good Finnish translations, and the rows and artifacts that are made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from experiment.cleaning.finding import Languages
from experiment.config import identity
from experiment.plan import make_step
from experiment.stages import clean
from experiment.store import Store
from experiment.task import Task
from experiment.translation.rows import TRANSLATED, Part, PartRole, TranslatedRow
from tests.stores import publish

EN_FI = Languages("en", "fi")

CODE = "```python\nfor row in rows:\n    print(row)\n```"
TEXTS: tuple[tuple[str, str], ...] = (
    ("Why is the sky blue during the day?", "Miksi taivas on päivällä sininen?"),
    (
        "The air scatters blue light more than red light, so the sky looks blue.\n\nIn the evening it turns red.",
        "Ilma sirottaa sinistä valoa enemmän kuin punaista, joten taivas on sininen.\n\nIllalla se muuttuu punaiseksi.",
    ),
    ("Write a loop that prints all rows, please.", "Kirjoita silmukka, joka tulostaa kaikki rivit, kiitos."),
    (
        f"Here is a loop that prints every row of the table:\n\n{CODE}\n\nRead more at https://docs.python.org/3.",
        f"Tässä on silmukka, joka tulostaa taulukon jokaisen rivin:\n\n{CODE}\n\nLue lisää: https://docs.python.org/3.",
    ),
    ("How many people live in Rovaniemi?", "Kuinka monta ihmistä Rovaniemellä asuu?"),
    (
        "In 2023 about 64500 people lived in Rovaniemi, and most of them in the centre of the city.",
        "Vuonna 2023 Rovaniemellä asui noin 64500 ihmistä, ja useimmat heistä kaupungin keskustassa.",
    ),
    ("Thanks!", "Kiitos!"),
    (
        "You are welcome. Tell me if there is something else that you would like to know about it.",
        "Ole hyvä. Kerro minulle, jos on jotain muuta, mitä haluaisit siitä tietää.",
    ),
)
ENGLISH = "This text is in English, and no rule about the language of a translation should ever let it pass as Finnish."


def conversation(name: str, texts: Sequence[tuple[str, str]]) -> TranslatedRow:
    """Turns that alternate, the user first, of (source, translation)."""
    roles: tuple[PartRole, ...] = ("user", "assistant")
    return TranslatedRow(name, tuple(Part(roles[index % 2], *text) for index, text in enumerate(texts)))


def pair(name: str, prompt: tuple[str, str], chosen: tuple[str, str], rejected: tuple[str, str]) -> TranslatedRow:
    """A prompt of one turn with two replies."""
    return TranslatedRow(name, (Part("user", *prompt), Part("chosen", *chosen), Part("rejected", *rejected)))


def task(folder: Path, rows: Iterable[TranslatedRow], rules: Any = None, kind: str = "conversations") -> Task:
    """The clean task of a translate artifact with these rows; ``rules`` as recorded in a step, or a ``Clean``."""
    store = Store.open(folder / "store", create=True)
    publish(store, "translate/0123456789abcdef", TRANSLATED, (row.to_json() for row in rows))
    settings = {"kind": kind, "source_language": "en", "target_language": "fi", "rules": identity(rules or {})}
    step = make_step("clean", settings=settings, inputs={"translated": "translate/0123456789abcdef"})
    work = folder / "work"
    work.mkdir()
    return Task(step, store, work, lambda done, of: None)


def cleaned(folder: Path, rows: Iterable[TranslatedRow], rules: Any = None, kind: str = "conversations") -> Path:
    """The folder that clean leaves of these rows."""
    made = task(folder, rows, rules, kind)
    clean.run(made)
    return made.work
