"""Verifications of the ledger that persons asked for: which batches were looked at, and what was
found.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from knowgate._records.ids import new_id
from store import dialects
from store.rows import records, row_of
from store.tables import VerificationRow


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationRecord:
    """What one verification looked at, and found."""

    at: datetime
    by: str
    first_batch: int
    last_batch: int
    last_hash: str  # of that batch
    leaves: int  # that were read
    problems: int
    said: str | None  # the first of them


def add_verification(session: Session, record: VerificationRecord) -> None:
    """Store it, with its ledger leaf."""
    row = row_of(VerificationRow, record, id=new_id(record.at))
    dialects.insert_new(session, VerificationRow, [row], returning="id")


def verifications(session: Session, *, limit: int = 10) -> tuple[VerificationRecord, ...]:
    """The latest ones, newest first."""
    query = select(VerificationRow).order_by(VerificationRow.at.desc(), VerificationRow.id.desc()).limit(limit)
    return records(session, VerificationRecord, query)


def last_good(session: Session) -> VerificationRecord | None:
    """Of those that found nothing the one that reaches farthest; None before the first."""
    query = select(VerificationRow).where(VerificationRow.problems == 0).order_by(VerificationRow.last_batch.desc())
    return next(iter(records(session, VerificationRecord, query.limit(1))), None)
