"""What people asked of a cascade that moves nothing by itself: that no job puts anything in force
until a time, and a training now. A move is a promotion (`store.releases.promotions`).

Acts are added and never changed, so their rows say the whole history. Of freezes the newest counts:
a later one takes an earlier one's place, so that one can be ended before its time.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from knowgate._records.ids import new_id
from store import dialects
from store.rows import records, row_of
from store.tables import CascadeActRow


class CascadeActKind(StrEnum):
    """What may be asked."""

    FROZEN = "frozen"  # no job puts anything in force, until a time
    UNFROZEN = "unfrozen"
    ASKED = "asked"  # a training now, if it could win
    INSISTED = "insisted"  # a training now, also where it could hardly win


FREEZES = (CascadeActKind.FROZEN, CascadeActKind.UNFROZEN)
TRAININGS = (CascadeActKind.ASKED, CascadeActKind.INSISTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeAct:
    """One act of one person."""

    cascade: str
    act: CascadeActKind
    by: str
    reason: str
    at: datetime
    until: datetime | None = None  # of a freeze
    id: UUID | None = None  # None before it is stored


def add_act(session: Session, act: CascadeAct) -> UUID:
    """Store it with its ledger leaf; its id."""
    key = new_id(act.at)
    dialects.insert_new(session, CascadeActRow, [row_of(CascadeActRow, act, id=key)], returning="id")
    return key


def newest_acts(session: Session, *, limit: int) -> tuple[CascadeAct, ...]:
    """The latest of all cascades, newest first."""
    query = select(CascadeActRow).order_by(CascadeActRow.at.desc(), CascadeActRow.id.desc()).limit(limit)
    return records(session, CascadeAct, query)


def acts_of(session: Session, cascade: str, kinds: tuple[CascadeActKind, ...]) -> tuple[CascadeAct, ...]:
    """The acts of these kinds, oldest first."""
    query = select(CascadeActRow).where(
        CascadeActRow.cascade == cascade, CascadeActRow.act.in_(kind.value for kind in kinds)
    )
    return records(session, CascadeAct, query.order_by(CascadeActRow.at, CascadeActRow.id))


def last_act(session: Session, cascade: str, kinds: tuple[CascadeActKind, ...]) -> CascadeAct | None:
    """The newest act of one of these kinds."""
    query = (
        select(CascadeActRow)
        .where(CascadeActRow.cascade == cascade, CascadeActRow.act.in_(kind.value for kind in kinds))
        .order_by(CascadeActRow.at.desc(), CascadeActRow.id.desc())
        .limit(1)
    )
    return next(iter(records(session, CascadeAct, query)), None)


def freeze_in_force(session: Session, cascade: str, *, now: datetime) -> CascadeAct | None:
    """The freeze that stands `now`; None where none does."""
    last = last_act(session, cascade, FREEZES)
    stands = last is not None and last.act is CascadeActKind.FROZEN and last.until is not None and last.until > now
    return last if stands else None
