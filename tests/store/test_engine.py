"""Opening databases, and the two kinds of transaction."""

from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import InternalError, OperationalError

from store import schema
from store.engine import forget_past, open_engine, reading, transaction
from store.errors import StoreError, UrlUnsupported
from store.ledger.erasure import erase_decision
from store.releases.cascades import apply_cascade, cascade_names
from store.traffic.decisions import add_decisions


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://root:secret@localhost/x", "nonsense"])
def test_a_url_that_cannot_be_opened_is_named_without_its_password(url: str) -> None:
    with pytest.raises(UrlUnsupported, match="sqlite:///FILE or postgresql") as caught:
        open_engine(url)
    assert "secret" not in str(caught.value)


def test_sqlite_runs_in_wal_mode_with_foreign_keys_and_patience(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'new' / 'folder' / 'a.db'}")
    with engine.connect() as connection:
        settings = [
            connection.execute(text(f"PRAGMA {name}")).scalar_one() for name in ("journal_mode", "foreign_keys")
        ]
        patience = connection.execute(text("PRAGMA busy_timeout")).scalar_one()
    assert settings == ["wal", 1]
    assert patience == 30_000
    engine.dispose()


def test_what_was_erased_is_in_no_file_of_the_database(tmp_path: Path, cast: Any) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'a.db'}")
    schema.upgrade(engine)
    secret = "Fernweh " * 2000  # more than a page

    def files_with_it() -> list[str]:
        return [path.name for path in tmp_path.iterdir() if b"Fernweh" in path.read_bytes()]

    sent = replace(cast.retained(), prompt=secret)
    with transaction(engine) as session:
        apply_cascade(session, cast.spec, now=cast.at(0))
        add_decisions(session, [sent], received_at=cast.at(1))
    assert files_with_it() != []
    with transaction(engine) as session:
        erase_decision(session, sent.id, by="ada", now=cast.at(2))
    assert forget_past(engine)
    assert files_with_it() == []
    engine.dispose()


def test_a_log_that_somebody_reads_from_is_told_to_be_left(tmp_path: Path, cast: Any) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'a.db'}")
    schema.upgrade(engine)
    impatient = engine.raw_connection()
    impatient.cursor().execute("PRAGMA busy_timeout = 10")
    with reading(engine) as session:
        assert cascade_names(session) == ()
        impatient.close()  # back to the pool, whence the next connection comes
        with transaction(engine) as writing:
            apply_cascade(writing, cast.spec, now=cast.at(0))
        assert not forget_past(engine)
    assert forget_past(engine)
    engine.dispose()


def test_postgresql_is_reached_through_psycopg_in_utc(postgresql_url: str) -> None:
    engine = open_engine(postgresql_url.replace("postgresql+psycopg", "postgresql"))
    with engine.connect() as connection:
        assert connection.execute(text("SHOW timezone")).scalar_one() == "UTC"
    assert engine.driver == "psycopg"
    engine.dispose()


def test_a_transaction_commits_at_its_end(engine: Engine, cast: Any) -> None:
    with transaction(engine) as session:
        apply_cascade(session, cast.spec, now=cast.at(0))
    with reading(engine) as session:
        assert cascade_names(session) == ("geo",)


def test_a_reading_transaction_keeps_nothing(engine: Engine, cast: Any) -> None:
    try:
        with reading(engine) as session:
            apply_cascade(session, cast.spec, now=cast.at(0))
    except (OperationalError, InternalError) as refused:
        assert "read-only" in str(refused)
    with reading(engine) as session:
        assert cascade_names(session) == ()


def test_a_reading_transaction_is_one_snapshot(engine: Engine, cast: Any) -> None:
    def write() -> None:
        with transaction(engine) as session:
            apply_cascade(session, cast.spec, now=cast.at(0))

    with reading(engine) as session:
        assert cascade_names(session) == ()
        writer = Thread(target=write)
        writer.start()
        writer.join()
        assert cascade_names(session) == ()
    with reading(engine) as session:
        assert cascade_names(session) == ("geo",)


def test_writers_in_parallel_wait_for_each_other(sqlite_url: str, cast: Any) -> None:
    """Each reads before it writes: with a plain BEGIN the second would fail with "database is
    locked".
    """
    engine = open_engine(sqlite_url)
    failures: list[Exception] = []

    def write(rate: float) -> None:
        from dataclasses import replace

        try:
            for _ in range(5):
                with transaction(engine) as session:
                    cascade_names(session)
                    apply_cascade(session, replace(cast.spec, exploration_rate=rate), now=cast.at(0))
        except OperationalError as error:
            failures.append(error)

    threads = [Thread(target=write, args=(rate,)) for rate in (0.1, 0.2, 0.3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    engine.dispose()


def test_every_error_of_the_store_has_one_base() -> None:
    from store import errors

    kinds = [item for item in vars(errors).values() if isinstance(item, type) and item.__module__ == errors.__name__]
    assert len(kinds) > 10
    assert [kind.__name__ for kind in kinds if not issubclass(kind, StoreError)] == []
    assert [kind.__name__ for kind in kinds if f"{kind.__name__} " not in str(errors.__doc__)] == ["StoreError"]
