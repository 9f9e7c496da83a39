"""What happened to a cascade, in order of time: trainings with what called for them, what was
decided about their bundles, alerts and how they ended.
"""

from datetime import datetime

from sqlalchemy.orm import Session

from knowgate._bundles.bundle import read_document
from services.pages.report import Event
from store.jobs import job_runs
from store.jobs.job_runs import JobRun
from store.releases import bundles, promotions
from store.watching import alerts

MOST_TRAININGS = 10_000


def happened(session: Session, cascade: str) -> tuple[Event, ...]:
    """Everything so far, earliest first; of one moment what calls before what follows from it."""
    events = []
    for alert in alerts.alerts(session, cascade):
        events.append(Event(at=alert.opened_at, what="alert", text=f"{alert.rule}: {alert.cause}"))
        if alert.resolved_at is not None:
            events.append(Event(at=alert.resolved_at, what="resolved", text=f"{alert.rule}: {alert.resolution}"))
    events += [
        _training(session, run)
        for run in reversed(job_runs.job_runs(session, cascade, job="train", limit=MOST_TRAININGS))
        if run.finished_at is not None or run.last_error is not None
    ]
    events += [
        Event(at=row.decided_at, what=str(row.outcome).replace("_", " "), text=f"{short(row.bundle)}: {row.reason}")
        for row in promotions.promotions(session, cascade)
    ]
    return tuple(sorted(events, key=lambda event: event.at))


def short(bundle: str | None) -> str:
    """A bundle's name for people."""
    return "escalate all" if bundle is None else bundle[:12]


def lasted(opened_at: datetime, resolved_at: datetime | None) -> str:
    """How an alert ended, in words.

    >>> from datetime import UTC
    >>> lasted(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 3, 12, tzinfo=UTC))
    'resolved after 2.5 days'
    """
    if resolved_at is None:
        return "open"
    days = (resolved_at - opened_at).total_seconds() / 86_400
    return f"resolved after {days:.3g} day{'' if days == 1 else 's'}"


def _training(session: Session, run: JobRun) -> Event:
    why = (run.why or "").split(": ")[0]  # an alert's cause stands with the alert
    called = "" if run.reason is None else f"{run.reason} ({why}): "
    if run.outcome is None:
        return Event(at=run.started_at, what="failed", text=f"{called}{run.last_error}")
    text = f"{called}{run.outcome.replace('_', ' ')}"
    if run.bundle is not None:
        text += f", {short(run.bundle)}"
        certificate = read_document(bundles.bundle(session, run.bundle).document).certificate
        if certificate is not None and certificate.drop_upper_bound is not None:
            text += (
                f" keeps {certificate.retained_share:.1%} and loses at most {100 * certificate.drop_upper_bound:.2f}"
                f" points ({certificate.n:,} rows tested)"
            )
    elif run.labels_needed is not None:
        text += f": it waits for about {run.labels_needed:,} more labelled decisions, and what is in force stays so"
    return Event(at=run.started_at, what="trained", text=text)
