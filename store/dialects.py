"""What the two databases say differently: inserts that meet a row already there, and locks by name.

Thousands of rows go out in a few statements. SQLite takes them as VALUES of many rows (SQLAlchemy's
insertmanyvalues). PostgreSQL takes them as one JSON parameter that it unfolds into rows itself: its driver spends ten
times as long on finding the places of a hundred thousand parameters. Locks are needed on PostgreSQL alone: a writing
transaction on SQLite holds the whole database.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import ColumnElement, LargeBinary, Table, bindparam, column, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from store.errors import NaiveTime
from store.tables import Base

Rows = Sequence[Mapping[str, Any]]
_PAGE = 5000  # rows in one statement


def table_of(model: type[Base]) -> Table:
    """The table behind a model, for statements about many rows."""
    return cast(Table, model.__table__)


def is_postgresql(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"


def insert_new(
    session: Session,
    model: type[Base],
    rows: Rows,
    *,
    returning: str,
    where: ColumnElement[bool] | None = None,
    keys: Sequence[str] | None = None,
) -> list[Any]:
    """Insert the rows that are not there yet; the `returning` column of those that were inserted.

    All rows name the same columns. `keys` and `where` name the unique index that may already hold a row; without
    them any does.
    """
    table = table_of(model)
    found: list[Any] = []
    for insert, parameters in _inserts(session, table, rows):
        statement = insert.on_conflict_do_nothing(index_elements=keys, index_where=where)
        found += session.execute(statement.returning(table.c[returning]), parameters).scalars()
    return found


def upsert(session: Session, model: type[Base], rows: Rows) -> None:
    """Insert the rows, or overwrite all but the primary key of those that are there."""
    table = table_of(model)
    keys = [item.name for item in table.primary_key]
    for insert, parameters in _inserts(session, table, rows):
        changed = {item.name: insert.excluded[item.name] for item in table.c if not item.primary_key}
        statement = insert.on_conflict_do_update(index_elements=keys, set_=changed)
        session.execute(statement.returning(table.c[keys[0]]), parameters).all()


def lock(session: Session, name: str, *, shared: bool = False) -> None:
    """Hold the lock of this name until the transaction ends; `shared` holders do not exclude each other."""
    if not is_postgresql(session):
        return
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
    take = func.pg_advisory_xact_lock_shared if shared else func.pg_advisory_xact_lock
    session.execute(select(take(number)))


def _inserts(session: Session, table: Table, rows: Rows) -> Iterator[tuple[Any, Any]]:
    """Insert statements with their parameters, a page of rows each."""
    for start in range(0, len(rows), _PAGE):
        page = list(rows[start : start + _PAGE])
        if not is_postgresql(session):
            yield sqlite.insert(table), page
        elif any(isinstance(table.c[name].type, LargeBinary) for name in page[0]):
            yield postgresql.insert(table), page
        else:
            names = list(page[0])
            yield postgresql.insert(table).from_select(names, _unfolded(table, names)), {"rows": _fold(page)}


def _unfolded(table: Table, names: Sequence[str]) -> sa.Select[Any]:
    folded = sa.cast(bindparam("rows", type_=sa.Text()), postgresql.JSON())
    record = func.json_to_recordset(folded).table_valued(*(column(name, table.c[name].type) for name in names))
    return select(*record.render_derived(name="record", with_types=True).c)


def _fold(rows: Rows) -> str:
    return json.dumps(rows, default=_fold_value, allow_nan=False, separators=(",", ":"))


def _fold_value(value: object) -> str:
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise NaiveTime(value)
        return value.isoformat()
    raise TypeError(f"{value!r} is neither JSON nor a UUID nor a time")
