"""Which decisions were erased, and who asked for it: their answers are gone, so nothing can be said
of them any more that was not said.
"""

import json
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from knowgate._records.records import Window
from store import partitions
from store.ledger import ledger
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


def erased_by(session: Session, decision_id: UUID) -> str | None:
    """Who asked for a decision's erasure; None where it is not erased, or that was not recorded."""
    leaves = (leaf for leaf in ledger.leaves_of(session, str(decision_id)) if leaf.kind == "erasure")
    return next((json.loads(leaf.payload).get("by") for leaf in leaves if leaf.payload is not None), None)
