"""Promotions, refusals, stops, rollbacks: which bundle serves, since when and why. Aliases
elsewhere project this.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import case, select
from sqlalchemy.orm import Session

from knowgate._records.ids import new_id
from store import dialects
from store.rows import Document, records, row_of
from store.tables import PromotionRow


class Outcome(StrEnum):
    PROMOTED = "promoted"
    REFUSED = "refused"
    HELD_BACK = "held_back"  # judged again when more is known; nothing changed
    ROLLED_BACK = "rolled_back"
    STOPPED = "stopped"  # nothing is retained; until 0018 a rollback to no bundle said so
    RESUMED = "resumed"
    OBSERVED = "observed"  # likewise nothing is retained; a person put it back to be observed
    SHADOWED = "shadowed"  # a rollout began: it decides beside what is in force
    SHARED = "shared"  # it decides a share of the queries from now on
    ABORTED = "aborted"  # its rollout ended, and it decides nothing any more
    FELL_BACK = "fell_back"  # after a ring, a more cautious bundle decides

    @property
    def moves(self) -> bool:
        """Whether it changed the champion, or whether anything is kept."""
        return self not in (
            Outcome.REFUSED,
            Outcome.HELD_BACK,
            Outcome.SHADOWED,
            Outcome.SHARED,
            Outcome.ABORTED,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionRecord:
    """One decision about which bundle serves."""

    cascade: str
    bundle: str | None  # that it speaks of; None = no bundle is in force by it
    previous: str | None
    outcome: Outcome
    reason: str
    check: Document  # the promotion check
    generation: int | None  # of the assignment that it made; None when nothing changed
    decided_at: datetime
    decided_by: str | None = None  # a person's name; None = a job


def add_promotion(session: Session, record: PromotionRecord) -> UUID:
    """Store it with its ledger leaf; its id."""
    key = new_id(record.decided_at)
    row = row_of(PromotionRow, record, id=key)
    dialects.insert_new(session, PromotionRow, [row], returning="id")
    return key


def tried(session: Session, cascade: str) -> frozenset[str]:
    """Every bundle that decided a share of the queries in a rollout, as challenger or beside it."""
    query = select(PromotionRow.bundle, PromotionRow.previous).where(
        PromotionRow.cascade == cascade, PromotionRow.outcome == Outcome.SHARED.value
    )
    return frozenset(one for row in session.execute(query) for one in row if one is not None)


def newest_promotions(session: Session, *, limit: int) -> tuple[PromotionRecord, ...]:
    """The latest of all cascades, newest first."""
    query = select(PromotionRow).order_by(PromotionRow.decided_at.desc(), PromotionRow.id.desc()).limit(limit)
    return records(session, PromotionRecord, query)


def promotions(session: Session, cascade: str) -> tuple[PromotionRecord, ...]:
    """The cascade's promotions, oldest first; of one moment's, the moves first, in the order of
    their generations.
    """
    unmoved = case((PromotionRow.generation.is_(None), 1), else_=0)
    order = (PromotionRow.decided_at, unmoved, PromotionRow.generation, PromotionRow.id)
    query = select(PromotionRow).where(PromotionRow.cascade == cascade).order_by(*order)
    return records(session, PromotionRecord, query)
