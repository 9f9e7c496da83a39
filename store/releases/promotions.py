"""Promotions, refusals, stops, rollbacks: which bundle serves, since when and why. Aliases
elsewhere project this.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import case, select
from sqlalchemy.orm import Session

from knowgate._records.ids import new_decision_id
from store import dialects, documents
from store.tables import PromotionRow


class Outcome(StrEnum):
    PROMOTED = "promoted"
    REFUSED = "refused"
    HELD_BACK = "held_back"  # judged again when more is known; nothing changed
    ROLLED_BACK = "rolled_back"
    STOPPED = "stopped"  # nothing is retained; until 0018 a rollback to no bundle said so
    RESUMED = "resumed"

    @property
    def moves(self) -> bool:
        """Whether it changed what is in force."""
        return self not in (Outcome.REFUSED, Outcome.HELD_BACK)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionRecord:
    """One decision about which bundle serves."""

    cascade: str
    bundle: str | None  # that it speaks of; None = no bundle is in force by it
    previous: str | None
    outcome: Outcome
    reason: str
    check: str  # canonical JSON of the promotion check
    generation: int | None  # of the assignment that put it in force; None when nothing changed
    decided_at: datetime
    decided_by: str | None = None  # a person's name; None = a job


def add_promotion(session: Session, record: PromotionRecord) -> UUID:
    """Store it with its ledger leaf; its id."""
    key = new_decision_id(record.decided_at)
    row = {
        "id": key,
        "cascade": record.cascade,
        "bundle": record.bundle,
        "previous": record.previous,
        "outcome": Outcome(record.outcome).value,
        "reason": record.reason,
        "promotion_check": documents.parse(record.check),
        "generation": record.generation,
        "decided_at": record.decided_at,
        "decided_by": record.decided_by,
    }
    dialects.insert_new(session, PromotionRow, [row], returning="id")
    return key


def promotions(session: Session, cascade: str) -> tuple[PromotionRecord, ...]:
    """The cascade's promotions, oldest first; of one moment's, the moves first, in the order of
    their generations.
    """
    unmoved = case((PromotionRow.generation.is_(None), 1), else_=0)
    order = (PromotionRow.decided_at, unmoved, PromotionRow.generation, PromotionRow.id)
    query = select(PromotionRow).where(PromotionRow.cascade == cascade).order_by(*order)
    return tuple(
        PromotionRecord(
            cascade=row.cascade,
            bundle=row.bundle,
            previous=row.previous,
            outcome=Outcome(row.outcome),
            reason=row.reason,
            check=documents.write(row.check),
            generation=row.generation,
            decided_at=row.decided_at,
            decided_by=row.decided_by,
        )
        for row in session.scalars(query)
    )
