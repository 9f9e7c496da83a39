"""Rows of other systems' logs, field by field: each from where the system keeps it.

A format is a table of places (`services.outcome_tables.places` says how one is written). What is
not there is named by `--map`. A value that cannot be used is refused with file, row, place, value
and cure.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from services.errors import TableInvalid
from services.outcome_tables.places import Json, ValueRefused, document_of, unquoted, value_at
from store.errors import FileRefused
from store.files import NestedRow, nested_rows
from store.files.wanted import cell_fault

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFormat:
    """Where one system says what."""

    places: Mapping[str, tuple[str, ...]]  # by field, looked at in order
    lists: tuple[str, ...] = ()  # where a row lists several items; () = a row is one
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # what a wanted item has there, if anything
    json_texts: str = ""  # what lies at places that begin so is JSON as text, down to single values
    utc: bool = False  # times without an offset are in UTC


class NestedLog:
    """Reads files of one format once; a mapping says which fields lie in other places (None = in
    none).
    """

    def __init__(
        self, files: Sequence[Path], row_format: RowFormat, mapping: Mapping[str, str | None] | None = None
    ) -> None:
        self.rows = 0
        self.format = row_format
        self._files = files
        mapped = {name: () if place is None else (place,) for name, place in (mapping or {}).items()}
        self._places = {**row_format.places, **mapped}
        self._unseen = {place for places in mapped.values() for place in places}

    def items(self) -> Iterator["Item"]:
        """All of them, file by file. Raises TableInvalid, at the end for a place that was mapped
        and is in no row.
        """
        for file in self._files:
            try:
                for row in nested_rows(file):
                    self.rows += 1
                    for fields in self._of_row(row):
                        yield Item(log=self, file=file.name, row=row, fields=fields)
            except FileRefused as error:
                raise TableInvalid(str(error)) from error
        if self._unseen and self.rows:
            places = ", ".join(sorted(self._unseen))
            raise TableInvalid(f"--map: nothing lies at {places} in any row; correct the place")

    def places(self, name: str) -> tuple[str, ...]:
        """Where a field may lie."""
        return self._places.get(name, ())

    def value(self, place: str, fields: Json, row: NestedRow) -> Json:
        """What lies there in an item, else in its row."""
        value = value_at(fields, place)
        if value is None and fields is not row.fields:
            value = value_at(row.fields, place)
        if self.format.json_texts and place.startswith(self.format.json_texts):
            value = unquoted(value)
        if value is not None:
            self._unseen.discard(place)
        return value

    def _of_row(self, row: NestedRow) -> Sequence[Json]:
        for place in self.format.lists:
            items = document_of(value_at(row.fields, place))
            if isinstance(items, list):
                return items
        return [row.fields]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item of a log."""

    log: NestedLog
    file: str
    row: NestedRow
    fields: Json

    @property
    def place(self) -> str:
        """`row 3 (line 4)`, as messages name it."""
        return f"row {self.row.number + 1}" + ("" if self.row.line is None else f" (line {self.row.line})")

    def at(self, place: str) -> Json:
        """What lies at a place."""
        return self.log.value(place, self.fields, self.row)

    def unwanted(self) -> str | None:
        """Why it is none of those that the format is about; None where it is one."""
        for place, values in self.log.format.only.items():
            value = self.at(place)
            if value is not None and str(value) not in values:
                return f"{place} {value}"
        return None

    def texts(self, name: str) -> list[str]:
        """What is a text in the field's places."""
        values = [self.at(place) for place in self.log.places(name)]
        return [value for value in values if isinstance(value, str) and value]

    def read(self, name: str, read: Callable[[Json], T | None]) -> T | None:
        """A field, from the first of its places that says something. Raises TableInvalid for what
        `read` refuses.
        """
        for place in self.log.places(name):
            value = self.at(place)
            try:
                worth = None if value is None else read(value)
            except ValueRefused as error:
                raise self.fault(name, value, str(error), place) from None
            if worth is not None:
                return worth
        return None

    def fault(self, name: str, value: object, cure: str, place: str | None = None) -> TableInvalid:
        """What is wrong with a field, by its place or those where it was looked for."""
        where = place or " or ".join(self.log.places(name)) or name
        called = where if where == name else f"{name} ({where})"
        return TableInvalid(cell_fault(self.file, called, self.row.number, self.row.line, value, cure))
