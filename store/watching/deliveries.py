"""Deliveries: a message is a row before it is sent; those of one alert to one webhook are numbered
and sent in order.

A message waits for the earlier ones of its alert to the same webhook until they are received or
given up: a receiver that was down must not hear that an alert is over, and then that it is there.
Other alerts and webhooks wait for nobody.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session, aliased

from knowgate._records.ids import new_id
from store import claims, dialects
from store.rows import record_of, records, row_of
from store.tables import DeliveryRow


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRecord:
    """One message about an alert."""

    id: UUID
    alert_id: UUID
    url: str
    number: int  # of this alert's messages to this webhook, from 1
    event: str  # opened, rang_again, resolved
    payload: str  # what is sent, to the byte
    attempts: int  # made, with the one under way
    created_at: datetime
    due_at: datetime | None  # when it is tried next; None = delivered or given up
    delivered_at: datetime | None
    failed_at: datetime | None  # when it was given up
    last_error: str | None


def add_delivery(
    session: Session, alert_id: UUID, url: str, event: str, payload: Callable[[int], str], *, now: datetime
) -> UUID:
    """Write the next message of an alert to a webhook, due at once; `payload` writes its body,
    given its number.
    """
    while True:
        highest = select(func.max(DeliveryRow.number)).where(DeliveryRow.alert_id == alert_id, DeliveryRow.url == url)
        number = (session.scalar(highest) or 0) + 1
        row = row_of(
            DeliveryRow,
            id=new_id(now),
            alert_id=alert_id,
            url=url,
            number=number,
            event=event,
            payload=payload(number),
            attempts=0,
            created_at=now,
            due_at=now,
        )
        made: list[UUID] = dialects.insert_new(session, DeliveryRow, [row], returning="id")
        if made:  # else another transaction has just taken the number, and its row is there by now
            return made[0]


def claim_due_deliveries(
    session: Session, *, owner: str, now: datetime, lease: timedelta, limit: int = 20
) -> tuple[DeliveryRecord, ...]:
    """Claim messages that are due and whose turn it is. Commit before sending: another worker must
    see the claim.
    """
    earlier = aliased(DeliveryRow)
    waits = exists().where(
        earlier.alert_id == DeliveryRow.alert_id,
        earlier.url == DeliveryRow.url,
        earlier.number < DeliveryRow.number,
        earlier.due_at.is_not(None),
    )
    rows = claims.claim_due(session, DeliveryRow, owner=owner, now=now, lease=lease, limit=limit, where=~waits)
    return tuple(record_of(DeliveryRecord, row) for row in rows)


def finish_delivery(session: Session, claimed: DeliveryRecord, *, now: datetime, error: str | None = None) -> None:
    """Say how it went; with an error it is tried again later, and at last given up. Raises
    ClaimLost.
    """
    claims.finish(session, DeliveryRow, claimed.id, claimed.attempts, now=now, error=error)


def deliveries(session: Session, alert_id: UUID) -> tuple[DeliveryRecord, ...]:
    """The messages about one alert, in the order in which each webhook gets them."""
    order = (DeliveryRow.number, DeliveryRow.created_at, DeliveryRow.id)
    query = select(DeliveryRow).where(DeliveryRow.alert_id == alert_id).order_by(*order)
    return records(session, DeliveryRecord, query)
