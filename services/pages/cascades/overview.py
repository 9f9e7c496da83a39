"""The first page: every cascade in one row."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from knowgate._bundles.assignment import Assignment
from knowgate._records.records import Window
from knowgate.spec import CascadeSpec
from monitoring.names import Rule, Severity
from services.labelling.progress import LabelProgress, label_progress
from services.pages import numbers
from services.pages.cascades.checklist import Item, Known, checklist
from services.pages.cascades.events import headline
from services.pages.cascades.mode import ModeShown, mode_shown
from services.pages.cascades.promise import Promise, promise_of
from services.pages.cascades.runtimes_seen import runtimes_sentence
from services.pages.cascades.series import a_day
from services.pages.charts.chart import Chart
from services.pages.charts.lines import Value, spark
from services.pages.figures_shown import Shown, shown_mean, title_of
from services.promotion.prospect import prospect_of
from services.promotion.rollout_state import State
from store.engine import reading
from store.errors import RecordUnreadable
from store.releases import assignments, cascades, promotions
from store.traffic import decisions
from store.watching import alerts
from store.watching.alerts import AlertRecord
from store.watching.figure_means import FigureMean, Per, Wanted, joined, last_watched, means

log = logging.getLogger("knowgate.pages")
WEEK, MONTH = timedelta(days=7), timedelta(days=30)
STALE = 3  # windows without a figure, from which on a page says how old its figures are
_NAMES = ("savings_usd", "savings_gflops", "saved_usd", "label_coverage", "queries")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One cascade's row."""

    name: str
    unreadable: str | None = None  # why nothing more is said
    tiers: tuple[str, ...] = ()
    promise: Promise | None = None
    mode: ModeShown | None = None
    champion: str | None = None
    saves: Shown | None = None  # a share, over the last week
    a_day: Shown | None = None  # in USD; None without prices
    alerts: tuple[tuple[str, str], ...] = ()  # open ones: an address and a headline
    critical: bool = False
    labels: LabelProgress | None = None
    runtimes: tuple[str, str] = ("", "")
    trend: Chart | None = None
    checklist: tuple[Item, ...] = ()
    prospect: str | None = None  # what switching it on would do; None where something decides
    watched: datetime | None = None
    stale: bool = False

    @property
    def harm(self) -> int:
        """What is worst comes first."""
        return 0 if self.critical else 1 if self.alerts else 2


def lines(session: Session, *, now: datetime) -> tuple[Line, ...]:
    """All cascades by name, those with critical alerts first, then those with others."""
    found = [_line(session, name, now) for name in cascades.cascade_names(session)]
    return tuple(sorted(found, key=lambda line: (line.harm, line.name)))


def look_once(engine: Engine, *, now: datetime) -> None:
    """Read the page once, so that whoever looks first does not wait for statements to be built.

    A service starts whatever is wrong with a page: the fault is logged, and shown when the page is
    looked at.
    """
    try:
        with reading(engine) as session:
            lines(session, now=now)
    except Exception:
        log.exception("the overview cannot be read")


def _line(session: Session, name: str, now: datetime) -> Line:
    try:
        return _readable(session, cascades.cascade(session, name), now)
    except RecordUnreadable as error:
        open_alerts = alerts.alerts(session, name, open_only=True)
        return Line(name=name, unreadable=f"{error}", alerts=_links(open_alerts), critical=_critical(open_alerts))


def _readable(session: Session, spec: CascadeSpec, now: datetime) -> Line:
    name = spec.name
    assignment = assignments.assignment(session, name)
    open_alerts = alerts.alerts(session, name, open_only=True)
    runtimes = assignments.acknowledgements(session, name)
    week = _week(session, name, now)
    usd = week.get("savings_usd")
    saves = "savings_usd" if usd is not None and usd.value is not None else "savings_gflops"
    progress = label_progress(session, name, now=now)
    mode = mode_shown(assignment, promotions.promotions(session, name)[::-1])
    known = Known(
        spec=spec,
        runtimes=runtimes,
        alerts=open_alerts,
        coverage=week.get("label_coverage"),
        queries=week.get("queries"),
        labels=progress,
    )
    watched = last_watched(session, name)
    return Line(
        name=name,
        tiers=tuple(tier.name for tier in spec.tiers),
        promise=promise_of(session, spec, assignment, open_alerts, now=now),
        mode=mode,
        champion=None if assignment is None else assignment.champion,
        saves=shown_mean(week.get(saves), saves),
        a_day=_a_day(week.get("saved_usd")),
        alerts=_links(open_alerts),
        critical=_critical(open_alerts),
        labels=progress,
        runtimes=runtimes_sentence(runtimes, now),
        trend=_trend(session, name, saves, now),
        checklist=checklist(session, known, now=now),
        prospect=_would(session, assignment) if assignment is not None and mode.state != State.ACTIVE else None,
        watched=watched,
        stale=_stale(session, spec, watched, now),
    )


def _would(session: Session, assignment: Assignment) -> str:
    """What switching it on would do, in a line."""
    prospect = prospect_of(session, assignment)
    certificate = prospect.certificate
    if prospect.bundle is None or certificate is None or certificate.savings is None:
        return prospect.sentence
    interval = numbers.between("savings", certificate.savings_low, certificate.savings_high)
    return f"would save {numbers.percent(certificate.savings)}{f' ({interval})' if interval else ''} within its promise"


def _week(session: Session, name: str, now: datetime) -> dict[str, FigureMean]:
    summed = ("saved_usd", "queries")
    wanted = Wanted(cascade=name, names=_NAMES, window=Window(start=now - WEEK, end=now), summed=summed)
    rows = means(session, wanted)
    whole = {of: joined([row for row in rows if row.name == of], summed=of in summed) for of in _NAMES}
    return {of: mean for of, mean in whole.items() if mean is not None}


def _a_day(week: FigureMean | None) -> Shown | None:
    if week is None or week.value is None:
        return None
    days = max((week.window.end - week.window.start) / timedelta(days=1), 1 / 24)
    return shown_mean(a_day(week, days), "saved_usd")


def _trend(session: Session, name: str, saves: str, now: datetime) -> Chart | None:
    wanted = Wanted(cascade=name, names=(saves,), window=Window(start=now - MONTH, end=now))
    days = {row.window.start.date(): row for row in means(session, wanted, per=Per.DAY)}
    values = [Value(at=row.window.start, value=row.value, mature=True) for row in days.values()]
    return spark(saves, values, title_of(saves))


def _stale(session: Session, spec: CascadeSpec, watched: datetime | None, now: datetime) -> bool:
    """Whether decisions came and nobody looked at them for a while."""
    newest = decisions.last_time(session, spec.name)
    if newest is None:
        return False
    since = watched or newest
    return now - since > STALE * spec.schedule.monitor_every and newest > since


def _links(records: tuple[AlertRecord, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((f"/alerts/{one.id}", headline(one)) for one in records)


def _critical(records: tuple[AlertRecord, ...]) -> bool:
    return any(one.rule in set(Rule) and Rule(one.rule).severity is Severity.CRITICAL for one in records)
