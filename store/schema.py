"""The schema's version: brought up, taken down, and compared with the tables the code believes in.

Alembic is driven from here with a connection, so nothing depends on the working directory or on an
ini file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, ForeignKeyConstraint
from sqlalchemy.orm import Session
from sqlalchemy.schema import SchemaItem

from store import dialects, partitions
from store.errors import StoreError
from store.ledger import upgrade_leaves
from store.tables import Base

MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"
_LOCK = "knowgate.schema"


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the schema up to `revision`, make the coming months' partitions, and state what has no
    leaf yet.

    Safe to run at every start.
    """
    with _migrating(engine) as connection:
        command.upgrade(_configuration(connection), revision)
        if current_of(connection) == head():
            with Session(connection) as session:
                now = datetime.now(UTC)
                partitions.ensure_partitions(session, partitions.months_ahead(now))
                upgrade_leaves.state_once(session, now=now)
                session.flush()


def downgrade(engine: Engine, revision: str = "base") -> None:
    """Take the schema down to `revision`; what the dropped tables held is lost."""
    with _migrating(engine) as connection:
        command.downgrade(_configuration(connection), revision)


def check(engine: Engine) -> tuple[str, ...]:
    """How the database differs from the code's tables, one sentence each; empty when it
    does not.
    """
    with engine.begin() as connection:
        found = current_of(connection)
        if found != head():
            return (f"the schema is at revision {found}, the code needs {head()}: run `knowgate db upgrade`",)
        context = MigrationContext.configure(
            connection, opts={"include_name": keeps_name, "include_object": keeps_object}
        )
        return tuple(str(difference) for difference in compare_metadata(context, Base.metadata))


def current(engine: Engine) -> str | None:
    """The revision the database is at; None before the first one."""
    with engine.begin() as connection:
        return current_of(connection)


def current_of(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def head() -> str:
    """The revision the code needs."""
    return str(ScriptDirectory(str(MIGRATIONS)).get_current_head())


def keeps_name(name: str | None, kind: str, _parents: object) -> bool:
    """Which names Alembic compares: all but partitions, which come and go by the month."""
    return not (kind == "table" and name is not None and partitions.is_partition(name))


def former() -> tuple[str, ...]:
    """The revisions before the one that the code needs, newest first; from each of them `upgrade`
    leads to it.
    """
    script = ScriptDirectory(str(MIGRATIONS))
    return tuple(step.revision for step in script.walk_revisions() if step.revision != head())


@contextmanager
def _migrating(engine: Engine) -> Iterator[Connection]:
    """One transaction, alone: two processes that start together must not both migrate.

    SQLite alters a table by copying it, which its foreign keys would forbid half-way; they are
    checked at the end.
    """
    with engine.connect() as connection:
        sqlite = engine.dialect.name == "sqlite"
        if sqlite:
            _foreign_keys(connection, "OFF")
        try:
            with connection.begin():
                dialects.lock(Session(connection), _LOCK)
                yield connection
                if sqlite and (broken := connection.exec_driver_sql("PRAGMA foreign_key_check").first()):
                    raise StoreError(f"the migration leaves a row without its parent: {tuple(broken)}; it is undone")
        finally:
            if sqlite:
                _foreign_keys(connection, "ON")


def _foreign_keys(connection: Connection, state: str) -> None:
    driver = connection.connection.driver_connection
    if driver is not None:
        driver.execute(f"PRAGMA foreign_keys = {state}")  # outside any transaction, else it changes nothing


def keeps_object(item: SchemaItem, _name: str | None, _kind: str, _reflected: bool, _other: object) -> bool:
    """Which objects Alembic compares: PostgreSQL lists a foreign key to a partitioned table once
    more per partition.
    """
    if not isinstance(item, ForeignKeyConstraint):
        return True
    return not any(partitions.is_partition(element.target_fullname.split(".")[0]) for element in item.elements)


def _configuration(connection: Connection) -> Config:
    configuration = Config()
    configuration.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    configuration.attributes["connection"] = connection
    return configuration
