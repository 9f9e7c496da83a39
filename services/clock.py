"""What time it is. Everything that asks, asks a clock it was given.

A deployment runs on the system's clock; a simulated one is played on a clock that is set by hand,
through the same API, jobs and runtime.
"""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Anything that tells the time as an aware datetime in UTC."""

    def now(self) -> datetime: ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class SimulatedClock:
    """A clock that stands still until it is set, and never goes back."""

    def __init__(self, start: datetime) -> None:
        self._now = start.astimezone(UTC)

    def now(self) -> datetime:
        return self._now

    def set(self, time: datetime) -> None:
        """Move to `time`; raises ValueError for an earlier one, since ids and ledger entries follow
        the clock.
        """
        if time < self._now:
            raise ValueError(f"time is {time.isoformat()}: a simulated clock stands at {self._now.isoformat()}")
        self._now = time.astimezone(UTC)
