"""Monthly partitions of the large tables on PostgreSQL.

A month's bounds are UUIDs: the smallest that carry its first millisecond and that of the next
month. Partitions are made ahead, and on demand when a decision of a new month arrives. What belongs
to no partition goes to the default one, so no acknowledged row can fail for want of a partition; a
month that already has rows there stays there. SQLite has no partitions, and here nothing to do.
"""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from knowgate._records.ids import decided_at
from store import dialects

# Parents before those that refer to them: all transactions take their locks in this order.
PARTITIONED = {
    "decision": "id",
    "attempt": "decision_id",
    "label": "decision_id",
    "vector_row": "decision_id",
    "ledger_leaf": "id",
}
# A month further from now than this is a wrong clock more likely than traffic: the default
# partition takes its rows.
MONTHS_BACK = 60
MONTHS_AHEAD = 3
_PARTITION = re.compile(rf"({'|'.join(PARTITIONED)})_(p\d{{6}}|default)")


def is_partition(table: str) -> bool:
    """Whether this is a partition's name, not a table's."""
    return _PARTITION.fullmatch(table) is not None


def first_id(time: datetime) -> UUID:
    """The smallest UUID that carries `time`: every UUIDv7 of an earlier millisecond sorts before
    it.
    """
    return UUID(int=max(0, int(time.timestamp() * 1000)) << 80)


def month_of(time: datetime) -> date:
    return time.astimezone(UTC).date().replace(day=1)


def months_of(ids: Iterable[UUID], *, now: datetime) -> frozenset[date]:
    """The months of these ids that are to have a partition; those too far from `now`
    are left out.
    """
    here = _ordinal(month_of(now))
    stamps = {decision_id.int >> 80: decision_id for decision_id in ids}
    months = {month_of(decided_at(decision_id)) for decision_id in stamps.values()}
    return frozenset(month for month in months if -MONTHS_BACK <= _ordinal(month) - here <= MONTHS_AHEAD)


def months_ahead(now: datetime, count: int = 2) -> frozenset[date]:
    """The month of `now` and the `count` after it."""
    start = _ordinal(month_of(now))
    return frozenset(_from_ordinal(start + step) for step in range(count + 1))


def ensure_partitions(session: Session, months: Iterable[date]) -> tuple[str, ...]:
    """Make the partitions of these months that are missing; the names of those made."""
    wanted = sorted({month.replace(day=1) for month in months})
    if not wanted or not dialects.is_postgresql(session):
        return ()
    if not _missing(session, wanted):
        return ()
    dialects.lock(session, "knowgate.partitions")
    made = []
    for table, month in _missing(session, wanted):  # looked up again: another process may have been first
        low, high = bounds_of(month)
        if _has_strays(session, table, low, high):
            continue
        name = _name(table, month)
        session.execute(text(f"CREATE TABLE {name} PARTITION OF {table} FOR VALUES FROM ('{low}') TO ('{high}')"))
        made.append(name)
    return tuple(made)


def months_there(session: Session) -> tuple[date, ...]:
    """The months whose decisions have a partition of their own, oldest first; none on SQLite."""
    if not dialects.is_postgresql(session):
        return ()
    query = text("SELECT relname FROM pg_class WHERE relispartition AND relname ~ '^decision_p[0-9]{6}$' ORDER BY 1")
    return tuple(date(int(name[-6:-2]), int(name[-2:]), 1) for name in session.scalars(query))


def month_after(month: date) -> date:
    return _from_ordinal(_ordinal(month) + 1)


def bounds_of(month: date) -> tuple[UUID, UUID]:
    """The ids of a month: at least the first, below the second."""
    return first_id(_midnight(month)), first_id(_midnight(month_after(month)))


def drop_partitions(session: Session, month: date) -> int:
    """Take the rows of a month away with their partitions: labels, attempts, decisions, and where
    vectors lie if none does; how many decisions.
    """
    gone = session.scalar(text(f"SELECT count(*) FROM {_name('decision', month)}")) or 0
    vectors = session.scalar(text("SELECT to_regclass(:name)"), {"name": _name("vector_row", month)})
    empty = vectors is not None and not session.scalar(text(f"SELECT EXISTS (SELECT 1 FROM {vectors})"))
    # In the order in which they refer to each other.
    for table in ("label", "attempt", "decision", *(("vector_row",) if empty else ())):
        name = _name(table, month)
        session.execute(text(f"ALTER TABLE {table} DETACH PARTITION {name}"))
        session.execute(text(f"DROP TABLE {name}"))
    return gone


def _missing(session: Session, months: list[date]) -> list[tuple[str, date]]:
    names = {_name(table, month): (table, month) for table in PARTITIONED for month in months}
    existing = session.execute(
        text("SELECT relname FROM pg_class WHERE relname = ANY(:names) AND relispartition"), {"names": list(names)}
    ).scalars()
    for name in existing:
        names.pop(name)
    return list(names.values())


def _has_strays(session: Session, table: str, low: UUID, high: UUID) -> bool:
    key = PARTITIONED[table]
    query = text(f"SELECT EXISTS (SELECT 1 FROM {table}_default WHERE {key} >= :low AND {key} < :high)")
    return bool(session.execute(query, {"low": low, "high": high}).scalar_one())


def _name(table: str, month: date) -> str:
    return f"{table}_p{month:%Y%m}"


def _midnight(month: date) -> datetime:
    return datetime(month.year, month.month, 1, tzinfo=UTC)


def _ordinal(month: date) -> int:
    return month.year * 12 + month.month - 1


def _from_ordinal(ordinal: int) -> date:
    return date(ordinal // 12, ordinal % 12 + 1, 1)
