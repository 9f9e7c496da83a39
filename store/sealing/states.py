"""What a row says, as one JSON document: the payload of its leaf, and what verification holds
against it.

The document is the same whether it is made of the Python values that are about to be written or of
what a database gives back, and whichever database that is. Nothing is left out but null. Reading
takes the driver's own values and decodes each by itself: a value that no longer is one of its
column's type is said to be unreadable, and hides no other.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from operator import itemgetter
from typing import Any, cast
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Double,
    LargeBinary,
    Select,
    Table,
    Uuid,
    select,
    type_coerce,
)
from sqlalchemy.orm import Session
from sqlalchemy.types import NullType

from store.sealing.coverage import Cover, Part, key_text
from store.sealing.inserts import is_postgresql
from store.sealing.row_keys import of_keys
from store.tables.base import UtcDateTime

LONG = 2048  # characters of a text or a document; longer ones are stated by their SHA-256
UNREADABLE = "unreadable"
LEFT = "knowgate.left_rows"  # of a session's `info`: what knows rows that left the tables
LEAVING = frozenset({"decision", "label"})  # tables whose rows may
NOT_OF_ITS_TYPE = (ValueError, TypeError, AttributeError, OverflowError, RecursionError)  # raised by encoders
_HEX = re.compile("[0-9a-f]{32}")
_sorted = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode
_EXACT = 10**16  # from here on a database may write a float as a whole number
Document = dict[str, Any]
Row = Any  # a mapping from a column's name to its value: a row to be written, or one that was read
Encoder = Callable[[Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A row as it stands."""

    subject: str
    cascade: str  # '' where it names none
    document: Document


def document_of(cover: Cover, row: Row, parts: Sequence[Row] = (), *, raw: bool = False) -> Document:
    """What `row` says, with its parts; `raw`: as SQLite's driver gives it, where a document is a
    text.
    """
    document = encoded(encoders(cover.table, cover.columns, raw), row)
    if cover.part is not None:
        document[cover.part.named] = _parts(cover.part, parts, raw)
    return document


def state_of(cover: Cover, row: Row, parts: Sequence[Row] = (), *, raw: bool = False) -> State:
    """The state that `document_of` says `row` is in."""
    document = document_of(cover, row, parts, raw=raw)
    cascade = document.get("cascade", "")
    return State(
        subject=cover.subject({name: document.get(name) for name in cover.keys}),
        cascade=cascade if isinstance(cascade, str) else "",
        document=document,
    )


def payload_of(document: Document) -> str:
    """The document as a leaf's payload."""
    return _sorted(document)


def read_states(session: Session, cover: Cover, keys: Sequence[tuple[Any, ...]]) -> list[State]:
    """The rows of these primary keys that are there."""
    rows, parts = read_rows(session, cover, keys)
    raw = not is_postgresql(session)
    return [state_of(cover, row, parts.get(row[cover.keys[0]], ()), raw=raw) for row in rows if not cover.skips(row)]


def read_rows(
    session: Session, cover: Cover, keys: Sequence[tuple[Any, ...]]
) -> tuple[Sequence[Row], dict[Any, list[Row]]]:
    """The rows of these primary keys that are there, and their parts by the rows' first key, as the
    driver gives them.
    """
    if not keys:
        return [], {}
    rows = _plain_rows(session, cover.table, of_keys(session, _select(cover.table), _keys(cover), keys))
    parts: dict[Any, list[Row]] = {}
    if cover.part is not None:
        parents = [cover.part.table.c[cover.part.parent]]
        query = of_keys(session, _select(cover.part.table), parents, (key[:1] for key in keys))
        parts = _by_parent(session, cover.part, query)
    left, parts_left = _left(session, cover, keys, rows)
    return [*rows, *left], parts | parts_left


def subjects(cover: Cover, rows: Sequence[Row], raw: bool) -> list[str]:
    """What names each of these rows in its leaves."""
    columns = []
    for name, encode in encoders(cover.table, cover.keys, raw):
        named = cache(lambda value, encode=encode: key_text(read_by(encode, value)))
        columns.append(map(named, map(itemgetter(name), rows)))
    return list(map("/".join, zip(*columns, strict=True)))


def _left(
    session: Session, cover: Cover, keys: Sequence[tuple[Any, ...]], rows: Sequence[Row]
) -> tuple[list[Row], dict[Any, list[Row]]]:
    """Those rows of these keys that are not among `rows` and left the tables, where the session
    sees such.
    """
    left = session.info.get(LEFT)
    if left is None or cover.kind not in LEAVING or len(rows) >= len(keys):
        return [], {}
    there = set(subjects(cover, rows, not is_postgresql(session)))
    missing = [key for key in keys if cover.subject(dict(zip(cover.keys, key, strict=True))) not in there]
    return cast(tuple[list[Row], dict[Any, list[Row]]], left.rows(cover, missing)) if missing else ([], {})


def present(session: Session, cover: Cover, keys: Sequence[tuple[Any, ...]]) -> set[str]:
    """The subjects of those of these primary keys whose covered rows are there."""
    names = cover.keys if cover.skipped is None else (*cover.keys, cover.skipped[0])
    query = of_keys(session, select(*(raw_column(cover.table.c[name]) for name in names)), _keys(cover), keys)
    rows = [row for row in session.execute(query).mappings() if not cover.skips(row)]
    there = set(subjects(cover, rows, not is_postgresql(session)))
    return there | {cover.subject(row) for row in _left(session, cover, keys, rows)[0]}


def pages(session: Session, cover: Cover, size: int) -> Iterator[list[State]]:
    """All covered rows of a table, a page at a time."""
    rows = session.execute(_select(cover.table), execution_options={"yield_per": size})
    for page in rows.mappings().partitions():
        yield _states(session, cover, page)


def orphans(session: Session, cover: Cover) -> Iterator[str]:
    """The parts whose row is not there, named by the key that they give it."""
    if cover.part is None:
        return
    parent, own = cover.part.table.c[cover.part.parent], cover.table.c[cover.keys[0]]
    query = select(raw_column(parent)).distinct().where(~select(own).where(own == parent).exists())
    yield from (str(name) for name in session.scalars(query))


def _states(session: Session, cover: Cover, rows: Sequence[Row]) -> list[State]:
    raw = not is_postgresql(session)
    covered = [row for row in rows if not cover.skips(row)]
    parts = _read_parts(session, cover, covered)
    return [state_of(cover, row, parts.get(row[cover.keys[0]], ()), raw=raw) for row in covered]


def _keys(cover: Cover) -> list[Column[Any]]:
    return [cover.table.c[name] for name in cover.keys]


def _read_parts(session: Session, cover: Cover, rows: Sequence[Row]) -> dict[Any, list[Row]]:
    if cover.part is None or not rows:
        return {}
    parent = cover.part.table.c[cover.part.parent]
    named = type_coerce(parent, NullType()).in_([row[cover.keys[0]] for row in rows])
    return _by_parent(session, cover.part, _select(cover.part.table).where(named))


def _by_parent(session: Session, part: Part, query: Select[Any]) -> dict[Any, list[Row]]:
    by_parent: dict[Any, list[Row]] = {}
    for one in _plain_rows(session, part.table, query):
        by_parent.setdefault(one[part.parent], []).append(one)
    return by_parent


def _plain_rows(session: Session, table: Table, query: Select[Any]) -> list[Row]:
    """The rows as dictionaries, which are read several times faster than the driver's own."""
    names = tuple(item.name for item in table.c)
    return [dict(zip(names, row, strict=True)) for row in session.execute(query).all()]


def _parts(part: Part, rows: Sequence[Row], raw: bool) -> Any:
    ways = encoders(part.table, part.columns, raw)
    documents = sorted((encoded(ways, row) for row in rows), key=lambda item: _order(part, item))
    if not part.hashed:
        return documents
    return {"rows": len(documents), "sha256": _sha256(json.dumps(documents, sort_keys=True, separators=(",", ":")))}


def _order(part: Part, document: Document) -> str:
    return "/".join(str(document.get(item.name)) for item in part.table.primary_key if item.name != part.parent)


def encoded(ways: Sequence[tuple[str, Encoder]], row: Row) -> Document:
    """What these encoders make of a row's columns, null left out."""
    document = {}
    for name, encode in ways:
        value = row.get(name)
        if value is not None:
            document[name] = read_by(encode, value)
    return document


def read_by(encode: Encoder, value: Any) -> Any:
    """What an encoder makes of a value; that it is unreadable where it is none of its column's."""
    try:
        return encode(value)
    except NOT_OF_ITS_TYPE:
        return {UNREADABLE: ascii(value)[:80]}


@cache
def encoders(table: Table, names: tuple[str, ...], raw: bool) -> tuple[tuple[str, Encoder], ...]:
    """Per column what makes its value one of a document. Raises KeyError for one that is not
    there.
    """
    return tuple((name, _encoder(table.c[name], raw)) for name in names)


def _encoder(column: Column[Any], raw: bool) -> Encoder:
    kind = column.type
    if isinstance(kind, JSON):
        return _raw_json if raw else as_json
    for known, encode in _ENCODERS:
        if isinstance(kind, known):
            return encode
    return short_text


def as_uuid(value: Any) -> UUID:
    """The id that a driver gave back. Raises ValueError for what is none."""
    read = value if isinstance(value, UUID) else UUID(value)
    if value not in (read, read.hex):
        raise ValueError("an id in another spelling, by which no query finds it")
    return read


def as_time(value: Any) -> datetime:
    """The time that a driver gave back. Raises ValueError for what is none."""
    if isinstance(value, datetime):
        return value if value.tzinfo is UTC else value.astimezone(UTC)
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is not None or moment.isoformat(sep=" ", timespec="microseconds") != value:
        raise ValueError("a time in another spelling, which sorts elsewhere")
    return moment.replace(tzinfo=UTC)


def same(one: Any, other: Any) -> bool:
    """Whether two values of a document are one; true is no 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _uuid(value: Any) -> str:
    if value.__class__ is str and _HEX.fullmatch(value):  # as SQLite keeps it
        return f"{value[:8]}-{value[8:12]}-{value[12:16]}-{value[16:20]}-{value[20:]}"
    return str(value if value.__class__ is UUID else as_uuid(value))


def _time(value: Any) -> str:
    return as_time(value).isoformat()


def number(value: Any) -> float:
    """A float as a state says it. Raises ValueError or TypeError for what is none."""
    if value.__class__ is float and math.isfinite(value):
        return float(value + 0.0)  # no negative zero
    if isinstance(value, (str, bytes, bool)) or not math.isfinite(value):
        raise ValueError
    return float(value) + 0.0  # no negative zero


def _whole(value: Any) -> int:
    if isinstance(value, (str, bytes)) or value != int(value):
        raise ValueError
    return int(value)


def _bool(value: Any) -> bool:
    if value not in (0, 1):
        raise ValueError
    return bool(value)


def _bytes(value: Any) -> Any:
    return {"sha256": hashlib.sha256(value).hexdigest()}


def short_text(value: Any) -> Any:
    """A text as a state says it. Raises TypeError for what is none."""
    if not isinstance(value, str):
        raise TypeError
    return value if len(value) <= LONG else {"sha256": _sha256(value)}


def as_json(value: Any) -> Any:
    """A JSON value as a state says it."""
    plain = _plain(value)
    text = _sorted(plain)
    return plain if len(text) <= LONG else {"sha256": _sha256(text)}


def _raw_json(value: Any) -> Any:
    return as_json(json.loads(value))


def _plain(value: Any) -> Any:
    """The one form of a JSON value, whichever database kept it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float):
        return value + 0.0
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= _EXACT:
        return float(value)
    return value


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()


_ENCODERS: tuple[tuple[type, Encoder], ...] = (
    (Uuid, _uuid),
    (UtcDateTime, _time),
    (Boolean, _bool),
    (Double, number),
    (BigInteger, _whole),
    (LargeBinary, _bytes),
)


def _select(table: Table) -> Any:
    return select(*(raw_column(item) for item in table.c))


def raw_column(item: Column[Any]) -> ColumnElement[Any]:
    """The driver's own value: a column's type would raise on one that is none of its own, and hide
    its page.
    """
    return type_coerce(item, NullType()).label(item.name)
