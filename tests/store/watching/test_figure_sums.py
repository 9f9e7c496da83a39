"""Figures summed by day: means are the same without the sums, and never older than the rows."""

from typing import Any

import pytest
from sqlalchemy import Engine, event, select
from sqlalchemy.orm import Session

from store.engine import transaction
from store.tables import FigureDayRow
from store.watching.figure_means import FigureMean, Per, Wanted, means, slice_means
from store.watching.figure_sums import sum_day, summed_days, unsummed_days
from store.watching.figures import FigureRow, put_figures

HOURS = 24 * 5


def rows(cast: Any) -> list[FigureRow]:
    """Five days from noon on; the last two are not mature, some values and bounds are missing."""
    of = (("queries", None), ("drop", None), ("drop", "billing"), ("drop", "returns"))
    return [
        row(cast, hour, name, part, mature)
        for hour in range(HOURS)
        for name, part in of
        for mature in ((True, False) if hour < 72 else (False,))
    ]


def row(cast: Any, hour: int, name: str, part: str | None, mature: bool) -> FigureRow:
    value = None if hour % 17 == 5 and name == "drop" else 0.1 + 0.01 * (hour % 7)
    bounds = {} if value is None or hour % 23 == 7 else {"low": value - 0.2, "high": value + 0.1}
    return FigureRow(
        cascade="geo",
        window=cast.window(60 * hour, 60 * hour + 60),
        name=name,
        slice=part,
        mature=mature,
        n=5 + hour % 9,
        value=value,
        computed_at=cast.at(0),
        not_identified="no label" if value is None else None,
        **bounds,
    )


def said(session: Session, cast: Any) -> list[tuple[FigureMean, ...]]:
    """All that is read of it, from within a day to within another."""
    wanted = Wanted(cascade="geo", names=("queries", "drop"), window=cast.window(90, 60 * HOURS), summed=("queries",))
    part = Wanted(cascade="geo", names=("drop",), window=cast.window(0, 60 * HOURS), slice="billing")
    return [
        means(session, wanted),
        means(session, wanted, per=Per.DAY),
        means(session, wanted, per=Per.DAY, days=2),
        means(session, part, per=Per.DAY),
        slice_means(session, wanted),
    ]


def assert_same(ours: list[tuple[FigureMean, ...]], others: list[tuple[FigureMean, ...]]) -> None:
    for mine, theirs in zip(ours, others, strict=True):
        assert len(mine) == len(theirs) > 0
        for one, other in zip(sorted(mine, key=str), sorted(theirs, key=str), strict=True):
            for field in FigureMean.__slots__:
                mine_is, theirs_is = getattr(one, field), getattr(other, field)
                assert mine_is == (pytest.approx(theirs_is, rel=1e-12) if isinstance(theirs_is, float) else theirs_is)


def sum_all(session: Session, cast: Any) -> int:
    days = unsummed_days(session, "geo", now=cast.at(60 * HOURS))
    for day in days:
        sum_day(session, "geo", day, now=cast.at(60 * HOURS))
    return len(days)


def test_sums_say_what_the_rows_say(session: Session, cast: Any) -> None:
    put_figures(session, rows(cast))
    before = said(session, cast)
    assert sum_all(session, cast) == 5 and sum_all(session, cast) == 0
    assert_same(said(session, cast), before)
    # They are read: a sum that is wrong is seen.
    for row in session.scalars(select(FigureDayRow).where(FigureDayRow.name == "queries")):
        row.total += 100.0
    session.flush()
    assert said(session, cast)[0] != before[0]


@pytest.mark.slow
def test_a_figure_that_is_written_again_takes_the_mark_off_its_day_alone(session: Session, cast: Any) -> None:
    made = rows(cast)
    put_figures(session, made)
    sum_all(session, cast)
    late = next(row for row in made if row.mature and row.window.start == cast.at(60 * 20))
    changed = FigureRow(**{name: getattr(late, name) for name in FigureRow.__slots__} | {"value": 900.0, "high": 901.0})
    put_figures(session, [changed])
    assert len(unsummed_days(session, "geo", now=cast.at(60 * HOURS))) == 1
    unsummed = said(session, cast)
    assert sum_all(session, cast) == 1
    assert_same(said(session, cast), unsummed)
    assert max(one.value or 0.0 for one in unsummed[1]) > 10.0


def test_a_day_that_has_not_ended_is_not_summed(session: Session, cast: Any) -> None:
    put_figures(session, rows(cast))
    now = cast.at(60 * 40)  # four in the morning of the second day after
    assert len(unsummed_days(session, "geo", now=now)) == 2
    assert unsummed_days(session, "none", now=now) == ()


def test_what_is_not_committed_marks_nothing(engine: Engine, session: Session, cast: Any) -> None:
    put_figures(session, rows(cast))
    session.commit()
    day = unsummed_days(session, "geo", now=cast.at(60 * HOURS))[0]
    session.rollback()
    with pytest.raises(ZeroDivisionError), transaction(engine) as other:
        sum_day(other, "geo", day, now=cast.at(0))
        _ = 1 / 0
    assert summed_days(session, "geo", day, day + 1) == []


def test_an_index_leads_to_the_time_that_is_read(session: Session, cast: Any) -> None:
    if session.get_bind().dialect.name != "sqlite":
        pytest.skip("PostgreSQL plans by what tables hold: of a few rows it reads them all")
    put_figures(session, rows(cast))
    said_so: list[tuple[str, Any]] = []

    def note(_: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        if "cohort_figure" in statement and "WHERE" in statement and "SELECT min(" not in statement:
            said_so.append((statement, parameters))

    connection = session.connection()
    event.listen(connection, "before_cursor_execute", note)
    sum_all(session, cast)
    said(session, cast)
    event.remove(connection, "before_cursor_execute", note)
    plans = [connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {one}", given).all() for one, given in said_so]
    seen = [step[-1] for plan in plans for step in plan if "cohort_figure" in step[-1]]
    assert len(seen) > 10
    assert [step for step in seen if "window_start>? AND window_start<?" not in step] == []
