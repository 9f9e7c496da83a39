"""Ids of all records: UUIDv7 (RFC 9562); a decision's is made where the query is served.

The first 48 bits are the time in milliseconds, so ids sort by decision time and the large tables
can be partitioned by month of the id alone.
"""

import os
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID, SafeUUID

from knowgate.errors import RecordInvalid

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_set_int, _set_is_safe = (vars(UUID)[slot].__set__ for slot in ("int", "is_safe"))
_VERSION_AND_VARIANT = 0x7 << 76 | 0b10 << 62
_UNKNOWN = SafeUUID.unknown


def new_id(now: datetime | None = None, *, randomness: int | None = None) -> UUID:
    """A fresh UUIDv7, of `now` (aware) or of the clock. Raises RecordInvalid for a naive time, or
    one before 1970.

    `randomness` (80 bits) makes a simulation's ids repeatable; whoever serves queries leaves it
    out.

    >>> decided_at(new_id(datetime(2026, 1, 2, tzinfo=UTC)))
    datetime.datetime(2026, 1, 2, 0, 0, tzinfo=datetime.timezone.utc)
    """
    millis = time.time_ns() // 1_000_000 if now is None else _millis(now)
    random = int.from_bytes(os.urandom(10), "big") if randomness is None else randomness
    value = (millis & (2**48 - 1)) << 80 | (random >> 68 & 0xFFF) << 64 | random & (2**62 - 1) | _VERSION_AND_VARIANT
    return _uuid(value)


def decided_at(decision_id: UUID) -> datetime:
    """The time a UUIDv7 carries, in UTC, to the millisecond.

    Raises RecordInvalid for a UUID of another version, or a time beyond the year 9999.
    """
    if decision_id.version != 7:
        raise RecordInvalid("decision_id", str(decision_id), "make ids with knowgate.new_id (UUIDv7)")
    try:
        return _EPOCH + timedelta(milliseconds=decision_id.int >> 80)
    except OverflowError:
        raise RecordInvalid("decision_id", str(decision_id), "its time lies beyond the year 9999") from None


def _uuid(value: int) -> UUID:
    """`UUID(int=value)`, without the asking which of its other arguments were given, which takes
    twice as long.
    """
    made = object.__new__(UUID)
    _set_int(made, value)
    _set_is_safe(made, _UNKNOWN)
    return made


def _millis(now: datetime) -> int:
    if now.tzinfo is None:
        raise RecordInvalid("now", now.isoformat(), "the time is naive; add its offset, e.g. Z")
    since = now - _EPOCH
    if since.days < 0:
        raise RecordInvalid("now", now.isoformat(), "a UUIDv7 counts from 1970")
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000
