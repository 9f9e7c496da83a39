"""A deployment watched window by window, on both databases: healthy traffic, then a slice the probe
has not seen.

The champion is a real bundle with a real probe; its training window has vectors in real shards.
Nothing is patched.
"""

import json
import tracemalloc
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from factories import make_assignment, make_certificate, make_fingerprint, make_label
from knowgate._bundles.bundle import write_bundle
from knowgate._bundles.bundle_documents import BundleDocument, TierDocument
from knowgate._bundles.tier_models import TierModels
from knowgate._models.calibrator import Platt
from knowgate._models.features import Standardiser
from knowgate._models.ood import OodStatistics
from knowgate._models.probe import LinearProbe, ProbeKind
from knowgate._models.resampled import ResampledScores
from knowgate._models.score import ScoreModel
from knowgate._records.records import Reason, Window
from knowgate._wire import codec
from knowgate.policy import Policy, PolicyKind
from knowgate.spec import Alarms
from monitoring.alarms.alarm_memory import memory_to_json
from monitoring.alarms.since_ring import look_since_ring
from monitoring.alerts.deliveries import Sending, deliver_due
from monitoring.names import Rule
from monitoring.reports.stored_reports import render_html
from monitoring.rows.late import Lateness
from monitoring.rules.rules import Standing
from monitoring.watching.alarm_watch import watch_alarms
from monitoring.watching.daily_rules import DAY
from monitoring.watching.reader import Reader
from monitoring.watching.watch import watch_window
from store.engine import open_engine, reading, transaction
from store.errors import ClaimLost
from store.jobs import job_runs
from store.jobs.outbox import messages
from store.labelling.graders import graders
from store.releases.assignments import RuntimeState, add_acknowledgement, assignment, swap_assignment
from store.releases.bundles import BundleStatus, add_bundle
from store.releases.cascades import apply_cascade
from store.shards.shards import write_shard
from store.traffic.decisions import add_decisions
from store.traffic.labels import add_labels
from store.traffic.vectors import VectorRow, add_shard
from store.watching.alarm_states import alarm_state, put_alarm_state
from store.watching.alerts import alerts
from store.watching.drift_reports import REPORTS, daily_report, daily_windows, reports
from store.watching.figures import figures

pytestmark = pytest.mark.xdist_group("evidently")  # which takes seconds to import, in every process
DIMENSION = 6


def no_fence(session: Any) -> None:
    """A caller that holds its window."""


@pytest.fixture
def everywhere(cast, engine, tmp_path, receiver):
    """A cascade whose champion was trained on the day before `cast.DAY` and decides since; on both
    databases.
    """
    return Deployment(cast=cast, engine=engine, folder=tmp_path, url=receiver.url).start()


@pytest.fixture
def deployment(cast, sqlite_url, tmp_path, receiver):
    """The same on SQLite, for what has nothing to do with the database."""
    engine = open_engine(sqlite_url)
    yield Deployment(cast=cast, engine=engine, folder=tmp_path, url=receiver.url).start()
    engine.dispose()


@dataclass(kw_only=True)
class Deployment:
    cast: Any
    engine: Any
    folder: Any
    url: str
    bundle: str = ""

    def start(self) -> "Deployment":
        alarms = Alarms(alpha=0.1, savings_margin=0.05, max_tokens=12)  # near what queries have: the alarm hears sooner
        self.spec = self.cast.spec_of(webhooks=(self.url,), alarms=alarms)
        start = self.cast.DAY - DAY
        with transaction(self.engine) as session:
            apply_cascade(session, self.spec, now=start)
        asked = [
            self.cast.Asked(
                at=start + timedelta(minutes=5 * i),
                reason=Reason.NO_BUNDLE,
                p_t=p,
                p_ik=None,
                score=None,
                ood=None,
                small=1.0,
                large=1.0,
            )
            for i, p in enumerate(np.random.default_rng(1).uniform(0.5, 1.0, 200))
        ]
        self.put(asked)
        self.promote(generation=1, savings_low=0.5)
        return self

    def put(self, asked, *, strangeness=0.0, received_at=None):
        """Store the queries with hidden states of their own, and the signals that the champion's
        models see in them.
        """
        asked = list(asked)
        strange = np.array([one.slice == "state_of" for one in asked])
        hidden = np.random.default_rng(len(asked)).normal(0.0, 1.0, (len(asked), DIMENSION))
        hidden += strangeness * strange[:, None]
        asked = self.with_signals(asked, hidden) if self.bundle else asked
        with transaction(self.engine) as session:
            decisions = self.cast.store_asked(session, asked, received_at=received_at)
            shard = write_shard(f"file://{self.folder}/shards", hidden, [str(d.id) for d in decisions])
            rows = [
                VectorRow(decision_id=d.id, tier=0, row=i, sha256=shard.row_sha256[i]) for i, d in enumerate(decisions)
            ]
            add_shard(
                session, "cities", shard.url, shard.sha256, rows, dimension=DIMENSION, now=decisions[0].occurred_at
            )
        return decisions

    def with_signals(self, asked, hidden):
        made = MODELS.signal_columns(
            p_t=np.array([one.p_t for one in asked], dtype=float), hidden=hidden, tokens_in=np.full(len(asked), 10.0)
        )
        return [
            replace(one, p_ik=float(p_ik), ood=float(ood), score=None)
            for one, p_ik, ood in zip(asked, made["p_ik"], made["ood"], strict=True)
        ]

    def promote(self, *, generation, savings_low):
        bundle = bundle_of(self.cast.DAY - DAY, self.cast.DAY, savings_low)
        assignment = make_assignment(
            cascade="cities",
            generation=generation,
            champion=bundle.id,
            exploration_rate=0.5,
            issued_at=self.cast.DAY,
            valid_until=self.cast.DAY + 30 * DAY,
        )
        with transaction(self.engine) as session:
            document = codec.canonical(bundle.document).decode()
            add_bundle(session, bundle.id, "cities", document, bundle.content, BundleStatus.PROMOTED, self.cast.DAY)
            swap_assignment(session, assignment, expected_generation=None, now=self.cast.DAY)
        self.bundle = bundle.id

    def day_of_traffic(self, day, *, strange=0.0, n=160, seed=0):
        """n queries over a day; 75 % of the known ones retained, all strange ones stopped by the
        ood gate.
        """
        rng = np.random.default_rng([day, seed])
        for i in range(n):
            at = self.cast.DAY + day * DAY + i * DAY / n
            if rng.random() < strange:
                yield self.cast.Asked(
                    at=at,
                    reason=Reason.OOD,
                    slice="state_of",
                    p_ik=0.2,
                    ood=1.0,
                    bundle=self.bundle,
                    small=1.0,
                    large=1.0,
                )
            else:
                kept = rng.random() < 0.75
                yield self.cast.Asked(
                    at=at,
                    reason=None if kept else Reason.P_IK,
                    explored=kept and bool(rng.random() < 0.5),
                    slice="country_of",
                    p_t=float(rng.uniform(0.5, 1.0)),
                    bundle=self.bundle,
                    small=1.0,
                    large=1.0,
                )

    def watch_day(self, day, fence=no_fence):
        return [self.watch(day, quarter, fence) for quarter in range(4)]

    def watch(self, day, quarter, fence=no_fence):
        start = self.cast.DAY + day * DAY + quarter * self.cast.EVERY
        window = Window(start=start, end=start + self.cast.EVERY)
        return watch_window(self.engine, "cities", window, now=window.end + timedelta(minutes=1), fence=fence)

    def state(self, rule):
        with reading(self.engine) as session:
            return json.loads(alarm_state(session, "cities", rule.value))

    def alerts(self, **only):
        with reading(self.engine) as session:
            return {alert.rule: alert for alert in alerts(session, "cities", **only)}


def models_of():
    """A tier's models for standard normal hidden states, with the reference quantiles that such
    states really have.
    """
    fingerprint = make_fingerprint(model="small-model", dtype="float32")
    document = TierDocument(
        fingerprint=fingerprint,
        probe=ProbeKind.LINEAR,
        dimension=DIMENSION,
        ik_calibrator=Platt(slope=1.0, intercept=0.0),
    )
    ood = OodStatistics(
        mean=np.zeros(DIMENSION),
        components=np.eye(2, DIMENSION, dtype=np.float32),
        variances=np.ones(2, dtype=np.float32),
        residual_variance=1.0,
        length_slope=0.0,
        length_intercept=0.0,
        reference=np.linspace(0.0, 1.0, 2, dtype=np.float32),
    )
    states = np.random.default_rng(0).normal(0.0, 1.0, (5000, DIMENSION)).astype(np.float32)
    quantiles = np.quantile(ood.statistics(states, np.full(5000, 10.0)), np.linspace(0.0, 1.0, 100))
    return TierModels(
        document=document,
        standardiser=Standardiser(mean=np.zeros(DIMENSION), scale=np.ones(DIMENSION)),
        probe=LinearProbe(weight=np.float32([0.3] + [0.0] * (DIMENSION - 1)), bias=0.0),
        ood=replace(ood, reference=quantiles.astype(np.float32)),
    )


MODELS = models_of()


def bundle_of(start, end, savings_low, models=MODELS):
    certificate = make_certificate(
        cohort=Window(start=start, end=end),
        savings=savings_low + 0.05,
        savings_low=savings_low,
        savings_high=savings_low + 0.1,
    )
    document = BundleDocument(
        cascade="cities",
        models=("small-model", "large-model"),
        tiers=(models.document,),
        policy=Policy.of(PolicyKind.GATES, ({"p_ik": 0.3, "p_t": 0.5, "ood": 0.99},)),
        code_version="test",
        created_at=end,
        certificate=certificate,
        training_window=Window(start=start, end=end),
    )
    return write_bundle(document, (models,))


@pytest.mark.slow
def test_a_window_has_immature_figures_at_once_and_mature_ones_after_the_horizon(everywhere):
    everywhere.put(everywhere.day_of_traffic(0))
    first = everywhere.watch(0, 0)
    assert first.matured == ()
    with reading(everywhere.engine) as session:
        immature = figures(session, "cities", names=["accuracy_cascade"])
    assert [row.mature for row in immature if row.slice is None and row.tier is None] == [False]
    later = everywhere.watch(2, 0)
    assert later.matured == (first.window,)
    with reading(everywhere.engine) as session:
        rows = [row for row in figures(session, "cities", names=["accuracy_cascade"]) if row.mature]
    mature = next(row for row in rows if row.slice is None and row.tier is None)
    assert (mature.window, mature.value, mature.n) == (first.window, 1.0, 40)


@pytest.mark.slow
def test_a_slice_never_seen_is_detected_named_and_told(everywhere, receiver):
    everywhere.put(everywhere.day_of_traffic(0))
    everywhere.watch_day(0)
    assert everywhere.alerts() == {}
    everywhere.put(everywhere.day_of_traffic(1, strange=0.6, n=400), strangeness=1.5)
    changes = [change for outcome in everywhere.watch_day(1) for change in outcome.alerts]
    assert {change.rule for change in changes} == {Rule.SAVINGS, Rule.OOD_CONSERVATIVENESS, Rule.DRIFT}
    open_alerts = everywhere.alerts(open_only=True)
    assert open_alerts["savings"].cause.startswith("queries of kind `state_of` grew from 0 % to")
    assert "unlike what the probe has seen (ood); savings fell from" in open_alerts["savings"].cause
    assert "in 100 % of them the tier was as good as the last" in open_alerts["ood_conservativeness"].cause
    assert open_alerts["drift"].cause.startswith("at tier small the hidden states, direction 1 rose from")
    assert deliver_due(everywhere.engine, Sending(owner="w", secret=b"s"), now=everywhere.cast.DAY + 3 * DAY) == 1
    said = json.loads(receiver.received[0][1])
    assert said["alert"]["rule"] == "drift", "one cause is reported once, with what follows from it"
    assert {one["rule"] for one in said["consequences"]} == {"savings", "ood_conservativeness"}


@pytest.mark.slow
def test_a_day_has_one_report_that_renders_and_is_to_go_to_mlflow(everywhere):
    everywhere.put(everywhere.day_of_traffic(0))
    assert [outcome.reports for outcome in everywhere.watch_day(0)] == [0, 0, 0, 1]
    everywhere.watch(0, 3)  # repeated: it writes the same again
    with reading(everywhere.engine) as session:
        (report,) = reports(session, "cities")
        (window,) = daily_windows(session, "cities")
        assert daily_report(session, "cities", window) == report
        (message,) = messages(session, REPORTS)
    said = json.loads(report.document)
    columns = {column["column"] for column in said["drift"]["small"]["columns"]}
    assert columns == {"p_t", "p_ik", "ood", "tokens_in", "tokens_out", "pca_1", "pca_2"}
    assert (report.tier, report.window) == (None, Window(start=everywhere.cast.DAY, end=everywhere.cast.DAY + DAY))
    assert json.loads(message.payload)["to"] == report.window.end.isoformat()
    assert {one["cohort"] for one in said["figures"]} == {"day"}  # no label is mature yet
    assert "pca_1" in render_html(report.document)


@pytest.mark.slow
def test_a_report_says_what_labels_say_of_the_last_mature_week(deployment):
    for day in range(3):
        deployment.put(deployment.day_of_traffic(day, strange=0.2))
        deployment.watch_day(day)
    with reading(deployment.engine) as session:
        newest = reports(session, "cities")[-1]
        stored = figures(session, "cities", names=["ood_only_share"])
    of_week = {
        name: value
        for one in json.loads(newest.document)["figures"]
        if one["cohort"] == "week"
        for name, value in one["values"].items()
    }
    first_day = [row for row in stored if row.window.end <= deployment.cast.DAY + DAY and not row.mature]
    assert len(first_day) == 4
    share = sum(row.value * row.n for row in first_day) / sum(row.n for row in first_day)
    assert of_week["ood_only_share"] == pytest.approx(share, rel=1e-4)  # one day of it is mature so far
    assert of_week["ood_gain"] == 0.0  # all answers are right here
    assert of_week["ood_needless_usd"] > 0.0


@pytest.mark.slow
def test_what_a_grader_was_measured_to_err_is_kept_when_a_day_ends(deployment):
    asked = [
        replace(one, small=float(row % 4 > 0), verdicts=(float(row % 4 > 0 or row % 8 == 0), None))
        for row, one in enumerate(deployment.day_of_traffic(0))
    ]
    deployment.put(asked)
    for day in (0, 8):
        deployment.watch_day(day)
    with reading(deployment.engine) as session:
        (grader,) = graders(session, "cities", as_of=deployment.cast.DAY + 11 * DAY)
    assert grader.name == "judge@1"
    assert grader.error is not None and grader.error.right_called_wrong == 0
    assert grader.error.right > 2.5 * grader.error.wrong > 2.5 * grader.error.wrong_called_right > 0


@pytest.mark.slow
def test_a_p_t_that_is_missing_in_every_attempt_of_a_day_is_told_and_no_later_silence_resolves_it(deployment):
    deployment.put(deployment.day_of_traffic(0))
    deployment.watch_day(0)
    assert deployment.alerts() == {}
    deployment.put([replace(one, p_t=None) for one in deployment.day_of_traffic(1)])
    deployment.watch_day(1)
    raised = deployment.alerts(open_only=True)["drift"]
    assert "(P(T)) is missing in 100 % of answers, before in 0 %" in raised.cause
    with reading(deployment.engine) as session:
        shares = figures(session, "cities", names=["missing_share.p_t"])
    assert {row.value for row in shares if row.tier == 0} == {0.0, 1.0}
    deployment.put(deployment.day_of_traffic(2, n=30))  # too few to compare
    deployment.watch_day(2)
    deployment.watch_day(3)  # nobody asks
    assert "drift" in deployment.alerts(open_only=True)
    deployment.put(deployment.day_of_traffic(4))
    deployment.watch_day(4)
    assert "drift" in deployment.alerts(open_only=True), "one quiet day is none"
    deployment.put(deployment.day_of_traffic(5))
    deployment.watch_day(5)
    assert "drift" not in deployment.alerts(open_only=True)


@pytest.mark.slow
def test_a_signal_that_is_missing_in_two_windows_of_three_is_told_with_since_when(deployment):
    deployment.put(deployment.day_of_traffic(0, n=240))
    deployment.watch_day(0)
    gone = [replace(one, p_t=None, reason=Reason.MISSING_SIGNAL) for one in deployment.day_of_traffic(1, n=240)]
    deployment.put(gone[:120])
    deployment.put(list(deployment.day_of_traffic(1, n=240, seed=1))[120:])
    assert deployment.watch(1, 0).alerts == (), "one window may be an engine that was started again"
    (change,) = deployment.watch(1, 1).alerts
    assert (change.rule, change.event) == (Rule.MISSING_SIGNAL, "opened")
    assert change.cause == (
        "at tier small the probability of its answer (P(T)) is missing in 100 % of answers, before in 0 %,"
        " since 2026-03-03 00:00 UTC; 100 % of queries escalate because a signal is missing"
    )
    assert deployment.watch(1, 2).alerts == ()
    assert {c.rule: c.event for c in deployment.watch(1, 3).alerts}[Rule.MISSING_SIGNAL] == "resolved"


@pytest.mark.slow
def test_a_drift_against_a_champion_is_superseded_by_one_made_from_newer_traffic(everywhere):
    everywhere.put(everywhere.day_of_traffic(0))
    everywhere.watch_day(0)
    everywhere.put([replace(one, p_t=one.p_t / 2) for one in everywhere.day_of_traffic(1)])
    everywhere.watch_day(1)
    assert "drift" in everywhere.alerts(open_only=True)
    end = everywhere.cast.DAY + 2 * DAY
    newer = bundle_of(everywhere.cast.DAY + DAY, end, 0.5)
    with transaction(everywhere.engine) as session:
        document = codec.canonical(newer.document).decode()
        add_bundle(session, newer.id, "cities", document, newer.content, BundleStatus.PROMOTED, end)
        before = assignment(session, "cities")
        after = replace(before, generation=2, champion=newer.id, issued_at=end)
        swap_assignment(session, after, expected_generation=1, now=end)
    over = {change.rule: change for change in everywhere.watch(2, 0).alerts}[Rule.DRIFT]
    assert over.event == "resolved"
    assert over.cause == f"superseded: bundle {newer.id[:8]} is in force, made from traffic up to 2026-03-04 00:00 UTC"


@pytest.mark.slow
def test_a_drift_is_not_resolved_by_a_day_on_which_its_column_was_not_there(deployment):
    deployment.put(deployment.day_of_traffic(0))
    deployment.watch_day(0)
    deployment.put([replace(one, p_t=one.p_t / 2) for one in deployment.day_of_traffic(1)])
    deployment.watch_day(1)
    assert "(P(T)) fell from" in deployment.alerts(open_only=True)["drift"].cause
    few = [replace(one, p_t=one.p_t if i % 4 == 0 else None) for i, one in enumerate(deployment.day_of_traffic(2))]
    deployment.put(few)
    deployment.watch_day(2)
    assert "(P(T)) fell from" in deployment.alerts(open_only=True)["drift"].cause


@pytest.mark.slow
def test_a_window_of_one_value_of_p_t_is_told_within_that_window(deployment):
    steady = [replace(one, p_t=1.0) for one in deployment.day_of_traffic(0)]
    deployment.put(steady[:40])
    (change,) = deployment.watch(0, 0).alerts
    assert (change.rule, change.event) == (Rule.CONSTANT_SIGNAL, "opened")
    assert "(P(T)) is 1 in all 40 answers of tier small" in change.cause
    assert deployment.watch(0, 1).alerts == ()  # an empty window resolves nothing
    deployment.put(list(deployment.day_of_traffic(0))[80:])
    assert deployment.watch(0, 2).alerts == ()
    over = {change.rule: change.event for change in deployment.watch(0, 3).alerts}
    assert over[Rule.CONSTANT_SIGNAL] == "resolved"


def test_a_run_that_lost_its_claim_writes_nothing(everywhere):
    everywhere.put(everywhere.day_of_traffic(0))

    def lost(session):
        raise ClaimLost("monitor", 1)

    with pytest.raises(ClaimLost):
        everywhere.watch(0, 0, fence=lost)
    with reading(everywhere.engine) as session:
        assert figures(session, "cities") == ()
        assert alarm_state(session, "cities", "savings") is None


@pytest.mark.slow
def test_the_claim_ends_in_the_transaction_that_holds_the_effect(everywhere):
    everywhere.put(everywhere.day_of_traffic(0))
    start = everywhere.cast.DAY
    window = Window(start=start, end=start + everywhere.cast.EVERY)
    hour = timedelta(hours=1)
    with transaction(everywhere.engine) as session:
        claim = job_runs.claim(session, "monitor", "cities", window, owner="w", lease=hour, now=window.end)

    def fence(session):
        job_runs.fence(session, claim)
        job_runs.finish(session, claim, "watched", now=window.end)

    outcome = watch_window(everywhere.engine, "cities", window, now=window.end, fence=fence)
    assert str(outcome).startswith("watched 40 decisions: ")
    with pytest.raises(ClaimLost):
        watch_window(everywhere.engine, "cities", window, now=window.end, fence=fence)


def test_a_window_watched_twice_is_consumed_once(deployment):
    deployment.put(deployment.day_of_traffic(0))
    deployment.watch(0, 0)
    once = states(deployment)
    deployment.watch(0, 0)
    assert states(deployment) == once


def consumed(deployment, windows):
    """What the alarms say, window after window, of mature days; what they remember is kept."""
    now, said = deployment.cast.DAY + 20 * DAY, []
    for window in windows:
        reader = Reader(deployment.engine, "cities", now=now)
        findings = watch_alarms(reader, reader.cohort(window), reader.champion(), Lateness())
        with transaction(deployment.engine) as session:
            for one in findings:
                put_alarm_state(session, "cities", one.memory.rule.value, memory_to_json(one.memory), now=now)
        said.append({one.memory.rule: one for one in findings})
    return said


def days(deployment, first, last):
    """The windows, a day each."""
    start = deployment.cast.DAY
    return [Window(start=start + day * DAY, end=start + (day + 1) * DAY) for day in range(first, last + 1)]


def quarter_before(deployment, day):
    """The last window of a day."""
    end = deployment.cast.DAY + (day + 1) * DAY
    return Window(start=end - deployment.cast.EVERY, end=end)


@pytest.mark.slow
def test_after_an_outage_alarms_consume_in_days_and_remember_what_they_would_have_in_time(deployment):
    for day in range(6):
        deployment.put([replace(one, small=float(i % 80 > 0)) for i, one in enumerate(deployment.day_of_traffic(day))])
    consumed(deployment, days(deployment, 0, 0))
    before = states(deployment)
    tracemalloc.start()
    try:
        consumed(deployment, days(deployment, 1, 5))
        of_days, in_time = tracemalloc.get_traced_memory()[1], states(deployment)
        with transaction(deployment.engine) as session:
            for rule, text in before.items():
                put_alarm_state(session, "cities", rule, text, now=deployment.cast.DAY)
        tracemalloc.reset_peak()
        consumed(deployment, [quarter_before(deployment, 5)])
        at_once = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert states(deployment) == in_time != before
    assert at_once < 2 * of_days, "no more than a day is held"


@pytest.mark.slow
def test_after_an_outage_an_alarm_that_rings_is_heard_and_the_next_run_goes_on_from_there(deployment):
    for day in range(8):
        deployment.put(deployment.day_of_traffic(day, strange=0.0 if day < 3 else 0.7))
    consumed(deployment, days(deployment, 0, 0))
    last = quarter_before(deployment, 7)
    (rung,) = consumed(deployment, [last])
    memory = rung[Rule.SAVINGS].memory
    assert rung[Rule.SAVINGS].assessment.standing is Standing.RAISED
    assert deployment.cast.DAY + 3 * DAY < memory.raised_at == memory.consumed_until < last.end
    assert rung[Rule.RISK].memory.consumed_until == last.end
    (again,) = consumed(deployment, [last])
    assert again[Rule.SAVINGS].memory.consumed_until > memory.consumed_until


@pytest.mark.slow
def test_a_revision_after_consumption_changes_figures_and_never_the_process(deployment):
    decisions = deployment.put(deployment.day_of_traffic(0))
    deployment.watch_day(0)
    deployment.watch_day(1)
    deployment.watch(2, 0)  # the first window is past the horizon now
    before = states(deployment)["risk"]
    revised = deployment.cast.DAY + 2 * DAY + timedelta(hours=6, minutes=2)
    labels = [
        make_label(
            cascade="cities", correct=0.0, labelled_at=revised, decision_id=decision.id, tier=0, label_propensity=1.0
        )
        for decision in decisions[:40]
    ]
    with transaction(deployment.engine) as session:
        add_labels(session, labels, received_at=revised)
    deployment.watch(2, 0)
    assert states(deployment)["risk"] == before
    deployment.watch(2, 1)
    assert (
        json.loads(states(deployment)["risk"])["families"][0]["watch"]["rows"]
        > (json.loads(before)["families"][0]["watch"]["rows"])
    )


def test_a_missed_window_is_consumed_by_the_next_run(deployment):
    deployment.put(deployment.day_of_traffic(0))
    deployment.watch(0, 0)
    deployment.watch(0, 2)
    state = json.loads(states(deployment)["savings"])
    assert state["families"][0]["watch"]["rows"] == 120


def test_a_stale_runtime_is_named_and_cleared_when_it_catches_up(deployment):
    late = deployment.cast.DAY + timedelta(hours=5)

    def acknowledge(generation, at):
        ack = RuntimeState(
            cascade="cities", runtime="host-1", generation=generation, bundle=None, accepted=True, detail=None, at=at
        )
        with transaction(deployment.engine) as session:
            add_acknowledgement(session, ack)

    acknowledge(0, late)
    deployment.watch(0, 0)
    assert deployment.alerts()["stale_runtime"].cause == "host-1 serves generation 0, 1 is in force"
    acknowledge(1, late + timedelta(hours=6))
    deployment.watch(0, 1)
    assert deployment.alerts()["stale_runtime"].resolved_at is not None


@pytest.mark.slow
def test_labels_that_never_come_are_said_to_be_overdue(deployment):
    deployment.put(replace(one, small=None, large=None) for one in deployment.day_of_traffic(0))
    deployment.watch_day(0)
    deployment.watch_day(1)
    changes = [change for outcome in deployment.watch_day(2) for change in outcome.alerts]
    assert Rule.OVERDUE_LABELS in {change.rule for change in changes}
    assert "0 of " in deployment.alerts()["overdue_labels"].cause


@pytest.mark.slow
def test_a_loss_that_a_champion_began_with_is_told_beside_the_days_before_it(deployment):
    deployment.put(replace(one, bundle="f" * 64) for one in deployment.day_of_traffic(0))
    deployment.watch_day(0)
    deployment.put(deployment.day_of_traffic(1, strange=0.7, n=400), strangeness=1.5)
    deployment.watch_day(1)
    cause = deployment.alerts()["savings"].cause
    assert cause.startswith("queries of kind `state_of` grew from 0 % to") and "; savings fell from" in cause


@pytest.mark.slow
def test_a_promise_in_danger_is_said_once_its_week_is_mature(deployment):
    traffic = deployment.day_of_traffic(0, n=400)
    deployment.put([replace(one, small=0.0, large=1.0) if one.explored else one for one in traffic])
    deployment.watch_day(0)
    assert "promise_at_risk" not in deployment.alerts()
    deployment.watch_day(2)
    assert "kept answers lose" in deployment.alerts()["promise_at_risk"].cause


def test_a_cascade_without_traffic_is_watched_in_peace(deployment):
    outcome = deployment.watch(0, 0)
    assert (outcome.decisions, outcome.alerts) == (0, ())


def states(deployment):
    with reading(deployment.engine) as session:
        return {rule: alarm_state(session, "cities", rule) for rule in ("savings", "risk")}


def test_undeclared_models_are_counted_and_opened_as_an_alert_until_a_window_without_them(cast, sqlite_url):
    engine = open_engine(sqlite_url)
    spec = cast.spec_of()
    asked = [cast.Asked(at=cast.DAY + hours * timedelta(hours=1), explored=True) for hours in range(18)]
    decisions = [cast.decision_of(one) for one in asked]
    small, large = decisions[0].attempts
    decisions[0] = replace(decisions[0], attempts=(replace(small, model="other"), large))
    with transaction(engine) as session:
        apply_cascade(session, spec, now=cast.DAY)
        add_decisions(session, decisions, received_at=cast.DAY + timedelta(hours=18))
    for start in (cast.DAY, cast.DAY + cast.EVERY, cast.DAY + 2 * cast.EVERY):
        window = Window(start=start, end=start + cast.EVERY)
        watch_window(engine, "cities", window, now=cast.DAY + timedelta(hours=19), fence=no_fence)
        with reading(engine) as session:
            (alert,) = [one for one in alerts(session, "cities") if one.rule == Rule.UNDECLARED_MODEL]
        if start < cast.DAY + 2 * cast.EVERY:
            assert (
                alert.resolved_at is None and "are of 'other' at tier small, 'small-model' is declared" in alert.cause
            )
    assert alert.resolved_at is not None
    with reading(engine) as session:
        shares = {
            (row.window.start, row.tier): row.value for row in figures(session, "cities", names=["undeclared_share"])
        }
    engine.dispose()
    assert shares[cast.DAY, 0] == pytest.approx(1 / 6) and shares[cast.DAY, 1] == 0.0
    assert shares[cast.DAY + cast.EVERY, 0] == 0.0


def figure(deployment, name, window, *, mature=False):
    with reading(deployment.engine) as session:
        rows = [row for row in figures(session, "cities", names=[name]) if row.mature is mature]
    found = [row for row in rows if row.window == window and row.tier is None and row.slice is None]
    return found[0].value if found else None


@pytest.mark.slow
def test_decisions_that_come_after_their_window_was_watched_are_in_its_figures_and_counted(everywhere):
    traffic = list(everywhere.day_of_traffic(0))  # 40 a window
    everywhere.put(traffic[:10])
    first = everywhere.watch(0, 0)
    assert figure(everywhere, "queries", first.window) == 10
    state = everywhere.state(Rule.SAVINGS)
    everywhere.put(traffic[10:40], received_at=first.window.end + timedelta(hours=5))
    second = everywhere.watch(0, 1)
    assert second.again == (first.window,)
    assert figure(everywhere, "queries", first.window) == 40
    assert figure(everywhere, "late_decisions", first.window) == 30
    assert figure(everywhere, "late_decisions", second.window) == 0
    (change,) = second.alerts
    assert (change.rule, change.event) == (Rule.LATE_DECISIONS, "opened")
    assert "30 of 40 decisions came after their window was watched, those of 2026-03-02 00:00 to" in change.cause
    assert everywhere.state(Rule.SAVINGS)["families"] == state["families"]  # what it has passed it has passed
    everywhere.put(list(everywhere.day_of_traffic(0, seed=1))[:1], received_at=second.window.end)
    assert everywhere.watch(0, 2).again == (first.window,), "it was under way while the second one was read"
    assert everywhere.watch(0, 3).again == ()


@pytest.mark.slow
def test_a_window_that_is_computed_again_rings_no_alarm_twice_and_loses_no_ring(deployment):
    deployment.put(deployment.day_of_traffic(0))
    deployment.watch_day(0)
    strange = list(deployment.day_of_traffic(1, strange=0.7, n=600))
    deployment.put([one for at, one in enumerate(strange) if at % 5], strangeness=1.5)
    rung = [change for outcome in deployment.watch_day(1) for change in outcome.alerts if change.rule is Rule.SAVINGS]
    assert {change.event for change in rung[:1]} == {"opened"}
    assert {change.event for change in rung[1:]} <= {"rang_again"}, "a loss that goes on rings again, once each"
    day_after = deployment.cast.DAY + 2 * DAY
    deployment.put(strange[::5], strangeness=1.5, received_at=day_after + timedelta(hours=1))
    before = deployment.state(Rule.SAVINGS)
    later = deployment.watch(2, 0)
    assert len(later.again) == 4
    assert not [change for change in later.alerts if change.rule is Rule.SAVINGS]
    after = deployment.state(Rule.SAVINGS)
    assert (after["raised_at"], after["families"]) == (before["raised_at"], before["families"])
    assert "savings" in deployment.alerts(open_only=True)


@pytest.mark.slow
def test_an_alarm_that_rings_says_how_many_decisions_came_too_late_for_it(deployment):
    deployment.put(deployment.day_of_traffic(0))
    deployment.watch_day(0)
    quiet, strange = (list(deployment.day_of_traffic(1, strange=share, n=600)) for share in (0.0, 0.7))
    deployment.put([*quiet[:50], *quiet[100:150]])
    deployment.put(strange[150:], strangeness=1.5)
    assert deployment.watch(1, 0).alerts == ()
    soon = deployment.cast.DAY + DAY + 1.5 * deployment.cast.EVERY
    deployment.put(quiet[50:100], received_at=soon)
    for quarter in (1, 2, 3):
        deployment.watch(1, quarter)
    raised = deployment.alerts()["savings"]
    assert json.loads(raised.details)["late_decisions"] == 50
    assert raised.cause.endswith("50 decisions of that time came too late to be heard")
    assert deployment.alerts()["late_decisions"].cause.startswith("50 of")


def test_what_comes_after_a_cohort_was_mature_is_in_its_mature_figures_and_too_late_for_the_risk_alarm(deployment):
    traffic = list(deployment.day_of_traffic(0))
    deployment.put(traffic[:20])
    first = deployment.watch(0, 0)
    deployment.watch(2, 0)  # the horizon has passed
    assert figure(deployment, "queries", first.window, mature=True) == 20
    deployment.put(traffic[20:40], received_at=deployment.cast.DAY + 2 * DAY + timedelta(hours=8))
    again = deployment.watch(2, 1)
    assert again.again == (first.window,)
    assert figure(deployment, "queries", first.window, mature=True) == 40
    assert figure(deployment, "late_decisions", first.window, mature=True) == 20
    assert figure(deployment, "late_decisions", first.window) == 20


def test_decisions_of_a_window_that_was_passed_over_have_figures_and_history_of_before_is_nobodys(deployment):
    deployment.put(list(deployment.day_of_traffic(0))[:40])
    deployment.watch(0, 0)
    deployment.watch(0, 3)  # the two between were empty, and passed over
    late = deployment.cast.DAY + DAY + timedelta(hours=1)
    deployment.put(list(deployment.day_of_traffic(0))[60:70], received_at=late)
    history = [replace(one, at=one.at - 3 * DAY) for one in list(deployment.day_of_traffic(0))[:5]]
    deployment.put(history, received_at=late)
    outcome = deployment.watch(1, 0)
    start = deployment.cast.DAY + deployment.cast.EVERY
    passed_over = Window(start=start, end=start + deployment.cast.EVERY)
    assert outcome.again == (passed_over,)
    assert figure(deployment, "queries", passed_over) == 10
    assert figure(deployment, "late_decisions", passed_over) == 10


def test_decisions_that_came_late_are_found_after_a_month_in_which_nobody_watched(deployment):
    deployment.put(list(deployment.day_of_traffic(0))[:40])
    deployment.watch(0, 0)
    deployment.put(list(deployment.day_of_traffic(0, seed=1))[:10], received_at=deployment.cast.DAY + 20 * DAY)
    outcome = deployment.watch(31, 0)
    first = Window(start=deployment.cast.DAY, end=deployment.cast.DAY + deployment.cast.EVERY)
    assert outcome.again == (first,)
    assert figure(deployment, "late_decisions", first) == 10


def test_a_model_that_nobody_declared_is_heard_of_in_decisions_that_come_late(deployment):
    traffic = list(deployment.day_of_traffic(0))
    deployment.put(traffic[:39])
    deployment.watch(0, 0)
    decision = deployment.cast.decision_of(traffic[39])
    small = replace(decision.attempts[0], model="another-model")
    with transaction(deployment.engine) as session:
        add_decisions(
            session,
            [replace(decision, attempts=(small, *decision.attempts[1:]))],
            received_at=deployment.cast.DAY + 1.5 * deployment.cast.EVERY,
        )
    (change,) = deployment.watch(0, 1).alerts
    assert (change.rule, change.event) == (Rule.UNDECLARED_MODEL, "opened")


def test_a_bundle_is_looked_at_with_what_its_own_models_see_in_the_stored_states(deployment):
    """Logged signals are those of the same models here, so what the look keeps is what the log says
    it would.
    """
    start = deployment.cast.DAY
    asked = [
        deployment.cast.Asked(
            at=start + number * DAY / 300,
            reason=Reason.ESCALATE_ALL,
            p_t=float(p_t),
            small=0.0,
            large=1.0,
            bundle=deployment.bundle,
        )
        for number, p_t in enumerate(np.random.default_rng(5).uniform(0.3, 1.0, 300))
    ]
    deployment.put(asked)
    cohort = Reader(deployment.engine, "cities", now=start + 5 * DAY).cohort(Window(start=start, end=start + DAY))
    bundle = bundle_of(start - DAY, start, 0.5)
    logged = cohort.attempts[cohort.attempts["tier"] == 0]
    kept = (logged["p_ik"] >= 0.3) & (logged["p_t"] >= 0.5) & (logged["ood"] <= 0.99)
    look = look_since_ring(cohort, bundle, rang_at=start, look=1, level=0.1)
    assert look.n == 300 and look.estimate == pytest.approx(kept.mean()) and 0.2 < kept.mean() < 0.9
    blind = cohort.attempts.assign(shard=None)
    without = look_since_ring(replace(cohort, attempts=blind), bundle, rang_at=start, look=1, level=0.1)
    assert without.estimate == 0.0, "without its states it keeps nothing, since it has no fallback"


def test_the_accuracy_by_scores_has_an_interval_where_the_bundle_keeps_the_refits_of_its_calibrator(deployment):
    start, score = deployment.cast.DAY, Platt(slope=1.0, intercept=0.0)
    document = replace(
        MODELS.document,
        score_model=ScoreModel(w_p_t=1.0, w_p_ik=0.0, w_entropy=0.0, intercept=0.0, calibrator=score),
        resampled=True,
    )
    refits = ResampledScores(at=np.float32([0.1, 0.9]), refits=np.float32([[0.0, 0.8], [0.2, 1.0]]))
    bundle = bundle_of(start - DAY, start, 0.5, replace(MODELS, document=document, resampled=refits))
    with transaction(deployment.engine) as session:
        text = codec.canonical(bundle.document).decode()
        add_bundle(session, bundle.id, "cities", text, bundle.content, BundleStatus.PROMOTED, start)
        for quarter, names in enumerate([(bundle.id,), (bundle.id, deployment.bundle), (bundle.id, "f" * 64)]):
            at = start + quarter * deployment.cast.EVERY
            asked = [deployment.cast.Asked(at=at, score=0.8, bundle=name) for name in names for _ in range(50)]
            deployment.cast.store_asked(session, asked)
    for quarter in range(3):
        deployment.watch(0, quarter)
    with reading(deployment.engine) as session:
        rows = [row for row in figures(session, "cities", names=["cbpe"]) if row.slice is None]
    known, *lacking = rows
    assert known.value == pytest.approx(0.8) and known.low < 0.7 and known.high > 0.9
    for row in lacking:
        assert (row.value, row.low, row.high) == (pytest.approx(0.8), None, None)
        assert row.not_identified.startswith("no interval: of 50 of 100 scores")
