"""Rules on what runs beside the answers: runtimes, jobs, messages, models that nobody declared,
decisions that came late.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from knowgate._bundles.assignment import Assignment
from knowgate._wire.shown import shown_url
from monitoring.names import Rule
from monitoring.rules.rules import Assessment, Standing
from store.jobs.job_ticks import JOB_PATIENCE, JobTick
from store.releases.assignments import RuntimeState
from store.watching.deliveries import DeliveryRecord
from store.watching.figures import FigureRow

LATE_ROWS = 20  # decisions that came after their window was watched
LATE_SHARE = 0.01  # of the decisions of those windows; the last seconds of a window always come a little late
ACKNOWLEDGE_WITHIN = timedelta(hours=1)  # a generation older than this is expected everywhere
FAULTS_NAMED = 5  # the rest is counted
MONITOR = "monitor"  # the job that asks these rules


def assess_late(rows: Sequence[FigureRow]) -> Assessment:
    """Raised where many decisions came after their window was watched; a row of `late_decisions`
    per window.
    """
    rule, total = Rule.LATE_DECISIONS, sum(row.n for row in rows)
    late = [row for row in rows if row.value]
    count = int(sum(row.value or 0.0 for row in late))
    if not total:
        return Assessment(rule=rule, standing=Standing.UNKNOWN)
    if count < max(LATE_ROWS, LATE_SHARE * total):
        return Assessment(rule=rule, standing=Standing.CLEAR, cause=f"{count} of {total} decisions came late")
    first, last = min(row.window.start for row in late), max(row.window.end for row in late)
    return Assessment(
        rule=rule,
        standing=Standing.RAISED,
        cause=(
            f"{count} of {total} decisions came after their window was watched, those of {first:%Y-%m-%d %H:%M} to"
            f" {last:%Y-%m-%d %H:%M} UTC: figures are computed again, the savings alarm has not heard them; see whether"
            " a runtime was cut off or the service was down"
        ),
        details={"late": count, "decisions": total, "from": first.isoformat(), "to": last.isoformat()},
    )


def assess_runtimes(
    assignment: Assignment | None, acknowledgements: Sequence[RuntimeState], *, now: datetime
) -> Assessment:
    """Raised where a runtime that was heard of lately refused the generation in force, or never
    took it up.
    """
    rule = Rule.STALE_RUNTIME
    if assignment is None:
        return Assessment(rule=rule, standing=Standing.UNKNOWN)
    known = [ack for ack in acknowledgements if not ack.gone(now)]
    late = now - assignment.issued_at > ACKNOWLEDGE_WITHIN
    refusing = [ack for ack in known if not ack.accepted]
    stale = [ack for ack in known if ack.accepted and ack.generation < assignment.generation and late]
    if not refusing and not stale:
        waits = not late and any(ack.generation < assignment.generation for ack in known)
        standing = Standing.UNKNOWN if waits or not known else Standing.CLEAR
        return Assessment(rule=rule, standing=standing, cause=f"generation {assignment.generation} is everywhere")
    faults = [f"{a.runtime} refused generation {assignment.generation} ({a.detail or 'no reason'})" for a in refusing]
    faults += [f"{a.runtime} serves generation {a.generation}, {assignment.generation} is in force" for a in stale]
    return Assessment(
        rule=rule,
        standing=Standing.RAISED,
        cause=_shortened(faults),
        details={"generation": assignment.generation, "runtimes": len(faults)},
    )


def assess_models(attempts: int, undeclared: Mapping[tuple[str, str, str], int]) -> Assessment:
    """Raised where any attempt ran another model than its tier declares.

    `undeclared` counts them by the tier's name, the model that ran and the one that is declared.
    Nothing is learned or certified from such attempts, so even a few deserve a look.
    """
    rule = Rule.UNDECLARED_MODEL
    if not attempts:
        return Assessment(rule=rule, standing=Standing.UNKNOWN)
    if not undeclared:
        return Assessment(rule=rule, standing=Standing.CLEAR, cause="every answer is of the model that is declared")
    count = sum(undeclared.values())
    faults = [
        f"{number} of {attempts} answers are of {model!r} at tier {tier}, {declared!r} is declared"
        for (tier, model, declared), number in sorted(undeclared.items(), key=lambda item: -item[1])
    ]
    return Assessment(
        rule=rule,
        standing=Standing.RAISED,
        cause="; ".join(faults[:3]) + "; nothing is learned from them: correct what the gateway sends, or cascade.toml",
        details={"attempts": attempts, "undeclared": count},
    )


def assess_silence(states: Sequence[RuntimeState], *, now: datetime) -> Assessment:
    """Raised where a runtime that says how often it speaks was not heard of for several times as
    long.

    One that speaks only when something changes is never silent, and one that has been gone for
    seven days is gone.
    """
    rule = Rule.SILENT_RUNTIME
    known = [one for one in states if one.again_s is not None and not one.gone(now)]
    silent = [one for one in known if one.silent(now)]
    if not known:
        gone = Standing.CLEAR if states else Standing.UNKNOWN
        return Assessment(rule=rule, standing=gone, cause="no runtime is missed")
    if not silent:
        return Assessment(rule=rule, standing=Standing.CLEAR, cause="every runtime was heard of")
    latest = sorted(silent, key=lambda one: one.seen_at, reverse=True)
    faults = [f"{one.runtime} was last heard of at {one.seen_at:%Y-%m-%d %H:%M} UTC" for one in latest]
    others = len(known) - len(silent)
    return Assessment(
        rule=rule,
        standing=Standing.RAISED,
        cause=f"{_shortened(faults)}; {others} of {len(known)} are heard of",
        details={"silent": len(silent), "runtimes": len(known)},
    )


def assess_jobs(ticks: Sequence[JobTick], *, busy: Collection[str], now: datetime) -> Assessment:
    """Raised where a job of the scheduler has not come to its end for long, while others do.

    `busy` are the jobs that hold a window at this moment: they are at work. Where the job that asks
    this was away itself, the scheduler has just come back, and nothing is said.
    """
    rule = Rule.JOB_BEHIND
    own = next((tick for tick in ticks if tick.job == MONITOR), None)
    if own is None or now - own.ticked_at > JOB_PATIENCE:
        return Assessment(rule=rule, standing=Standing.UNKNOWN)
    late = [tick for tick in ticks if tick.behind(now) and tick.job not in busy and tick.job != MONITOR]
    if not late:
        return Assessment(rule=rule, standing=Standing.CLEAR, cause="every job comes to its end")
    return Assessment(
        rule=rule,
        standing=Standing.RAISED,
        cause=_shortened([tick.lateness for tick in late]),
        details={"jobs": ", ".join(tick.job for tick in late), "failures": sum(tick.failures for tick in late)},
    )


def assess_deliveries(given_up: Sequence[DeliveryRecord], received: int) -> Assessment:
    """Raised where messages of the last day were given up; `received` of them arrived."""
    rule = Rule.UNDELIVERED
    if not given_up:
        clear = Standing.CLEAR if received else Standing.UNKNOWN
        return Assessment(rule=rule, standing=clear, cause="messages of the last day were received")
    by_receiver = Counter(one.receiver for one in given_up)
    reason = {one.receiver: one.last_error or "no reason is known" for one in given_up}
    faults = [f"{count} to {shown_url(name)} ({reason[name]})" for name, count in by_receiver.most_common()]
    return Assessment(
        rule=rule,
        standing=Standing.RAISED,
        cause=f"of {len(given_up) + received} messages of the last day were given up: {_shortened(faults)}",
        details={"given_up": len(given_up), "received": received, "receivers": len(by_receiver)},
    )


def _shortened(faults: Sequence[str]) -> str:
    more = len(faults) - FAULTS_NAMED
    return "; ".join(faults[:FAULTS_NAMED]) + (f"; and {more} more" if more > 0 else "")
