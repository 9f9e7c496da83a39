"""Which of the trainer's attempts persons asked for, and what of δ each had."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from store.jobs.occasions import TrainingReason
from store.tables import CertificationRow, JobRunRow


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedFor:
    """The trainer's attempts that persons asked for since the last one that had the whole δ."""

    levels: tuple[float, ...]  # what each had, the newest first
    last_at: datetime | None  # when the newest attempt of the trainer was made, whoever asked


def asked_for(session: Session, cascade: str) -> AskedFor:
    """What was asked for since the last attempt that nobody asked for, or that had all of δ."""
    query = (
        select(
            CertificationRow.delta_spent, CertificationRow.delta_family, CertificationRow.decided_at, JobRunRow.reason
        )
        .outerjoin(JobRunRow, JobRunRow.bundle == CertificationRow.bundle)
        .where(CertificationRow.cascade == cascade, CertificationRow.bundle.is_not(None))
        .order_by(CertificationRow.attempt.desc())
    )
    levels: list[float] = []
    last_at: datetime | None = None
    for row in session.execute(query):
        last_at = last_at or row.decided_at
        asked = row.reason is not None and TrainingReason(row.reason).of_a_person
        if not asked or row.delta_spent >= row.delta_family:
            break
        levels.append(row.delta_spent)
    return AskedFor(levels=tuple(levels), last_at=last_at)
