"""Where in time decisions lie: the newest ones, and so many at once, however dense the traffic
is.
"""

from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from knowgate._records.ids import decided_at
from knowgate._records.records import Window
from store import partitions
from store.tables import DecisionRow


def newest_window(session: Session, cascade: str, within: Window, *, most: int) -> Window | None:
    """The part of a window of decision time that its newest decisions lie in, about `most` of them;
    None where it has none.
    """
    low, high = partitions.first_id(within.start), partitions.first_id(within.end)
    ids = select(DecisionRow.id).where(DecisionRow.cascade == cascade, DecisionRow.id >= low, DecisionRow.id < high)
    newest = ids.order_by(DecisionRow.id.desc())
    if session.scalar(newest.limit(1)) is None:
        return None
    first = session.scalar(newest.limit(1).offset(most - 1))
    return within if first is None else Window(start=decided_at(first), end=within.end)


def blocks(session: Session, cascade: str, within: Window, *, size: int) -> Iterator[Window]:
    """A window of decision time in parts, oldest first, of about `size` decisions each."""
    start, end = within.start, partitions.first_id(within.end)
    while True:
        low = partitions.first_id(start)
        ids = select(DecisionRow.id).where(DecisionRow.cascade == cascade, DecisionRow.id >= low, DecisionRow.id < end)
        last = session.scalar(ids.order_by(DecisionRow.id).limit(1).offset(size))
        if last is None:
            yield Window(start=start, end=within.end)
            return
        cut = max(decided_at(last), start + timedelta(milliseconds=1))  # of one moment all go together
        yield Window(start=start, end=cut)
        start = cut
