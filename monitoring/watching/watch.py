"""One window of one cascade, watched: what the scheduler's `monitor` job calls, in its own process.

1. Figures of the window, immature, of every window that has become mature since, and of those that
   decisions have come to after they were watched (`monitoring.rows.late`).
2. The savings alarm consumes the window at once; the risk alarm what is older than the label
   horizon.
3. Once a day: a report, with drift against the champion's training window in it
   (`monitoring.reports`); the OOD gate, what the day cost, labels that are overdue, how often
   graders err and whether that got worse; and of the last mature week whether the promise is in
   danger and scores are overconfident.
4. What runs now: runtimes that do not serve the generation in force, jobs that stand still; and of
   the window's attempts signals that are missing or one value, and models that nobody declared.
5. Each rule's word is put beside what it said before (`monitoring.rules.patience`).
6. Everything is written in one transaction behind the caller's fence: figures, reports, alarm
   states, alerts, and the messages about them. A run that lost its claim writes nothing, and one
   that is repeated writes the same again.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from knowgate._records.records import Window
from monitoring.alarms.alarm_memory import AlarmMemory, memory_to_json
from monitoring.alerts.alerts import AlertChange, settle_all
from monitoring.alerts.messages import Event
from monitoring.errors import DriftUnavailable
from monitoring.figures.figures import figures_of
from monitoring.names import Rule
from monitoring.reports.daily_report import DailyReport, ReportParts, daily_report
from monitoring.rows.cohorts import Cohort
from monitoring.rows.late import Lateness
from monitoring.rules.grader_drift import assess_grader_drift
from monitoring.rules.patience import Looks, looks_to_json
from monitoring.rules.rules import Assessment, Standing
from monitoring.rules.service_rules import assess_late
from monitoring.watching.alarm_watch import AlarmFinding, watch_alarms
from monitoring.watching.daily_rules import (
    DAY,
    assess_costs,
    assess_day,
    assess_labels,
    assess_supply,
    assess_week,
    day_of,
    drift_sides,
)
from monitoring.watching.reader import Champion, Reader
from monitoring.watching.window_rules import of_now, of_one_window, superseded, with_patience
from store.engine import transaction
from store.jobs import outbox
from store.labelling.graders import GraderError, add_error
from store.watching.alarm_states import put_alarm_state
from store.watching.drift_reports import DAILY, REPORTS, DriftReport, put_report
from store.watching.figures import FigureRow, put_figures

log = logging.getLogger("knowgate.monitoring")


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOutcome:
    """What came of one window."""

    cascade: str
    window: Window
    decisions: int
    figures: int
    matured: tuple[Window, ...]
    again: tuple[Window, ...]  # computed again, since decisions came late
    reports: int
    alerts: tuple[AlertChange, ...]

    def __str__(self) -> str:
        opened, again, resolved = (sum(change.event is event for change in self.alerts) for event in Event)
        return (
            f"watched {self.decisions} decisions: {self.figures} figures, {len(self.matured)} matured cohorts,"
            f" {len(self.again)} cohorts again, {self.reports} daily reports, {opened} alerts opened,"
            f" {again} rang again, {resolved} resolved"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Conclusions:
    figures: tuple[FigureRow, ...]
    report: DailyReport | None  # where a day has ended
    memories: tuple[AlarmMemory, ...]
    looks: tuple[Looks, ...]
    assessments: tuple[Assessment, ...]
    graders: tuple[GraderError, ...]
    again: tuple[Window, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Computed:
    """The figures of all windows that have any new, and what decisions that came late have
    changed.
    """

    lateness: Lateness
    windows: tuple[Window, ...]  # that late decisions touch
    figures: tuple[FigureRow, ...]
    raised: tuple[Assessment, ...]  # by rules that look at single windows


def watch_window(
    engine: Engine, cascade: str, window: Window, *, now: datetime, fence: Callable[[Session], None]
) -> WatchOutcome:
    """Watch the decisions of `window` as known at `now`. `fence` is called first in the transaction
    that writes, and raises where the caller no longer holds the window
    (`store.jobs.job_runs`).

    Raises CascadeUnknown, and whatever `fence` raises; then nothing is written.
    """
    reader = Reader(engine, cascade, now=now)
    current, matured = reader.cohort(window), tuple(due for due in reader.matured() if due != window)
    conclusions = _conclude(reader, current, matured)
    with transaction(engine) as session:
        fence(session)
        changes = _write(session, reader, conclusions)
    return WatchOutcome(
        cascade=cascade,
        window=window,
        decisions=current.size,
        figures=len(conclusions.figures),
        matured=matured,
        again=conclusions.again,
        reports=int(conclusions.report is not None),
        alerts=changes,
    )


def _conclude(reader: Reader, current: Cohort, matured: tuple[Window, ...]) -> _Conclusions:
    champion, late = reader.champion(), _compute(reader, current, matured)
    alarms = watch_alarms(reader, current, champion, late.lateness)
    report, daily, graders = _conclude_day(reader, current, champion, alarms)
    day = current.window.end - DAY
    lately = [
        row
        for (window, mature), row in late.lateness.rows.items()
        if not mature and window.end <= current.window.end and (window.end > day or window in late.windows)
    ]
    over = superseded(reader, champion)
    said = (
        *(finding.assessment for finding in alarms),
        *daily,
        *of_now(reader, current, champion),
        *(_either(assessment, late.raised) for assessment in of_one_window(current)),
        assess_late(lately),
    )
    judged, looks = with_patience(reader, said, current.window, closed=frozenset(one.rule for one in over))
    return _Conclusions(
        figures=late.figures,
        report=report,
        memories=tuple(finding.memory for finding in alarms),
        looks=looks,
        assessments=(*over, *judged),
        graders=graders,
        again=late.windows,
    )


def _compute(reader: Reader, current: Cohort, matured: tuple[Window, ...]) -> _Computed:
    """The figures of the window, of those that have become mature, and of those that late decisions
    touch, with what rules say of these. After an outage they are many, so one is held at a time.
    """
    lateness, touched = reader.lateness(current.window)
    first, known = {current.window, *matured}, lateness
    windows = tuple(window for window in touched if window not in first)
    rows: list[FigureRow] = []
    raised: list[Assessment] = []
    # The last one to become mature is kept: the risk alarm consumes it.
    newest = (reader.cohort(window) for window in matured[-1:])
    for cohort in chain((current,), reader.each(matured[:-1]), newest, reader.each(windows)):
        lateness = lateness.counted(cohort, watched_at=reader.now if cohort.window in first else None)
        rows += _figures(reader, cohort)
        if cohort.window not in first:
            raised += [said for said in of_one_window(cohort) if said.standing is Standing.RAISED]
    rows += [row for key, row in lateness.rows.items() if known.rows.get(key) != row]
    return _Computed(lateness=lateness, windows=windows, figures=tuple(rows), raised=tuple(raised))


def _figures(reader: Reader, cohort: Cohort) -> tuple[FigureRow, ...]:
    return figures_of(cohort, computed_at=reader.now, score_errors=reader.score_errors(cohort))


def _either(assessment: Assessment, raised: tuple[Assessment, ...]) -> Assessment:
    """The assessment, or what its rule says of a window that decisions came late to, where that is
    raised.
    """
    if assessment.standing is Standing.RAISED:
        return assessment
    return next((late for late in raised if late.rule is assessment.rule), assessment)


def _conclude_day(
    reader: Reader, current: Cohort, champion: Champion, alarms: tuple[AlarmFinding, ...]
) -> tuple[DailyReport | None, tuple[Assessment, ...], tuple[GraderError, ...]]:
    day = day_of(current.window)
    if day is None:
        return None, (), ()
    today = current if day == current.window else reader.cohort(day)
    consumed = next((a.memory.consumed_until for a in alarms if a.memory.rule is Rule.RISK), None)
    week = None if consumed is None else reader.labels(Window(start=consumed - 7 * DAY, end=consumed))
    report = _report(reader, champion, today, week)
    drift = {} if report is None else report.drift
    assessments = assess_day(champion.bundle, today, drift, lambda: _week_before(reader, champion, day))
    assessments += (assess_costs(today),)
    if consumed is None or week is None:
        return report, assessments, ()
    assessments += (
        assess_labels(reader.cohort(Window(start=consumed - day.length, end=consumed))),
        assess_supply(reader, consumed),
        *assess_week(week),
    )
    month = Window(start=consumed - 28 * DAY, end=consumed)
    if not reader.graders_spoke(month):  # a month of rows is not read for nobody's verdicts
        return report, (*assessments, Assessment(rule=Rule.JUDGE_DRIFT, standing=Standing.UNKNOWN)), ()
    verdicts = reader.verdicts(month, since=week.window.start)
    graded = assess_grader_drift(verdicts.recent, verdicts.earlier)
    return report, (*assessments, graded), verdicts.graders


def _report(reader: Reader, champion: Champion, day: Cohort, week: Cohort | None) -> DailyReport | None:
    """The day's report; None where Evidently fails: figures and alarms must not wait for a chart,
    and the rule on drift stays as it is without one.
    """
    sides = drift_sides(reader, champion.bundle, day)
    try:
        return daily_report(ReportParts(day=day, week=week, champion=champion.bundle, sides=sides))
    except DriftUnavailable:
        log.exception("no daily report of %s", day.spec.name)
        return None


def _week_before(reader: Reader, champion: Champion, day: Window) -> Cohort | None:
    """What the champion decided in the week before `day`."""
    if champion.bundle is None:
        return None
    before = reader.cohort(Window(start=day.start - 7 * DAY, end=day.start)).of_bundle(champion.bundle.id)
    return before if before.size else None


def _write(session: Session, reader: Reader, conclusions: _Conclusions) -> tuple[AlertChange, ...]:
    spec, now = reader.spec, reader.now
    put_figures(session, conclusions.figures)
    for error in conclusions.graders:
        add_error(session, spec.name, error)
    for memory in conclusions.memories:
        put_alarm_state(session, spec.name, memory.rule.value, memory_to_json(memory), now=now)
    for looks in conclusions.looks:
        put_alarm_state(session, spec.name, looks.rule.value, looks_to_json(looks), now=now)
    if conclusions.report is not None:
        window, document = conclusions.report.window, conclusions.report.document
        report = DriftReport(
            cascade=spec.name, window=window, tier=None, name=DAILY, document=document, computed_at=now
        )
        put_report(session, report)
        period = {"cascade": spec.name, "from": window.start.isoformat(), "to": window.end.isoformat()}
        outbox.add_message(session, REPORTS, f"{spec.name} {window.end.isoformat()}", json.dumps(period), now=now)
    return settle_all(session, spec, conclusions.assessments, now=now)
