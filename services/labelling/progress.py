"""What is labelled for the next certificate, about how much calls for an attempt, and when the next
one is made: in a line, the same on the page, on the command line and from the API.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from services.next_attempt import NextAttempt, next_attempt
from store.jobs.occasions import TrainingReason

NO_DECISION = "no decision is stored yet, so no attempt is planned"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelProgress:
    """Where labelling stands; None where no decision is stored yet."""

    cascade: str
    labelled: int | None  # decisions that may certify, counted now
    needed: int | None  # with so many an attempt is made before its turn
    since: datetime | None  # older ones count no more: the risk alarm rang, or a model is another
    next_attempt: datetime | None
    due: bool
    reason: TrainingReason | None
    why: str | None
    sentence: str


def label_progress(session: Session, cascade: str, *, now: datetime) -> LabelProgress:
    """What is labelled now, and what comes next. Raises CascadeUnknown."""
    coming = next_attempt(session, cascade, now=now)
    labels = None if coming is None else coming.labels
    return LabelProgress(
        cascade=cascade,
        labelled=None if labels is None else labels.known,
        needed=None if labels is None else labels.needed,
        since=None if labels is None else labels.since,
        next_attempt=None if coming is None else coming.at,
        due=coming is not None and coming.at <= now,
        reason=None if coming is None else coming.occasion.reason,
        why=None if coming is None else coming.occasion.why,
        sentence=NO_DECISION if coming is None else _sentence(coming, now),
    )


def _sentence(coming: NextAttempt, now: datetime) -> str:
    when = "the next attempt is due now" if coming.at <= now else f"next attempt {coming.at:%a %Y-%m-%d %H:%M} UTC"
    if coming.occasion.key is not None:
        when += f", for {coming.occasion.why}"
    if coming.labels is None:
        return when
    since = "" if coming.labels.since is None else f" since {coming.labels.since:%Y-%m-%d %H:%M} UTC"
    return f"{coming.labels.known:,} of about {coming.labels.needed:,} labels{since}; {when}"
