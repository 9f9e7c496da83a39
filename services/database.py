"""The deployment's database, ready to be used.

The embedded SQLite belongs to this checkout alone, so it is brought up to date when it is opened. A
PostgreSQL may serve other processes of another version: its schema changes only by `knowgate db
upgrade`; until then it is refused.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, make_url
from sqlalchemy.exc import DatabaseError

from knowgate._wire.shown import shown_url
from services.errors import InputInvalid
from services.settings import Settings
from store import schema
from store.engine import closing_engine, open_engine

log = logging.getLogger("knowgate.database")


@contextmanager
def database(settings: Settings) -> Iterator[Engine]:
    """The deployment's database for the length of a block; its connections are closed at the end.

    Raises InputInvalid where the schema is not the code's, or where nothing answers.
    """
    if is_missing(settings):
        # Most often the first command; now and then one that was given in another folder than was
        # meant.
        log.warning(
            "a new database is made: %s (KNOWGATE_DATA_DIR says where)", make_url(settings.database_url).database
        )
    with closing_engine(settings.database_url) as engine:
        _prepare(engine)
        yield engine


def require_database(settings: Settings) -> None:
    """Refuses an embedded database that is not there, for commands that only make sense on what was
    stored before.

    Raises InputInvalid.
    """
    if is_missing(settings):
        raise InputInvalid(
            f"database {shown_url(settings.database_url)} is not there: run `knowgate cascade apply` first, or set"
            " KNOWGATE_DATA_DIR to the folder that holds it"
        )


def open_database(settings: Settings) -> Engine:
    """The same for a process's whole life; whoever asks disposes of it."""
    engine = open_engine(settings.database_url)
    try:
        _prepare(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def is_missing(settings: Settings) -> bool:
    """Whether the embedded database has not been made yet."""
    url = make_url(settings.database_url)
    return url.get_backend_name() == "sqlite" and bool(url.database) and not Path(url.database or "").exists()


@contextmanager
def answering(engine: Engine) -> Iterator[None]:
    """Raises InputInvalid where the database does not answer within the block."""
    try:
        yield
    except DatabaseError as error:
        cure = "check KNOWGATE_DATABASE_URL, and that the server runs or the file is a database"
        raise InputInvalid(f"database {_shown(engine)} does not answer: {error.orig}; {cure}") from error


def _shown(engine: Engine) -> str:
    return shown_url(engine.url.render_as_string(hide_password=False))


def _prepare(engine: Engine) -> None:
    with answering(engine):
        found, wanted = schema.current(engine), schema.head()
        if found == wanted:
            return
        if engine.dialect.name == "sqlite":
            schema.upgrade(engine)
            return
    shown = _shown(engine)
    raise InputInvalid(f"database {shown} is at revision {found}, the code needs {wanted}: run `knowgate db upgrade`")
