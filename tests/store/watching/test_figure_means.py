"""Figures of many windows as one: weighted, summed, per day, and only what is newest of a time."""

from math import sqrt
from typing import Any

import pytest
from sqlalchemy.orm import Session

from knowgate import Window
from store.watching.figure_means import Per, Wanted, joined, last_watched, means, slice_means, slice_names
from store.watching.figures import FigureRow, put_figures

DAY = 24 * 60  # minutes


def figure(cast: Any, hour: int, value: float | None, n: int = 10, **fields: Any) -> FigureRow:
    bounds = {} if value is None else {"low": value - 0.3, "high": value + 0.6}
    window = cast.window(60 * hour, 60 * (hour + 1))
    given = {"name": "drop", "mature": True, "computed_at": cast.at(9 * DAY)} | bounds | fields
    return FigureRow(cascade="geo", window=window, n=n, value=value, **given)


def wanted(cast: Any, *names: str, hours: int = 100, **fields: Any) -> Wanted:
    return Wanted(cascade="geo", names=names, window=Window(start=cast.at(0), end=cast.at(60 * hours)), **fields)


def test_a_mean_weighs_windows_by_their_rows_and_its_reach_shrinks(session: Session, cast: Any) -> None:
    put_figures(session, [figure(cast, 0, 0.1, n=30), figure(cast, 1, 0.5, n=10), figure(cast, 2, None, n=99)])
    (mean,) = means(session, wanted(cast, "drop"))
    assert (mean.windows, mean.n, mean.value) == (3, 40, pytest.approx(0.2))
    assert mean.value is not None and mean.low is not None and mean.high is not None
    assert mean.value - mean.low == pytest.approx(sqrt((30 * 0.3) ** 2 + (10 * 0.3) ** 2) / 40)
    assert mean.high - mean.value == pytest.approx(sqrt((30 * 0.6) ** 2 + (10 * 0.6) ** 2) / 40)
    assert mean.window == Window(start=cast.at(0), end=cast.at(180))


def test_an_amount_is_added_up(session: Session, cast: Any) -> None:
    put_figures(session, [figure(cast, hour, 2.0, name="saved_usd") for hour in range(4)])
    (total,) = means(session, wanted(cast, "saved_usd", summed=("saved_usd",)))
    assert total.value == pytest.approx(8.0)
    assert total.low == pytest.approx(8.0 - 0.6) and total.high == pytest.approx(8.0 + 1.2)


def test_parts_are_joined_as_their_windows_would_be(session: Session, cast: Any) -> None:
    put_figures(session, [figure(cast, hour, hour / 10, n=10 + hour) for hour in range(6)])
    per_window = means(session, wanted(cast, "drop"), per=Per.WINDOW)
    assert [one.value for one in per_window] == [pytest.approx(hour / 10) for hour in range(6)]
    (whole,), put_together = means(session, wanted(cast, "drop")), joined(per_window)
    assert put_together is not None and (put_together.n, put_together.window) == (whole.n, whole.window)
    for name in ("value", "low", "high"):
        assert getattr(put_together, name) == pytest.approx(getattr(whole, name))
    assert joined(()) is None


def test_one_window_without_an_interval_leaves_the_mean_without_one(session: Session, cast: Any) -> None:
    put_figures(session, [figure(cast, 0, 0.1), figure(cast, 1, 0.3, low=None, high=None)])
    (mean,) = means(session, wanted(cast, "drop"))
    assert mean.value == pytest.approx(0.2) and mean.low is None and mean.high is None


def test_what_has_no_value_anywhere_is_there_without_one(session: Session, cast: Any) -> None:
    put_figures(session, [figure(cast, 0, None)])
    (mean,) = means(session, wanted(cast, "drop"))
    assert (mean.value, mean.low, mean.windows, mean.n) == (None, None, 1, 0)


def test_per_day_and_what_is_mature_goes_before_what_is_not(session: Session, cast: Any) -> None:
    hours = range(12, 84, 6)  # tests begin at noon
    put_figures(session, [figure(cast, hour, 0.1) for hour in hours if hour < 60])
    put_figures(session, [figure(cast, hour, 0.9, mature=False) for hour in hours])
    daily = means(session, wanted(cast, "drop"), per=Per.DAY)
    assert [one.value for one in daily] == [pytest.approx(0.1), pytest.approx(0.1), pytest.approx(0.9)]
    assert [one.mature for one in daily] == [True, True, False]
    assert [one.windows for one in daily] == [4, 4, 4]
    finer = means(session, wanted(cast, "drop"), per=Per.THREE_HOURS)
    assert [one.window.start for one in finer] == [cast.at(60 * hour) for hour in hours]
    put_figures(session, [figure(cast, 14, 0.3), figure(cast, 15, 0.7)])
    finer = means(session, wanted(cast, "drop"), per=Per.THREE_HOURS)
    assert [one.windows for one in finer][:3] == [2, 1, 1]
    assert [one.mature for one in means(session, wanted(cast, "drop"))] == [True, False]


def test_only_the_wanted_tier_slice_and_time_are_read(session: Session, cast: Any) -> None:
    put_figures(session, [figure(cast, 0, 0.1), figure(cast, 0, 0.2, tier=0), figure(cast, 0, 0.3, slice="law")])
    put_figures(session, [figure(cast, 50, 0.9)])
    assert [one.value for one in means(session, wanted(cast, "drop", hours=50))] == [0.1]
    assert [one.value for one in means(session, wanted(cast, "drop", tier=0))] == [0.2]
    assert [one.value for one in means(session, wanted(cast, "drop", slice="law"))] == [0.3]
    assert [(one.slice, one.value) for one in slice_means(session, wanted(cast, "drop"))] == [("law", 0.3)]
    assert means(session, wanted(cast, "ece")) == ()


def test_slices_and_the_newest_window_are_those_that_were_watched(session: Session, cast: Any) -> None:
    assert last_watched(session, "geo") is None
    put_figures(session, [figure(cast, hour, 1.0, name="queries") for hour in range(3)])
    put_figures(session, [figure(cast, 0, 1.0, name="queries", slice=name) for name in ("law", "art")])
    assert last_watched(session, "geo") == cast.at(180)
    window = wanted(cast).window
    assert slice_names(session, "geo", window) == ("art", "law")
