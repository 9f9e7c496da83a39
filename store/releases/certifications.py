"""Certification attempts, every one of them.

What of δ an attempt may use can depend on those before it, whether or not they certified anything;
so every attempt is a row with what it used, and two runs cannot have the same number.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from knowgate._records.ids import new_id
from knowgate._records.records import Window
from store import dialects
from store.errors import AttemptTaken
from store.rows import Document, records, row_of
from store.tables import CertificationRow


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificationRecord:
    """One attempt at a certificate, and what came of it."""

    cascade: str
    attempt: int  # k, from 1
    window: Window  # of the cohort
    status: str  # certified, infeasible, insufficient_evidence, saves_nothing
    target_kind: str
    target_value: float
    delta_family: float  # δ of the promise: what every attempt may use, or all of a season together
    delta_spent: float  # what of δ this attempt had
    n: int
    document: Document  # the certificate
    decided_at: datetime
    bundle: str | None = None


def next_attempt_number(session: Session, cascade: str) -> int:
    """The k that the cascade's next certification is to use, from 1."""
    query = select(func.max(CertificationRow.attempt)).where(CertificationRow.cascade == cascade)
    return (session.execute(query).scalar_one() or 0) + 1


def add_certification(session: Session, record: CertificationRecord) -> UUID:
    """Store an attempt with its ledger leaf; its id. Raises AttemptTaken when another run has this
    number.
    """
    key = new_id(record.decided_at)
    row = row_of(CertificationRow, record, id=key)
    if not dialects.insert_new(session, CertificationRow, [row], returning="id"):
        raise AttemptTaken(record.cascade, record.attempt)
    return key


def certifications(session: Session, cascade: str) -> tuple[CertificationRecord, ...]:
    """The cascade's attempts in their order."""
    query = select(CertificationRow).where(CertificationRow.cascade == cascade).order_by(CertificationRow.attempt)
    return records(session, CertificationRecord, query)


def newest_certification(session: Session, cascade: str) -> CertificationRecord | None:
    """The cascade's last attempt; None before the first."""
    newest = CertificationRow.attempt.desc()
    query = select(CertificationRow).where(CertificationRow.cascade == cascade).order_by(newest).limit(1)
    return next(iter(records(session, CertificationRecord, query)), None)
