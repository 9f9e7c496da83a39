"""Figures of many windows as one: the mean of their values, weighted by their rows, or their sum.

Windows share no decision, so the reach of each one's interval is that of an independent estimate,
and reaches add up as squares do, below and above apart (the MOVER of Zou & Donner, Statistics in
Medicine 27, 2008). It is summed where the rows are, since a year of hours is read for a few points.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from math import sqrt
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, true
from sqlalchemy.orm import Session

from knowgate._records.records import Window
from store import dialects
from store.tables import CohortFigureRow
from store.watching.figures import WHOLE

_ROW = CohortFigureRow


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureMean:
    """One figure over the windows of one maturity."""

    name: str
    slice: str | None
    mature: bool
    window: Window  # from the first one's start to the last one's end
    windows: int
    n: int  # rows of those that have a value
    value: float | None  # None where none has a value
    low: float | None = None  # None where one of them has no interval
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which rows of a cascade are read."""

    cascade: str
    names: Collection[str]
    window: Window  # windows that start in it
    tier: int | None = None  # None = of the whole cascade
    slice: str | None = None  # None = of all slices together
    summed: Collection[str] = ()  # names that are summed and not averaged


def means(session: Session, wanted: Wanted, *, daily: bool = False) -> tuple[FigureMean, ...]:
    """Every wanted figure over the whole window, or per UTC day that a window starts in; mature and
    immature apart, in order of time.
    """
    by = (dialects.day_of(session, _ROW.window_start),) if daily else ()
    query = _summed((_ROW.name, _ROW.mature, *by)).where(
        *_within(wanted), _ROW.slice == (wanted.slice or ""), _one_maturity(session, wanted)
    )
    found = [_mean(row, wanted.summed, wanted.slice) for row in session.execute(query)]
    return tuple(sorted(found, key=lambda one: one.window.start))


def slice_means(session: Session, wanted: Wanted) -> tuple[FigureMean, ...]:
    """The same of each slice, over the whole window, in order of their names."""
    query = _summed((_ROW.name, _ROW.mature, _ROW.slice)).where(*_within(wanted), _ROW.slice != "")
    found = [_mean(row, wanted.summed, row.slice) for row in session.execute(query)]
    return tuple(sorted(found, key=lambda one: (one.slice or "", one.name)))


def slice_names(session: Session, cascade: str, window: Window) -> tuple[str, ...]:
    """The slices that decisions of these windows belong to, sorted."""
    wanted = Wanted(cascade=cascade, names=("queries",), window=window)
    query = select(_ROW.slice).where(*_within(wanted), _ROW.slice != "").distinct().order_by(_ROW.slice)
    return tuple(session.scalars(query))


def last_watched(session: Session, cascade: str) -> datetime | None:
    """The end of the newest window that has a figure; None before the first."""
    query = select(func.max(_ROW.window_end)).where(
        _ROW.cascade == cascade, _ROW.name == "queries", _ROW.tier == WHOLE, _ROW.slice == ""
    )
    return session.scalar(query)


def _within(wanted: Wanted) -> tuple[ColumnElement[bool], ...]:
    return (
        _ROW.cascade == wanted.cascade,
        _ROW.tier == (WHOLE if wanted.tier is None else wanted.tier),
        _ROW.name.in_(sorted(wanted.names)),
        _ROW.window_start >= wanted.window.start,
        _ROW.window_start < wanted.window.end,
    )


def _one_maturity(session: Session, wanted: Wanted) -> ColumnElement[bool]:
    """Mature rows, and the others from where no window is mature: those before it say nothing
    new.
    """
    newest = session.scalar(
        select(func.max(_ROW.window_start)).where(
            *_within(wanted), _ROW.slice == (wanted.slice or ""), _ROW.mature.is_(True)
        )
    )
    return true() if newest is None else or_(_ROW.mature.is_(True), _ROW.window_start > newest)


def _summed(by: tuple[Any, ...]) -> Select[Any]:
    known = _ROW.value.is_not(None)
    bounded = and_(_ROW.value.is_not(None), _ROW.low.is_not(None), _ROW.high.is_not(None))
    below, above = _ROW.value - _ROW.low, _ROW.high - _ROW.value
    return select(
        *by,
        func.count().label("windows"),
        func.min(_ROW.window_start).label("start"),
        func.max(_ROW.window_end).label("end"),
        func.count(_ROW.value).label("known"),
        func.count(_ROW.value).filter(bounded).label("bounded"),
        func.sum(_ROW.n).filter(known).label("n"),
        func.sum(_ROW.value).label("total"),
        func.sum(_ROW.n * _ROW.value).label("weighted"),
        func.sum(below * below).label("below"),
        func.sum(above * above).label("above"),
        func.sum(_ROW.n * _ROW.n * below * below).label("weighted_below"),
        func.sum(_ROW.n * _ROW.n * above * above).label("weighted_above"),
    ).group_by(*by)


def _mean(row: Any, summed: Collection[str], of: str | None) -> FigureMean:
    n = int(row.n or 0)
    value, low, high = None, None, None
    if row.known and (row.name in summed or n > 0):
        adds = row.name in summed
        value = row.total if adds else row.weighted / n
        if row.bounded == row.known:
            reach = (sqrt(row.below), sqrt(row.above)) if adds else _shrunk(row, n)
            low, high = value - reach[0], value + reach[1]
    return FigureMean(
        name=row.name,
        slice=of,
        mature=row.mature,
        window=Window(start=row.start, end=row.end),
        windows=row.windows,
        n=n,
        value=value,
        low=low,
        high=high,
    )


def _shrunk(row: Any, n: int) -> tuple[float, float]:
    return sqrt(row.weighted_below) / n, sqrt(row.weighted_above) / n
