"""With which settings services started: each start is added and never changed, with its leaf in the
ledger.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from knowgate._records.ids import new_id
from store import dialects
from store.rows import records, row_of
from store.tables import ServiceStartRow


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStart:
    """One start."""

    at: datetime
    by: str  # the operator
    service: str  # api, scheduler
    settings: str  # JSON: those that were set, by their variables; of secrets that they were


def add_start(session: Session, start: ServiceStart) -> None:
    """Store it, with its ledger leaf."""
    row = row_of(ServiceStartRow, start, id=new_id(start.at))
    dialects.insert_new(session, ServiceStartRow, [row], returning="id")


def newest_starts(session: Session, *, limit: int) -> tuple[ServiceStart, ...]:
    """The latest ones, newest first."""
    query = select(ServiceStartRow).order_by(ServiceStartRow.at.desc(), ServiceStartRow.id.desc()).limit(limit)
    return records(session, ServiceStart, query)
