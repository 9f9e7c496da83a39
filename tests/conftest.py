"""Databases for tests: every test that asks for one gets it empty, migrated, and its own.

`database_url` and `engine` run a test twice, on SQLite and on PostgreSQL; `sqlite_url` and
`postgresql_url` once. The schema is migrated once per session and copied: a file on SQLite, a
template database on PostgreSQL (`tests.postgresql`), a real server from a wheel that is started
when the first test asks for it.
"""

import gc
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine

from store import schema
from store.engine import open_engine
from tests import llama_cpp as llama
from tests import postgresql, servers


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
    """The URL of a running PostgreSQL."""
    with postgresql.server() as url:
        yield url


@pytest.fixture(scope="session")
def postgresql_databases(postgresql_server: URL) -> postgresql.Databases:
    """What `postgresql_url` lends."""
    return postgresql.Databases(postgresql_server)


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
def postgresql_url(postgresql_databases: postgresql.Databases) -> Iterator[str]:
    """An empty, migrated PostgreSQL database of this test's own."""
    with postgresql_databases.lent() as url:
        yield url.render_as_string(hide_password=False)


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
