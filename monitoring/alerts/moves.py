"""Moves of what is in force, as messages: written in the move's own transaction."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from knowgate._records.receivers import Hears
from knowgate.spec import CascadeSpec
from monitoring.alerts.addressees import hearing
from monitoring.alerts.messages import move_document, move_severity
from store.releases.promotions import PromotionRecord
from store.watching.deliveries import Move, add_move_delivery


def announce_move(
    session: Session, spec: CascadeSpec, record: PromotionRecord, promotion_id: UUID, *, now: datetime
) -> None:
    """Write the messages about a move, one per receiver that hears of such; none where a bundle was
    refused or waits, since nothing changed.
    """
    if record.generation is None:
        return
    move = Move(
        cascade=record.cascade,
        promotion_id=promotion_id,
        generation=record.generation,
        outcome=record.outcome.value,
    )
    for one in hearing(spec, Hears.MOVES, move_severity(record.outcome)):
        add_move_delivery(session, move, one.key, move_document(record), now=now)
