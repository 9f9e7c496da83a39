"""Deliveries: a message is a row before it is sent, and so is how each try went; those of one alert
to one receiver are numbered and sent in order, and so are those about the moves of one cascade.

A message waits for the earlier ones of its alert to the same receiver until they are received or
given up: a receiver that was down must not hear that an alert is over, and then that it is there.
Other alerts and receivers wait for nobody.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from knowgate._records.ids import new_id
from store import claims, dialects
from store.errors import DeliveryUnknown
from store.rows import record_of, records, row_of
from store.tables import AlertRow, DeliveryRow, DeliveryTryRow

GIVE_UP_AFTER = timedelta(hours=36)
TRIAL = "test"  # the event of a message that somebody asked for to see whether it arrives


class Fate(StrEnum):
    """What became of a message so far."""

    WAITING = "waiting"  # to be sent, or to be tried again
    RECEIVED = "received"
    GIVEN_UP = "given_up"  # no more is tried, unless somebody asks for it


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRecord:
    """One message, about an alert or about a move of what is in force; about neither: a trial."""

    id: UUID
    cascade: str
    alert_id: UUID | None
    promotion_id: UUID | None  # of a move
    receiver: str  # a declared receiver's name, or the address of one of `webhooks`
    number: int  # of this alert's messages to this receiver, from 1; of moves the generation
    event: str  # opened, rang_again, resolved; of a move its outcome
    payload: str  # what is sent, to the byte
    attempts: int  # made, with the one under way
    created_at: datetime
    due_at: datetime | None  # when it is tried next; None = delivered or given up
    delivered_at: datetime | None
    failed_at: datetime | None  # when it was given up
    last_error: str | None

    @property
    def fate(self) -> Fate:
        if self.delivered_at is not None:
            return Fate.RECEIVED
        return Fate.WAITING if self.due_at is not None else Fate.GIVEN_UP


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryTry:
    """How one try went. One whose process died left none."""

    delivery_id: UUID
    number: int  # from 1
    at: datetime
    error: str | None  # None = received


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Which move of what is in force a message is about."""

    cascade: str
    promotion_id: UUID
    generation: int  # its cascade's messages to a receiver are sent in this order
    outcome: str


def add_delivery(
    session: Session, alert_id: UUID, receiver: str, event: str, payload: Callable[[int], str], *, now: datetime
) -> UUID:
    """Write the next message of an alert to a receiver, due at once; `payload` writes its body,
    given its number.
    """
    while True:
        same = (DeliveryRow.alert_id == alert_id, DeliveryRow.receiver == receiver)
        number = (session.scalar(select(func.max(DeliveryRow.number)).where(*same)) or 0) + 1
        row = row_of(
            DeliveryRow,
            id=new_id(now),
            alert_id=alert_id,
            receiver=receiver,
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


def add_move_delivery(session: Session, move: Move, receiver: str, payload: str, *, now: datetime) -> None:
    """Write a move's message to a receiver, due at once; one that is there already stays."""
    row = row_of(
        DeliveryRow,
        id=new_id(now),
        cascade=move.cascade,
        promotion_id=move.promotion_id,
        receiver=receiver,
        number=move.generation,
        event=move.outcome,
        payload=payload,
        attempts=0,
        created_at=now,
        due_at=now,
    )
    dialects.insert_new(session, DeliveryRow, [row], returning="id")


def add_trial(session: Session, cascade: str, receiver: str, payload: str, *, now: datetime) -> UUID:
    """Write a message that is about nothing, due at once. It waits for none and holds up none."""
    made = new_id(now)
    row = row_of(
        DeliveryRow,
        id=made,
        cascade=cascade,
        receiver=receiver,
        number=1,
        event=TRIAL,
        payload=payload,
        attempts=0,
        created_at=now,
        due_at=now,
    )
    dialects.insert_new(session, DeliveryRow, [row], returning="id")
    return made


def claim_due_deliveries(
    session: Session, *, owner: str, now: datetime, lease: timedelta, limit: int = 20
) -> tuple[DeliveryRecord, ...]:
    """Claim messages that are due and whose turn it is. Commit before sending: another worker must
    see the claim.
    """
    earlier = aliased(DeliveryRow)
    waits = exists().where(_before(earlier, DeliveryRow), earlier.due_at.is_not(None))
    rows = claims.claim_due(session, DeliveryRow, owner=owner, now=now, lease=lease, limit=limit, where=~waits)
    found = {record.id: record for record in _read(session, _query().where(DeliveryRow.id.in_([r.id for r in rows])))}
    return tuple(found[row.id] for row in rows)


def finish_delivery(
    session: Session,
    claimed: DeliveryRecord,
    *,
    now: datetime,
    error: str | None = None,
    give_up_after: timedelta = GIVE_UP_AFTER,
) -> None:
    """Say how a try went; with an error it is tried again later, and given up once the message is
    as old as `give_up_after`; a trial at once. Raises ClaimLost.
    """
    last = claimed.event == TRIAL or now - claimed.created_at >= give_up_after
    claims.finish(session, DeliveryRow, claimed.id, claimed.attempts, now=now, error=error, last=last)
    tried = DeliveryTry(delivery_id=claimed.id, number=claimed.attempts, at=now, error=claims.shown_error(error))
    dialects.insert_new(session, DeliveryTryRow, [row_of(DeliveryTryRow, tried)], returning="number")


def revive_delivery(session: Session, delivery_id: UUID, *, now: datetime) -> bool:
    """Make one that was given up due again; whether it was."""
    made = session.execute(
        update(DeliveryRow)
        .where(DeliveryRow.id == delivery_id, DeliveryRow.due_at.is_(None), DeliveryRow.delivered_at.is_(None))
        .values(due_at=now, failed_at=None),
        execution_options={"synchronize_session": False},
    )
    return claims.changed(made) == 1


def last_move_sent(session: Session, cascade: str, receiver: str) -> str | None:
    """The outcome of the last move of a cascade that there is a message about to this receiver."""
    of_moves = DeliveryRow.promotion_id.is_not(None)
    same = (DeliveryRow.cascade == cascade, of_moves, DeliveryRow.receiver == receiver)
    return session.scalar(select(DeliveryRow.event).where(*same).order_by(DeliveryRow.number.desc()).limit(1))


def deliveries(session: Session, alert_id: UUID) -> tuple[DeliveryRecord, ...]:
    """The messages about one alert, in the order in which each receiver gets them."""
    order = (DeliveryRow.number, DeliveryRow.created_at, DeliveryRow.id)
    return _read(session, _query().where(DeliveryRow.alert_id == alert_id).order_by(*order))


def delivery(session: Session, delivery_id: UUID) -> DeliveryRecord:
    """The message of this id. Raises DeliveryUnknown."""
    found = _read(session, _query().where(DeliveryRow.id == delivery_id))
    if not found:
        raise DeliveryUnknown(delivery_id)
    return found[0]


def newest_deliveries(
    session: Session, *, cascade: str | None = None, fates: Sequence[Fate] = tuple(Fate), limit: int = 100
) -> tuple[DeliveryRecord, ...]:
    """The messages of one cascade or of all that came to one of these fates, newest first."""
    query = _query().where(or_(*(_IS[fate] for fate in fates)))
    if cascade is not None:
        query = query.where(func.coalesce(DeliveryRow.cascade, AlertRow.cascade) == cascade)
    return _read(session, query.order_by(*_NEWEST_FIRST).limit(limit))


def tries_of(session: Session, deliveries: Sequence[UUID]) -> tuple[DeliveryTry, ...]:
    """How the tries of these messages went, oldest first."""
    query = select(DeliveryTryRow).where(DeliveryTryRow.delivery_id.in_(deliveries))
    return records(session, DeliveryTry, query.order_by(DeliveryTryRow.at, DeliveryTryRow.number))


def later_received(session: Session, record: DeliveryRecord) -> bool:
    """Whether a later message of the same alert, or a later move's, has reached its receiver."""
    this, later = aliased(DeliveryRow), aliased(DeliveryRow)
    query = select(later.id).where(this.id == record.id, _before(this, later), later.delivered_at.is_not(None))
    return session.scalar(query.limit(1)) is not None


def _before(earlier: Any, later: Any) -> ColumnElement[bool]:
    """Whether one message has to reach their receiver before the other."""
    moves = (earlier.promotion_id.is_not(None), later.promotion_id.is_not(None))
    same = or_(earlier.alert_id == later.alert_id, and_(earlier.cascade == later.cascade, *moves))
    return and_(same, earlier.receiver == later.receiver, earlier.number < later.number)


_NEWEST_FIRST = (DeliveryRow.created_at.desc(), DeliveryRow.number.desc(), DeliveryRow.id.desc())
_DONE, _WAITS = DeliveryRow.delivered_at.is_not(None), DeliveryRow.due_at.is_not(None)
_IS = {Fate.RECEIVED: _DONE, Fate.WAITING: _WAITS, Fate.GIVEN_UP: and_(~_DONE, ~_WAITS)}


def _query() -> Select[DeliveryRow, str]:
    return select(DeliveryRow, AlertRow.cascade).outerjoin(AlertRow, AlertRow.id == DeliveryRow.alert_id)


def _read(session: Session, query: Select[DeliveryRow, str]) -> tuple[DeliveryRecord, ...]:
    rows = session.execute(query.execution_options(populate_existing=True)).all()
    return tuple(record_of(DeliveryRecord, row, cascade=row.cascade or of_alert) for row, of_alert in rows)
