"""Alerts: rows with a cause. At most one is open per cascade and rule, which the database itself
keeps.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from knowgate._records.ids import new_id
from store import dialects
from store.errors import AlertUnknown
from store.releases.rings import Spoken, add_ring
from store.rows import Document, records, row_of
from store.tables import AlertRow

_IS_OPEN = AlertRow.resolved_at.is_(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRecord:
    """One alert."""

    cascade: str
    rule: str
    cause: str
    details: Document
    opened_at: datetime
    id: UUID | None = None  # given when it is opened
    resolved_at: datetime | None = None
    resolution: str | None = None


def open_alert(session: Session, record: AlertRecord, spoken: Spoken | None = None) -> UUID:
    """Open the alert with its ledger leaf and its first ring; its id.

    While one is open for the rule, that one's id, unchanged: what rings again is
    `store.releases.rings.add_ring`'s.
    """
    key = new_id(record.opened_at)
    row = row_of(AlertRow, record, id=key, resolved_at=None, resolution=None)
    made = dialects.insert_new(session, AlertRow, [row], returning="id", keys=("cascade", "rule"), where=_IS_OPEN)
    if not made:
        query = select(AlertRow.id).where(AlertRow.cascade == record.cascade, AlertRow.rule == record.rule, _IS_OPEN)
        return session.execute(query).scalar_one()
    add_ring(session, key, cause=record.cause, details=record.details, spoken=spoken or Spoken(), now=record.opened_at)
    return key


def resolve_alert(session: Session, cascade: str, rule: str, *, resolution: str, now: datetime) -> UUID | None:
    """Resolve the rule's open alert; its id, or None when none is open."""
    key: UUID | None = session.scalar(
        update(AlertRow)
        .where(AlertRow.cascade == cascade, AlertRow.rule == rule, _IS_OPEN)
        .values(resolved_at=now, resolution=resolution)
        .returning(AlertRow.id),
        execution_options={"synchronize_session": False},
    )
    return key


def alert(session: Session, alert_id: UUID) -> AlertRecord:
    """The alert of this id. Raises AlertUnknown."""
    found = records(session, AlertRecord, select(AlertRow).where(AlertRow.id == alert_id))
    if not found:
        raise AlertUnknown(alert_id)
    return found[0]


def newest_alerts(session: Session, *, limit: int) -> tuple[AlertRecord, ...]:
    """The latest of all cascades, newest first."""
    query = select(AlertRow).order_by(AlertRow.opened_at.desc(), AlertRow.id.desc()).limit(limit)
    return records(session, AlertRecord, query)


def alerts(session: Session, cascade: str | None = None, *, open_only: bool = False) -> tuple[AlertRecord, ...]:
    """The alerts of one cascade or of all, oldest first."""
    query = select(AlertRow).order_by(AlertRow.opened_at, AlertRow.id)
    if cascade is not None:
        query = query.where(AlertRow.cascade == cascade)
    if open_only:
        query = query.where(_IS_OPEN)
    return records(session, AlertRecord, query)
