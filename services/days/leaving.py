"""Rows of written days leave the database: whole months of PostgreSQL's partitions at once, on
SQLite a few thousand decisions at a time.

Decisions:
- What leaves is what a file says exactly. A range that something came for since, or that lies in no
  file, keeps its rows until it is written.
- A file is read and hashed before it stands for its rows. One that is gone, or not what was
  written, is doubted: its rows stay, and a later run writes it anew from them.
- Rows stay at least as long as anything looks back without asking for a window: a cascade's
  training window and its label horizon, and the four weeks that a daily rule compares. Where a
  cascade cannot be read, nothing leaves.
- A file says that its rows left (`left_at`) in the transaction that takes the first of them away.
  From then on it stands for those that are not in the tables, so a run that is killed half-way has
  lost nothing, and the next goes on.
- Where vectors lie stays in the database for as long as they are kept, since it moves with them.
"""

import logging
from datetime import date, datetime, timedelta
from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from knowgate.errors import RecordInvalid
from services.days.writing import hold_arrivals
from services.vectors.shard_files import Guard, unguarded
from services.windows import DAY, floor_time
from store import partitions
from store.days import day_bytes, day_files, day_rows, leaving_rows
from store.days.day_files import DayFile
from store.engine import reading, transaction
from store.errors import ShardRefused
from store.releases import cascades

log = logging.getLogger("knowgate.days")

LOOKED_BACK = timedelta(days=28)  # beyond training window and label horizon
DECISIONS_AT_ONCE = 2000


def leave(engine: Engine, retention: timedelta | None, *, now: datetime, guard: Guard = unguarded) -> int:
    """Let the rows go of written days that are older than `retention`; how many decisions. None =
    they stay for ever.
    """
    before = None if retention is None else _limit(engine, retention, now)
    if before is None:
        return 0
    gone = sum(_leave_month(engine, month, now, guard) for month in _months(engine, before))
    with reading(engine) as session:
        files = [file for file in day_files.all_files(session) if file.high <= partitions.first_id(before)]
    whole_months = engine.dialect.name == "postgresql"
    return gone + sum(_leave_file(engine, file, now, guard) for file in files if file.left_at or not whole_months)


def _limit(engine: Engine, retention: timedelta, now: datetime) -> datetime | None:
    kept = retention
    with reading(engine) as session:
        for name in cascades.cascade_names(session):
            try:
                spec = cascades.cascade(session, name)
            except RecordInvalid as error:
                log.error("no rows leave: %s cannot be read (%s): apply a good file again", name, error)
                return None
            kept = max(kept, spec.schedule.training_window + spec.horizon + LOOKED_BACK)
    try:
        return floor_time(now - kept, DAY)
    except OverflowError:
        return None


def _months(engine: Engine, before: datetime) -> list[date]:
    """The months with partitions of their own that ended before a time."""
    with reading(engine) as session:
        return [month for month in partitions.months_there(session) if partitions.month_after(month) <= before.date()]


def _leave_month(engine: Engine, month: date, now: datetime, guard: Guard) -> int:
    low, high = partitions.bounds_of(month)
    with reading(engine) as session:
        every = [
            file
            for name in cascades.cascade_names(session)
            for file in day_files.files_between(session, name, low, high)
        ]
    sound = {file.sha256 for file in every if file.left_at is not None or _sound(engine, file, now, guard)}
    with transaction(engine) as session:
        guard(session)
        leaving_rows.be_patient(session)
        names = cascades.cascade_names(session)
        for name in sorted(names):
            hold_arrivals(session, name)
        files = [file for name in names for file in day_files.files_between(session, name, low, high)]
        whole = all(_whole(session, name, low, high) for name in names)
        if not whole or not sound.issuperset(file.sha256 for file in files):
            log.info("the rows of %s stay: not all of them lie in files that say all", f"{month:%Y-%m}")
            return 0
        for file in files:
            if file.left_at is None:
                day_files.leave(session, file, now=now)
        return partitions.drop_partitions(session, month)


def _whole(session: Session, cascade: str, low: UUID, high: UUID) -> bool:
    """Whether every decision of a range lies in a file that says all of it."""
    exact = all(file.changed_at is None for file in day_files.files_between(session, cascade, low, high))
    gaps = day_files.uncovered(session, cascade, low, high)
    return exact and all(day_rows.first_between(session, cascade, *gap) is None for gap in gaps)


def _sound(engine: Engine, file: DayFile, now: datetime, guard: Guard) -> bool:
    """Whether what is to stand for its rows is there, to the byte; else it is doubted."""
    try:
        day_bytes.read_file(file.url, file.sha256)
    except ShardRefused as error:
        log.error("rows of %s stay in the database, their file is written anew: %s", file.cascade, error)
        with transaction(engine) as session:
            guard(session)
            day_files.doubt(session, file, now=now)
        return False
    return True


def _leave_file(engine: Engine, file: DayFile, now: datetime, guard: Guard) -> int:
    if file.left_at is None and not _sound(engine, file, now, guard):
        return 0
    gone = 0
    while some := _leave_some(engine, file, now, guard):
        gone += some
    return gone


def _leave_some(engine: Engine, file: DayFile, now: datetime, guard: Guard) -> int:
    with reading(engine) as session:
        if day_rows.first_between(session, file.cascade, file.low, file.high) is None:
            return 0
    with transaction(engine) as session:
        guard(session)
        hold_arrivals(session, file.cascade)
        (current,) = day_files.files_between(session, file.cascade, file.low, file.high)
        if current.changed_at is not None or current.sha256 != file.sha256:
            return 0
        if current.left_at is None:
            day_files.leave(session, current, now=now)
        return leaving_rows.delete_some(session, file.cascade, file.low, file.high, limit=DECISIONS_AT_ONCE)
