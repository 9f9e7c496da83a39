"""Writing days: what is mature and sealed goes to a Parquet file beside the shards, a range of one
cascade's decisions at a time.

Decisions:
- A file is made of what a reading transaction sees, and put and registered in a writing one that
  keeps labels, decisions and erasures of the cascade out. If the tables say something else by then,
  it is made anew. So no ingestion waits while rows are read, and no file holds what was erased.
- A day that is written in part goes on where it ended: what is registered says how far it came.
- A file that something came for since is written anew, at the next run that finds it so. The old
  file is swept as a shard is that nothing refers to.
"""

from datetime import datetime
from uuid import UUID

import pyarrow as pa
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from knowgate._records.records import Window
from services.errors import ServicesError
from services.vectors.shard_files import Guard, unguarded
from store import partitions
from store.days import day_bytes, day_files, day_rows
from store.days.day_bytes import ROWS_OF_ONE
from store.days.day_files import DayFile
from store.engine import reading, transaction
from store.statements import hold_statements
from store.traffic.adoption import hold_labels
from store.traffic.vectors import hold_files

_TRIES = 3


class RangeRestless(ServicesError):
    """The decisions of a range change faster than they are written."""


def write_day(
    engine: Engine,
    cascade: str,
    day: Window,
    base_url: str,
    *,
    now: datetime,
    guard: Guard = unguarded,
    rows_of_one: int = ROWS_OF_ONE,
) -> int:
    """Write what is in no file yet of a day's decisions; how many files. Raises ShardRefused.

    `guard` is called first in each transaction that has an effect.
    """
    low, high = partitions.first_id(day.start), partitions.first_id(day.end)
    written = 0
    while (open_range := _open_range(engine, cascade, low, high)) is not None:
        low = _write_range(engine, cascade, *open_range, base_url, now, guard, rows_of_one)
        written += 1
    return written


def rewrite_changed(
    engine: Engine, cascade: str, base_url: str, *, before: datetime, now: datetime, guard: Guard = unguarded
) -> int:
    """Write those files anew that have not said all since a time before this; how many. Raises
    ShardRefused.
    """
    with reading(engine) as session:
        changed = day_files.changed_files(session, cascade, before=before)
    for file in changed:
        if file.left_at is None:
            _write_range(engine, cascade, file.low, file.high, base_url, now, guard, None)
        else:
            _merge(engine, file, base_url, now, guard)
    return len(changed)


def _open_range(engine: Engine, cascade: str, low: UUID, high: UUID) -> tuple[UUID, UUID] | None:
    """The first range of these ids that lies in no file and has decisions."""
    with reading(engine) as session:
        for part in day_files.uncovered(session, cascade, low, high):
            first = day_rows.first_between(session, cascade, *part)
            if first is not None:
                return part
    return None


def _write_range(
    engine: Engine,
    cascade: str,
    low: UUID,
    high: UUID,
    base_url: str,
    now: datetime,
    guard: Guard,
    most: int | None,
) -> UUID:
    """Write a range that the tables have the whole of; where the file ends."""
    for _ in range(_TRIES):
        with reading(engine) as session:
            rows, end = day_rows.rows_between(session, cascade, low, high, most=most)
        made = day_bytes.encoded(rows)
        with transaction(engine) as session:
            guard(session)
            _hold(session, cascade)
            if day_files.count_range(session, cascade, low, end) == made.counts:
                made.put(base_url)
                day_files.put_file(session, cascade, low, end, made, base_url=base_url, now=now)
                return end
    raise RangeRestless(f"decisions of {cascade} from {low} on changed {_TRIES} times while they were read")


def _merge(engine: Engine, file: DayFile, base_url: str, now: datetime, guard: Guard) -> None:
    """Take what the tables have into a file whose rows left them."""
    with transaction(engine) as session:
        guard(session)
        _hold(session, file.cascade)
        (current,) = day_files.files_between(session, file.cascade, file.low, file.high)
        here, _ = day_rows.rows_between(session, file.cascade, file.low, file.high)
        rows = day_bytes.patched(day_bytes.read_file(current.url, current.sha256), here)
        _put_again(session, current, rows, base_url, now=now)


def erase_from_files(session: Session, decision: UUID, base_url: str, *, now: datetime) -> tuple[str, ...]:
    """Write the file of an erased decision's day anew, with what the tables have of it now; the URL
    of the old one, which the caller removes once the transaction has ended. Raises ShardRefused.

    The caller holds the files alone.
    """
    old = []
    for file in day_files.files_of(session, [decision]):
        hold_arrivals(session, file.cascade)
        (current,) = day_files.files_between(session, file.cascade, file.low, file.high)
        here = day_rows.rows_of(session, [decision])
        if here.num_rows == 0 or here.column("cascade")[0].as_py() != file.cascade:
            continue
        rows = day_bytes.patched(day_bytes.read_file(current.url, current.sha256), here)
        _put_again(session, current, rows, base_url, now=now, changed_at=current.changed_at)
        old.append(current.url)
    return tuple(old)


def _put_again(
    session: Session,
    file: DayFile,
    rows: pa.Table,
    base_url: str,
    *,
    now: datetime,
    changed_at: datetime | None = None,
) -> None:
    """Write these rows as the file of a range that has one. Nothing refers to the old one then."""
    made = day_bytes.encoded(rows)
    made.put(base_url)
    day_files.put_file(
        session,
        file.cascade,
        file.low,
        file.high,
        made,
        base_url=base_url,
        now=now,
        changed_at=changed_at,
        left_at=file.left_at,
    )


def _hold(session: Session, cascade: str) -> None:
    hold_files(session)
    hold_arrivals(session, cascade)


def hold_arrivals(session: Session, cascade: str) -> None:
    """Keep labels and decisions of a cascade out until the transaction ends; it has said that it
    writes files (`hold_files`), in the order in which they say so.
    """
    hold_statements(session, [cascade])
    hold_labels(session, cascade)
