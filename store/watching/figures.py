"""Figures of cohorts. A figure computed again overwrites itself; mature and immature ones stand
side by side.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Text, and_, column, select, values
from sqlalchemy.orm import Session, aliased

from knowgate._records.records import Window
from store import dialects
from store.batches import batched
from store.rows import record_of, row_of
from store.tables import CohortFigureRow
from store.watching.figure_sums import forget_days

ASKED_AT_ONCE = 25  # names: of a hundred pairs SQLite looks at all rows instead of asking for each
WHOLE = -1  # the tier of a figure of the whole cascade; '' is its slice


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureRow:
    """One figure of one cohort."""

    cascade: str
    window: Window  # of decision time
    name: str
    n: int  # rows it was computed from
    mature: bool
    computed_at: datetime
    tier: int | None = None  # None = the whole cascade
    slice: str | None = None  # None = all slices
    value: float | None = None
    low: float | None = None
    high: float | None = None
    not_identified: str | None = None  # why there is no value, or beside one no interval


def put_figures(session: Session, rows: Sequence[FigureRow]) -> None:
    """Store the figures, each in place of an earlier one of the same cohort, name, tier, slice and
    maturity.
    """
    # A statement may not meet a row twice, so of equal keys the last is kept.
    latest = {_key(row): row for row in rows}
    forget_days(session, ((row.cascade, row.window.start) for row in rows))
    dialects.upsert(session, CohortFigureRow, [_row(latest[key]) for key in sorted(latest)])


def figures(
    session: Session,
    cascade: str,
    *,
    names: Iterable[str] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    slices: bool = True,
) -> tuple[FigureRow, ...]:
    """The cascade's figures of windows that end after `since` and start before `until`, oldest
    first; without `slices` those of all slices together alone, which an index leads to.
    """
    query = select(CohortFigureRow).where(CohortFigureRow.cascade == cascade)
    if not slices:
        query = query.where(CohortFigureRow.slice == "")
    if names is not None:
        query = query.where(CohortFigureRow.name.in_(list(names)))
    if since is not None:
        query = query.where(CohortFigureRow.window_end > since)
    if until is not None:
        query = query.where(CohortFigureRow.window_start < until)
    ordered = query.order_by(
        CohortFigureRow.window_start,
        CohortFigureRow.window_end,
        CohortFigureRow.name,
        CohortFigureRow.tier,
        CohortFigureRow.slice,
        CohortFigureRow.mature,
    )
    return tuple(_record(row) for row in session.scalars(ordered.execution_options(populate_existing=True)))


def newest_figures(session: Session, cascade: str, names: Iterable[str], *, since: datetime) -> tuple[FigureRow, ...]:
    """The newest figures of the whole cascade that have a value, of windows that start from `since`
    on, mature and immature apart, by name.
    """
    return tuple(
        row for some in batched(names, ASKED_AT_ONCE) for row in _newest_figures(session, cascade, some, since=since)
    )


def _newest_figures(session: Session, cascade: str, names: list[str], *, since: datetime) -> Iterable[FigureRow]:
    pairs = [(name, mature) for name in names for mature in (False, True)]
    asked = values(column("name", Text), column("mature", Boolean), name="asked").data(pairs).cte()
    other = aliased(CohortFigureRow)
    last = (
        # From the end of an index, name by name, and not by a look at all: there are years of them.
        select(other.window_start)
        .where(*_whole(other, cascade), other.name == asked.c.name, other.mature == asked.c.mature)
        .where(other.window_start >= since)
        .order_by(other.window_start.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = (
        select(CohortFigureRow)
        .join(asked, and_(CohortFigureRow.name == asked.c.name, CohortFigureRow.mature == asked.c.mature))
        .where(*_whole(CohortFigureRow, cascade), CohortFigureRow.window_start == last)
        .order_by(CohortFigureRow.name, CohortFigureRow.mature, CohortFigureRow.window_end)
    )
    rows = (_record(row) for row in session.scalars(query.execution_options(populate_existing=True)))
    return {(row.name, row.mature): row for row in rows}.values()


def _whole(model: Any, cascade: str) -> tuple[ColumnElement[bool], ...]:
    return model.cascade == cascade, model.tier == WHOLE, model.slice == "", model.value.is_not(None)


def latest_windows(session: Session, cascade: str) -> tuple[FigureRow, ...]:
    """Of each figure of the cascade and of its tiers (slices apart) the newest window, mature and
    immature, and the newest that has a value.
    """
    of_whole = (CohortFigureRow.cascade == cascade, CohortFigureRow.slice == "")
    keys = session.execute(
        select(CohortFigureRow.tier, CohortFigureRow.name, CohortFigureRow.mature).where(*of_whole).distinct()
    ).all()
    found: dict[tuple[str, str, datetime, datetime, int, str, bool], FigureRow] = {}
    for tier, name, mature in keys:
        named = (CohortFigureRow.tier == tier, CohortFigureRow.name == name, CohortFigureRow.mature == mature)
        query = select(CohortFigureRow).where(*of_whole, *named).order_by(CohortFigureRow.window_start.desc()).limit(1)
        rows = [_record(row) for row in session.scalars(query)]
        if rows[0].value is None:
            rows += [_record(row) for row in session.scalars(query.where(CohortFigureRow.value.is_not(None)))]
        found |= {_key(row): row for row in rows}
    return tuple(found.values())


def _key(row: FigureRow) -> tuple[str, str, datetime, datetime, int, str, bool]:
    return (
        row.cascade,
        row.name,
        row.window.start,
        row.window.end,
        WHOLE if row.tier is None else row.tier,
        row.slice or "",
        row.mature,
    )


def _row(row: FigureRow) -> dict[str, object]:
    return row_of(CohortFigureRow, row, tier=WHOLE if row.tier is None else row.tier, slice=row.slice or "")


def _record(row: CohortFigureRow) -> FigureRow:
    return record_of(FigureRow, row, tier=None if row.tier == WHOLE else row.tier, slice=row.slice or None)
