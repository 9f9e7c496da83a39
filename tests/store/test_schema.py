"""The schema: up, down, and equal to what the code believes in, on both databases."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, MetaData, inspect, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from store import partitions, schema
from store.engine import open_engine
from store.errors import StoreError
from store.releases.promotions import Outcome, promotions
from store.releases.rings import unanswered
from store.watching.deliveries import deliveries


@pytest.fixture(params=["sqlite", "postgresql"])
def blank(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database without any table."""
    if request.param == "sqlite":
        engine = open_engine(f"sqlite:///{tmp_path / 'blank.db'}")
    else:
        engine = open_engine(request.getfixturevalue("postgresql_url"))
        schema.downgrade(engine)
    yield engine
    engine.dispose()


def test_a_migrated_database_is_what_the_code_believes_in(engine: Engine) -> None:
    assert schema.check(engine) == ()
    assert schema.current(engine) == schema.head()


def test_a_missing_column_is_named(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE token ADD COLUMN surplus TEXT"))
    assert ["surplus" in difference for difference in schema.check(engine)] == [True]


def test_an_old_schema_is_named_with_its_cure(blank: Engine) -> None:
    schema.upgrade(blank, "0003")
    (difference,) = schema.check(blank)
    assert "0003" in difference
    assert "knowgate db upgrade" in difference


@pytest.mark.slow
def test_up_down_and_up_again_leaves_nothing_and_then_everything(blank: Engine) -> None:
    schema.upgrade(blank)
    schema.downgrade(blank)
    assert set(inspect(blank).get_table_names()) == {"alembic_version"}
    schema.upgrade(blank)
    assert schema.check(blank) == ()


@pytest.mark.slow
def test_every_single_step_can_be_taken_back(blank: Engine) -> None:
    before = "base"
    for step in reversed(list(ScriptDirectory(str(schema.MIGRATIONS)).walk_revisions())):
        schema.upgrade(blank, step.revision)
        schema.downgrade(blank, before)
        schema.upgrade(blank, step.revision)
        before = step.revision
    assert schema.check(blank) == ()


def test_upgrading_again_changes_nothing(engine: Engine) -> None:
    schema.upgrade(engine)
    assert schema.check(engine) == ()


def test_a_row_without_its_parent_undoes_the_migration(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    schema.downgrade(engine, "0011")
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.execute("PRAGMA foreign_keys = OFF")
        driver.execute("INSERT INTO alarm_state VALUES ('nobody', 'risk', '{}', '2026-01-01 00:00:00.000000')")
        driver.execute("PRAGMA foreign_keys = ON")
    with pytest.raises(StoreError, match="without its parent"):
        schema.upgrade(engine)
    assert schema.current(engine) == "0011"
    engine.dispose()


def test_the_large_tables_are_partitioned_from_the_first_migration_on(postgresql_url: str) -> None:
    engine = open_engine(postgresql_url)
    with Session(engine) as session:
        names = [name for name in inspect(engine).get_table_names() if partitions.is_partition(name)]
        parents = session.scalars(text("SELECT relname FROM pg_class WHERE relkind = 'p' ORDER BY relname")).all()
    engine.dispose()
    assert set(parents) == set(partitions.PARTITIONED)
    months = partitions.months_ahead(datetime.now(UTC))
    expected = {f"{table}_p{month:%Y%m}" for table in partitions.PARTITIONED for month in months}
    assert set(names) == expected | {f"{table}_default" for table in partitions.PARTITIONED}


@pytest.mark.slow
def test_messages_from_before_they_were_numbered_keep_their_order(blank: Engine) -> None:
    revision = ScriptDirectory(str(schema.MIGRATIONS)).get_revision("0025")
    assert revision is not None
    schema.upgrade(blank, str(revision.down_revision))
    postgresql = blank.dialect.name == "postgresql"

    def key(number: int) -> UUID | str:
        return UUID(int=number) if postgresql else UUID(int=number).hex

    noon, known = datetime(2026, 1, 1, 12, tzinfo=UTC), MetaData()
    known.reflect(blank, only=["cascade", "alert", "delivery"])
    alert = {"id": key(1), "cascade": "geo", "rule": "risk", "cause": "harm", "details": {}, "opened_at": noon}
    sent = {"alert_id": key(1), "payload": "{}", "attempts": 0}
    rows = [  # in no order
        sent | {"id": key(5), "url": "https://a", "event": "resolved", "created_at": noon + timedelta(hours=1)},
        sent | {"id": key(3), "url": "https://a", "event": "opened", "created_at": noon},
        sent | {"id": key(4), "url": "https://b", "event": "opened", "created_at": noon},
    ]
    with blank.begin() as connection:
        connection.execute(known.tables["cascade"].insert(), {"name": "geo", "version": 1, "applied_at": noon})
        connection.execute(known.tables["alert"].insert(), alert)
        connection.execute(known.tables["delivery"].insert(), rows)
    schema.upgrade(blank)
    with Session(blank) as session:
        messages = [(item.receiver, item.number, item.event) for item in deliveries(session, UUID(int=1))]
    assert sorted(messages) == [("https://a", 1, "opened"), ("https://a", 2, "resolved"), ("https://b", 1, "opened")]


@pytest.mark.parametrize("swapped_before", [True, False])
def test_an_open_risk_alert_from_before_rings_is_answered_unless_something_was_put_in_force_since(
    blank: Engine, swapped_before: bool
) -> None:
    revision = ScriptDirectory(str(schema.MIGRATIONS)).get_revision("0018")
    assert revision is not None
    schema.upgrade(blank, str(revision.down_revision))
    key = (lambda number: UUID(int=number)) if blank.dialect.name == "postgresql" else (lambda n: UUID(int=n).hex)
    noon, known = datetime(2026, 1, 1, 12, tzinfo=UTC), MetaData()
    known.reflect(blank, only=["cascade", "alert", "assignment", "promotion", "bundle"])
    swapped_at = noon + timedelta(hours=-1 if swapped_before else 1)
    alert = {"cascade": "geo", "rule": "risk", "cause": "harm", "details": {}, "opened_at": noon}
    promotion = {"cascade": "geo", "outcome": "rolled_back", "reason": "risk alarm: harm", "promotion_check": {}}
    with blank.begin() as connection:
        connection.execute(known.tables["cascade"].insert(), {"name": "geo", "version": 1, "applied_at": noon})
        connection.execute(
            known.tables["assignment"].insert(),
            {"cascade": "geo", "generation": 3, "document": {}, "swapped_at": swapped_at},
        )
        connection.execute(known.tables["alert"].insert(), alert | {"id": key(1)})
        connection.execute(known.tables["alert"].insert(), alert | {"id": key(2), "rule": "savings"})
        connection.execute(
            known.tables["alert"].insert(), alert | {"id": key(3), "resolved_at": noon, "resolution": "quiet"}
        )
        connection.execute(
            known.tables["promotion"].insert(), promotion | {"id": key(4), "generation": 2, "decided_at": noon}
        )
    schema.upgrade(blank)
    with Session(blank) as session:
        waiting = unanswered(session, "risk")
        (old,) = promotions(session, "geo")
    assert [(ring.alert_id, ring.number, ring.cause) for ring in waiting] == (
        [(UUID(int=1), 1, "harm")] if swapped_before else []
    )
    assert (old.outcome, old.reason, old.decided_by) == (Outcome.ROLLED_BACK, "risk alarm: harm", None)
    with pytest.raises(IntegrityError), blank.begin() as connection:
        connection.execute(text("UPDATE promotion SET outcome = 'forgotten'"))
