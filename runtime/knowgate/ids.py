"""Decision ids: UUIDv7 (RFC 9562), made where the query is served.

The first 48 bits are the time in milliseconds, so ids sort by decision time and the large tables can be
partitioned by month of the id alone.
"""

import os
import time
from datetime import UTC, datetime
from uuid import UUID

from knowgate.errors import RecordInvalid


def new_decision_id(now: datetime | None = None) -> UUID:
    """A fresh UUIDv7, of `now` (aware) or of the clock.

    >>> decided_at(new_decision_id(datetime(2026, 1, 2, tzinfo=UTC)))
    datetime.datetime(2026, 1, 2, 0, 0, tzinfo=datetime.timezone.utc)
    """
    millis = time.time_ns() // 1_000_000 if now is None else int(now.timestamp() * 1000)
    random = int.from_bytes(os.urandom(10), "big")
    value = (millis & (2**48 - 1)) << 80
    value |= 0x7 << 76 | (random >> 68 & 0xFFF) << 64
    value |= 0b10 << 62 | random & (2**62 - 1)
    return UUID(int=value)


def decided_at(decision_id: UUID) -> datetime:
    """The time a UUIDv7 carries, in UTC, to the millisecond.

    Raises RecordInvalid for a UUID of another version.
    """
    if decision_id.version != 7:
        raise RecordInvalid("decision_id", str(decision_id), "make ids with knowgate.new_decision_id (UUIDv7)")
    return datetime.fromtimestamp((decision_id.int >> 80) / 1000, UTC)
