"""Inserting many rows in a few statements, on both databases.

SQLite takes rows as VALUES (SQLAlchemy's insertmanyvalues). PostgreSQL takes them as one JSON
parameter that it unfolds into rows itself: its driver spends ten times as long on finding the
places of a hundred thousand parameters. Rows of which none can be there are copied: by COPY on
PostgreSQL, by executemany on SQLite.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, cast
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import LargeBinary, Table, bindparam, column, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from store.batches import batched
from store.errors import NaiveTime
from store.tables.base import Base

Rows = Sequence[Mapping[str, Any]]
_Write = Callable[[Any], Any]  # a value as the driver takes it
_PAGE = 5000  # rows in one statement


def table_of(model: type[Base]) -> Table:
    """The table behind a model, for statements about many rows."""
    return cast(Table, model.__table__)


def is_postgresql(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"


def inserts(session: Session, table: Table, rows: Rows) -> Iterator[tuple[Any, Any]]:
    """Insert statements with their parameters, a page of rows each; all rows name the
    same columns.
    """
    for page in batched(rows, _PAGE):
        if not is_postgresql(session):
            yield sqlite.insert(table), page
        elif any(isinstance(table.c[name].type, LargeBinary) for name in page[0]):
            yield postgresql.insert(table), page
        else:
            names = list(page[0])
            unfolding = unfolded(table, names, bindparam("rows", type_=sa.Text()))
            yield postgresql.insert(table).from_select(names, unfolding), {"rows": folded(page)}


def copy_rows(session: Session, table: Table, rows: Rows) -> None:
    """Insert rows of which none is there yet, and of which nothing has to be returned; all name the
    same columns. Writes no leaves. Raises SQLAlchemy's errors, as any statement does.
    """
    if not rows:
        return
    names = list(rows[0])
    connection = session.connection()
    prepare = connection.dialect.identifier_preparer
    into = f"{prepare.format_table(table)} ({', '.join(map(prepare.quote, names))})"
    written: list[_Write | None]
    if is_postgresql(session):
        written = [json.dumps if isinstance(table.c[name].type, sa.JSON) else None for name in names]
        _copy(connection, f"COPY {into} FROM STDIN", _lines(names, written, rows))
    else:
        kinds = [table.c[name].type.dialect_impl(connection.dialect) for name in names]
        written = [kind.bind_processor(connection.dialect) for kind in kinds]
        places = ", ".join("?" * len(names))
        connection.exec_driver_sql(f"INSERT INTO {into} VALUES ({places})", list(_lines(names, written, rows)))


def _lines(names: Sequence[str], written: Sequence[_Write | None], rows: Rows) -> Iterator[Any]:
    """Each row as the driver takes it, made a column after the other."""
    columns: list[Any] = [map(itemgetter(name), rows) for name in names]
    for at, write in enumerate(written):
        if write is not None:
            columns[at] = [None if value is None else write(value) for value in columns[at]]
    return zip(*columns, strict=True)


def _copy(connection: sa.Connection, copying: str, lines: Iterable[Any]) -> None:
    import psycopg  # an extra: SQLite does without

    driver: Any = connection.connection.driver_connection
    try:
        with driver.cursor() as cursor, cursor.copy(copying) as copy:
            for line in lines:
                copy.write_row(line)
    except psycopg.Error as error:
        raise DBAPIError.instance(copying, None, error, psycopg.Error, dialect=connection.dialect) from error


def unfolded(table: Table, names: Sequence[str], rows: Any) -> sa.Select[Any]:
    """The rows that PostgreSQL makes of what `folded` wrote: these columns of the table."""
    document = sa.cast(rows, postgresql.JSON())
    record = func.json_to_recordset(document).table_valued(*(column(name, table.c[name].type) for name in names))
    return select(*record.render_derived(name="record", with_types=True).c)


def folded(rows: Rows) -> str:
    """These rows as one parameter."""
    return json.dumps(rows, default=_fold_value, allow_nan=False, separators=(",", ":"))


def _fold_value(value: object) -> str:
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise NaiveTime(value)
        return value.isoformat()
    raise TypeError(f"{value!r} is neither JSON nor a UUID nor a time")
