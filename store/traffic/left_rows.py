"""Decisions whose rows left the tables, read from the files of their days as if they were there."""

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from knowgate._records.records import Decision
from store.days.day_files import DayFile
from store.days.recall import LeftDecision, decisions_in_file
from store.tables import AttemptRow, DecisionRow
from store.traffic import decision_rows
from store.traffic.fingerprints import fingerprints


def left_rows(left: LeftDecision) -> tuple[DecisionRow, list[AttemptRow]]:
    """The decision and its attempts by tier, of no session."""
    return DecisionRow(**left.decision), [AttemptRow(**attempt) for attempt in left.attempts]


def left_between(session: Session, file: DayFile, low: UUID, high: UUID, as_of: datetime | None) -> Iterator[Decision]:
    """The decisions of a part of a file that are not in the tables, oldest first; with `as_of`,
    those that had been received by then. Raises ShardRefused.
    """
    known = fingerprints(session)
    within = (DecisionRow.cascade == file.cascade, DecisionRow.id >= low, DecisionRow.id < high)
    here = frozenset(session.scalars(select(DecisionRow.id).where(*within)))
    for left in decisions_in_file(file):
        row, attempts = left_rows(left)
        if low <= row.id < high and row.id not in here and (as_of is None or row.received_at <= as_of):
            yield decision_rows.read_decision(row, attempts, known)
