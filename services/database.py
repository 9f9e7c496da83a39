"""The deployment's database, ready to be used.

The embedded SQLite belongs to this checkout alone, so it is brought up to date when it is opened. A PostgreSQL may
serve other processes of another version: its schema changes only by `knowgate db upgrade`; until then it is refused.
"""

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from services.errors import InputInvalid
from services.settings import Settings
from store import schema
from store.engine import open_engine


def open_database(settings: Settings) -> Engine:
    """The engine, its schema the code's. Raises InputInvalid where it is not, or where nothing answers."""
    engine = open_engine(settings.database_url)
    shown = engine.url.render_as_string(hide_password=True)
    try:
        found, wanted = schema.current(engine), schema.head()
        if found == wanted:
            return engine
        if engine.dialect.name == "sqlite":
            schema.upgrade(engine)
            return engine
    except OperationalError as error:
        cure = "check KNOWGATE_DATABASE_URL and that the server runs"
        raise InputInvalid(f"database {shown} does not answer: {error.orig}; {cure}") from error
    raise InputInvalid(f"database {shown} is at revision {found}, the code needs {wanted}: run `knowgate db upgrade`")
