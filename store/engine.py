"""Opening the database, and the two kinds of transaction there are.

A writing transaction takes SQLite's write lock when it begins (BEGIN IMMEDIATE): one that begins as
a reader and writes later can fail half-way with "database is locked", however long it waits. A
reading transaction is one snapshot: what it reads first and what it reads last belong together.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session

from knowgate._wire.shown import shown_url
from store.errors import UrlUnsupported

BUSY_TIMEOUT_S = 30
_READING = "knowgate_reading"  # the execution option that marks a reading transaction on SQLite


def open_engine(url: str | URL) -> Engine:
    """An engine for a `sqlite:///FILE` or a `postgresql+psycopg://` URL (`postgresql://` means the
    same).

    SQLite's folder is made when it is missing. Raises UrlUnsupported for any other URL, and for
    SQLite in memory, which no second connection could see.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise UrlUnsupported(shown_url(str(url))) from error
    backend = parsed.get_backend_name()
    if backend == "sqlite" and parsed.database and parsed.database != ":memory:":
        return _open_sqlite(parsed)
    if backend == "postgresql":
        return _open_postgresql(parsed)
    raise UrlUnsupported(shown_url(parsed.render_as_string(hide_password=False)))


@contextmanager
def closing_engine(url: str | URL) -> Iterator[Engine]:
    """An engine for the length of a block, whatever the schema is; its connections are closed at
    the end.
    """
    engine = open_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def transaction(engine: Engine) -> Iterator[Session]:
    """A writing transaction: committed at the end of the block, rolled back by an exception."""
    with Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A reading transaction over one snapshot; what it writes is refused by PostgreSQL and never
    kept.
    """
    if engine.dialect.name == "sqlite":
        bound = engine.execution_options(**{_READING: True})
    else:
        bound = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with Session(bound, expire_on_commit=False) as session:
        yield session


def forget_past(engine: Engine) -> bool:
    """Leave nothing of what was overwritten in SQLite's log; whether that could be done, for
    somebody may be reading.

    PostgreSQL keeps old versions of rows until it vacuums, and its log until it is recycled: there
    this does nothing.
    """
    if engine.dialect.name != "sqlite":
        return True
    connection = engine.raw_connection()
    try:
        busy, _, _ = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.close()
    return not busy


def _open_sqlite(url: URL) -> Engine:
    Path(str(url.database)).expanduser().resolve().parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself; `_begin_sqlite` does
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")  # an acknowledged row survives a power cut
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten: an erased prompt must not be left
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    reads = connection.get_execution_options().get(_READING, False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _open_postgresql(url: URL) -> Engine:
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_pre_ping=True,
        connect_args={"options": "-c timezone=UTC"},
    )
