"""Monthly partitions: bounds that are UUIDs, months made on demand, and a default that takes the
rest.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from threading import Barrier, Thread
from typing import Any

import pytest
from sqlalchemy import Engine, event, inspect, text
from sqlalchemy.orm import Session

from knowgate._records.ids import new_id
from knowgate._records.records import LabelSource
from store import partitions, schema
from store.engine import open_engine, transaction
from store.releases.cascades import apply_cascade
from store.traffic.decisions import add_decisions, decision
from store.traffic.examples import labelled


@pytest.fixture
def postgresql(postgresql_url: str, cast: Any) -> Iterator[Engine]:
    engine = open_engine(postgresql_url)
    with transaction(engine) as session:
        apply_cascade(session, cast.spec, now=cast.at(0))
    yield engine
    engine.dispose()


def rows_in(session: Session, partition: str) -> int:
    return int(session.execute(text(f"SELECT count(*) FROM {partition}")).scalar_one())


def sent_at(cast: Any, time: datetime) -> Any:
    return replace(cast.escalated(), id=new_id(time), occurred_at=time)


def test_a_months_bounds_hold_its_ids_and_no_other() -> None:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    bound = partitions.first_id(start)
    assert bound.hex == f"{int(start.timestamp() * 1000):012x}" + "0" * 20
    assert new_id(start) > bound
    assert new_id(start - timedelta(milliseconds=1)) < bound


def test_months_far_from_now_are_left_to_the_default() -> None:
    now = datetime(2026, 12, 15, tzinfo=UTC)
    times = [datetime(year, 12, 1, tzinfo=UTC) for year in (1990, 2021, 2026, 2028)]
    found = partitions.months_of([new_id(time) for time in times], now=now)
    assert found == {date(2021, 12, 1), date(2026, 12, 1)}
    assert partitions.months_ahead(now) == {date(2026, 12, 1), date(2027, 1, 1), date(2027, 2, 1)}


def test_a_month_is_made_when_its_first_decision_arrives(postgresql: Engine, cast: Any) -> None:
    old = sent_at(cast, datetime(2025, 1, 31, 23, 59, 59, 999000, tzinfo=UTC))
    new = sent_at(cast, datetime(2025, 2, 1, tzinfo=UTC))
    with transaction(postgresql) as session:
        add_decisions(session, [old, new], received_at=datetime(2025, 2, 1, tzinfo=UTC))
        for table in ("decision", "attempt"):
            assert rows_in(session, f"{table}_p202501") == rows_in(session, f"{table}_p202502")
        assert rows_in(session, "decision_p202501") == 1
        assert rows_in(session, "decision_default") == 0
        assert rows_in(session, "ledger_leaf_p202502") == 1  # a batch's leaf is of the time it came
    assert schema.check(postgresql) == ()


def test_a_decision_of_no_partition_is_kept_in_the_default_one(postgresql: Engine, cast: Any) -> None:
    stray = sent_at(cast, datetime(2099, 5, 5, tzinfo=UTC))
    with transaction(postgresql) as session:
        added = add_decisions(session, [stray], received_at=cast.at(0))
        assert added.stored == (stray.id,)
        assert rows_in(session, "decision_default") == 1
    later = sent_at(cast, datetime(2099, 5, 6, tzinfo=UTC))
    with transaction(postgresql) as session:
        # The month has come; it has a row in the default partition, so it stays there, and nothing
        # fails.
        assert add_decisions(session, [later], received_at=datetime(2099, 5, 6, tzinfo=UTC)).stored == (later.id,)
        assert rows_in(session, "decision_default") == 2
        assert decision(session, stray.id).id == stray.id


def test_making_a_month_twice_or_at_once_makes_it_once(postgresql: Engine) -> None:
    month = date(2024, 7, 20)
    barrier = Barrier(3)
    made: list[str] = []

    def make() -> None:
        barrier.wait()
        with transaction(postgresql) as session:
            made.extend(partitions.ensure_partitions(session, [month]))

    threads = [Thread(target=make) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == sorted(f"{table}_p202407" for table in partitions.PARTITIONED)


def test_a_window_reads_the_partitions_it_needs_and_no_other(postgresql: Engine, cast: Any) -> None:
    with transaction(postgresql) as session:
        partitions.ensure_partitions(session, [date(2026, month, 1) for month in (1, 2, 3, 4)])
        statements: list[tuple[str, Any]] = []
        connection = session.connection()

        @event.listens_for(connection, "before_cursor_execute")
        def keep(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            statements.append((statement, parameters))

        labelled(session, "geo", cast.window(), as_of=cast.at(0), trusted=(LabelSource.GOLD,))
        statement, parameters = next(one for one in statements if "JOIN attempt" in one[0])
        plan = "\n".join(connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars())
    assert "attempt_p202603" in plan
    for other in ("202602", "202604"):
        assert [table for table in partitions.PARTITIONED if f"{table}_p{other}" in plan] == []


def test_sqlite_has_no_partitions(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    with transaction(engine) as session:
        assert partitions.ensure_partitions(session, [date(2026, 3, 1)]) == ()
        assert [name for name in inspect(engine).get_table_names() if partitions.is_partition(name)] == []
    engine.dispose()
