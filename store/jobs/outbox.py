"""The outbox: what is to happen outside the database, written in the transaction that wants it to
happen.

A message is carried out at least once, so its key travels with it and the receiver's side looks for
it first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from knowgate._records.ids import new_id
from store import claims, dialects
from store.rows import record_of, records, row_of
from store.tables import OutboxRow


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxMessage:
    """One effect to be carried out."""

    id: UUID
    topic: str
    key: str  # the idempotency key
    payload: str
    attempts: int  # made, with the one under way
    created_at: datetime
    due_at: datetime | None  # when it is tried next; None = done or given up
    done_at: datetime | None
    failed_at: datetime | None  # when it was given up
    last_error: str | None


def add_message(session: Session, topic: str, key: str, payload: str, *, now: datetime) -> bool:
    """Write the message down, due at once; False when the topic has one of this key already."""
    row = row_of(
        OutboxRow,
        id=new_id(now),
        topic=topic,
        key=key,
        payload=payload,
        attempts=0,
        created_at=now,
        due_at=now,
    )
    return bool(dialects.insert_new(session, OutboxRow, [row], returning="id"))


def claim_messages(
    session: Session, topic: str, *, owner: str, now: datetime, lease: timedelta, limit: int = 20
) -> tuple[OutboxMessage, ...]:
    """Claim a topic's messages that are due. Commit before carrying them out."""
    rows = claims.claim_due(
        session, OutboxRow, owner=owner, now=now, lease=lease, limit=limit, where=OutboxRow.topic == topic
    )
    return tuple(record_of(OutboxMessage, row) for row in rows)


def finish_message(session: Session, claimed: OutboxMessage, *, now: datetime, error: str | None = None) -> None:
    """Say how it went; with an error it is tried again later, and at last given up. Raises
    ClaimLost.
    """
    last = claimed.attempts >= claims.MAX_ATTEMPTS
    claims.finish(session, OutboxRow, claimed.id, claimed.attempts, now=now, error=error, last=last)


def due_count(session: Session, topics: Sequence[str], *, now: datetime, lease: timedelta) -> int:
    """How many messages of these topics `claim_messages` would look after; `lease` is that of a
    claim.
    """
    due = select(func.count()).where(OutboxRow.topic.in_(topics), claims.is_due(OutboxRow, now, lease))
    return session.scalar(due) or 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What of one topic has not left the database."""

    topic: str
    waiting: int  # to be carried out, or tried again
    given_up: int
    oldest: datetime  # when the first of them was written
    last_error: str | None  # of one of them


def backlogs(session: Session) -> tuple[Backlog, ...]:
    """What of each topic waits or was given up, by topic; a topic of which nothing does is not
    there.
    """
    query = (
        select(
            OutboxRow.topic,
            func.count(OutboxRow.due_at),
            func.count(OutboxRow.failed_at),
            func.min(OutboxRow.created_at),
            func.max(OutboxRow.last_error),
        )
        .where(OutboxRow.done_at.is_(None))
        .group_by(OutboxRow.topic)
        .order_by(OutboxRow.topic)
    )
    rows = session.execute(query)
    return tuple(Backlog(topic=r[0], waiting=r[1], given_up=r[2], oldest=r[3], last_error=r[4]) for r in rows)


def newest_key(session: Session, topic: str) -> str | None:
    """The last of a topic's keys, in the order of texts; None before the first message."""
    return session.scalar(select(func.max(OutboxRow.key)).where(OutboxRow.topic == topic))


def message(session: Session, topic: str, key: str) -> OutboxMessage | None:
    """The topic's message of this key; None where there is none."""
    query = select(OutboxRow).where(OutboxRow.topic == topic, OutboxRow.key == key)
    return next(iter(records(session, OutboxMessage, query)), None)


def messages(session: Session, topic: str) -> tuple[OutboxMessage, ...]:
    """A topic's messages, oldest first."""
    query = select(OutboxRow).where(OutboxRow.topic == topic).order_by(OutboxRow.created_at, OutboxRow.id)
    return records(session, OutboxMessage, query)
