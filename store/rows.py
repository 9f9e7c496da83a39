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
from operator import attrgetter
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
    said: dict[str, Any] = {}
    for record in reversed(records):
        if record is not None:
            names, values = _values(record.__class__)
            said.update(zip(names, values(record), strict=True))
    if (window := said.pop("window", None)) is not None:
        said |= {"window_start": window.start, "window_end": window.end}
    said |= given
    if not given.keys() <= _keys(model):
        strange = given.keys() - _keys(model)
        raise StoreError(f"a {model.__tablename__} has no column {', '.join(sorted(strange))}; leave it out")
    row = {}
    for key, name, nullable, json in _columns(model):
        value = said.get(key)
        if value is None:
            if not nullable:
                raise StoreError(f"{name} of a {model.__tablename__} is missing: no record has it, and none was given")
        elif json:
            value = documents.parse(value) if isinstance(value, (str, bytes)) else value
        elif isinstance(value, Enum):
            value = value.value
        row[name] = value
    return row


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
def _keys(model: type[Base]) -> frozenset[str]:
    return frozenset(key for key, *_ in _columns(model))


@cache
def _columns(model: type[Base]) -> tuple[tuple[str, str, bool, bool], ...]:
    """Per column the model's name of it, its own, whether it may be null, and whether it holds
    JSON.
    """
    columns = inspect(model).columns.items()
    return tuple((key, c.name, bool(c.nullable), isinstance(c.type, JSON)) for key, c in columns)


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
