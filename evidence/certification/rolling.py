"""The rolling promise: "in any given week the thresholds in force keep the target with confidence
1 − δ".

Every period the walk (`evidence.certification.walk`) is made at the whole δ on the certification
rows of the last W periods, and what it gives is in force until the next one, also where it is less
bold. So each week's thresholds break the target with probability ≤ δ, and of any number of weeks at
most the share δ is expected to be broken: by linearity, without spending δ and without
independence, overlapping windows included. What it needs is that nothing is selected by the labels
that certify. So what is decided here (W, how long a certificate lasts, whether an attempt is worth
making) is decided by how many rows count and by what other rows taught.

Under a drift of γ a week the rows of a window are about W/2 weeks old, so that the drop is
understated by about γ·W/2.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from evidence.certification.certificate import Target
from evidence.certification.certification_rows import CertificationRows
from evidence.certification.tally import Tally
from evidence.certification.walk import MIN_RETAINED_SHARE
from evidence.errors import InvalidInputError
from evidence.inputs import count, level
from knowgate._records.records import Window

LEAST_PERIODS, MOST_PERIODS = 4, 13  # of a window that certifies; fewer only where no more can be had
ENOUGH_ROWS = 4000  # that count: more of them sharpen the test less than their age blunts it
LEAST_POWER = 0.2  # of an attempt that is made


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """Whether an attempt is worth making, by what the teaching rows show."""

    made: bool
    labels_needed: int | None  # further labels that it waits for; None where it is made


def certifying_periods(counting: Sequence[int]) -> int:
    """W: how many of the last periods certify, from the rows that count in each, newest first.

    The fewest, at least 4 and at most 13, that hold 4000 rows; all of them where there are fewer
    than 4.

    Examples:
        >>> [certifying_periods([weekly] * 20) for weekly in (3500, 350, 35)]
        [4, 12, 13]
    """
    for at, rows in enumerate(counting):
        count(f"counting[{at}]", rows)
    for periods in range(LEAST_PERIODS, min(MOST_PERIODS, len(counting))):
        if sum(counting[:periods]) >= ENOUGH_ROWS:
            return periods
    return min(MOST_PERIODS, len(counting))


def certifying_window(
    end: datetime, every: timedelta, counting: Sequence[int], *, not_before: datetime | None = None
) -> Window | None:
    """The decision time whose rows certify at `end`, in periods of length `every`.

    It never reaches back before `not_before`, the last risk alarm or change of model: rows from
    before it are to be left out of `counting` too. None where nothing is left.

    Examples:
        >>> from datetime import UTC
        >>> end, week = datetime(2026, 6, 29, tzinfo=UTC), timedelta(days=7)
        >>> certifying_window(end, week, [3500] * 20).start.date().isoformat()
        '2026-06-01'
        >>> alarm = datetime(2026, 6, 25, tzinfo=UTC)
        >>> certifying_window(end, week, [2000], not_before=alarm).start.day
        25
    """
    if every <= timedelta():
        raise InvalidInputError(f"every is {every}, expected the length of a period, above 0")
    start = end - certifying_periods(counting) * every
    if not_before is not None:
        start = max(start, not_before)
    return Window(start=start, end=end) if start < end else None


def in_force_until(certified_at: datetime, window: Window) -> datetime:
    """Until when a certificate may decide while no further attempt is made: twice its window, 2W,
    after it was made.

    Examples:
        >>> from datetime import UTC
        >>> made = datetime(2026, 6, 29, tzinfo=UTC)
        >>> window = Window(start=made - timedelta(days=28), end=made)
        >>> in_force_until(made, window).date().isoformat()
        '2026-08-24'
    """
    return certified_at + 2 * window.length


def outlook_of(
    taught: Iterable[Tally],
    rows: CertificationRows,
    target: Target,
    delta: float,
    min_retained_share: float = MIN_RETAINED_SHARE,
) -> Outlook:
    """Whether the walk on `rows` could show any candidate worth having with a power of 20 %, were
    the drop what the teaching rows show.

    Args: taught, what the teaching rows, none of them in `rows`, say of the candidates. Of `rows`
    only their number counts, no label of theirs. Where the teaching rows show that no number of
    labels would do, the attempt is made: what is in force is not to outlive that. Likewise where
    they show nothing.

    Examples:
        >>> import numpy as np
        >>> from evidence.certification.tally import tally_of
        >>> from knowgate.spec import TargetKind
        >>> one_in_100_lost = CertificationRows(correct=[[0, 1]] + [[1, 1]] * 99)
        >>> taught = [tally_of(one_in_100_lost, np.zeros(100, int), 0.1)]
        >>> target = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=0.02)
        >>> outlook_of(taught, CertificationRows(correct=[[1, 1]] * 30), target, 0.1)
        Outlook(made=False, labels_needed=62)
    """
    counted = int(rows.tested.sum())
    fewest: int | None = None
    for tally in taught:
        if tally.retained_share < min_retained_share:
            continue
        needed = tally.on(target.kind).rows_needed(target.value, level("delta", delta), exact=False, power=LEAST_POWER)
        if needed is not None and needed <= counted:
            return Outlook(made=True, labels_needed=None)
        if needed is not None and (fewest is None or needed < fewest):
            fewest = needed
    if fewest is None:
        return Outlook(made=True, labels_needed=None)
    # Of the rows that were paid for, a test may use only some: more are needed in that proportion.
    return Outlook(made=False, labels_needed=max(1, math.ceil((fewest - counted) * rows.known / max(counted, 1))))
