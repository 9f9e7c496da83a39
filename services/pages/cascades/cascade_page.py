"""One cascade's page: where its promise stands, what it saves, what changed and what to do; below,
folded, why and how.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from knowgate._bundles.assignment import Assignment
from knowgate.spec import CascadeSpec
from services.alerts import AlertStory, stories
from services.labelling.progress import LabelProgress, label_progress
from services.pages.cascades.checklist import Item, Known, checklist
from services.pages.cascades.events import PageEvent, events_of
from services.pages.cascades.mode import ModeShown, mode_shown
from services.pages.cascades.promise import Promise, promise_of
from services.pages.cascades.ranges import RANGES, Range, range_of
from services.pages.cascades.runtimes_seen import runtimes_sentence
from services.pages.cascades.series import Figures, charts, folded, read_figures, tiles
from services.pages.charts.chart import Chart, Mark
from services.pages.charts.lines import Frame, marks_in
from services.pages.figures_shown import Shown
from services.pages.rendering import document_shown
from services.promotion.prospect import Prospect, prospect_of
from services.promotion.rollout_state import State, state_of
from store.jobs import job_runs
from store.jobs.job_runs import JobRun
from store.releases import assignments, bundles, cascades, certifications, promotions
from store.releases.assignments import RuntimeState
from store.releases.bundles import BundleRecord
from store.releases.certifications import CertificationRecord
from store.releases.promotions import PromotionRecord
from store.traffic import decisions, labels
from store.watching import alerts
from store.watching.alerts import AlertRecord
from store.watching.figure_means import last_watched, slice_names

TRAININGS = 20  # that are shown
EVENTS = 10
# What the marks on the charts are, in the order of the legend.
KINDS = {
    "promotion": "put in force",
    "decline": "declined",
    "stop": "stopped",
    "resume": "resumed, resolved",
    "alert": "alert",
    "declaration": "declared",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What was decided about the cascade, each newest first."""

    promotions: tuple[PromotionRecord, ...]
    certifications: tuple[CertificationRecord, ...]
    trainings: tuple[JobRun, ...]
    alerts: tuple[AlertRecord, ...]
    bundles: tuple[BundleRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadePage:
    """All that the page shows."""

    name: str
    version: int
    spec: CascadeSpec
    assignment: Assignment | None
    chosen: Range
    ranges: dict[str, str]
    slices: tuple[str, ...]  # that may be chosen
    instead: tuple[str, ...] | None  # where no query is of the slice that is asked for: those that there are
    promise: Promise
    mode: ModeShown
    tiles: tuple[Shown, ...]
    charts: tuple[Chart, ...]
    folded: dict[str, tuple[Chart, ...]]
    marks: tuple[Mark, ...]
    kinds: dict[str, str]  # of the marks that are there
    events: tuple[PageEvent, ...]  # the newest
    to_do: tuple[AlertStory, ...]  # open alerts
    checklist: tuple[Item, ...]
    decided: Decided
    runtimes: tuple[RuntimeState, ...]
    runtimes_said: tuple[str, str]  # in words, and a tone
    waiting: int  # labels without their decision
    labels: LabelProgress  # for the next certificate
    champion: dict[str, Any] | None  # the champion's document
    prospect: Prospect | None  # what switching it on would do; None where something decides
    watched: datetime | None  # up to when figures are there


def cascade_page(
    session: Session, name: str, *, now: datetime, word: str = "", slice: str | None = None
) -> CascadePage:
    """The page of one cascade as it is `now`, over a range of time. Raises CascadeUnknown."""
    version, spec = cascades.versioned_cascade(session, name)
    chosen = range_of(word, slice, first=decisions.first_time(session, name) if word == "all" else None, now=now)
    assignment = assignments.assignment(session, name)
    decided = _decided(session, name)
    open_alerts = tuple(one for one in decided.alerts if one.resolved_at is None)
    runtimes = assignments.acknowledgements(session, name)
    figures = read_figures(session, spec, chosen)
    events = events_of(session, name)
    frame = Frame(window=chosen.window, marks=_marks(events, chosen))
    progress = label_progress(session, name, now=now)
    known = Known(
        spec=spec,
        runtimes=runtimes,
        alerts=open_alerts,
        coverage=figures.whole("label_coverage"),
        queries=figures.whole("queries"),
        labels=progress,
    )
    return CascadePage(
        name=name,
        version=version,
        spec=spec,
        assignment=assignment,
        chosen=chosen,
        ranges=RANGES,
        slices=slice_names(session, name, chosen.window) if chosen.word == "24h" else _some(session, name, now),
        instead=_instead(session, name, chosen, figures),
        promise=promise_of(session, spec, assignment, open_alerts, now=now),
        mode=mode_shown(assignment, decided.promotions),
        tiles=tiles(figures, spec, chosen),
        charts=charts(figures, spec, frame),
        folded=folded(figures, spec, frame),
        marks=frame.marks,
        kinds={kind: word for kind, word in KINDS.items() if any(mark.kind == kind for mark in frame.marks)},
        events=events[:EVENTS],
        to_do=stories(session, open_alerts),
        checklist=checklist(session, known, now=now),
        decided=decided,
        runtimes=runtimes,
        runtimes_said=runtimes_sentence(runtimes, now),
        waiting=labels.waiting_count(session, name),
        labels=progress,
        champion=_champion(session, assignment),
        prospect=_prospect(session, assignment),
        watched=last_watched(session, name),
    )


def _some(session: Session, name: str, now: datetime) -> tuple[str, ...]:
    """The slices of the last day: those of a year are no choice."""
    return slice_names(session, name, range_of("24h", None, first=None, now=now).window)


def _instead(session: Session, name: str, chosen: Range, figures: Figures) -> tuple[str, ...] | None:
    """The slices of the range, where the one that is asked for is none of them."""
    if chosen.slice is None or figures.rows:
        return None
    return slice_names(session, name, chosen.window)


def _decided(session: Session, name: str) -> Decided:
    certified = certifications.certifications(session, name)
    return Decided(
        promotions=promotions.promotions(session, name)[::-1],
        certifications=tuple(sorted(certified, key=lambda row: row.attempt, reverse=True)),
        trainings=job_runs.job_runs(session, name, job="train", limit=TRAININGS),
        alerts=alerts.alerts(session, name)[::-1],
        bundles=bundles.bundles(session, name),
    )


def _marks(events: Sequence[PageEvent], chosen: Range) -> tuple[Mark, ...]:
    said = [(event.at, event.kind, f"{event.at:%-d %b %H:%M} UTC: {event.text}") for event in reversed(events)]
    return marks_in(chosen.window, said)


def _prospect(session: Session, assignment: Assignment | None) -> Prospect | None:
    if assignment is None or state_of(assignment) is State.ACTIVE:
        return None
    return prospect_of(session, assignment)


def _champion(session: Session, assignment: Assignment | None) -> dict[str, Any] | None:
    if assignment is None or assignment.champion is None:
        return None
    return document_shown(bundles.bundle(session, assignment.champion).document)
