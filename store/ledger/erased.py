"""Which decisions were erased: their answers are gone, so nothing can be said of them any more that
was not said.
"""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from knowgate._records.records import Window
from store import partitions
from store.tables import DecisionRow


def erased_between(session: Session, cascade: str, window: Window) -> frozenset[UUID]:
    """The decisions of a window of decision time that are erased by now: no earlier time brings
    their answers back.
    """
    query = select(DecisionRow.id).where(
        DecisionRow.cascade == cascade,
        DecisionRow.id >= partitions.first_id(window.start),
        DecisionRow.id < partitions.first_id(window.end),
        DecisionRow.erased_at.is_not(None),
    )
    return frozenset(session.scalars(query))
