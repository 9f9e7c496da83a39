"""What a season has counted, a row per attempt: the promise "in no week" rests on counters that are
added to and never started again.

A row is written in the transaction that publishes its attempt. A trainer that dies before it has
counted nothing, and its repetition counts the same decisions from the same row.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from store import dialects
from store.errors import AttemptTaken
from store.rows import Document, records, row_of
from store.tables import SeasonRow


@dataclass(frozen=True, slots=True, kw_only=True)
class SeasonRecord:
    """A season after one attempt."""

    cascade: str
    attempt: int  # k of the certification
    number: int  # which season, from 1
    began_at: datetime  # decisions from here on count
    opened_at: datetime  # decision time of its first attempt
    counted_until: datetime  # decisions from here on are not counted yet
    bundle: str  # whose models score what is counted next
    document: Document  # path and counters, as the trainer writes them


def latest_season(session: Session, cascade: str) -> SeasonRecord | None:
    """The cascade's newest season after its newest attempt."""
    query = select(SeasonRow).where(SeasonRow.cascade == cascade).order_by(SeasonRow.attempt.desc()).limit(1)
    return next(iter(records(session, SeasonRecord, query)), None)


def add_season(session: Session, record: SeasonRecord) -> None:
    """Store a season with its ledger leaf. Raises AttemptTaken where another run did meanwhile."""
    if not dialects.insert_new(session, SeasonRow, [row_of(SeasonRow, record)], returning="attempt"):
        raise AttemptTaken(record.cascade, record.attempt)
