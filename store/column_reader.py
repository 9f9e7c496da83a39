"""Many rows of a statement as columns: Arrow batches, no object per row.

PostgreSQL is read by ADBC, which takes the binary COPY format straight into Arrow. Its connection
shares the snapshot of the reading transaction, so both see the same rows. SQLite is read by the
transaction's own cursor, a block at a time: docs/decisions/0195 says why never by ADBC. So is
PostgreSQL in a transaction that writes, whose rows no other connection sees, and where ADBC is not
installed or cannot connect.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cache
from typing import Any

import pyarrow as pa
from sqlalchemy import URL, CursorResult, Select, func, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from store import dialects

log = logging.getLogger("knowgate.store")

ID = pa.binary(16)
TEXT = pa.dictionary(pa.int32(), pa.string())
TIME = pa.timestamp("us")  # in UTC
# Rows that are Python objects at a time: so few stay in the processor's cache until they are Arrow.
_BLOCK = 2_000


def read_columns(
    session: Session, statement: Select[Any], schema: pa.Schema, *, many: bool
) -> Iterator[pa.RecordBatch]:
    """The statement's rows in their order, as batches of this schema; its columns are those of the
    statement, of the kinds `ID`, `TEXT`, `TIME`, float64, int64 and bool.

    `many`: it is worth a connection of its own, which takes as long as some thousand rows.
    """
    if many and _shares_its_snapshot(session):
        connection = _connected(session)
        if connection is not None:
            with closing(connection):
                yield from _by_adbc(session, connection, statement, schema)
            return
    compiled = statement.compile(dialect=session.get_bind().dialect, compile_kwargs={"literal_binds": True})
    result = session.connection().exec_driver_sql(str(compiled), execution_options={"stream_results": True})
    with closing(result):
        for rows in result.partitions(_BLOCK) if dialects.is_postgresql(session) else _driven(result):
            columns = zip(*rows, strict=True)
            arrays = [_array(values, kind) for values, kind in zip(columns, schema.types, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _driven(result: CursorResult[Any]) -> Iterator[Sequence[Any]]:
    """Blocks of the driver's own tuples: as SQLAlchemy's rows they would be made twice. Of
    PostgreSQL's cursor SQLAlchemy has fetched the first row already.
    """
    while result.cursor is not None and (rows := result.cursor.fetchmany(_BLOCK)):
        yield rows


def as_schema(batch: pa.RecordBatch | pa.Table, schema: pa.Schema) -> pa.RecordBatch:
    """The columns of this schema, from a batch that has them in kinds which Arrow can turn into
    its own: texts plain, times with a zone, ids as extension types.
    """
    found = [_as(batch.column(name), kind) for name, kind in zip(schema.names, schema.types, strict=True)]
    return pa.RecordBatch.from_arrays(found, schema=schema)


def _shares_its_snapshot(session: Session) -> bool:
    """Whether it is a reading transaction on PostgreSQL: one that writes has rows of its own."""
    options = session.connection().get_execution_options()
    return dialects.is_postgresql(session) and bool(options.get("postgresql_readonly", False))


def _connected(session: Session) -> Any:
    """An ADBC connection to the session's database; None where there cannot be one."""
    connection = session.connection()
    try:
        from adbc_driver_manager import Error
        from adbc_driver_postgresql import dbapi
    except ImportError:
        _say("adbc-driver-postgresql is not installed")
        return None
    try:
        return dbapi.connect(_conninfo(connection.engine.url), autocommit=True)
    except Error as error:
        _say(f"ADBC cannot connect ({type(error).__name__})")  # its message may hold the password
        return None


@cache
def _say(why: str) -> None:
    log.warning("%s: long reads take their rows one by one, which is slower and takes more memory", why)


def _conninfo(url: URL) -> str:
    """What libpq connects by: as the URL of SQLAlchemy says, sockets and odd passwords too."""
    from psycopg.conninfo import make_conninfo

    plain: Any = postgresql.psycopg.dialect  # that of an engine adds what psycopg alone knows
    _, given = plain().create_connect_args(url)
    make: Any = make_conninfo
    return str(make("", **given, options="-c timezone=UTC"))


def _by_adbc(session: Session, connection: Any, statement: Select[Any], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    # Without "%" as the mark of a parameter, or it would be doubled in texts.
    plain: Any = postgresql.dialect
    compiled = statement.compile(dialect=plain(paramstyle="named"), compile_kwargs={"literal_binds": True})
    snapshot = session.scalar(select(func.pg_export_snapshot()))
    with closing(connection.cursor()) as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        cursor.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
        cursor.execute(str(compiled))
        for batch in cursor.fetch_record_batch():
            yield as_schema(batch, schema)


def _as(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if values.type == kind:
        return values
    if kind == TEXT:
        return values.cast(pa.string()).dictionary_encode()
    return values.cast(kind, safe=False)


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """A block of a column, from what the driver makes of it: of SQLite ids are 32 digits, times
    texts, truths 0 and 1.
    """
    known = next((value for value in values if value is not None), None)
    if kind == ID:
        raw = bytes.fromhex("".join(values)) if isinstance(known, str) else b"".join(one.bytes for one in values)
        return pa.FixedSizeBinaryArray.from_buffers(kind, len(values), [None, pa.py_buffer(raw)])
    if kind == TEXT:
        return pa.array(values, pa.string()).dictionary_encode()
    if kind == TIME:
        plain = pa.string() if isinstance(known, str) else pa.timestamp("us", tz="UTC")
        return pa.array(values, plain).cast(kind)
    if kind == pa.bool_() and not isinstance(known, bool):
        return pa.array(values, pa.int8()).cast(kind)
    return pa.array(values, kind)
