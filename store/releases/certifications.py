"""Certification attempts, each of which spends its share of δ.

The k-th attempt on a family of certificates may use δ_k only, whether or not the ones before it
certified anything; so every attempt is a row, and two runs cannot spend the same k.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from knowgate._records.ids import new_decision_id
from knowgate._records.records import Window
from store import dialects, documents
from store.errors import AttemptTaken
from store.tables import CertificationRow


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificationRecord:
    """One attempt at a certificate, and what came of it."""

    cascade: str
    attempt: int  # k, from 1
    window: Window  # of the cohort
    status: str  # certified, infeasible, insufficient_evidence
    target_kind: str
    target_value: float
    delta_family: float  # what all attempts together may spend
    delta_spent: float  # δ_k
    n: int
    document: str  # canonical JSON of the certificate
    decided_at: datetime
    bundle: str | None = None


def next_attempt(session: Session, cascade: str) -> int:
    """The k that the cascade's next certification is to use, from 1."""
    query = select(func.max(CertificationRow.attempt)).where(CertificationRow.cascade == cascade)
    return (session.execute(query).scalar_one() or 0) + 1


def add_certification(session: Session, record: CertificationRecord) -> UUID:
    """Store an attempt with its ledger leaf; its id. Raises AttemptTaken when another run spent
    this k.
    """
    key = new_decision_id(record.decided_at)
    document = documents.parse(record.document)
    row = {
        "id": key,
        "cascade": record.cascade,
        "attempt": record.attempt,
        "window_start": record.window.start,
        "window_end": record.window.end,
        "status": record.status,
        "target_kind": record.target_kind,
        "target_value": record.target_value,
        "delta_family": record.delta_family,
        "delta_spent": record.delta_spent,
        "n": record.n,
        "bundle": record.bundle,
        "document": document,
        "decided_at": record.decided_at,
    }
    if not dialects.insert_new(session, CertificationRow, [row], returning="id"):
        raise AttemptTaken(record.cascade, record.attempt)
    return key


def certifications(session: Session, cascade: str) -> tuple[CertificationRecord, ...]:
    """The cascade's attempts in their order."""
    query = select(CertificationRow).where(CertificationRow.cascade == cascade).order_by(CertificationRow.attempt)
    return tuple(
        CertificationRecord(
            cascade=row.cascade,
            attempt=row.attempt,
            window=Window(start=row.window_start, end=row.window_end),
            status=row.status,
            target_kind=row.target_kind,
            target_value=row.target_value,
            delta_family=row.delta_family,
            delta_spent=row.delta_spent,
            n=row.n,
            document=documents.write(row.document),
            decided_at=row.decided_at,
            bundle=row.bundle,
        )
        for row in session.scalars(query)
    )
