"""Moves of what is in force, as messages: written in the move's own transaction."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from knowgate._records.receivers import Hears, Severity
from knowgate.spec import CascadeSpec
from monitoring.alerts.addressees import Addressee, hearing
from monitoring.alerts.messages import move_document, move_severity
from store.releases.promotions import Outcome, PromotionRecord
from store.watching.deliveries import Move, add_move_delivery, last_move_sent


def announce_move(
    session: Session, spec: CascadeSpec, record: PromotionRecord, promotion_id: UUID, *, now: datetime
) -> None:
    """Write the messages about a move, one per receiver that hears of such; none where a bundle was
    refused or waits, since nothing changed. Who has heard of a stop hears of what ends it.
    """
    if record.generation is None:
        return
    move = Move(
        cascade=record.cascade,
        promotion_id=promotion_id,
        generation=record.generation,
        outcome=record.outcome.value,
    )
    hears = hearing(spec, Hears.MOVES, move_severity(record.outcome))
    for one in hearing(spec, Hears.MOVES, Severity.CRITICAL):
        if one in hears or (record.outcome.moves and _heard_of_a_stop(session, record.cascade, one)):
            add_move_delivery(session, move, one.key, move_document(record), now=now)


def _heard_of_a_stop(session: Session, cascade: str, to: Addressee) -> bool:
    last = last_move_sent(session, cascade, to.key)
    return last is not None and move_severity(Outcome(last)) is Severity.CRITICAL
