"""Promotions, refusals and rollbacks: which bundle serves, since when and why. Aliases elsewhere project this."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from knowgate.ids import new_decision_id
from store import dialects, documents
from store.tables import PromotionRow


class Outcome(StrEnum):
    PROMOTED = "promoted"
    REFUSED = "refused"
    ROLLED_BACK = "rolled_back"


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionRecord:
    """One decision about which bundle serves."""

    cascade: str
    bundle: str | None  # None = rolled back to no bundle
    previous: str | None
    outcome: Outcome
    reason: str
    check: str  # canonical JSON of the promotion check
    generation: int | None  # of the assignment that put it in force; None when refused
    decided_at: datetime


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
    }
    dialects.insert_new(session, PromotionRow, [row], returning="id")
    return key


def promotions(session: Session, cascade: str) -> tuple[PromotionRecord, ...]:
    """The cascade's promotions, oldest first."""
    query = (
        select(PromotionRow).where(PromotionRow.cascade == cascade).order_by(PromotionRow.decided_at, PromotionRow.id)
    )
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
        )
        for row in session.scalars(query)
    )
