"""What waits to be done, from which when, and what was given up: the figures of a service that
falls behind.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from knowgate._records.ids import decided_at
from store.tables import DeliveryRow, LedgerBatchRow, LedgerLeafRow, OutboxRow
from store.watching.deliveries import TRIAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits in one queue."""

    waiting: int
    oldest: datetime | None  # when what waits longest was written; None = nothing waits
    given_up: int  # that nobody tries any more, ever


@dataclass(frozen=True, slots=True, kw_only=True)
class SealingBacklog:
    """What the ledger holds that no batch commits to yet."""

    leaves: int
    oldest: datetime | None  # when the first of them was written; None = all is sealed
    sealed_at: datetime | None  # when the newest batch was; None = none ever was


def outbox_backlogs(session: Session) -> dict[str, Backlog]:
    """By topic, of every topic that ever had a message."""
    rows = session.execute(_of(OutboxRow, OutboxRow.topic).group_by(OutboxRow.topic).order_by(OutboxRow.topic))
    return {topic: Backlog(waiting=waiting, oldest=oldest, given_up=gone) for topic, waiting, oldest, gone in rows}


def delivery_backlog(session: Session) -> Backlog:
    """Of all messages to receivers, but for tests of these."""
    waiting, oldest, given_up = session.execute(_of(DeliveryRow).where(DeliveryRow.event != TRIAL)).one()
    return Backlog(waiting=waiting, oldest=oldest, given_up=given_up)


def sealing_backlog(session: Session) -> SealingBacklog:
    """Of the ledger."""
    unsealed = LedgerLeafRow.batch.is_(None)
    # The smallest id is read by its order: PostgreSQL 17 has no min() of UUIDs.
    oldest = session.scalar(select(LedgerLeafRow.id).where(unsealed).order_by(LedgerLeafRow.id).limit(1))
    sealed_at = session.scalar(select(LedgerBatchRow.sealed_at).order_by(LedgerBatchRow.number.desc()).limit(1))
    return SealingBacklog(
        leaves=session.scalar(select(func.count()).select_from(LedgerLeafRow).where(unsealed)) or 0,
        oldest=None if oldest is None else decided_at(oldest),
        sealed_at=sealed_at,
    )


def _of(model: type[OutboxRow] | type[DeliveryRow], *by: Any) -> Any:
    waits = model.due_at.is_not(None)
    return select(
        *by,
        func.count().filter(waits),
        func.min(model.created_at).filter(waits),
        func.count(model.failed_at),
    )
