"""Sums of figures by UTC day, from which means over a long time follow without reading its hours.

A figure that is written takes the mark off its day (`forget_days`, in the same transaction); a job
sums the days that have ended and have no mark. Readers take a marked day's sums and any other day's
rows, so what they say is never older than the rows. The rows stay: each has its leaf in the ledger.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import and_, delete, func, insert, literal, select
from sqlalchemy.orm import Session

from knowgate._records.records import Window
from store import dialects
from store.tables import CohortFigureRow, FigureDayRow, SummedDayRow

DAY = timedelta(days=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ROW, _DAY = CohortFigureRow, FigureDayRow
_KEY = ("slice", "tier", "name", "mature")
# Not the plain column: SQLite would walk the index of series, which is all of a cascade's time.
_KEY_OF_ROW = (func.coalesce(_ROW.slice, ""), _ROW.tier, _ROW.name, _ROW.mature)


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureSum:
    """What the rows of one figure add up to. `below` and `above` are squares of the reach of its
    intervals, the weighted ones those of reach times rows.
    """

    windows: int
    window_start: datetime
    window_end: datetime
    known: int  # windows with a value
    bounded: int  # with an interval too
    n: int
    total: float
    weighted: float
    below: float
    above: float
    weighted_below: float
    weighted_above: float
    not_identified: str | None

    def plus(self, other: "FigureSum") -> "FigureSum":
        """Both together; they share no window."""
        reasons = [one for one in (self.not_identified, other.not_identified) if one is not None]
        return FigureSum(
            window_start=min(self.window_start, other.window_start),
            window_end=max(self.window_end, other.window_end),
            not_identified=max(reasons, default=None),
            **{name: getattr(self, name) + getattr(other, name) for name in _ADDED},
        )


_ADDED = tuple(
    item.name for item in fields(FigureSum) if item.name not in ("window_start", "window_end", "not_identified")
)
SUMS = tuple(item.name for item in fields(FigureSum))
_WHOLE = ("windows", "known", "bounded", "n")


def sums_of_rows() -> tuple[Any, ...]:
    """The columns of SUMS over rows of `cohort_figure`."""
    known = _ROW.value.is_not(None)
    bounded = and_(known, _ROW.low.is_not(None), _ROW.high.is_not(None))
    below, above, weight = _ROW.value - _ROW.low, _ROW.high - _ROW.value, _ROW.n * _ROW.n
    sums: dict[str, Any] = {
        "windows": func.count(),
        "window_start": func.min(_ROW.window_start),
        "window_end": func.max(_ROW.window_end),
        "known": func.count(_ROW.value),
        "bounded": func.count(_ROW.value).filter(bounded),
        "n": func.coalesce(func.sum(_ROW.n).filter(known), 0),
        "total": func.coalesce(func.sum(_ROW.value), 0.0),
        "weighted": func.coalesce(func.sum(_ROW.n * _ROW.value), 0.0),
        "below": func.coalesce(func.sum(below * below), 0.0),
        "above": func.coalesce(func.sum(above * above), 0.0),
        "weighted_below": func.coalesce(func.sum(weight * below * below), 0.0),
        "weighted_above": func.coalesce(func.sum(weight * above * above), 0.0),
        "not_identified": func.max(_ROW.not_identified),
    }
    return tuple(sums[name].label(name) for name in SUMS)


def sums_of_days() -> tuple[Any, ...]:
    """The same over rows of `figure_day`."""
    made: dict[str, Callable[..., Any]] = {"window_start": func.min, "window_end": func.max, "not_identified": func.max}
    return tuple(made.get(name, func.sum)(getattr(_DAY, name)).label(name) for name in SUMS)


def sum_of(row: Any) -> FigureSum:
    """A row that ends with these columns."""
    given = dict(zip(SUMS, row[-len(SUMS) :], strict=True))
    given |= {name: int(given[name]) for name in _WHOLE}  # PostgreSQL adds whole numbers up to decimals
    return FigureSum(**given)


def day_number(at: datetime) -> int:
    """The UTC day that a time lies in, since 1970.

    >>> day_number(datetime(1970, 1, 2, 23, tzinfo=UTC))
    1
    """
    return (at - EPOCH) // DAY


def first_whole_day(at: datetime) -> int:
    """The first UTC day that starts at this time or after it.

    >>> first_whole_day(datetime(1970, 1, 2, 23, tzinfo=UTC)), first_whole_day(EPOCH)
    (2, 0)
    """
    return -((EPOCH - at) // DAY)


def day_start(number: int) -> datetime:
    return EPOCH + number * DAY


def summed_days(session: Session, cascade: str, first: int, last: int) -> list[int]:
    """The days from `first` to before `last` whose sums hold, in order."""
    query = select(SummedDayRow.day).where(*_between(SummedDayRow, cascade, first, last))
    return list(session.scalars(query.order_by(SummedDayRow.day)))


def forget_days(session: Session, touched: Iterable[tuple[str, datetime]]) -> None:
    """Take the marks off the days in which windows of these cascades start, as their rows change:
    until the transaction ends nobody can sum them.
    """
    days: dict[str, set[int]] = {}
    for cascade, at in touched:
        days.setdefault(cascade, set()).add(day_number(at))
    for cascade in sorted(days):
        dialects.lock(session, _lock(cascade), shared=True)
        session.execute(
            delete(SummedDayRow).where(SummedDayRow.cascade == cascade, SummedDayRow.day.in_(sorted(days[cascade]))),
            execution_options={"synchronize_session": False},
        )


def unsummed_days(session: Session, cascade: str, *, now: datetime) -> tuple[int, ...]:
    """The days that have ended, have figures and no mark, the newest first."""
    ends = select(func.min(_ROW.window_start)).where(_ROW.cascade == cascade, _ROW.name == "queries")
    first = session.scalar(ends)
    if first is None:
        return ()
    wanted = range(day_number(first), day_number(now))
    return tuple(sorted(set(wanted) - set(summed_days(session, cascade, wanted.start, wanted.stop)), reverse=True))


def sum_day(session: Session, cascade: str, day: int, *, now: datetime) -> None:
    """Sum the figures of one day, and mark it."""
    dialects.lock(session, _lock(cascade))
    window = Window(start=day_start(day), end=day_start(day + 1))
    query = (
        select(literal(cascade), *_KEY_OF_ROW, literal(day), *sums_of_rows())
        .where(
            # With names the primary key leads to the day.
            _ROW.cascade == cascade,
            _ROW.name.in_(_names(session, cascade)),
            _ROW.window_start >= window.start,
            _ROW.window_start < window.end,
        )
        .group_by(*_KEY_OF_ROW)
    )
    for model in (FigureDayRow, SummedDayRow):
        session.execute(
            delete(model).where(*_between(model, cascade, day, day + 1)),
            execution_options={"synchronize_session": False},
        )
    session.execute(insert(_DAY).from_select(["cascade", *_KEY, "day", *SUMS], query))
    session.execute(insert(SummedDayRow).values(cascade=cascade, day=day, summed_at=now))


def _between(model: Any, cascade: str, first: int, last: int) -> tuple[Any, ...]:
    return model.cascade == cascade, model.day >= first, model.day < last


def _names(session: Session, cascade: str) -> list[str]:
    """The names of a cascade's figures, each found behind the one before: there are few, on many
    rows.
    """
    names: list[str] = []
    query = select(func.min(_ROW.name)).where(_ROW.cascade == cascade)
    name = session.scalar(query)
    while name is not None:
        names.append(name)
        name = session.scalar(query.where(_ROW.name > name))
    return names


def _lock(cascade: str) -> str:
    return f"knowgate.figure_days.{cascade}"
