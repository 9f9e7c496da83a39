"""Claiming rows that are due, for deliveries and the outbox.

A row is claimed by an UPDATE that says what it expects to find; the row count tells whether it
found it. A claim is a lease: the row is due again when it runs out, so a worker that dies loses
nothing. The number of attempts is the claim's token: a worker whose lease ran out cannot finish
what another has taken over. What fails is tried again ever later, and in the end given up, with its
last error.

What is due later than it can be was written before the clock was set back: it is due anew, by the
clock there is.
"""

from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, CursorResult, case, literal, or_, select, update
from sqlalchemy.orm import Session

from knowgate._wire.shown import masked
from store.errors import ClaimLost
from store.tables import DeliveryRow, OutboxRow

Row = TypeVar("Row", DeliveryRow, OutboxRow)

FIRST_RETRY = timedelta(seconds=30)
LONGEST_RETRY = timedelta(hours=6)
MAX_ATTEMPTS = 12  # about a day and a half of trying; from here on each would wait for LONGEST_RETRY
CLOCKS_DIFFER = timedelta(seconds=5)  # by less, between hosts, a clock was not set back


def retry_at(now: datetime, attempts: int) -> datetime:
    """When to try again after `attempts` failures: twice as long each time, at most
    LONGEST_RETRY.
    """
    return now + min(FIRST_RETRY * (1 << min(attempts - 1, 32)), LONGEST_RETRY)


def claim_due(
    session: Session,
    model: type[Row],
    *,
    owner: str,
    now: datetime,
    lease: timedelta,
    limit: int,
    where: ColumnElement[bool] | None = None,
) -> list[Row]:
    """The rows due at `now` that this owner has claimed, longest due first, at most `limit`."""
    _follow_clock(session, model, now, lease)
    due = select(model.id, model.attempts).where(model.due_at <= now).order_by(model.due_at, model.id).limit(limit)
    if where is not None:
        due = due.where(where)
    claimed = []
    for key, attempts in session.execute(due.with_for_update(skip_locked=True)).all():
        taken = session.execute(
            update(model)
            .where(model.id == key, model.attempts == attempts, model.due_at <= now)
            .values(attempts=attempts + 1, owner=owner, due_at=now + lease),
            execution_options={"synchronize_session": False},
        )
        if changed(taken) == 1:
            claimed.append(key)
    fresh = select(model).where(model.id.in_(claimed)).execution_options(populate_existing=True)
    rows = {row.id: row for row in session.scalars(fresh)}
    return [rows[key] for key in claimed]


def finish(
    session: Session, model: type[Row], key: UUID, attempts: int, *, now: datetime, error: str | None, last: bool
) -> None:
    """Say how a claimed row went; `error` None is done, with one it is tried again unless this was
    the `last` try. Raises ClaimLost when another has taken it over.
    """
    done_at = "delivered_at" if model is DeliveryRow else "done_at"
    values: dict[str, Any] = {"owner": None, "last_error": shown_error(error)}
    if error is None:
        values |= {"due_at": None, done_at: now}
    elif last:
        values |= {"due_at": None, "failed_at": now}
    else:
        values |= {"due_at": retry_at(now, attempts)}
    result = session.execute(
        update(model).where(model.id == key, model.attempts == attempts, model.due_at.is_not(None)).values(**values),
        execution_options={"synchronize_session": False},
    )
    if changed(result) != 1:
        raise ClaimLost(f"{model.__tablename__} {key}", attempts)


def shown_error(error: str | None) -> str | None:
    """An error as it is kept: its addresses show no secrets."""
    return None if error is None else masked(error)


def is_due(model: type[Row], now: datetime, lease: timedelta) -> ColumnElement[bool]:
    """Whether `claim_due` has something to do with the row: it is due, or it waits by a clock that
    was set back.
    """
    return or_(model.due_at <= now, model.due_at > _latest(model, now, lease))


def _follow_clock(session: Session, model: type[Row], now: datetime, lease: timedelta) -> None:
    """Make due what waits for longer than its attempts can have asked for; what is claimed keeps a
    whole lease.
    """
    kind = model.due_at.type
    fresh = case((model.owner.is_(None), literal(now, kind)), else_=literal(now + lease, kind))
    session.execute(
        update(model).where(model.due_at > _latest(model, now, lease)).values(due_at=fresh),
        execution_options={"synchronize_session": False},
    )


def _latest(model: type[Row], now: datetime, lease: timedelta) -> ColumnElement[datetime]:
    """When a row is due at the latest that was left or claimed by the clock there is."""
    kind = model.due_at.type
    waits = {0: now} | {made: retry_at(now, made) for made in range(1, MAX_ATTEMPTS + 1)}
    return case(
        {made: literal(max(at, now + lease if made else now) + CLOCKS_DIFFER, kind) for made, at in waits.items()},
        value=model.attempts,
        else_=literal(max(*waits.values(), now + lease) + CLOCKS_DIFFER, kind),
    )


def changed(result: Any) -> int:
    """How many rows an UPDATE or a DELETE met."""
    count: int = result.rowcount if isinstance(result, CursorResult) else 0
    return count
