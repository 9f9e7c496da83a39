"""Each alarm's next block: which windows it has not consumed yet, and why it rang if it did.

Blocks follow each other without a gap: if a run was missed, the next one consumes what it left. The
savings alarm takes everything up to the end of the window; the risk alarm everything up to the last
end of a window that is older than the label horizon. After an outage that may be weeks: they are
consumed in pieces of about a day, so that no more is in memory, up to the first in which the alarm
rings. The next run goes on from there, or a ring would be passed over.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from knowgate._records.records import Window
from monitoring.alarms.alarm_memory import AlarmMemory
from monitoring.alarms.alarms import watch_risk, watch_savings
from monitoring.names import Rule
from monitoring.rows.cohorts import Cohort
from monitoring.rows.late import Lateness
from monitoring.rules.causes import accused_bundles, risk_cause, savings_cause
from monitoring.rules.rules import Assessment, assess_alarm
from monitoring.watching.reader import Champion, Reader

CATCH_UP_AT_MOST = timedelta(days=31)  # what an alarm consumes in one run after an outage; the rest is skipped
PIECE = timedelta(days=1)  # of that at once: no more than the day that ends is read for its report
COMPARED_AT_MOST = timedelta(days=7)  # how long "before" and "now" are at most when a cause is looked for


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmFinding:
    """An alarm after its block, and what the rule says."""

    memory: AlarmMemory
    assessment: Assessment


def watch_alarms(reader: Reader, current: Cohort, champion: Champion, lateness: Lateness) -> tuple[AlarmFinding, ...]:
    """Both alarms, moved on by what they have not consumed yet; an alarm that is further already is
    left out.
    """
    findings = (_savings(reader, current, champion, lateness), _risk(reader, current, lateness))
    return tuple(finding for finding in findings if finding is not None)


def mature_until(window: Window, horizon: timedelta, now: datetime) -> datetime:
    """The last end of a window, counted back from `window` in its own length, that is older than
    the horizon.

    >>> from datetime import UTC
    >>> start = datetime(2026, 1, 10, tzinfo=UTC)
    >>> day = Window(start=start, end=start + timedelta(days=1))
    >>> mature_until(day, timedelta(days=2), day.end + timedelta(hours=1)).day
    9
    """
    missing = window.end + horizon - now
    blocks = max(0, -(-missing // window.length))
    return window.end - blocks * window.length


def _savings(reader: Reader, current: Cohort, champion: Champion, lateness: Lateness) -> AlarmFinding | None:
    memory = reader.memory(Rule.SAVINGS)
    missed = _block(memory, current.window.start, current.window.end)
    if missed is None:
        return None
    moved, block = _consumed(
        reader,
        memory,
        _pieces(missed, current.window.length),
        lambda before, cohort: watch_savings(before, cohort, champion.promise),
    )
    opened = memory.families[0].opened_at if memory is not None and memory.families else missed.start
    late = lateness.total(mature=False, since=opened, until=block.end)
    assessment = assess_alarm(moved, lambda: _why_savings(reader, moved, opened, block), late=late)
    return AlarmFinding(memory=moved, assessment=assessment)


def _risk(reader: Reader, current: Cohort, lateness: Lateness) -> AlarmFinding | None:
    memory = reader.memory(Rule.RISK)
    until = mature_until(current.window, reader.spec.horizon, reader.now)
    missed = _block(memory, until - current.window.length, until)
    if missed is None:
        return None
    stops = reader.stops()
    moved, block = _consumed(
        reader, memory, _pieces(missed, current.window.length), lambda before, cohort: watch_risk(before, cohort, stops)
    )
    opened = memory.families[0].opened_at if memory is not None and memory.families else missed.start
    late = lateness.total(mature=True, since=opened, until=block.end)

    def harmed() -> Cohort:
        return reader.cohort(_harmed(moved, opened, block))

    assessment = assess_alarm(moved, lambda: risk_cause(harmed()), lambda: accused_bundles(harmed()), late=late)
    return AlarmFinding(memory=moved, assessment=assessment)


def _block(memory: AlarmMemory | None, start: datetime, end: datetime) -> Window | None:
    """What is to be consumed up to `end`; None where that is done already."""
    if memory is not None:
        start = max(memory.consumed_until, end - CATCH_UP_AT_MOST)
    return Window(start=start, end=end) if start < end else None


def _pieces(block: Window, every: timedelta) -> Sequence[Window]:
    """The block cut into days, or into windows where those are longer; where a window ends, a piece
    may.
    """
    step = max(1, PIECE // every) * every
    starts = [block.start + at * step for at in range(-(-block.length // step))]
    return [Window(start=start, end=min(start + step, block.end)) for start in starts]


def _consumed(
    reader: Reader,
    memory: AlarmMemory | None,
    pieces: Sequence[Window],
    watch: Callable[[AlarmMemory | None, Cohort], AlarmMemory],
) -> tuple[AlarmMemory, Window]:
    """The memory after the pieces, at least one, up to the first in which the alarm rings, which
    it is given with.
    """
    cohorts = reader.each(pieces) if len(pieces) > 1 else iter([reader.cohort(pieces[0])])
    for cohort in cohorts:
        memory = watch(memory, cohort)
        if memory.raised_at == memory.consumed_until:
            break
    assert memory is not None
    return memory, cohort.window


def _harmed(memory: AlarmMemory, opened: datetime, block: Window) -> Window:
    """The days in which the harm was seen, the last week of them at most."""
    since = memory.harm_since if memory.harm_since is not None else block.start
    since = min(max(since, opened, block.end - COMPARED_AT_MOST), block.start)
    return Window(start=since, end=block.end)


def _why_savings(reader: Reader, memory: AlarmMemory, opened: datetime, block: Window) -> str:
    """The days of the harm beside the champion's days before them, since its family was opened; of
    one that had none, beside the days before it.
    """
    harmed = _harmed(memory, opened, block)
    start = max(opened, harmed.start - COMPARED_AT_MOST)
    before = reader.cohort(Window(start=start, end=harmed.start)) if start < harmed.start else None
    if before is not None and memory.basis is not None:
        before = before.of_bundle(memory.basis)
    if before is None or not before.size:
        before = reader.cohort(Window(start=harmed.start - COMPARED_AT_MOST, end=harmed.start))
    return savings_cause(before, reader.cohort(harmed), memory.unit or "usd")
