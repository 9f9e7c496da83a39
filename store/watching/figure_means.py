"""Figures of many windows as one: the mean of their values, weighted by their rows, or their sum.

Windows share no decision, so the reach of each one's interval is that of an independent estimate,
and reaches add up as squares do, below and above apart (the MOVER of Zou & Donner, Statistics in
Medicine 27, 2008). It is summed where the rows are, since a year of hours is read for a few points.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import sqrt
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, true
from sqlalchemy.orm import Session

from knowgate._records.records import Window
from store import dialects
from store.tables import CohortFigureRow
from store.watching.figures import WHOLE

_ROW = CohortFigureRow
# Not the plain column: SQLite would walk the index of slices, which is all of a cascade's time.
_SLICE = func.coalesce(_ROW.slice, "")


class Per(StrEnum):
    """What is put together."""

    ALL = "all"
    DAY = "day"
    THREE_HOURS = "three hours"
    WINDOW = "window"


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
    not_identified: str | None = None  # what one of the windows says of why it has no value, or no interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which rows of a cascade are read."""

    cascade: str
    names: Collection[str]
    window: Window  # windows that start in it
    tier: int | None = None  # None = of the whole cascade
    slice: str | None = None  # None = of all slices together
    summed: Collection[str] = ()  # names that are summed and not averaged


def means(session: Session, wanted: Wanted, *, per: Per = Per.ALL) -> tuple[FigureMean, ...]:
    """Every wanted figure over the whole window, per UTC day or part of one that a window starts
    in, or per window; mature and immature apart, in order of time.
    """
    by: tuple[Any, ...] = ()
    if per in (Per.DAY, Per.THREE_HOURS):
        by = (dialects.part_of_day(session, _ROW.window_start, 24 if per is Per.DAY else 3),)
    elif per is Per.WINDOW:
        by = (_ROW.window_start, _ROW.window_end)
    query = _summed((_ROW.name, _ROW.mature, *by)).where(
        *_within(wanted), _ROW.slice == (wanted.slice or ""), _one_maturity(session, wanted)
    )
    found = [_mean(row, wanted.summed, wanted.slice) for row in session.execute(query)]
    return tuple(sorted(found, key=lambda one: one.window.start))


def slice_means(session: Session, wanted: Wanted) -> tuple[FigureMean, ...]:
    """The same of each slice, over the whole window, in order of their names."""
    query = _summed((_ROW.name, _ROW.mature, _SLICE.label("slice"))).where(*_within(wanted), _SLICE != "")
    found = [_mean(row, wanted.summed, row.slice) for row in session.execute(query)]
    return tuple(sorted(found, key=lambda one: (one.slice or "", one.name)))


def slice_names(session: Session, cascade: str, window: Window) -> tuple[str, ...]:
    """The slices that decisions of these windows belong to, sorted."""
    wanted = Wanted(cascade=cascade, names=("queries",), window=window)
    query = select(_SLICE).where(*_within(wanted), _SLICE != "").distinct()
    return tuple(sorted(session.scalars(query)))


def joined(parts: Sequence[FigureMean], *, summed: bool = False) -> FigureMean | None:
    """The mean (or sum) of parts that share no window; None of nothing."""
    known = [one for one in parts if one.value is not None]
    if not known:
        return parts[0] if parts else None
    n = sum(one.n for one in known)
    weights = [1.0 if summed else one.n / n for one in known]
    value = sum(weight * (one.value or 0.0) for weight, one in zip(weights, known, strict=True))
    pairs = [(weight, one) for weight, one in zip(weights, known, strict=True) if one.low is not None]
    below = sqrt(sum((weight * ((one.value or 0.0) - (one.low or 0.0))) ** 2 for weight, one in pairs))
    above = sqrt(sum((weight * ((one.high or 0.0) - (one.value or 0.0))) ** 2 for weight, one in pairs))
    bounded = len(pairs) == len(known)
    return FigureMean(
        name=known[0].name,
        slice=known[0].slice,
        mature=all(one.mature for one in known),
        window=Window(start=min(one.window.start for one in parts), end=max(one.window.end for one in parts)),
        windows=sum(one.windows for one in parts),
        n=n,
        value=value,
        low=value - below if bounded else None,
        high=value + above if bounded else None,
        not_identified=next((one.not_identified for one in reversed(parts) if one.not_identified), None),
    )


def last_watched(session: Session, cascade: str) -> datetime | None:
    """The end of the newest window that has a figure; None before the first."""
    ends = []
    for mature in (False, True):
        of = (_ROW.cascade == cascade, _ROW.slice == "", _ROW.tier == WHOLE, _ROW.name == "queries")
        newest = select(_ROW.window_end).where(*of, _ROW.mature.is_(mature)).order_by(_ROW.window_start.desc())
        ends.append(session.scalar(newest.limit(1)))
    return max((end for end in ends if end is not None), default=None)


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
        func.max(_ROW.not_identified).label("not_identified"),
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
        not_identified=row.not_identified,
    )


def _shrunk(row: Any, n: int) -> tuple[float, float]:
    return sqrt(row.weighted_below) / n, sqrt(row.weighted_above) / n
