"""What the tables say now about the subjects of ledger leaves, many at a time: verification compares the two."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TypeVar
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from store import decision_rows
from store.decisions import decisions_of
from store.tables import LabelRow, WaitingLabelRow

T = TypeVar("T")
_CHUNK = 5000  # ids in one IN list


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a stored label says."""

    source: str
    correct: float
    labelled_at: datetime
    label_propensity: float | None


def decision_payloads(session: Session, ids: Sequence[UUID]) -> dict[UUID, str]:
    """What a leaf written now would say of each decision that is there."""
    return {
        decision.id: decision_rows.payload(decision)
        for chunk in _chunks(ids)
        for decision in decisions_of(session, chunk)
    }


def label_statements(session: Session, arrivals: Sequence[UUID]) -> dict[UUID, Statement]:
    """What each label says, by its arrival; those that wait for their decision too."""
    found: dict[UUID, Statement] = {}
    for chunk in _chunks(arrivals):
        for table in (LabelRow, WaitingLabelRow):
            for row in session.execute(
                select(table.arrival, table.source, table.correct, table.labelled_at, table.label_propensity).where(
                    table.arrival.in_(chunk)
                )
            ):
                found[row.arrival] = Statement(
                    source=row.source,
                    correct=row.correct,
                    labelled_at=row.labelled_at,
                    label_propensity=row.label_propensity,
                )
    return found


def _chunks(items: Sequence[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk
