"""Decisions that came after their window was watched: which windows they touch, and how many came
too late for what.

A window is watched at its end, and again when it is mature. The rows of the figure `late_decisions`
keep these times as their `computed_at`, and count what arrived after them: the immature row what
the savings alarm has not consumed, the mature one what the risk alarm has not. The alarms stay as
they are, since they consume time once; the windows' figures are computed again. Counts follow from
what is stored, so a run that is repeated counts the same.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from knowgate._records.records import Window
from monitoring.names import FigureName
from monitoring.rows.cohorts import Cohort
from store.watching.figures import FigureRow

OVERLAP = timedelta(minutes=5)  # looked at twice: what was under way while the last run read is not seen by it
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lateness:
    """The rows of `late_decisions` as they are stored, with those that a run has counted anew."""

    rows: Mapping[tuple[Window, bool], FigureRow] = field(default_factory=dict)  # by window and maturity

    def last_watched(self) -> datetime | None:
        """When a window was last watched for the first time; None before any was."""
        return max((row.computed_at for row in self.rows.values()), default=None)

    def total(self, *, mature: bool, since: datetime, until: datetime) -> int:
        """How many decisions of the windows from `since` to `until` came too late."""
        inside = [
            row.value or 0.0
            for (window, is_mature), row in self.rows.items()
            if is_mature is mature and since <= window.start and window.end <= until
        ]
        return int(sum(inside))

    def touched_by(self, made: Sequence[datetime], every: timedelta) -> tuple[Window, ...]:
        """The watched windows that decisions `made` at these times lie in, oldest first.

        A window that was passed over since it was empty is as long as windows are now. What was
        made before the first window that was ever watched is history, which nobody watched.
        """
        known = sorted((window for window, mature in self.rows if not mature), key=lambda window: window.start)
        starts, touched = [window.start for window in known], set()
        for time in made:
            at = bisect_right(starts, time) - 1
            if at < 0:
                continue
            start = _EPOCH + (time - _EPOCH) // every * every
            touched.add(known[at] if time < known[at].end else Window(start=start, end=start + every))
        return tuple(sorted(touched, key=lambda window: window.start))

    def counted(self, cohort: Cohort, *, watched_at: datetime | None) -> "Lateness":
        """With the cohort counted anew. `watched_at` is now where this run watches it, and None
        where it only comes again; what was never watched, as an empty window, was watched as soon
        as it could have been.
        """
        rows, window = dict(self.rows), cohort.window
        edges = [(False, window.end)] + ([(True, window.end + cohort.spec.horizon)] if cohort.mature else [])
        for mature, edge in edges:
            stored = rows.get((window, mature))
            rows[window, mature] = _row(cohort, mature, stored.computed_at if stored else watched_at or edge)
        return Lateness(rows=rows)


def _row(cohort: Cohort, mature: bool, since: datetime) -> FigureRow:
    late = int((cohort.decisions["received_at"] > since).sum()) if cohort.size else 0
    return FigureRow(
        cascade=cohort.spec.name,
        window=cohort.window,
        name=FigureName.LATE_DECISIONS.value,
        n=cohort.size,
        mature=mature,
        computed_at=since,
        value=float(late),
    )


def lateness_of(rows: Iterable[FigureRow]) -> Lateness:
    """What is stored of late decisions."""
    return Lateness(rows={(row.window, row.mature): row for row in rows})
