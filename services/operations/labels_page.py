"""A cascade's labels: how far they are for the next certificate, how they come in, what waits for
its decision, and what to label next.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from sqlalchemy.orm import Session

from knowgate._records.records import LabelSource, Window
from knowgate.spec import CascadeSpec
from services.labelling.near_misses import NearMiss, near_misses
from services.labelling.progress import LabelProgress, label_progress
from services.labelling.queue import QueuedAnswer, label_queue
from services.operations.day_bars import DayBars, day_bars
from store.labelling.label_arrivals import arrivals_per_day
from store.releases import cascades
from store.traffic import decisions, labels
from store.traffic.label_sources import labels_by_source
from store.traffic.labels import Waiting

DAYS = 30  # of arrivals
LATE = timedelta(days=14)  # at least so old are the decisions whose labels are counted on the first of them
WATCHED = 2000  # decisions whose labels' delays are looked at: the newest that have had their time
DRAWN_FROM = 1000  # decisions that the shown part of the queue is drawn from: the newest
QUEUED = 50  # answers that are shown
QUANTILES = (0.5, 0.9, 0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delays:
    """How long one source takes to say its first word of an answer."""

    source: LabelSource
    horizon: timedelta  # so long it is waited for
    labels: int
    after: tuple[timedelta, ...]  # by then the shares QUANTILES of its labels are in


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """An answer to label, and why it was drawn."""

    answer: QueuedAnswer
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsPage:
    """All that the page shows."""

    cascade: str
    tiers: tuple[str, ...]
    progress: LabelProgress
    arrivals: DayBars | None
    delays: tuple[Delays, ...]
    waiting: tuple[Waiting, ...]
    near: tuple[NearMiss, ...] | None  # None = nobody asked to look
    queue: tuple[Queued, ...]

    @property
    def sentence(self) -> str:
        """Where labelling stands, as a sentence of its own."""
        return self.progress.sentence[:1].upper() + self.progress.sentence[1:]


def labels_page(session: Session, name: str, *, key: bytes, look: bool, now: datetime) -> LabelsPage:
    """The page as it is `now`; `look` for ids like those that are waited for, which reads every id
    that is stored. Raises CascadeUnknown.
    """
    spec = cascades.cascade(session, name)
    return LabelsPage(
        cascade=name,
        tiers=tuple(tier.name for tier in spec.tiers),
        progress=label_progress(session, name, now=now),
        arrivals=_arrivals(session, spec, now),
        delays=_delays(session, spec, now),
        waiting=labels.waiting_counts(session, name),
        near=_near(session, name) if look else None,
        queue=_queue(session, spec, key, now),
    )


def _arrivals(session: Session, spec: CascadeSpec, now: datetime) -> DayBars | None:
    since = datetime.combine(now.date() - timedelta(days=DAYS - 1), datetime.min.time(), tzinfo=now.tzinfo)
    oldest = since - max(spec.horizon, LATE)
    rows = arrivals_per_day(session, spec.name, since=since, decided_since=oldest)
    counts: Mapping[tuple[object, str], int] = {(row.day, row.source.value): row.labels for row in rows}
    return day_bars(counts, first=since.date(), last=now.date())  # type: ignore[arg-type]


def _delays(session: Session, spec: CascadeSpec, now: datetime) -> tuple[Delays, ...]:
    """Of decisions as old as the longest horizon alone: of younger ones only the quick labels are
    in yet.
    """
    end = now - spec.horizon
    start = decisions.time_of_newest(session, spec.name, WATCHED, before=end)
    if start is None:
        return ()
    said = labels_by_source(session, spec.name, Window(start=start, end=end), as_of=now)
    found = []
    for source in LabelSource:
        seconds = said.first_delay_s[said.source == source.value]
        if len(seconds):
            after = tuple(timedelta(seconds=max(0.0, float(one))) for one in np.quantile(seconds, QUANTILES))
            horizon = spec.horizons.of(source)
            found.append(Delays(source=source, horizon=horizon, labels=len(seconds), after=after))
    return tuple(found)


def _near(session: Session, name: str) -> tuple[NearMiss, ...]:
    waiting = labels.waiting_external_ids(session, name)
    return near_misses(waiting, decisions.external_ids(session, name)) if waiting else ()


def _queue(session: Session, spec: CascadeSpec, key: bytes, now: datetime) -> tuple[Queued, ...]:
    start = decisions.time_of_newest(session, spec.name, DRAWN_FROM, before=now)
    if start is None:
        return ()
    rows = label_queue(session, spec.name, Window(start=start, end=now), as_of=now, key=key)
    return tuple(Queued(answer=row, why=_why(row, spec.exploration_rate)) for row in rows[:QUEUED])


def _why(row: QueuedAnswer, rate: float) -> str:
    """Why the coin was thrown with this chance (`services.labelling.queue`)."""
    if row.label_propensity > rate:
        return "its last tier ran by a coin, so it is drawn so much the likelier"
    if row.label_propensity < rate:
        return "it tells nothing of the drop, and is drawn a quarter as often"
    return "it tells of the promise"
