"""A look at a bundle on the decisions after a risk alarm, as it is recorded;
`monitoring.alarms.since_ring` takes it.

Looks are not free: who tests ever again passes one day by chance. So the k-th look after a ring is
made at 6δ/(π²k²), and all of them together stay within δ. One that shows too little is followed by
one on twice as many decisions. One that shows the promise broken is as good as a ring: what came
before its end is over, and the next begins there, on a day of decisions at least.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from evidence.bounds.spending import delta_for_attempt
from knowgate._records.records import Window
from knowgate.spec import TargetKind

LEAST_DECISIONS = 100  # at least, on which every tier ran; fewer show nothing at any usual target
A_DAY = timedelta(days=1)  # at least, where a look is to show that what was broken is whole again


@dataclass(frozen=True, slots=True, kw_only=True)
class SinceRing:
    """A bundle on the mature decisions after a risk alarm."""

    rang_at: datetime  # the ring
    window: Window
    decisions: int  # of the window when it was looked at
    look: int  # the how-manieth at this bundle since the ring
    level: float  # of this look's test
    target: TargetKind
    target_value: float
    n: int = 0  # rows that count
    estimate: float | None = None  # of the drop, or of the retained accuracy; None where no row tells
    shown: bool = False  # the test shows that the target is kept

    @property
    def broken(self) -> bool:
        """Whether the estimate itself is on the wrong side of the target."""
        if self.estimate is None:
            return False
        if self.target is TargetKind.MAX_ACCURACY_DROP:
            return self.estimate > self.target_value
        return self.estimate < self.target_value


def next_window(read_until: datetime, last: SinceRing | None, mature_until: datetime) -> Window | None:
    """What the next look would be at: decisions after the ring, or after the last look that showed
    the promise broken.

    `read_until` is up to where the alarm had read when it rang. None while nothing of it is old
    enough to be judged.
    """
    broken = last is not None and last.broken
    start = last.window.end if last is not None and broken else read_until
    least = A_DAY if broken else timedelta(0)
    return Window(start=start, end=mature_until) if mature_until - start > least else None


def next_look(
    last: SinceRing | None, decisions: int, delta: float, *, observed: float = 1.0
) -> tuple[int, float] | None:
    """The number of the look that is due at so many decisions, of which every tier runs on the
    share `observed`, and its level; None while it is too early.

    >>> next_look(None, 99, 0.1) is None, next_look(None, 100, 0.1)[0]
    (True, 1)
    >>> next_look(None, 499, 0.1, observed=0.2) is None
    True
    """
    grown = 0 if last is None or last.broken else 2 * last.decisions
    if decisions < grown or decisions * observed < LEAST_DECISIONS:
        return None
    look = 1 if last is None else last.look + 1
    return look, delta_for_attempt(delta, look)
