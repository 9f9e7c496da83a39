"""Reading whatever somebody wrote into the database: no value, and no table that is gone, ends the
reading of the rest.

Drivers raise on some values that their databases hold: SQLite's on texts that are no UTF-8,
PostgreSQL's on times that Python has none for (infinity, years before 1) and on JSON that is nested
too deep. Here they come out as what they are, or as their text: something else than was written,
for the caller to find fault with.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from sqlalchemy import Table, inspect
from sqlalchemy.orm import Session

from store.sealing.inserts import is_postgresql

_TEXT = partial(str, encoding="utf-8", errors="backslashreplace")
_ODD = ("timestamptz", "json", "jsonb")


@contextmanager
def any_value(session: Session) -> Iterator[None]:
    """Within it, no value of a row makes its reading fail."""
    driver: Any = session.connection().connection.driver_connection
    if not is_postgresql(session):
        former, driver.text_factory = driver.text_factory, _TEXT
        try:
            yield
        finally:
            driver.text_factory = former
        return
    known = {name: driver.adapters.types[name].oid for name in _ODD}
    loaders = {name: driver.adapters.get_loader(oid, 0) for name, oid in known.items()}
    for name, loader in loaders.items():
        driver.adapters.register_loader(name, _lenient(loader))
    try:
        yield
    finally:
        for name, loader in loaders.items():
            driver.adapters.register_loader(name, loader)


def _lenient(strict: Any) -> Any:
    """A loader that gives the text of what this one cannot read."""
    from psycopg import DataError  # the driver of PostgreSQL alone
    from psycopg.adapt import Loader

    class Lenient(Loader):
        def __init__(self, oid: int, context: Any = None) -> None:
            super().__init__(oid, context)
            self._strict = strict(oid, context)

        def load(self, data: Any) -> Any:
            try:
                return self._strict.load(data)
            except (DataError, ValueError, RecursionError):
                return bytes(data).decode(errors="backslashreplace")

    return Lenient


def what_is_gone(session: Session, table: Table) -> str | None:
    """What there should be of a table in the database and is not; None where all is there."""
    inspected = inspect(session.connection())
    if not inspected.has_table(table.name) or table.name in inspected.get_view_names():
        return "the table is not there"
    there = {column["name"] for column in inspected.get_columns(table.name)}
    gone = [column.name for column in table.c if column.name not in there]
    return f"the table has no column {', '.join(gone)}" if gone else None
