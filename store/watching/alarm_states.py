"""What a sequential alarm carries from one run to the next: its wealth and how far it has read, as
JSON.
"""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from store import dialects, documents
from store.tables import AlarmStateRow


def alarm_state(session: Session, cascade: str, rule: str) -> str | None:
    """The state as canonical JSON; None before the first run."""
    query = select(AlarmStateRow.state).where(AlarmStateRow.cascade == cascade, AlarmStateRow.rule == rule)
    row = session.execute(query).one_or_none()
    return None if row is None else documents.write(row.state)


def put_alarm_state(session: Session, cascade: str, rule: str, state: str, *, now: datetime) -> None:
    """Keep the state, JSON text, in place of the one before."""
    row = {"cascade": cascade, "rule": rule, "state": documents.parse(state), "updated_at": now}
    dialects.upsert(session, AlarmStateRow, [row])
