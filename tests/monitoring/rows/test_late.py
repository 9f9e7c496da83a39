"""Which windows late decisions touch, and how many came too late for what."""

from datetime import UTC, datetime, timedelta

import pytest

from knowgate._records.records import Window
from monitoring.names import FigureName
from monitoring.rows.late import Lateness, lateness_of
from store.watching.figures import FigureRow

DAY = datetime(2026, 3, 2, tzinfo=UTC)
EVERY = timedelta(hours=6)


def hours(number: float) -> datetime:
    return DAY + timedelta(hours=number)


def window(number: int, *, long: float = 6.0) -> Window:
    return Window(start=hours(6 * number), end=hours(6 * number + long))


def row(of: Window, *, mature: bool = False, late: float | None = 0.0, watched: datetime | None = None) -> FigureRow:
    return FigureRow(
        cascade="cities",
        window=of,
        name=FigureName.LATE_DECISIONS.value,
        n=10,
        mature=mature,
        computed_at=watched or of.end,
        value=late,
    )


def test_the_newest_watch_is_the_last_one_whatever_the_order_of_rows() -> None:
    rows = [row(window(number), watched=hours(100 + number)) for number in (1, 3, 0, 2)]
    assert lateness_of(rows).last_watched() == hours(103)
    assert Lateness().last_watched() is None


def test_too_late_are_those_of_windows_wholly_within_and_of_one_maturity() -> None:
    rows = [row(window(number), late=10.0**number) for number in range(5)]
    rows += [row(window(1), mature=True, late=5.0), row(window(2), mature=True, late=None)]
    lateness = lateness_of(rows)
    assert lateness.total(mature=False, since=hours(6), until=hours(24)) == 1110
    assert lateness.total(mature=False, since=hours(7), until=hours(24)) == 1100
    assert lateness.total(mature=False, since=hours(6), until=hours(23)) == 110
    assert lateness.total(mature=True, since=hours(0), until=hours(30)) == 5


@pytest.mark.parametrize(
    ("made", "touched"),
    [
        (6.0, window(1)),
        (11.9, window(1)),
        (12.0, window(2, long=6.0)),  # nobody watched it, since it was empty
        (18.0, window(3, long=2.0)),
        (19.9, window(3, long=2.0)),
        (20.0, Window(start=hours(18), end=hours(24))),  # after the end of a shorter window of former times
        (40.0, Window(start=hours(36), end=hours(42))),
    ],
)
def test_a_late_decision_touches_the_window_it_lies_in(made: float, touched: Window) -> None:
    lateness = lateness_of([row(window(3, long=2.0)), row(window(1)), row(window(0), mature=True)])
    assert lateness.touched_by([hours(made)], EVERY) == (touched,)


def test_what_was_made_before_anything_was_watched_touches_nothing_and_windows_come_in_order() -> None:
    lateness = lateness_of([row(window(1)), row(window(2))])
    assert lateness.touched_by([hours(5.9)], EVERY) == ()
    assert lateness.touched_by([hours(13), hours(5), hours(7), hours(8)], EVERY) == (window(1), window(2))


def test_an_immature_cohort_is_counted_once_and_a_mature_one_for_both_alarms(cast, cohort) -> None:
    asked = [cast.Asked(at=cast.DAY + timedelta(hours=hour)) for hour in (1, 2, 23.9)]
    early, late = (cohort(asked, as_of=cast.DAY + timedelta(days=days)) for days in (1.5, 30))
    now = cast.DAY + timedelta(days=1, hours=1)
    counted = Lateness().counted(early, watched_at=now)
    assert {(mature, one.computed_at, one.n) for (_, mature), one in counted.rows.items()} == {(False, now, 3)}
    again = counted.counted(late, watched_at=None)
    horizon = late.window.end + late.spec.horizon
    assert {(mature, one.computed_at) for (_, mature), one in again.rows.items()} == {(False, now), (True, horizon)}


@pytest.mark.parametrize(("watched", "late"), [(0.9, 3), (1.0, 2), (1.1, 2), (2.0, 1), (23.9, 0), (30.0, 0)])
def test_late_is_what_came_after_the_window_was_watched(cast, cohort, watched: float, late: int) -> None:
    asked = [cast.Asked(at=cast.DAY + timedelta(hours=hour)) for hour in (1, 2, 23.9)]
    made = cohort(asked, as_of=cast.DAY + timedelta(days=1.5))
    (found,) = Lateness().counted(made, watched_at=cast.DAY + timedelta(hours=watched)).rows.values()
    assert (found.value, found.n, found.window) == (late, 3, made.window)
