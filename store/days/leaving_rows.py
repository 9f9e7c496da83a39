"""Taking rows of decisions away that lie in files. No leaf says so: what the leaves say of them
holds, and the file is where they are.
"""

from typing import Any
from uuid import UUID

from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from store import dialects
from store.batches import batched
from store.tables import AttemptRow, DecisionRow, LabelRow

_CHUNK = 500
_UNNOTED: dict[str, Any] = {"noted": False, "synchronize_session": False}


def be_patient(session: Session) -> None:
    """Give up rather than keep everybody waiting behind a statement that waits for a table."""
    if dialects.is_postgresql(session):
        session.execute(text("SET LOCAL lock_timeout = '5s'"))


def delete_some(session: Session, cascade: str, low: UUID, high: UUID, *, limit: int) -> int:
    """Take the first decisions of a range away, with their attempts and labels; how many."""
    within = (DecisionRow.cascade == cascade, DecisionRow.id >= low, DecisionRow.id < high)
    ids = session.scalars(select(DecisionRow.id).where(*within).order_by(DecisionRow.id).limit(limit)).all()
    for chunk in batched(ids, _CHUNK):
        # In the order in which they refer to each other.
        session.execute(delete(LabelRow).where(LabelRow.decision_id.in_(chunk)), execution_options=_UNNOTED)
        session.execute(delete(AttemptRow).where(AttemptRow.decision_id.in_(chunk)), execution_options=_UNNOTED)
        session.execute(delete(DecisionRow).where(DecisionRow.id.in_(chunk)), execution_options=_UNNOTED)
    return len(ids)
