"""What two machines' clocks may differ by, wherever times of two machines meet.

One number for decisions and labels: a decision that is stored must be one that its labels can speak
of. Clocks that are set by NTP differ by milliseconds; beyond this a clock is wrong, and what it
wrote would fall into windows that have not begun.
"""

from datetime import datetime, timedelta

from store.errors import NaiveTime

CLOCKS_DIFFER = timedelta(minutes=1)


def ahead(time: datetime, now: datetime) -> bool:
    """Whether a time lies after now, beyond what clocks may differ by. Raises NaiveTime for a `now`
    without offset.
    """
    if now.tzinfo is None:
        raise NaiveTime(now)
    return time > now + CLOCKS_DIFFER


def ahead_cure(now: datetime) -> str:
    """What is said of one that does."""
    return f"it is after now ({now.isoformat()}); correct the clock that wrote it, or its offset"
