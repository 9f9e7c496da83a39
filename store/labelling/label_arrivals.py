"""How labels come in: so many a day, by whom."""

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from knowgate._records.records import LabelSource
from store import partitions
from store.tables import DecisionRow, LabelRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """What one source said on one day, in UTC."""

    day: date
    source: LabelSource
    labels: int


def arrivals_per_day(
    session: Session, cascade: str, *, since: datetime, decided_since: datetime
) -> tuple[Arrivals, ...]:
    """The labels that came since then, of this cascade's decisions since another time, a day and a
    source at a time, oldest first.
    """
    low = partitions.first_id(decided_since)
    day = func.date(LabelRow.received_at)  # both databases count days in UTC
    query = (
        select(day, LabelRow.source, func.count())
        .join(DecisionRow, DecisionRow.id == LabelRow.decision_id)
        .where(
            DecisionRow.cascade == cascade,
            DecisionRow.id >= low,
            LabelRow.decision_id >= low,
            LabelRow.received_at >= since,
        )
        .group_by(day, LabelRow.source)
        .order_by(day, LabelRow.source)
    )
    return tuple(
        Arrivals(day=date.fromisoformat(str(day)), source=LabelSource(source), labels=count)
        for day, source, count in session.execute(query)
    )
