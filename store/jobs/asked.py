"""Which of the trainer's attempts persons asked for, and what of δ each had.

One that is asked for a period after another borrows nothing: it has what a turn would have, more
than half of δ, and has paid for those before it (`evidence.bounds.spending`).
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from store.jobs.occasions import TrainingReason
from store.tables import CertificationRow, JobRunRow


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedFor:
    """The trainer's attempts that persons asked for since the last one that borrowed nothing."""

    shares: tuple[float, ...]  # of the δ of its time, what each had, the newest first
    last_at: datetime | None  # when the newest attempt of the trainer was made, whoever asked


def asked_for(session: Session, cascade: str) -> AskedFor:
    """What was asked for since the last attempt that nobody asked for, or that borrowed nothing."""
    query = (
        select(
            CertificationRow.delta_spent, CertificationRow.delta_family, CertificationRow.decided_at, JobRunRow.reason
        )
        .outerjoin(JobRunRow, JobRunRow.bundle == CertificationRow.bundle)
        .where(CertificationRow.cascade == cascade, CertificationRow.bundle.is_not(None))
        .order_by(CertificationRow.attempt.desc())
    )
    shares: list[float] = []
    last_at: datetime | None = None
    for row in session.execute(query):
        last_at = last_at or row.decided_at
        asked = row.reason is not None and TrainingReason(row.reason).of_a_person
        if not asked or row.delta_spent >= row.delta_family / 2.0:
            break
        shares.append(row.delta_spent / row.delta_family)
    return AskedFor(shares=tuple(shares), last_at=last_at)
