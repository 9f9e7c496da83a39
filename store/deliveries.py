"""Deliveries: a message is a row before it is sent, one per alert, webhook and event."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from knowgate.ids import new_decision_id
from store import claims, dialects
from store.tables import DeliveryRow


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRecord:
    """One message about an alert."""

    id: UUID
    alert_id: UUID
    url: str
    event: str  # opened, resolved
    payload: str  # what is sent, to the byte
    attempts: int  # made, with the one under way
    created_at: datetime
    due_at: datetime | None  # when it is tried next; None = delivered or given up
    delivered_at: datetime | None
    failed_at: datetime | None  # when it was given up
    last_error: str | None


def add_delivery(session: Session, alert_id: UUID, url: str, event: str, payload: str, *, now: datetime) -> UUID | None:
    """Write the message down, due at once; None when this event of the alert has one for the URL already."""
    row = {
        "id": new_decision_id(now),
        "alert_id": alert_id,
        "url": url,
        "event": event,
        "payload": payload,
        "attempts": 0,
        "owner": None,
        "created_at": now,
        "due_at": now,
        "delivered_at": None,
        "failed_at": None,
        "last_error": None,
    }
    made: list[UUID] = dialects.insert_new(session, DeliveryRow, [row], returning="id")
    return made[0] if made else None


def claim_due_deliveries(
    session: Session, *, owner: str, now: datetime, lease: timedelta, limit: int = 20
) -> tuple[DeliveryRecord, ...]:
    """Claim messages that are due. Commit before sending: another worker must see the claim."""
    rows = claims.claim_due(session, DeliveryRow, owner=owner, now=now, lease=lease, limit=limit)
    return tuple(_record(row) for row in rows)


def finish_delivery(session: Session, claimed: DeliveryRecord, *, now: datetime, error: str | None = None) -> None:
    """Say how it went; with an error it is tried again later, and at last given up. Raises ClaimLost."""
    claims.finish(session, DeliveryRow, claimed.id, claimed.attempts, now=now, error=error)


def deliveries(session: Session, alert_id: UUID) -> tuple[DeliveryRecord, ...]:
    """The messages about one alert, oldest first."""
    query = select(DeliveryRow).where(DeliveryRow.alert_id == alert_id).order_by(DeliveryRow.created_at, DeliveryRow.id)
    return tuple(_record(row) for row in session.scalars(query.execution_options(populate_existing=True)))


def _record(row: DeliveryRow) -> DeliveryRecord:
    return DeliveryRecord(
        id=row.id,
        alert_id=row.alert_id,
        url=row.url,
        event=row.event,
        payload=row.payload,
        attempts=row.attempts,
        created_at=row.created_at,
        due_at=row.due_at,
        delivered_at=row.delivered_at,
        failed_at=row.failed_at,
        last_error=row.last_error,
    )
