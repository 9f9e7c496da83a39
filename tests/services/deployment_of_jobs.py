"""A cascade of two tiers on a clock set by hand: what is in force decides its traffic, labels come,
the jobs look.

Nothing is replaced: the assignment is the database's, decisions and labels are stored as the API
stores them, and the jobs are the scheduler's. The small tier's P(T) is a number that says nothing;
whether it is right is the test's to say.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from sqlalchemy import Engine

from factories import make_certificate, make_decision, make_label
from knowgate import Assignment, Mode, write_bundle
from knowgate._bundles.bundle_documents import BundleDocument, CertificateStatus, ComparisonDocument, SeasonMark
from knowgate._records.ids import new_id
from knowgate._records.records import (
    Action,
    Attempt,
    Decision,
    Label,
    Reason,
    Role,
    Signals,
    Verdict,
    Window,
)
from knowgate._wire import codec
from knowgate.policy import Policy, PolicyKind
from knowgate.spec import PromiseKind
from services.clock import SimulatedClock
from services.declaration.cascade_file import parse_cascade
from services.jobs.job import JobContext, Sweep, WindowedJob
from services.jobs.monitor import MonitorJob
from services.jobs.promote import PromoteSweep
from services.jobs.respond import RespondSweep
from services.jobs.scheduler import tick_job
from services.promotion import generations
from services.promotion.rollout_state import state_of
from services.settings import Settings
from store.engine import reading, transaction
from store.releases import assignments, bundles, cascades, promotions, rings
from store.releases.bundles import BundleStatus
from store.releases.promotions import PromotionRecord
from store.releases.rings import RingRecord, Spoken
from store.traffic import decisions, labels
from store.watching import alerts, deliveries
from store.watching.alerts import AlertRecord

START = datetime(2026, 3, 2, tzinfo=UTC)
HALF = timedelta(hours=12)
HORIZON = timedelta(hours=12)
DAILY = 240
JOBS: tuple[WindowedJob | Sweep, ...] = (MonitorJob(), RespondSweep(), PromoteSweep())

TWO_TIERS = """
[[tiers]]
name = "small"
model = "tiny"
parameters = 1e9
[[tiers]]
name = "large"
model = "huge"
parameters = 10e9
"""
CASCADE = f"""
name = "quiz"
exploration_rate = 0.5
webhooks = ["https://example.org/hook"]
observe = {{ rate = 1.0 }}
{TWO_TIERS}
[targets]
kind = "max_accuracy_drop"
value = 0.05
delta = 0.2
[horizons]
gold = "12h"
[schedule]
monitor_every = "12h"
[alarms]
alpha = 0.2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """How good the small tier is on a query; the large one is always right."""

    small_right: float = 1.0
    low_right: float | None = None  # where P(T) is below `low_below`; None = as elsewhere
    low_below: float = 0.3
    daily: int = DAILY


class Deployment:
    """One cascade, from `START` on."""

    def __init__(self, engine: Engine, settings: Settings, *, jobs: Sequence[WindowedJob | Sweep] = JOBS) -> None:
        self.engine, self.settings, self.jobs = engine, settings, jobs
        self.clock = SimulatedClock(START)
        self.context = JobContext(engine=engine, settings=settings, clock=self.clock, owner="test")
        self._rng = np.random.default_rng(20260302)
        self.keeps_from: dict[str, float] = {}  # the P(T) from which on a bundle keeps, where it is not 0.3
        with transaction(engine) as session:
            cascades.apply_cascade(session, parse_cascade(CASCADE), now=START)
            generations.declare(session, parse_cascade(CASCADE), settings, now=START)

    @property
    def now(self) -> datetime:
        return self.clock.now()

    @property
    def in_force(self) -> Assignment:
        with reading(self.engine) as session:
            assigned = assignments.assignment(session, "quiz")
        assert assigned is not None
        return assigned

    @property
    def state(self) -> str:
        return str(state_of(self.in_force))

    @property
    def rings(self) -> tuple[RingRecord, ...]:
        with reading(self.engine) as session:
            return rings.rings(session, "quiz", "risk")

    @property
    def history(self) -> tuple[PromotionRecord, ...]:
        with reading(self.engine) as session:
            return promotions.promotions(session, "quiz")

    @property
    def messages(self) -> list[str]:
        """The events of the risk alarm that the webhook gets, in order."""
        with reading(self.engine) as session:
            risk_alerts = [one for one in alerts.alerts(session, "quiz") if one.rule == "risk"]
            return [sent.event for one in risk_alerts if one.id for sent in deliveries.deliveries(session, one.id)]

    def ring(self, cause: str = "a test", *, until: datetime | None = None, accused: tuple[str, ...] = ()) -> None:
        """A ring of the risk alarm as monitoring writes it, about what is in force."""
        spoken = Spoken(
            since=until,
            until=until,
            generation=self.in_force.generation,
            champion=self.in_force.champion,
            accused=accused,
        )
        with transaction(self.engine) as session:
            record = AlertRecord(cascade="quiz", rule="risk", cause=cause, details="{}", opened_at=self.now)
            already = [one.id for one in alerts.alerts(session, "quiz", open_only=True) if one.rule == "risk"]
            if already and already[0] is not None:
                rings.add_ring(session, already[0], cause=cause, details="{}", spoken=spoken, now=self.now)
            else:
                alerts.open_alert(session, record, spoken)

    def later(self, hours: float = 1.0) -> datetime:
        self.clock.set(self.now + timedelta(hours=hours))
        return self.now

    def status_of(self, bundle_id: str) -> BundleStatus:
        with reading(self.engine) as session:
            return bundles.bundle(session, bundle_id).status

    def certified(
        self,
        name: str,
        *,
        threshold: float = 0.3,
        since: datetime | None = None,
        comparison: ComparisonDocument | None = None,
        status: CertificateStatus | None = CertificateStatus.CERTIFIED,
        promise: PromiseKind | None = None,
        delta: float = 0.2,
        season: SeasonMark | None = None,
        kept: float | None = None,
    ) -> str:
        """A certified bundle that waits to be judged; its certificate rests on decisions from
        `since` on.
        """
        since = START - timedelta(days=30) if since is None else since
        cohort = Window(start=since, end=since + timedelta(days=1))
        certificate = make_certificate(
            target_value=0.05, delta=delta, delta_family=0.2, cohort=cohort, savings=0.3, retained_share=0.4
        )
        certificate = replace(certificate, status=status or certificate.status, promise=promise, season=season)
        if kept is not None:
            certificate = replace(certificate, retained_share=kept)
        document = BundleDocument(
            cascade="quiz",
            models=("tiny", "huge"),
            tiers=(None,),
            policy=Policy.of(PolicyKind.P_T, ({"p_t": threshold},)),
            code_version=name,
            created_at=self.now,
            certificate=None if status is None else certificate,
            comparison=comparison,
        )
        made = write_bundle(document, (None,))
        with transaction(self.engine) as session:
            text = codec.canonical(made.document)
            found = BundleStatus.CERTIFIED if status is None else BundleStatus(status.value)
            bundles.add_bundle(session, made.id, "quiz", text, made.content, found, self.now)
        return made.id

    def tick(self) -> None:
        """Let every job look for work once, in this deployment's order."""
        for job in self.jobs:
            tick_job(self.context, job)

    def half(self, traffic: Traffic) -> None:
        """Half a day of traffic, decided by what is in force when they begin, and the jobs after
        them.
        """
        start = self.now.replace(minute=0)
        assigned, count = self.in_force, traffic.daily // 2
        made = [self._query(start + number * HALF / count, assigned, traffic) for number in range(count)]
        with transaction(self.engine) as session:
            decisions.add_decisions(session, [decision for decision, _ in made], received_at=start + HALF)
        said = [label for _, of_one in made for label in of_one]
        with transaction(self.engine) as session:
            labels.add_labels(session, said, received_at=start + HALF)
        self.clock.set(start + HALF + timedelta(minutes=1))
        self.tick()

    def halves(self, count: int, traffic: Traffic) -> None:
        for _ in range(count):
            self.half(traffic)

    def until_stopped(self, traffic: Traffic, *, at_most: int = 20) -> int:
        """Traffic until nothing is retained; how many half days it took."""
        for number in range(at_most):
            if self.state == "stopped":
                return number
            self.half(traffic)
        raise AssertionError(f"not stopped after {at_most} half days")

    def _query(self, at: datetime, assigned: Assignment, traffic: Traffic) -> tuple[Decision, list[Label]]:
        decision_id, p_t = new_id(at), float(self._rng.uniform())
        tried = assigned.share > 0.0 and bool(self._rng.random() < assigned.share)
        decides = assigned.challenger if tried else assigned.champion
        retained = assigned.mode is Mode.ACTIVE and decides is not None and p_t >= self.keeps_from.get(decides, 0.3)
        runs = not retained or bool(self._rng.random() < 0.5)
        action = Action.RETAIN if retained else Action.ESCALATE
        verdict = Verdict(action=action, reason=None if retained else Reason.P_T)
        small = Attempt(
            tier=0,
            role=Role.SERVED if retained else Role.SUPERSEDED,
            model="tiny",
            signals=Signals(p_t=p_t),
            verdict=verdict,
            run_propensity=1.0,
            tokens_in=100,
            tokens_out=1,
        )
        role = Role.EXPLORATION if retained else Role.SERVED
        chance = 0.5 if retained else 1.0
        large = Attempt(tier=1, role=role, model="huge", run_propensity=chance, tokens_in=100, tokens_out=1)
        decision = make_decision(
            at,
            id=decision_id,
            cascade="quiz",
            attempts=(small, large) if runs else (small,),
            bundle=decides,
            generation=assigned.generation,
            exploration_rate=0.5,
        )
        low = traffic.small_right if traffic.low_right is None else traffic.low_right
        right = float(self._rng.random() < (low if p_t < traffic.low_below else traffic.small_right))
        bare = make_label(
            cascade="quiz",
            correct=right,
            labelled_at=at + timedelta(minutes=1),
            decision_id=decision_id,
            tier=0,
            label_propensity=1.0,
        )
        return decision, [bare, replace(bare, tier=1, correct=1.0)] if runs else [bare]
