"""Which windows of a job are due: pure arithmetic on times.

Windows are aligned to the Unix epoch, so that every scheduler, however often restarted, cuts time at the same
places; what is due follows from the end of the last finished window alone, never from when a process woke up.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from knowgate.records import Window

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def floor_time(time: datetime, every: timedelta) -> datetime:
    """The last multiple of `every` since the epoch that is not after `time`.

    >>> floor_time(datetime(2026, 1, 1, 7, 30, tzinfo=UTC), timedelta(hours=6)).hour
    6
    """
    return EPOCH + (time - EPOCH) // every * every


def due_windows(*, every: timedelta, done_until: datetime, now: datetime) -> Iterator[Window]:
    """The whole windows after `done_until` that have ended by `now`, earliest first.

    >>> start = datetime(2026, 1, 1, tzinfo=UTC)
    >>> [w.end.hour for w in due_windows(every=timedelta(hours=1), done_until=start, now=start + timedelta(hours=2.5))]
    [1, 2]
    """
    start = floor_time(done_until, every)
    while start + every <= now:
        yield Window(start=start, end=start + every)
        start += every


def last_due_window(*, every: timedelta, done_until: datetime, now: datetime) -> Window | None:
    """The latest window that is due, for jobs in which a later window makes the earlier ones pointless."""
    end = floor_time(now, every)
    if end - every < floor_time(done_until, every):
        return None
    return Window(start=end - every, end=end)
