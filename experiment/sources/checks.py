"""What a reader keeps an eye on while it reads: rows without a text, and identifiers that stand twice."""

from __future__ import annotations

from collections import Counter

from experiment.errors import DataError
from experiment.sources.columns import Columns
from experiment.sources.raw import Raw
from experiment.sources.source import Source

EMPTY = "rows without a text"


class Empties:
    """Rows without a text: left out and counted, or refused together once all are read (``on_empty``)."""

    def __init__(self, source: Source, dropped: Counter[str]) -> None:
        self._refuse = source.on_empty == "refuse"
        self._dropped = dropped
        self._first: str | None = None
        self._count = 0

    def add(self, fault: str) -> None:
        """One more such row; ``fault`` says where it is and what it lacks."""
        self._first = self._first or fault
        self._count += 1
        if not self._refuse:
            self._dropped[EMPTY] += 1

    def settle(self) -> None:
        """Raise DataError if there were any that are not to be left out: the first, and how many."""
        if self._refuse and self._first is not None:
            more = f" (the first of {self._count} {EMPTY})" if self._count > 1 else ""
            raise DataError(
                f"{self._first}{more}; mend it, or leave such rows out with the source's option on_empty=drop "
                "(+data_mix.sft.en.on_empty=drop)"
            )


class Identifiers:
    """The identifiers of the rows that were read: each may stand once."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._seen: dict[str, int] = {}

    def take(self, raw: Raw) -> str:
        """The id that the row gives itself, else its number: it must be the same wherever the file lies.

        Raises:
            DataError: it is no text or whole number, or another row has it.
        """
        name = self._name(raw)
        before = self._seen.setdefault(name, raw.number)
        if before != raw.number:
            raise DataError(
                f"{raw.where}: the id {name!r} stands twice, first in row {before}; name another column with "
                "the source's option columns={id: COLUMN}, or number the rows with columns={id: ''}"
            )
        return name

    def _name(self, raw: Raw) -> str:
        columns, demanded = self._columns, "id" in self._columns.named
        if columns.name("id") is None or not (demanded or columns.has(raw.row, "id")):
            return str(raw.number)
        found = columns.value(raw.where, raw.row, "id", "an id")
        if found is None and not demanded:
            return str(raw.number)
        if isinstance(found, bool) or not isinstance(found, str | int):
            raise columns.wrong(raw.where, raw.row, "id", "a text or a whole number")
        return str(found)
