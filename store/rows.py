"""Records as rows of their tables and back, by the names that they share.

Decisions:
- A field is the column of its name. What is not one value is given by whoever calls: a nested
  record, a key, what a column says in another form than the record does.
- `window` is two columns, a word its value, a `Document` canonical text here and JSON there.
- A row names every column of its table, so that all rows of a statement name the same. What neither
  the records nor the caller says is null, and refused where the column is never null.
"""

from collections.abc import Callable
from dataclasses import fields
from enum import Enum
from functools import cache
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from sqlalchemy import JSON, Select, inspect
from sqlalchemy.orm import Session

from knowgate._records.records import Window
from store import documents
from store.errors import StoreError
from store.tables import Base

T = TypeVar("T")
Document = Annotated[str, "canonical JSON"]
_Convert = Callable[[Any], Any] | None


def row_of(model: type[Base], *records: Any, **given: Any) -> dict[str, Any]:
    """The row of these records, the earlier ones first, None among them says nothing; `given` goes
    before all. Raises StoreError for what is given to no column, or to none that must have it.
    """
    said = [record for record in records if record is not None]
    values = [*given.values(), None]
    for record in said:
        values += _values(record.__class__)[1](record)
    kinds: tuple[Any, ...] = tuple(record.__class__ for record in said)
    row = _maker(model, tuple(given), kinds)(values)
    for name, value in row.items():
        if isinstance(value, Enum):
            row[name] = value.value
    for name in _documents(model):
        if isinstance(row[name], (str, bytes)):
            row[name] = documents.parse(row[name])
    for name in _never_null(model):
        if row[name] is None:
            raise StoreError(f"{name} of a {model.__tablename__} is missing: no record has it, and none was given")
    return row


@cache
def _maker(model: type[Base], given: tuple[str, ...], kinds: tuple[Any, ...]) -> Callable[[list[Any]], dict[str, Any]]:
    """What makes a row of the values of `given`, of None, and of the fields of records of these
    kinds.
    """
    if strange := set(given) - {key for key, _ in _columns(model)}:
        raise StoreError(f"a {model.__tablename__} has no column {', '.join(sorted(strange))}; leave it out")
    nothing = len(given)
    places = {name: place for place, name in enumerate(given)}
    for place, name in enumerate(chain.from_iterable(_values(kind)[0] for kind in kinds), start=nothing + 1):
        places.setdefault(name, place)
    names = tuple(column.name for _, column in _columns(model))
    pick = itemgetter(*(places.get(key, nothing) for key, _ in _columns(model)))
    window = places.get("window")
    if window is None:
        return lambda values: dict(zip(names, pick(values), strict=True))
    ends = {"window_start": "start", "window_end": "end"}
    parts = [
        (column.name, attrgetter(ends[key])) for key, column in _columns(model) if key in ends and key not in given
    ]

    def make(values: list[Any]) -> dict[str, Any]:
        row = dict(zip(names, pick(values), strict=True))
        if values[window] is not None:
            row |= {name: part(values[window]) for name, part in parts}
        return row

    return make


def record_of(kind: type[T], row: Any, **given: Any) -> T:
    """The record of this kind that a row says, but for what is given."""
    key: Any = kind
    values = {name: read(row) for name, read in _readers(key) if name not in given}
    return kind(**values, **given)


def records(session: Session, kind: type[T], query: Select[Any]) -> tuple[T, ...]:
    """The rows of a model that a query finds, as they are now, each as a record of this kind."""
    rows = session.scalars(query.execution_options(populate_existing=True))
    return tuple(record_of(kind, row) for row in rows)


@cache
def _values(kind: type[Any]) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    """The fields of a record, and what takes their values from one."""
    names = tuple(field.name for field in fields(kind))
    if len(names) < 2:  # of one name `attrgetter` gives the value itself
        return names, lambda record: tuple(getattr(record, name) for name in names)
    return names, attrgetter(*names)


@cache
def _columns(model: type[Base]) -> tuple[tuple[str, Any], ...]:
    """The model's name of each column, and the column."""
    return tuple(inspect(model).columns.items())


@cache
def _documents(model: type[Base]) -> tuple[str, ...]:
    return tuple(column.name for _, column in _columns(model) if isinstance(column.type, JSON))


@cache
def _never_null(model: type[Base]) -> tuple[str, ...]:
    return tuple(column.name for _, column in _columns(model) if not column.nullable)


@cache
def _readers(kind: type[Any]) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    hints = get_type_hints(kind, include_extras=True)
    return tuple((field.name, _reader(field.name, hints[field.name])) for field in fields(kind))


def _reader(name: str, hint: Any) -> Callable[[Any], Any]:
    if hint is Window:
        return lambda row: Window(start=row.window_start, end=row.window_end)
    convert = _convert(hint)
    if convert is None:
        return lambda row: getattr(row, name)
    return lambda row: None if (value := getattr(row, name)) is None else convert(value)


def _convert(hint: Any) -> _Convert:
    if hint == Document:
        return documents.write
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    words = [one for one in get_args(hint) if isinstance(one, type) and issubclass(one, Enum)]
    return words[0] if words else None
