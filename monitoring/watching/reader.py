"""What a run reads, and when: cohorts as of its own `now`, the champion, and the windows that have
become mature.

Reads need no common snapshot: everything joined is as of `now`, and what arrives meanwhile is later
than that.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from knowgate._bundles.assignment import Assignment, Mode
from knowgate._bundles.bundle import Bundle, read_bundle
from knowgate._bundles.bundle_documents import CertificateStatus
from knowgate._records.records import Window
from knowgate.errors import BundleRefused
from knowgate.spec import CascadeSpec, TargetKind
from monitoring.alarms.alarm_memory import AlarmMemory, memory_from_json
from monitoring.alarms.alarms import Promise, Stop
from monitoring.drift.signal_tables import WATCHED
from monitoring.figures.score_errors import ScoreErrors
from monitoring.names import FigureName, Rule, missing_of
from monitoring.rows.attempts import COLUMNS, COMPARED, LABELLED, pair_attempts, within_bounds
from monitoring.rows.cohorts import Cohort, cohort_of, is_mature, labelled_cohort
from monitoring.rows.late import OVERLAP, Lateness, lateness_of
from monitoring.rules.patience import Looks, looks_from_json
from store.engine import reading
from store.errors import BundleDamaged, BundleUnknown
from store.jobs import job_runs
from store.jobs.job_runs import JobRun
from store.jobs.job_ticks import JOB_PATIENCE, JobTick, job_ticks
from store.labelling.known import known_decisions
from store.releases import assignments, bundles, promotions, rings
from store.releases.assignments import RuntimeState
from store.releases.cascades import cascade as cascade_spec
from store.releases.promotions import Outcome
from store.traffic.decisions import late_times
from store.traffic.example_columns import Examples
from store.traffic.examples import labelled
from store.traffic.label_sources import others_labelled
from store.traffic.uncertified import uncertified
from store.traffic.verdicts import Verdicts, verdicts
from store.watching.alarm_states import alarm_state
from store.watching.alerts import AlertRecord, alerts
from store.watching.deliveries import TRIAL, DeliveryRecord, Fate, newest_deliveries
from store.watching.figures import figures

log = logging.getLogger("knowgate.monitoring")

LOOK_BACK = timedelta(days=14)  # beyond the horizon: how long a window may wait for its mature figures
MESSAGES_DAY = timedelta(days=1)
MESSAGES_READ = 1000  # the newest; a day has fewer
MISSING_WEEK = timedelta(days=7)  # what a signal is compared with that may have gone missing
MATURED_AT_ONCE = 50  # windows per run; the rest has its turn at the next one


@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    """What decides now."""

    assignment: Assignment | None
    bundle: Bundle | None  # None: none is assigned, or it cannot be read here
    others: frozenset[str] = frozenset()  # what decided a share in a rollout, beside it or before it

    @property
    def promise(self) -> Promise | None:
        """What its certificate says of savings; None where it says nothing."""
        certificate = self.bundle.document.certificate if self.bundle is not None else None
        if self.assignment is None or self.bundle is None or certificate is None:
            return None
        if self.assignment.mode is not Mode.ACTIVE:
            return None  # it keeps nothing, so nothing is promised
        if certificate.status is not CertificateStatus.CERTIFIED or certificate.savings_low is None:
            return None
        return Promise(
            champion=self.bundle.id, others=self.others - {self.bundle.id}, savings_low=certificate.savings_low
        )


class Reader:
    """One cascade's rows as of one time."""

    def __init__(self, engine: Engine, cascade: str, *, now: datetime) -> None:
        self._engine = engine
        self._cohorts: dict[Window, Cohort] = {}  # one run asks for a window more than once
        self._bundles: dict[str, Bundle | None] = {}
        self._open: Mapping[str, AlertRecord] | None = None
        self.now = now
        with reading(engine) as session:
            self.spec: CascadeSpec = cascade_spec(session, cascade)

    def cohort(self, window: Window) -> Cohort:
        """The decisions of a window, labels as of now."""
        if window not in self._cohorts:
            self._cohorts[window] = self._read(window)
        return self._cohorts[window]

    def _read(self, window: Window) -> Cohort:
        with reading(self._engine) as session:
            examples = self._labelled(session, window)
            outside = uncertified(session, self.spec.name, window, as_of=self.now)
        return cohort_of(examples, self.spec, window, as_of=self.now, uncertified=outside)

    def labels(self, window: Window) -> Cohort:
        """What labels say of the decisions of a window as of now, in the columns that figures of
        labels read; not kept, since a week is many rows.
        """
        with reading(self._engine) as session:
            examples = self._labelled(session, window, columns=LABELLED)
        return labelled_cohort(examples, self.spec, window, as_of=self.now)

    def sample(self, window: Window, *, at_most: int) -> pd.DataFrame:
        """The attempts of about so many decisions of a window, in the columns that drift is looked
        for in.
        """
        with reading(self._engine) as session:
            examples = self._labelled(session, window, columns=COMPARED, at_most=at_most)
        return within_bounds(pair_attempts(examples, COMPARED), self.spec)

    def _labelled(
        self, session: Session, window: Window, *, columns: frozenset[str] = COLUMNS, at_most: int | None = None
    ) -> Examples:
        return labelled(
            session,
            self.spec.name,
            window,
            as_of=self.now,
            columns=columns,
            trusted=self.spec.targets.trusted,
            at_most=at_most,
        )

    def graders_spoke(self, window: Window) -> bool:
        """Whether anybody who is not trusted has labelled an answer of the window, as it is known
        now.
        """
        with reading(self._engine) as session:
            return others_labelled(session, self.spec.name, window, as_of=self.now, trusted=self.spec.targets.trusted)

    def verdicts(self, window: Window, *, since: datetime) -> Verdicts:
        """How often verdicts of sources that are not trusted were wrong, before `since` and from
        then on, and how often each grader erred, as it is known now.
        """
        with reading(self._engine) as session:
            trusted = self.spec.targets.trusted
            return verdicts(session, self.spec.name, window, as_of=self.now, trusted=trusted, since=since)

    def champion(self) -> Champion:
        """The assignment in force, and the bundle it names."""
        with reading(self._engine) as session:
            assignment = assignments.assignment(session, self.spec.name)
            if assignment is None or assignment.champion is None:
                return Champion(assignment=assignment, bundle=None)
            bundle = self._bundle(session, assignment.champion)
            others = promotions.tried(session, self.spec.name)
        return Champion(assignment=assignment, bundle=bundle, others=others)

    def score_errors(self, cohort: Cohort) -> ScoreErrors:
        """How far the scores may be off of every bundle that kept an answer in the cohort, by
        bundle and tier; of those without refits nothing.
        """
        kept = cohort.decisions[cohort.decisions["retained"]]
        with reading(self._engine) as session:
            read = {name: self._bundle(session, name) for name in kept["bundle"].dropna().unique()}
        return {
            (name, tier): models.resampled
            for name, bundle in read.items()
            for tier, models in enumerate(() if bundle is None else bundle.tiers)
            if models is not None and models.resampled is not None
        }

    def _bundle(self, session: Session, name: str) -> Bundle | None:
        """None where it cannot be read here; a run asks for a bundle more than once."""
        if name not in self._bundles:
            try:
                self._bundles[name] = read_bundle(bundles.bundle_content(session, name), expected_id=name)
            except (BundleUnknown, BundleDamaged, BundleRefused) as error:
                log.warning("bundle %s of %s cannot be read: %s", name, self.spec.name, error)
                self._bundles[name] = None
        return self._bundles[name]

    def memory(self, rule: Rule) -> AlarmMemory | None:
        """What an alarm remembers; None before its first run."""
        with reading(self._engine) as session:
            text = alarm_state(session, self.spec.name, rule.value)
        return None if text is None else memory_from_json(text)

    def looks(self, rule: Rule) -> Looks | None:
        """What a patient rule said at its last looks; None before the first."""
        with reading(self._engine) as session:
            text = alarm_state(session, self.spec.name, rule.value)
        return None if text is None else looks_from_json(text)

    def open_alerts(self) -> Mapping[str, AlertRecord]:
        """The cascade's open alerts, by rule."""
        if self._open is None:
            with reading(self._engine) as session:
                self._open = {one.rule: one for one in alerts(session, self.spec.name, open_only=True)}
        return self._open

    def missing_before(self, until: datetime) -> Mapping[tuple[int, str], tuple[int, int]]:
        """In how many attempts a column was missing, of how many, in the windows of the week before
        `until`, by tier and column; from the figures of when they were watched.
        """
        names = {missing_of(column).value: column for column in WATCHED}
        with reading(self._engine) as session:
            rows = figures(session, self.spec.name, names=list(names), since=until - MISSING_WEEK, until=until)
        gone: dict[tuple[int, str], tuple[int, int]] = {}
        for row in rows:
            if row.tier is None or row.slice is not None or row.mature or row.value is None or row.window.end > until:
                continue
            missing, n = gone.get((row.tier, names[row.name]), (0, 0))
            gone[row.tier, names[row.name]] = (missing + round(row.value * row.n), n + row.n)
        return gone

    def training_window(self, bundle: str) -> Window | None:
        """What a bundle was made from; None where it does not say, or cannot be read here."""
        with reading(self._engine) as session:
            found = self._bundle(session, bundle)
        return None if found is None else found.document.training_window

    def jobs(self) -> tuple[tuple[JobTick, ...], frozenset[str]]:
        """How the scheduler's jobs stand, and which of them are at work."""
        with reading(self._engine) as session:
            return job_ticks(session), job_runs.at_work(session, now=self.now, within=JOB_PATIENCE)

    def messages(self) -> tuple[tuple[DeliveryRecord, ...], int]:
        """The messages of the last day that were given up, and how many were received; tests of
        receivers apart, which say themselves how they went.
        """
        since = self.now - MESSAGES_DAY
        fates = (Fate.GIVEN_UP, Fate.RECEIVED)
        with reading(self._engine) as session:
            newest = newest_deliveries(session, cascade=self.spec.name, fates=fates, limit=MESSAGES_READ)
        ended = [one for one in newest if one.event != TRIAL]
        given_up = tuple(one for one in ended if one.failed_at is not None and one.failed_at >= since)
        return given_up, sum(one.delivered_at is not None and one.delivered_at >= since for one in ended)

    def last_training(self) -> JobRun | None:
        """The last training that came to its end."""
        with reading(self._engine) as session:
            return job_runs.last_finished(session, "train", self.spec.name, until=self.now)

    def known(self, window: Window) -> int:
        """How many decisions of a window are labelled so that they may certify."""
        drops = self.spec.targets.kind is TargetKind.MAX_ACCURACY_DROP
        with reading(self._engine) as session:
            return known_decisions(
                session,
                self.spec.name,
                window,
                last=self.spec.last if drops else None,
                as_of=self.now,
                trusted=self.spec.targets.trusted,
            )

    def stops(self) -> tuple[Stop, ...]:
        """What risk alarms have stopped so far, and taken back."""
        with reading(self._engine) as session:
            rung = rings.rings(session, self.spec.name, Rule.RISK.value)
            history = promotions.promotions(session, self.spec.name)
        aborted = {one.decided_at: one.bundle for one in history if one.outcome is Outcome.ABORTED}
        return tuple(
            Stop(bundle=bundle, read_until=ring.read_until, at=ring.answered_at)
            for ring in rung
            if ring.answered_at is not None
            for bundle in (ring.stopped, aborted.get(ring.answered_at))
            if bundle is not None
        )

    def acknowledgements(self) -> tuple[RuntimeState, ...]:
        """What each runtime last said."""
        with reading(self._engine) as session:
            return tuple(assignments.acknowledgements(session, self.spec.name))

    def lateness(self, current: Window) -> tuple[Lateness, tuple[Window, ...]]:
        """What is known of late decisions, and the windows that some have come to since the last
        run.
        """
        back, name = LOOK_BACK + self.spec.horizon, FigureName.LATE_DECISIONS.value
        with reading(self._engine) as session:
            rows = figures(session, self.spec.name, names=[name], since=self.now - back)
            rows = rows or figures(session, self.spec.name, names=[name])  # nobody watched for longer than that
            last = lateness_of(rows).last_watched()
            if last is None:
                return lateness_of(rows), ()
            made = late_times(session, self.spec.name, since=last - OVERLAP, until=self.now, made_before=current.start)
            if made and made[0] < self.now - back:
                rows = figures(session, self.spec.name, names=[name], since=made[0])
        known = lateness_of(rows)
        return known, known.touched_by(made, current.length)

    def each(self, windows: Iterable[Window]) -> Iterator[Cohort]:
        """The cohorts of windows one at a time, none kept: there may be many after an outage."""
        for window in windows:
            yield self._cohorts[window] if window in self._cohorts else self._read(window)

    def matured(self) -> tuple[Window, ...]:
        """Windows with immature figures alone that are mature by now, oldest first, at most
        `MATURED_AT_ONCE`.
        """
        edge = self.now - self.spec.horizon
        with reading(self._engine) as session:
            rows = figures(
                session, self.spec.name, names=[FigureName.QUERIES.value], since=edge - LOOK_BACK, until=edge
            )
        whole = [row for row in rows if row.tier is None and row.slice is None]
        done = {row.window for row in whole if row.mature}
        due = {row.window for row in whole} - done
        ready = [window for window in due if is_mature(self.spec, window, self.now)]
        return tuple(sorted(ready, key=lambda window: window.end)[:MATURED_AT_ONCE])
