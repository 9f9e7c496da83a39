"""Rings: every time an alert was raised, whether or not it was open already, what it speaks of and
what was done.

An alert is open once per rule; a ring is an event of its own, so that the second and the third are
acted on and reported as the first is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, and_, func, or_, select, update
from sqlalchemy.orm import Session

from store import dialects
from store.rows import Document, record_of, row_of
from store.tables import AlertRow, RingRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """What a ring speaks of; nothing of it where it does not say."""

    since: datetime | None = None  # decision time from which on the harm was seen
    until: datetime | None = None  # decision time up to which the rule had read when it rang
    generation: int | None = None  # of the assignment in force when it rang
    champion: str | None = None
    accused: tuple[str, ...] = ()  # bundles whose own decisions show the harm


@dataclass(frozen=True, slots=True, kw_only=True)
class RingRecord:
    """One ring of one alert."""

    alert_id: UUID
    number: int  # from 1, which opened the alert
    cascade: str
    rule: str
    cause: str
    details: Document
    rang_at: datetime
    spoken: Spoken
    answered_at: datetime | None = None
    answer: str | None = None  # what was done about it
    stopped: str | None = None  # the bundle that was stopped because of it

    @property
    def key(self) -> str:
        """What a training names that is made because of it."""
        return f"ring:{self.alert_id}:{self.number}"

    @property
    def read_until(self) -> datetime:
        """Decisions from here on had not been read when it rang."""
        return self.spoken.until or self.rang_at


def add_ring(
    session: Session, alert_id: UUID, *, cause: str, details: str, spoken: Spoken, now: datetime
) -> RingRecord:
    """Write the alert's next ring, with its ledger leaf."""
    cascade, rule = session.execute(select(AlertRow.cascade, AlertRow.rule).where(AlertRow.id == alert_id)).one()
    number = (session.scalar(select(func.max(RingRow.number)).where(RingRow.alert_id == alert_id)) or 0) + 1
    record = RingRecord(
        alert_id=alert_id,
        number=number,
        cascade=cascade,
        rule=rule,
        cause=cause,
        details=details,
        rang_at=now,
        spoken=spoken,
    )
    row = row_of(RingRow, record, spoken, accused=list(spoken.accused))
    dialects.insert_new(session, RingRow, [row], returning="number")
    return record


def answer_ring(session: Session, ring: RingRecord, answer: str, *, now: datetime, stopped: str | None = None) -> None:
    """Say what was done about it, and which bundle it stopped."""
    session.execute(
        update(RingRow)
        .where(RingRow.alert_id == ring.alert_id, RingRow.number == ring.number)
        .values(answered_at=now, answer=answer, stopped=stopped),
        execution_options={"synchronize_session": False},
    )


def rings(session: Session, cascade: str, rule: str) -> tuple[RingRecord, ...]:
    """The rule's rings, oldest first."""
    query = _query(rule).where(AlertRow.cascade == cascade)
    return tuple(_record(row) for row in session.execute(query))


RISK = "risk"  # the rule whose rings stop a cascade, and cut off the rows that certify
TOLD = "told: alarms.on_risk is alert"  # the answer where a cascade asks for no more


def unanswered(session: Session, rule: str, cascade: str | None = None) -> tuple[RingRecord, ...]:
    """The rule's rings that nobody has acted on, oldest first; of open alerts also those that were
    reported only.
    """
    noticed = and_(RingRow.answer == TOLD, AlertRow.resolved_at.is_(None))
    query = _query(rule).where(or_(RingRow.answered_at.is_(None), noticed))
    if cascade is not None:
        query = query.where(AlertRow.cascade == cascade)
    return tuple(_record(row) for row in session.execute(query))


def rings_of(session: Session, alerts: Sequence[UUID]) -> tuple[RingRecord, ...]:
    """The rings of these alerts, oldest first."""
    query = _query(None).where(RingRow.alert_id.in_(alerts))
    return tuple(_record(row) for row in session.execute(query))


def _query(rule: str | None) -> Select[Any]:
    columns = [column for column in RingRow.__table__.columns if column.key != "alert_id"]
    query = (
        select(AlertRow.id, AlertRow.cascade, AlertRow.rule, *columns)
        .join(RingRow, RingRow.alert_id == AlertRow.id)
        .order_by(RingRow.rang_at, RingRow.alert_id, RingRow.number)
    )
    return query if rule is None else query.where(AlertRow.rule == rule)


def _record(row: Row[Any]) -> RingRecord:
    spoken = record_of(Spoken, row, accused=tuple(row.accused))
    return record_of(RingRecord, row, alert_id=row.id, spoken=spoken)
