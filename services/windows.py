"""Which windows of a job are due: pure arithmetic on times.

Windows are aligned to the Unix epoch, so that every scheduler, however often restarted, cuts time
at the same places; what is due follows from the end of the last finished window alone, never from
when a process woke up.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from knowgate._records.records import Window

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def floor_time(time: datetime, every: timedelta) -> datetime:
    """The last multiple of `every` since the epoch that is not after `time`.

    >>> floor_time(datetime(2026, 1, 1, 7, 30, tzinfo=UTC), timedelta(hours=6)).hour
    6
    """
    return EPOCH + (time - EPOCH) // every * every


def eventful_windows(
    *,
    every: timedelta,
    done_until: datetime,
    now: datetime,
    echo: timedelta,
    next_decision: Callable[[datetime], datetime | None],
) -> Iterator[Window]:
    """The due windows in which something can have happened, earliest first; years without a
    decision are a step.

    Those that hold decisions; those that end a UTC day less than `echo` after one, when what a day
    or a month shows is judged; and the latest, whatever is in it. `next_decision` tells the first
    decision at or after a time.

    >>> first, now = datetime(2016, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    >>> found = eventful_windows(
    ...     every=timedelta(hours=1), done_until=first, now=now, echo=2 * DAY,
    ...     next_decision=lambda time: first if time <= first else None)
    >>> [f"{window.end:%Y-%m-%d %H}" for window in found]
    ['2016-01-01 01', '2016-01-02 00', '2016-01-03 00', '2026-01-01 00']
    """
    start, stop = floor_time(done_until, every), floor_time(now, every)
    heard = done_until
    while start < stop:
        coming = next_decision(start)
        if coming is not None and coming < start + every:
            yield Window(start=start, end=start + every)
            heard = start = start + every
            continue
        busy = stop if coming is None else min(stop, floor_time(coming, every))
        if busy == stop:
            yield from _day_ends(start, min(stop - every, heard + echo), every)
            yield Window(start=stop - every, end=stop)
        else:
            yield from _day_ends(start, min(busy, heard + echo), every)
        start = busy


def _day_ends(start: datetime, until: datetime, every: timedelta) -> Iterator[Window]:
    """The windows from `start` on that have ended by `until` and within which a UTC day ends."""
    midnight = floor_time(start, DAY) + DAY
    while midnight <= until:
        first = max(start, floor_time(midnight - timedelta(microseconds=1), every))
        if first >= start and first + every <= until:
            yield Window(start=first, end=first + every)
        midnight = max(midnight, floor_time(first + every, DAY)) + DAY


def last_due_window(*, every: timedelta, done_until: datetime, now: datetime) -> Window | None:
    """The latest window that is due, for jobs in which a later window makes the earlier ones
    pointless.
    """
    end = floor_time(now, every)
    if end - every < floor_time(done_until, every):
        return None
    return Window(start=end - every, end=end)
