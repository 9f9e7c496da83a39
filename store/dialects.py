"""What the two databases say differently: inserts that meet a row already there, and locks by name.

An insert of thousands of rows goes out in a few statements (SQLAlchemy's insertmanyvalues), since it returns a
column. Locks are needed on PostgreSQL alone: a writing transaction on SQLite holds the whole database.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import ColumnElement, Table, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from store.tables import Base

Rows = Sequence[Mapping[str, Any]]


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

    `keys` and `where` name the unique index that may already hold a row; without them any does.
    """
    if not rows:
        return []
    table = table_of(model)
    statement = (
        _insert(session, table)
        .on_conflict_do_nothing(index_elements=keys, index_where=where)
        .returning(table.c[returning])
    )
    return list(session.execute(statement, list(rows)).scalars())


def upsert(session: Session, model: type[Base], rows: Rows) -> None:
    """Insert the rows, or overwrite all but the primary key of those that are there."""
    if not rows:
        return
    table = table_of(model)
    keys = [column.name for column in table.primary_key]
    statement = _insert(session, table)
    changed = {column.name: statement.excluded[column.name] for column in table.c if not column.primary_key}
    upserting = statement.on_conflict_do_update(index_elements=keys, set_=changed).returning(table.c[keys[0]])
    session.execute(upserting, list(rows)).all()


def lock(session: Session, name: str, *, shared: bool = False) -> None:
    """Hold the lock of this name until the transaction ends; `shared` holders do not exclude each other."""
    if not is_postgresql(session):
        return
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
    take = func.pg_advisory_xact_lock_shared if shared else func.pg_advisory_xact_lock
    session.execute(select(take(number)))


def _insert(session: Session, table: Table) -> Any:
    return postgresql.insert(table) if is_postgresql(session) else sqlite.insert(table)
