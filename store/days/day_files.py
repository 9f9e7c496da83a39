"""Which ranges of decisions lie in a day's file, and whether the file says all of them.

Decisions:
- A file's range is [low, high) of ids of one cascade, within a UTC day; ranges do not overlap. What
  lies in no range is in the tables alone.
- Rows are only ever added, so a file that was the whole of its range stays that until a decision or
  a label of the range is stored. Whoever stores one says so (`touch`), in the same transaction; a
  file is registered while nobody stores any, and only if the range counts then what
  the file counts. So a file without `changed_at` is exact, without a look at the tables.
- An erasure rewrites the file in its own transaction.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Update, func, select, update
from sqlalchemy.orm import Session

from store import dialects
from store.days.day_bytes import Counts, DayBytes
from store.days.day_columns import VERSION
from store.rows import record_of, records, row_of
from store.tables import AttemptRow, DayFileRow, DecisionRow, LabelRow


@dataclass(frozen=True, slots=True, kw_only=True)
class DayFile:
    """A file, and the range of decisions that lies in it."""

    cascade: str
    low: UUID
    high: UUID
    url: str
    sha256: str
    bytes: int
    schema_version: int
    decisions: int
    attempts: int
    labels: int
    erased: int
    written_at: datetime
    changed_at: datetime | None  # since when the tables know more than it says
    left_at: datetime | None  # since when its rows need not be in the tables

    @property
    def counts(self) -> Counts:
        return record_of(Counts, self)


def files_between(session: Session, cascade: str, low: UUID, high: UUID) -> tuple[DayFile, ...]:
    """The files of ranges that meet [low, high), in their order."""
    query = select(DayFileRow).where(DayFileRow.cascade == cascade, DayFileRow.low < high, DayFileRow.high > low)
    return records(session, DayFile, query.order_by(DayFileRow.low))


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A range of ids, and where its decisions are read: in files, in the tables, or in both, where
    what the tables have of a decision stands.
    """

    low: UUID
    high: UUID
    files: tuple[DayFile, ...] = ()
    tables: bool = True


def parts_of(session: Session, cascade: str, low: UUID, high: UUID) -> tuple[Part, ...]:
    """Where the decisions of [low, high) are read, in order and without a gap."""
    parts: list[Part] = []
    end = low
    for file in files_between(session, cascade, low, high):
        start, stop = max(low, file.low), min(high, file.high)
        if end < start:
            parts.append(Part(low=end, high=start))
        changed = file.changed_at is not None
        files = () if changed and file.left_at is None else (file,)
        parts.append(Part(low=start, high=stop, files=files, tables=changed))
        end = stop
    if end < high:
        parts.append(Part(low=end, high=high))
    merged: list[Part] = []
    for part in parts:
        before = merged[-1] if merged else None
        if before is not None and before.tables == part.tables and not (part.tables and part.files + before.files):
            merged[-1] = Part(low=before.low, high=part.high, files=before.files + part.files, tables=part.tables)
        else:
            merged.append(part)
    return tuple(merged)


def uncovered(session: Session, cascade: str, low: UUID, high: UUID) -> tuple[tuple[UUID, UUID], ...]:
    """The parts of [low, high) that lie in no file."""
    gaps, end = [], low
    for file in files_between(session, cascade, low, high):
        if end < file.low:
            gaps.append((end, file.low))
        end = max(end, file.high)
    return (*gaps, (end, high)) if end < high else tuple(gaps)


def all_files(session: Session) -> tuple[DayFile, ...]:
    """Every file there is, by cascade and range."""
    return records(session, DayFile, select(DayFileRow).order_by(DayFileRow.cascade, DayFileRow.low))


def files_of(session: Session, ids: Collection[UUID], *, left: bool | None = None) -> tuple[DayFile, ...]:
    """The files whose ranges these decisions lie in, of whatever cascade; with `left`, those whose
    rows left the tables, or did not.
    """
    if not ids:
        return ()
    query = select(DayFileRow).where(DayFileRow.low <= max(ids), DayFileRow.high > min(ids))
    if left is not None:
        query = query.where(DayFileRow.left_at.is_not(None) if left else DayFileRow.left_at.is_(None))
    found = records(session, DayFile, query.order_by(DayFileRow.cascade, DayFileRow.low))
    return tuple(file for file in found if any(file.low <= one < file.high for one in ids))


def touch(session: Session, ids: Collection[UUID], *, now: datetime) -> int:
    """Say that decisions or labels of these ids were stored: files of their ranges say no longer
    all. How many said it until now.
    """
    stale = [file for file in files_of(session, ids) if file.changed_at is None]
    for file in stale:
        session.execute(_of(file).values(changed_at=now), execution_options={"synchronize_session": False})
    return len(stale)


def count_range(session: Session, cascade: str, low: UUID, high: UUID) -> Counts:
    """What the tables hold of a range."""
    within = (DecisionRow.cascade == cascade, DecisionRow.id >= low, DecisionRow.id < high)
    decisions, erased = session.execute(select(func.count(), func.count(DecisionRow.erased_at)).where(*within)).one()
    attempts, labels = (
        session.scalar(
            select(func.count())
            .select_from(DecisionRow)
            .join(model, model.decision_id == DecisionRow.id)
            .where(*within, model.decision_id >= low, model.decision_id < high)
        )
        for model in (AttemptRow, LabelRow)
    )
    return Counts(decisions=decisions, attempts=attempts or 0, labels=labels or 0, erased=erased)


def put_file(
    session: Session,
    cascade: str,
    low: UUID,
    high: UUID,
    written: DayBytes,
    *,
    base_url: str,
    now: datetime,
    changed_at: datetime | None = None,
    left_at: datetime | None = None,
) -> None:
    """Record a file that lies under `base_url` as that of a range, in place of the one before."""
    row = row_of(
        DayFileRow,
        written.counts,
        cascade=cascade,
        low=low,
        high=high,
        url=written.url(base_url),
        sha256=written.sha256,
        bytes=written.content.nbytes,
        schema_version=VERSION,
        written_at=now,
        changed_at=changed_at,
        left_at=left_at,
    )
    dialects.upsert(session, DayFileRow, [row])


def doubt(session: Session, file: DayFile, *, now: datetime) -> None:
    """Say that a file is not to be read for its range: what the tables have is written anew."""
    session.execute(_of(file).values(changed_at=now), execution_options={"synchronize_session": False})


def leave(session: Session, file: DayFile, *, now: datetime) -> None:
    """Say that a file's rows need not be in the tables any more."""
    session.execute(_of(file).values(left_at=now), execution_options={"synchronize_session": False})


def point_file(session: Session, file: DayFile, url: str) -> None:
    """Say that a file lies elsewhere now."""
    session.execute(_of(file).values(url=url), execution_options={"synchronize_session": False})


def changed_files(session: Session, cascade: str, *, before: datetime) -> tuple[DayFile, ...]:
    """The cascade's files that have not said all since a time before this."""
    query = select(DayFileRow).where(DayFileRow.cascade == cascade, DayFileRow.changed_at < before)
    return records(session, DayFile, query.order_by(DayFileRow.low))


def left_files(session: Session, cascade: str) -> tuple[DayFile, ...]:
    """The cascade's files whose rows left the tables, in their order."""
    query = select(DayFileRow).where(DayFileRow.cascade == cascade, DayFileRow.left_at.is_not(None))
    return records(session, DayFile, query.order_by(DayFileRow.low))


def _of(file: DayFile) -> Update:
    return update(DayFileRow).where(DayFileRow.cascade == file.cascade, DayFileRow.low == file.low)
