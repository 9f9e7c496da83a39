"""Figures of many windows as one: the mean of their values, weighted by their rows, or their sum.

Windows share no decision, so the reach of each one's interval is that of an independent estimate,
and reaches add up as squares do, below and above apart (the MOVER of Zou & Donner, Statistics in
Medicine 27, 2008). It is summed where the rows are; of days that have ended their sums are read
(`store.watching.figure_sums`), since a year of hours is read for a few points.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import cache
from itertools import pairwise
from math import sqrt
from typing import Any

from sqlalchemy import BigInteger, Label, ScalarSelect, Select, and_, bindparam, func, literal_column, or_, select
from sqlalchemy.orm import Session

from knowgate._records.records import Window
from store import dialects
from store.tables import CohortFigureRow, FigureDayRow, SummedDayRow
from store.watching.figure_sums import (
    EPOCH,
    FigureSum,
    day_number,
    day_start,
    first_whole_day,
    sum_of,
    summed_days,
    sums_of_days,
    sums_of_rows,
)
from store.watching.figures import WHOLE

NO_DAY = -1  # before all days
_ROW, _DAY = CohortFigureRow, FigureDayRow
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """Where a window's figures are read from."""

    first: int  # day, and the one behind the last, of those whose sums are read
    last: int
    days: bool  # whether there are any
    rows: tuple[Window, ...]  # parts that are read row by row


def means(session: Session, wanted: Wanted, *, per: Per = Per.ALL, days: int = 1) -> tuple[FigureMean, ...]:
    """Every wanted figure over the whole window, per UTC day or part of one that a window starts
    in, or per window; mature and immature apart, in order of time. `days`: so many days are put
    together, per day.
    """
    newest = _newest_mature(session, wanted)
    same = _asked(wanted) | {"slice": wanted.slice or "", "newest": newest or EPOCH}
    if per in (Per.THREE_HOURS, Per.WINDOW):
        rows = session.execute(_of_rows(_dialect(session), per), same | _during(wanted.window))
        found = [_mean(sum_of(row), row.name, row.mature, wanted) for row in rows]
        return tuple(sorted(found, key=lambda one: one.window.start))
    left_out = NO_DAY if newest is None else day_number(newest)
    plan = _plan(session, wanted, left_out)
    added: dict[tuple[str, bool, int], FigureSum] = {}
    for row in _planned(session, plan, same | {"left_out": left_out, "stride": days}, per):
        one = sum_of(row)
        key = (row.name, row.mature, day_number(one.window_start) // days if per is Per.DAY else 0)
        added[key] = one if key not in added else added[key].plus(one)
    found = [_mean(one, name, mature, wanted) for (name, mature, _), one in added.items()]
    return tuple(sorted(found, key=lambda one: one.window.start))


def slice_means(session: Session, wanted: Wanted) -> tuple[FigureMean, ...]:
    """The same of each slice, over the whole window, in order of their names."""
    plan, added = _plan(session, wanted, NO_DAY), dict[tuple[str, bool, str], FigureSum]()
    for row in _planned(session, plan, _asked(wanted) | {"left_out": NO_DAY}, None):
        key, one = (row.name, row.mature, row.slice), sum_of(row)
        added[key] = one if key not in added else added[key].plus(one)
    found = [_mean(one, name, mature, replace(wanted, slice=of)) for (name, mature, of), one in added.items()]
    return tuple(sorted(found, key=lambda one: (one.slice or "", one.name)))


def slice_names(session: Session, cascade: str, window: Window) -> tuple[str, ...]:
    """The slices that decisions of these windows belong to, sorted."""
    query = select(_SLICE).where(
        _ROW.cascade == cascade,
        _ROW.tier == WHOLE,
        _ROW.name == "queries",
        _ROW.window_start >= window.start,
        _ROW.window_start < window.end,
        _SLICE != "",
    )
    return tuple(sorted(session.scalars(query.distinct())))


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


# Statements are built once: to build one takes longer than to run it.


@cache
def _of_rows(dialect: str, per: Per | None) -> Select[Any]:
    """The sums of rows of a part of the window; `per` None: of each slice."""
    by: tuple[Any, ...] = {
        Per.WINDOW: (_ROW.window_start, _ROW.window_end),
        Per.THREE_HOURS: (dialects.part_of_day(dialect, _ROW.window_start, 3).label("part"),),
        Per.DAY: (dialects.part_of_day(dialect, _ROW.window_start, 24).label("part"),),
        None: (_SLICE.label("slice"),),
    }.get(per, ())
    query = _summed(_ROW, sums_of_rows(), by).where(
        _ROW.mature.in_((False, True)),  # so that an index leads on to the time
        _ROW.window_start >= bindparam("start"),
        _ROW.window_start < bindparam("end"),
    )
    if per is None:
        return query.where(_SLICE != "")
    # Mature rows, and the others from where no window is mature: those before it say nothing new.
    one_maturity = or_(_ROW.mature.is_(True), _ROW.window_start > bindparam("newest"))
    return query.where(_ROW.slice == bindparam("slice"), one_maturity)


@cache
def _of_days(per: Per | None) -> Select[Any]:
    """The same of the sums of whole days."""
    parts: dict[Per | None, tuple[Any, ...]] = {
        Per.DAY: ((_DAY.day // bindparam("stride", type_=BigInteger())).label("part"),),
        None: (_DAY.slice,),
    }
    summed = and_(SummedDayRow.cascade == _DAY.cascade, SummedDayRow.day == _DAY.day)
    query = _summed(_DAY, sums_of_days(), parts.get(per, ())).join(SummedDayRow, summed)
    query = query.where(
        _DAY.mature.in_((False, True)),
        _DAY.day >= bindparam("first"),
        _DAY.day < bindparam("last"),
        _DAY.day != bindparam("left_out"),
    )
    if per is None:
        return query.where(_DAY.slice != "")
    one_maturity = or_(_DAY.mature.is_(True), _DAY.day > bindparam("left_out"))
    return query.where(_DAY.slice == bindparam("slice"), one_maturity)


def _summed(model: Any, sums: tuple[Any, ...], by: tuple[Any, ...]) -> Select[Any]:
    labels = tuple(literal_column(one.name) if isinstance(one, Label) else one for one in by)
    query = select(model.name, model.mature, *by, *sums).group_by(model.name, model.mature, *labels)
    return query.where(
        model.cascade == bindparam("cascade"),
        model.tier == bindparam("tier"),
        model.name.in_(bindparam("names", expanding=True)),
    )


@cache
def _newest_of(names: int) -> Select[Any]:
    """Where the newest mature window of each of so many names starts."""
    # From the end of an index, name by name, and not by a look at all. Rows of VALUES would say
    # the same, but what holds them is compiled whenever it is run.
    return select(*(_newest_named(number).label(f"newest_{number}") for number in range(names)))


def _newest_named(number: int) -> ScalarSelect[Any]:
    newest = select(_ROW.window_start).where(
        _ROW.cascade == bindparam("cascade"),
        _ROW.slice == bindparam("slice"),
        _ROW.tier == bindparam("tier"),
        _ROW.name == bindparam(f"name_{number}"),
        _ROW.mature.is_(True),
        _ROW.window_start >= bindparam("start"),
        _ROW.window_start < bindparam("end"),
    )
    return newest.order_by(_ROW.window_start.desc()).limit(1).scalar_subquery()


def _newest_mature(session: Session, wanted: Wanted) -> datetime | None:
    asked = _asked(wanted) | _during(wanted.window) | {"slice": wanted.slice or ""}
    names = asked.pop("names")
    asked |= {f"name_{number}": name for number, name in enumerate(names)}
    starts = session.execute(_newest_of(len(names)), asked).one()
    return max((start for start in starts if start is not None), default=None)


def _asked(wanted: Wanted) -> dict[str, Any]:
    tier = WHOLE if wanted.tier is None else wanted.tier
    return {"cascade": wanted.cascade, "tier": tier, "names": sorted(wanted.names)}


def _during(window: Window) -> dict[str, Any]:
    return {"start": window.start, "end": window.end}


def _dialect(session: Session) -> str:
    return session.get_bind().dialect.name


def _plan(session: Session, wanted: Wanted, left_out: int) -> _Plan:
    """Sums of the days that lie in the window as a whole; rows of the rest, and of the day in which
    windows begin to be immature.
    """
    first, last = first_whole_day(wanted.window.start), day_number(wanted.window.end)
    days = [day for day in summed_days(session, wanted.cascade, first, last) if day != left_out]
    edges = [(wanted.window.start, wanted.window.start), *((day_start(day), day_start(day + 1)) for day in days)]
    edges.append((wanted.window.end, wanted.window.end))
    gaps = (Window(start=before, end=after) for (_, before), (after, _) in pairwise(edges) if before < after)
    return _Plan(first=first, last=last, days=bool(days), rows=tuple(gaps))


def _planned(session: Session, plan: _Plan, asked: dict[str, Any], per: Per | None) -> Iterator[Any]:
    """The rows of the sums that a plan reads."""
    if plan.days:
        yield from session.execute(_of_days(per), asked | {"first": plan.first, "last": plan.last})
    for part in plan.rows:
        yield from session.execute(_of_rows(_dialect(session), per), asked | _during(part))


def _mean(one: FigureSum, name: str, mature: bool, wanted: Wanted) -> FigureMean:
    value, low, high = None, None, None
    if one.known and (name in wanted.summed or one.n > 0):
        adds = name in wanted.summed
        value = one.total if adds else one.weighted / one.n
        if one.bounded == one.known:
            reach = (sqrt(one.below), sqrt(one.above)) if adds else _shrunk(one)
            low, high = value - reach[0], value + reach[1]
    return FigureMean(
        name=name,
        slice=wanted.slice,
        mature=mature,
        window=Window(start=one.window_start, end=one.window_end),
        windows=one.windows,
        n=one.n,
        value=value,
        low=low,
        high=high,
        not_identified=one.not_identified,
    )


def _shrunk(one: FigureSum) -> tuple[float, float]:
    return sqrt(one.weighted_below) / one.n, sqrt(one.weighted_above) / one.n
