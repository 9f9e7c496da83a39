"""A window from stored decisions to a published bundle, on a real database with real shards."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, select, text, update

from factories import make_assignment, make_decision, make_fingerprint, make_label
from knowgate._bundles.bundle import CertificateDocument, read_bundle
from knowgate._records.records import (
    Attempt,
    PTKind,
    Role,
    Signals,
    Window,
)
from knowgate._wire import codec
from knowgate._wire.codec import decode
from knowgate.backends.loading import adopt
from knowgate.policy import Policy, PolicyKind
from knowgate.spec import CascadeSpec, Price, Privacy, PromiseKind, Targets, TierSpec
from store.engine import open_engine, reading, transaction
from store.errors import ClaimLost
from store.jobs.job_runs import claim, finish, job_runs, run_of_bundle
from store.jobs.occasions import Occasion, TrainingReason
from store.jobs.outbox import messages
from store.jobs.trainer_reports import TrainingOutcome, TrainingStatus
from store.ledger.ledger import unsealed
from store.releases.assignments import swap_assignment
from store.releases.bundles import bundle_content, bundles
from store.releases.cascades import apply_cascade
from store.releases.certifications import certifications
from store.releases.rings import RISK, Spoken
from store.shards.shards import write_shard
from store.tables import AttemptRow
from store.traffic.decisions import add_decisions
from store.traffic.labels import add_labels
from store.traffic.vectors import VectorRow, add_shard
from store.watching.alerts import AlertRecord, open_alert
from training.__main__ import main
from training.certification.savings import cohort_savings
from training.extraction import Answerer
from training.pipeline import train_window
from training.probes.probe_settings import FitSettings
from training.publishing.publish import MLFLOW_TOPIC
from training.publishing.records import RunReport
from training.rows.dataset import read_window, stored_vectors
from training.tiers.learn import former_probes
from training.window_run import TrainingSettings

START = datetime(2026, 3, 1, tzinfo=UTC)
END = START + timedelta(days=10)
AS_OF = END + timedelta(days=8)
WINDOW = Window(start=START, end=END)
QUICK = TrainingSettings(fit=FitSettings(max_epochs=20, patience=3))
FINGERPRINT = make_fingerprint(revision="1", dtype="float32", layer=3)


def spec_of(rule: PolicyKind, **changes: Any) -> CascadeSpec:
    since = START - timedelta(days=1)
    price = Price(since=since, usd_per_million_tokens_in=1.0, usd_per_million_tokens_out=1.0)
    dear = Price(since=since, usd_per_million_tokens_in=10.0, usd_per_million_tokens_out=10.0)
    tiers = (
        TierSpec(name="small", model="small", parameters=1e9, prices=(price,), layers=(3,)),
        TierSpec(name="large", model="large", parameters=1e10, prices=(dear,)),
    )
    targets = Targets(rule=rule, value=0.05, delta=0.2)
    return replace(CascadeSpec(name="facts", tiers=tiers, targets=targets), **changes)


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What the synthetic models do. The small one knows iff `knows`; p_t sees half of that, the
    state the rest.
    """

    n: int = 1500
    large_accuracy: float = 0.97
    exploration: float | None = None  # None = cold start: everything escalates
    vectors: bool = True
    seed: int = 0
    signal: float = 3.0


def seed_store(engine: Engine, spec: CascadeSpec, traffic: Traffic, shards: str) -> None:
    draw = np.random.default_rng(traffic.seed)
    a, b = draw.normal(size=traffic.n), draw.normal(size=traffic.n)
    small = draw.random(traffic.n) < 1 / (1 + np.exp(-traffic.signal * (a + b)))
    large = draw.random(traffic.n) < traffic.large_accuracy
    p_t = 1 / (1 + np.exp(-2 * a))
    states = draw.normal(size=(traffic.n, 8)).astype(np.float32)
    states[:, 3] = b
    explored = draw.random(traffic.n) < (traffic.exploration or 1.0)
    decisions, labels = [], []
    for row in range(traffic.n):
        at = START + (END - START) * (row / traffic.n)
        retained = traffic.exploration is not None and p_t[row] > 0.5
        ran = not retained or explored[row]
        attempts = [
            Attempt(
                tier=0,
                role=Role.SERVED if retained else Role.SUPERSEDED,
                model="small",
                signals=Signals(p_t=float(p_t[row])),
                fingerprint=FINGERPRINT if traffic.vectors else None,
                entropy=float(1 - p_t[row]),
                run_propensity=1.0,
                tokens_in=int(draw.integers(5, 50)),
                tokens_out=1,
            )
        ]
        if ran:
            role = Role.EXPLORATION if retained else Role.SERVED
            propensity = traffic.exploration if retained else 1.0
            attempts.append(
                Attempt(tier=1, role=role, model="large", run_propensity=propensity, tokens_in=20, tokens_out=1)
            )
        decision = make_decision(
            at,
            cascade=spec.name,
            attempts=tuple(attempts),
            prompt_hash=f"hash{row % 1300}",
            exploration_rate=traffic.exploration or 0.0,
        )
        decisions.append(decision)
        labels += [
            make_label(
                cascade=spec.name,
                correct=float(right[row]),
                labelled_at=at + timedelta(days=1),
                decision_id=decision.id,
                tier=tier,
            )
            for tier, right in ((0, small), (1, large))
            if tier == 0 or ran
        ]
    with transaction(engine) as session:
        apply_cascade(session, spec, now=START)
        assert not add_decisions(session, decisions, received_at=END).rejected
        add_labels(session, labels, received_at=END + timedelta(days=1))
        if traffic.vectors:
            shard = write_shard(shards, states, [str(decision.id) for decision in decisions])
            rows = [
                VectorRow(decision_id=decision.id, tier=0, row=row, sha256=shard.row_sha256[row])
                for row, decision in enumerate(decisions)
            ]
            add_shard(session, spec.name, shard.url, shard.sha256, rows, dimension=8, now=END)


@pytest.fixture
def seeded(sqlite_engine: Engine, tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    def seed(spec: CascadeSpec, traffic: Traffic) -> Engine:
        seed_store(sqlite_engine, spec, traffic, f"file://{tmp_path}/shards")
        return sqlite_engine

    yield seed


def _train(engine: Engine, **changes: Any) -> TrainingOutcome:
    arguments: dict[str, Any] = {"as_of": AS_OF, "settings": QUICK, "clock": lambda: AS_OF}
    return train_window(engine, "facts", WINDOW, **(arguments | changes))


@pytest.mark.parametrize("rule", [PolicyKind.SCORE, pytest.param(PolicyKind.GATES, marks=pytest.mark.slow)])
def test_a_cold_start_window_becomes_a_certified_bundle(seeded: Callable[..., Engine], rule: PolicyKind) -> None:
    engine = seeded(spec_of(rule), Traffic())
    outcome = _train(engine)
    assert outcome.status is TrainingStatus.CERTIFIED
    assert outcome.bundle is not None and outcome.certificate is not None
    certificate = outcome.certificate
    assert certificate.test == "exact_unconditional_score"
    assert certificate.retained_share is not None and certificate.retained_share > 0.1
    assert certificate.drop_upper_bound is not None and certificate.drop_upper_bound <= 0.05
    assert certificate.savings is not None and certificate.savings > 0
    assert certificate.p_t_auroc is not None and certificate.score_auroc is not None
    assert certificate.score_auroc > certificate.p_t_auroc + 0.05
    with reading(engine) as session:
        bundle = read_bundle(bundle_content(session, outcome.bundle), expected_id=outcome.bundle)
        (record,) = certifications(session, "facts")
        (message,) = messages(session, MLFLOW_TOPIC)
        kinds = {leaf.kind for leaf in unsealed(session, 100_000)}
    assert bundle.document.policy.kind is rule
    assert bundle.document.policy.fallback is not None
    assert bundle.document.policy.fallback.kind is PolicyKind.P_T
    models = bundle.tiers[0]
    assert models is not None and models.document.fingerprint == FINGERPRINT
    assert models.resampled is not None and models.resampled.error_of_mean(np.array([0.7])) > 0
    assert record.bundle == outcome.bundle and record.attempt == 1
    assert {"bundle", "certification"} <= kinds
    report = decode(RunReport, json.loads(message.payload))
    assert report.bundle == outcome.bundle
    window = (report.parameters["window_start"], report.parameters["window_end"])
    assert window == (WINDOW.start.isoformat(), WINDOW.end.isoformat())
    names = {figure.name for figure in report.figures if figure.low is not None}
    assert {f"tier0.score.{gain}_over_p_t" for gain in ("gain", "accuracy_gain", "share_gain")} <= names
    gains = {gain.signal: gain for gain in certificate.gains}
    assert 0 < gains["score"].auroc_low < gains["score"].auroc < gains["score"].auroc_high
    assert gains["score"].accuracy > 0 and gains["score"].at_share == certificate.retained_share
    assert codec.decode(CertificateDocument, codec.parse(record.document)).gains == certificate.gains
    assert bundle.document.certificate == certificate
    assert bundle.document.p_t_kinds == (PTKind.FIRST_TOKEN,)


@pytest.mark.slow
def test_decisions_whose_p_t_is_of_another_kind_are_left_out_and_counted(seeded: Callable[..., Engine]) -> None:
    spec = spec_of(PolicyKind.P_T)
    engine = seeded(spec, Traffic(vectors=False))
    with transaction(engine) as session:  # the serving code changed what it measures on the way
        changed = session.execute(
            text(
                "UPDATE attempt SET p_t_kind = 'mean' WHERE tier = 0 AND decision_id IN "
                "(SELECT id FROM decision ORDER BY id DESC LIMIT 500)"
            )
        ).rowcount
    assert changed == 500
    first = _train(engine)
    assert (first.rows["window"], first.rows["p_t_of_another_kind"]) == (1000, 500)
    with transaction(engine) as session:
        mean = replace(spec, tiers=(replace(spec.tiers[0], p_t_kind=PTKind.MEAN), spec.tiers[1]))
        apply_cascade(session, mean, now=AS_OF)
    second = _train(engine)
    assert (second.rows["window"], second.rows["p_t_of_another_kind"]) == (500, 1000)
    assert second.bundle is not None
    with reading(engine) as session:
        bundle = read_bundle(bundle_content(session, second.bundle))
    assert bundle.document.p_t_kinds == (PTKind.MEAN,)
    assert bundle.document.rows["p_t_of_another_kind"] == 1000


@pytest.mark.slow
def test_a_champion_of_another_kind_would_have_kept_nothing(seeded: Callable[..., Engine]) -> None:
    spec = spec_of(PolicyKind.P_T)
    engine = seeded(spec, Traffic(vectors=False))
    first = _train(engine)
    assert first.status is TrainingStatus.CERTIFIED and first.bundle is not None
    given = make_assignment(cascade="facts", champion=first.bundle, exploration_rate=0.1, issued_at=AS_OF)
    with transaction(engine) as session:
        swap_assignment(session, given, expected_generation=None)
        session.execute(text("UPDATE attempt SET p_t_kind = 'mean' WHERE tier = 0"))
        mean = replace(spec, tiers=(replace(spec.tiers[0], p_t_kind=PTKind.MEAN), spec.tiers[1]))
        apply_cascade(session, mean, now=AS_OF)
    second = _train(engine)
    assert second.status is TrainingStatus.CERTIFIED and second.bundle is not None
    with reading(engine) as session:
        comparison = read_bundle(bundle_content(session, second.bundle)).document.comparison
    assert comparison is not None and comparison.savings_gain is not None
    assert comparison.savings_gain > 0.05  # the same thresholds on the same numbers, but of another kind


def test_a_window_of_another_kind_altogether_tests_nothing_and_says_why(seeded: Callable[..., Engine]) -> None:
    spec = spec_of(PolicyKind.P_T)
    engine = seeded(spec, Traffic(n=200, vectors=False))
    with transaction(engine) as session:
        option = replace(spec, tiers=(replace(spec.tiers[0], p_t_kind=PTKind.OPTION), spec.tiers[1]))
        apply_cascade(session, option, now=AS_OF)
    outcome = _train(engine)
    assert outcome.status is TrainingStatus.NO_DATA
    assert outcome.rows == {"window": 0, "p_t_of_another_kind": 200}


@pytest.mark.slow
def test_the_promise_holds_on_fresh_traffic(seeded: Callable[..., Engine]) -> None:
    outcome = _train(engine := seeded(spec_of(PolicyKind.SCORE), Traffic()))
    assert outcome.bundle is not None
    with reading(engine) as session:
        bundle = read_bundle(bundle_content(session, outcome.bundle))
    draw = np.random.default_rng(99)
    a, b = draw.normal(size=20_000), draw.normal(size=20_000)
    states = draw.normal(size=(20_000, 8)).astype(np.float32)
    states[:, 3] = b
    right = 1 / (1 + np.exp(-3.0 * (a + b)))
    models = bundle.tiers[0]
    assert models is not None
    p_t = 1 / (1 + np.exp(-2 * a))
    shown = models.signal_columns(p_t=p_t, hidden=states, tokens_in=np.full(20_000, 20.0), entropy=1 - p_t)
    rule = bundle.document.policy.rules[0]
    assert rule is not None
    kept = shown["score"] >= rule[0].threshold
    assert (kept * (0.97 - right)).mean() <= 0.05


@pytest.mark.slow
def test_every_attempt_is_recorded_and_has_the_whole_delta(seeded: Callable[..., Engine]) -> None:
    engine = seeded(spec_of(PolicyKind.P_T), Traffic())
    first, second = _train(engine), _train(engine)
    assert first.certificate is not None and second.certificate is not None
    assert first.certificate.attempt == 1 and second.certificate.attempt == 2
    assert first.certificate.delta == second.certificate.delta == 0.2
    assert second.certificate.promise is PromiseKind.ROLLING and second.certificate.season is None
    assert first.bundle != second.bundle
    with reading(engine) as session:
        assert [one.attempt for one in certifications(session, "facts")] == [1, 2]


@pytest.mark.slow
def test_a_challenger_is_compared_with_the_bundle_in_force(seeded: Callable[..., Engine]) -> None:
    engine = seeded(spec_of(PolicyKind.P_T), Traffic())
    first = _train(engine)
    with transaction(engine) as session:
        swap_assignment(
            session,
            make_assignment(cascade="facts", champion=first.bundle, exploration_rate=0.1, issued_at=AS_OF),
            expected_generation=None,
            now=AS_OF,
        )
    second = _train(engine)
    with reading(engine) as session:
        document = read_bundle(bundle_content(session, str(second.bundle))).document
    assert document.parent == first.bundle
    assert document.comparison is not None and document.comparison.champion == first.bundle
    assert document.comparison.passed and not document.comparison.harmful
    # The same rows at the same level give the same thresholds.
    assert document.comparison.savings_gain == 0 and not document.comparison.bolder
    third = _train(engine, settings=replace(QUICK, warm_start=True))
    with reading(engine) as session:
        cold, warm = (read_bundle(bundle_content(session, str(one.bundle))).tiers[0] for one in (second, third))
    assert cold is not None and warm is not None
    np.testing.assert_allclose(warm.probe.first_layer, cold.probe.first_layer, atol=0.01)
    elsewhere = replace(cold.document.fingerprint, layer=99)
    assert set(former_probes(cold, (elsewhere, cold.document.fingerprint))) == {1}
    assert former_probes(None, (elsewhere,)) == {}


@pytest.mark.slow
def test_a_challenger_is_compared_on_rows_that_did_not_teach_the_champion(seeded: Callable[..., Engine]) -> None:
    engine = seeded(spec_of(PolicyKind.SCORE), Traffic())
    first = _train(engine)
    assert first.status is TrainingStatus.CERTIFIED
    with transaction(engine) as session:
        champion = make_assignment(cascade="facts", champion=first.bundle, exploration_rate=0.1, issued_at=AS_OF)
        swap_assignment(session, champion, expected_generation=None, now=AS_OF)
    again = _train(engine)
    with transaction(engine) as session:
        apply_cascade(session, spec_of(PolicyKind.P_T), now=AS_OF)
    by_p_t = _train(engine)
    with reading(engine) as session:
        same, other = (read_bundle(bundle_content(session, str(one.bundle))).document for one in (again, by_p_t))
    apart = first.rows["certification"]
    assert 0 < apart < 1000 and by_p_t.rows["tested"] == 1500
    assert [one.comparison.n for one in (same, other) if one.comparison is not None] == [apart, apart]


@pytest.mark.parametrize("rule", [PolicyKind.P_T, pytest.param(PolicyKind.SCORE, marks=pytest.mark.slow)])
def test_after_a_risk_alarm_only_decisions_that_it_had_not_read_certify(
    seeded: Callable[..., Engine], rule: PolicyKind
) -> None:
    engine, read_until = seeded(spec_of(rule), Traffic()), START + timedelta(days=4)
    with transaction(engine) as session:
        alarm = AlertRecord(cascade="facts", rule=RISK, cause="a test", details="{}", opened_at=END)
        open_alert(session, alarm, Spoken(until=read_until))
    outcome = _train(engine)
    assert outcome.certificate is not None and outcome.bundle is not None
    assert outcome.certificate.cohort.start >= read_until
    with reading(engine) as session:
        rows = read_bundle(bundle_content(session, outcome.bundle)).document.rows
    assert rows["window"] == 1500 and rows["left_out"] == pytest.approx(100, abs=30)  # 200 prompts came twice
    if rule is PolicyKind.P_T:
        assert rows["tested"] == 900
    else:
        assert rows["tested"] == rows["certification"] == pytest.approx(450, abs=60)
        taught = rows["fit"] + rows["validation"] + rows["calibration"]
        assert rows["tested"] + taught + rows["left_out"] == 1500


@pytest.mark.slow
def test_one_absurd_run_does_not_decide_what_a_window_saves(seeded: Callable[..., Engine]) -> None:
    spec = spec_of(PolicyKind.P_T)
    engine = seeded(spec, Traffic())
    before = read_window(engine, spec, WINDOW, as_of=AS_OF)
    kept = np.where(np.arange(before.n) % 2 == 0, 0, 1)
    at = END - timedelta(minutes=1)
    attempts = [
        Attempt(tier=tier, role=role, model=model, run_propensity=1.0, tokens_in=2**53, tokens_out=1)
        for tier, role, model in ((0, Role.SUPERSEDED, "small"), (1, Role.SERVED, "large"))
    ]
    decision = make_decision(at, cascade=spec.name, attempts=tuple(attempts), exploration_rate=1.0)
    with transaction(engine) as session:
        assert not add_decisions(session, [decision], received_at=END).rejected
    after = read_window(engine, spec, WINDOW, as_of=AS_OF)
    assert after.n == before.n + 1
    usual, absurd = cohort_savings(before, kept), cohort_savings(after, np.append(kept, 1))
    assert usual is not None and absurd is not None
    assert absurd.value == pytest.approx(usual.value, abs=0.1)
    assert after.tiers[0].tokens_in.max() <= spec.alarms.max_tokens


def test_a_cascade_without_hidden_states_is_certified_with_p_t_on_all_rows(seeded: Callable[..., Engine]) -> None:
    engine = seeded(spec_of(PolicyKind.GATES), Traffic(vectors=False))
    outcome = _train(engine)
    assert outcome.status is TrainingStatus.CERTIFIED
    assert outcome.certificate is not None and outcome.certificate.n == 1500
    assert "nothing" in outcome.certificate.split
    with reading(engine) as session:
        bundle = read_bundle(bundle_content(session, str(outcome.bundle)))
    assert bundle.tiers == (None,)
    assert bundle.document.policy.kind is PolicyKind.P_T


@pytest.mark.slow
def test_explored_rows_are_weighed_by_their_propensity(seeded: Callable[..., Engine]) -> None:
    engine = seeded(spec_of(PolicyKind.P_T), Traffic(exploration=0.5, n=2500))
    outcome = _train(engine)
    assert outcome.certificate is not None
    assert outcome.certificate.test == "thinned_exact_unconditional_score"


@pytest.mark.slow
def test_a_hopeless_small_model_is_infeasible_and_its_bundle_escalates_all(seeded: Callable[..., Engine]) -> None:
    engine = seeded(
        spec_of(PolicyKind.P_T, targets=Targets(rule=PolicyKind.P_T, value=0.001, delta=0.2, min_retained_share=0.5)),
        Traffic(signal=0.0),
    )
    outcome = _train(engine)
    assert outcome.status is TrainingStatus.INFEASIBLE
    with reading(engine) as session:
        (record,) = bundles(session, "facts")
        policy = read_bundle(bundle_content(session, record.id)).document.policy
    assert record.status == "infeasible"
    assert policy == Policy(kind=PolicyKind.ESCALATE_ALL, rules=(None,))


@pytest.mark.slow
def test_few_labels_are_insufficient_evidence_with_the_number_that_would_do(seeded: Callable[..., Engine]) -> None:
    engine = seeded(spec_of(PolicyKind.P_T, targets=Targets(rule=PolicyKind.P_T, value=0.01)), Traffic(n=150))
    outcome = _train(engine)
    assert outcome.status is TrainingStatus.INSUFFICIENT_EVIDENCE
    assert outcome.labels_needed is None or outcome.labels_needed > 0


@pytest.mark.slow
def test_an_attempt_that_could_hardly_win_is_not_made_while_something_is_in_force(
    seeded: Callable[..., Engine],
) -> None:
    engine = seeded(spec_of(PolicyKind.P_IK), Traffic(n=1500))
    first = _train(engine)
    assert first.status is TrainingStatus.CERTIFIED
    strict = spec_of(PolicyKind.P_IK, targets=Targets(rule=PolicyKind.P_IK, value=0.013))
    with transaction(engine) as session:
        apply_cascade(session, strict, now=AS_OF)
        champion = make_assignment(cascade="facts", champion=first.bundle, exploration_rate=0.1, issued_at=AS_OF)
        swap_assignment(session, champion, expected_generation=None, now=AS_OF)
    arguments = {"as_of": AS_OF, "settings": QUICK, "clock": lambda: AS_OF}
    outcome = train_window(engine, "facts", Window(start=END - timedelta(days=2), end=END), **arguments)
    assert outcome.status is TrainingStatus.NOT_ATTEMPTED
    assert outcome.bundle is None
    assert outcome.labels_needed is not None and outcome.labels_needed > 0
    with reading(engine) as session:
        assert len(certifications(session, "facts")) == 1


def asked(engine: Engine, reason: TrainingReason, number: int, window: Window = WINDOW) -> TrainingOutcome:
    """An attempt made for this reason, the `number`-th of its test."""
    occasion = Occasion(reason=reason, why=f"a reason of {reason}", key=f"need:{number}", asked_by="ada")
    now = AS_OF + timedelta(minutes=number)
    own = Window(start=START, end=now)
    lease = timedelta(minutes=5)
    with transaction(engine) as session:
        claimed = claim(session, "train", "facts", own, owner="a", lease=lease, now=now, occasion=occasion)
    assert claimed is not None
    return train_window(engine, "facts", window, as_of=now, settings=QUICK, clock=lambda: now, claim=claimed)


@pytest.mark.slow
def test_an_attempt_that_somebody_asks_for_borrows_its_share_from_the_next_that_nobody_does(
    seeded: Callable[..., Engine],
) -> None:
    engine = seeded(spec_of(PolicyKind.P_T, targets=Targets(rule=PolicyKind.P_T, value=0.05, delta=0.1)), Traffic())
    reasons = ("schedule", "drift", "asked", "insisted", "labels", "schedule")
    made = [asked(engine, TrainingReason(reason), number) for number, reason in enumerate(reasons)]
    levels = [outcome.certificate.delta for outcome in made if outcome.certificate is not None]
    assert levels == pytest.approx([0.1, 0.1, 0.025, 0.0125, 0.0625, 0.1])
    with reading(engine) as session:
        reports = [codec.decode(RunReport, json.loads(sent.payload)) for sent in messages(session, MLFLOW_TOPIC)]
        run = run_of_bundle(session, str(made[2].bundle))
    assert [report.reason for report in reports] == list(reasons)
    assert reports[2].why == "a reason of asked"
    assert run is not None and run.reason is TrainingReason.ASKED and run.asked_by == "ada"


@pytest.mark.slow
def test_an_attempt_that_could_hardly_win_is_made_for_who_insists(seeded: Callable[..., Engine]) -> None:
    strict = spec_of(PolicyKind.P_IK, targets=Targets(rule=PolicyKind.P_IK, value=0.013))
    engine = seeded(strict, Traffic(n=1500))
    days = Window(start=END - timedelta(days=2), end=END)
    refused = asked(engine, TrainingReason.ASKED, 1, days)
    assert refused.status is TrainingStatus.NOT_ATTEMPTED, "though nothing is in force"
    with reading(engine) as session:
        (run,) = job_runs(session, "facts")
    assert run.labels_needed == refused.labels_needed is not None and run.bundle is None
    assert asked(engine, TrainingReason.INSISTED, 2, days).certificate is not None


def test_immature_and_empty_windows_test_nothing_and_spend_nothing(seeded: Callable[..., Engine]) -> None:
    engine = seeded(spec_of(PolicyKind.P_T), Traffic(n=100))
    assert _train(engine, as_of=START + timedelta(days=6)).status is TrainingStatus.NO_DATA
    with reading(engine) as session:
        assert certifications(session, "facts") == ()


def test_the_claim_ends_in_the_publishing_transaction(seeded: Callable[..., Engine]) -> None:
    engine = seeded(spec_of(PolicyKind.P_T), Traffic(n=400))
    with transaction(engine) as session:
        claimed = claim(session, "train", "facts", WINDOW, owner="a", lease=timedelta(minutes=5), now=AS_OF)
    assert claimed is not None
    outcome = _train(engine, claim=claimed)
    with reading(engine) as session:
        (run,) = job_runs(session, "facts")
    assert run.finished_at is not None and run.outcome == str(outcome.status)


def test_a_lost_claim_takes_no_effect(seeded: Callable[..., Engine]) -> None:
    engine = seeded(spec_of(PolicyKind.P_T), Traffic(n=400))
    later = AS_OF + timedelta(hours=1)
    with transaction(engine) as session:
        lost = claim(session, "train", "facts", WINDOW, owner="a", lease=timedelta(minutes=5), now=AS_OF)
    with transaction(engine) as session:
        won = claim(session, "train", "facts", WINDOW, owner="b", lease=timedelta(minutes=5), now=later)
    assert lost is not None and won is not None and won.token == 2
    with pytest.raises(ClaimLost):
        _train(engine, claim=lost)
    with reading(engine) as session:
        assert bundles(session, "facts") == () and messages(session, MLFLOW_TOPIC) == ()
    assert _train(engine, claim=won).bundle is not None
    with transaction(engine) as session, pytest.raises(ClaimLost):
        finish(session, lost, "certified", now=later)


@pytest.mark.slow
def test_a_window_gives_the_same_bundle_with_and_without_a_crash_before(
    seeded: Callable[..., Engine], tmp_path: Path
) -> None:
    """Nothing is left of a run that dies before its transaction ends: the next one makes the bundle
    that a deployment without the crash makes.
    """
    crashed = seeded(spec_of(PolicyKind.SCORE), Traffic(n=900))
    with sqlite3.connect(str(crashed.url.database)) as original, sqlite3.connect(tmp_path / "spared.db") as copy:
        original.backup(copy)
    spared = open_engine(f"sqlite:///{tmp_path / 'spared.db'}")
    with transaction(crashed) as session:
        mine = claim(session, "train", "facts", WINDOW, owner="a", lease=timedelta(minutes=5), now=AS_OF)
    assert mine is not None
    with pytest.raises(ClaimLost):
        _train(crashed, claim=replace(mine, token=7))
    assert _train(crashed, claim=mine).bundle == _train(spared).bundle is not None
    for engine in (crashed, spared):
        with reading(engine) as session:
            assert len(bundles(session, "facts")) == 1
            assert [one.attempt for one in certifications(session, "facts")] == [1]
    spared.dispose()


@pytest.mark.slow
def test_all_layers_are_compared_where_the_model_can_be_asked_again(
    sqlite_engine: Engine, model_of: Any, tokenizer_of_letters: Any, store_letters: Callable[..., None]
) -> None:
    """Prompts are stored in full: the model's own layers are compared, and one of them
    is chosen.
    """
    answerer = Answerer(adopt(model_of("llama"), tokenizer_of_letters(), model="tiny", revision="1"))
    store_letters(sqlite_engine, spec_of(PolicyKind.SCORE, privacy=Privacy.FULL), START, END)
    outcome = _train(sqlite_engine, answerers={0: answerer})
    assert outcome.certificate is not None and outcome.certificate.probe_auroc is not None
    assert outcome.certificate.probe_auroc > 0.7
    with reading(sqlite_engine) as session:
        bundle = read_bundle(bundle_content(session, str(outcome.bundle)))
        (message,) = messages(session, MLFLOW_TOPIC)
    tier = bundle.document.tiers[0]
    assert tier is not None and tier.fingerprint in answerer.fingerprints
    assert tier.fingerprint.layer > 0  # the embedding of the last token, a colon, knows nothing
    names = {figure.name for figure in decode(RunReport, json.loads(message.payload)).figures}
    assert {f"tier0.layer{layer}.linear.auroc" for layer in range(4)} <= names


@pytest.mark.slow
def test_the_command_prints_one_json_outcome(
    seeded: Callable[..., Engine], sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    seeded(spec_of(PolicyKind.P_T), Traffic(n=400))
    window = ["--cascade=facts", f"--start={START.isoformat()}", f"--end={END.isoformat()}"]
    status = main(["run", *window, f"--as-of={AS_OF.isoformat()}", f"--database-url={sqlite_url}"])
    said = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert status == 0
    assert said["cascade"] == "facts" and said["status"] in set(TrainingStatus)
    wrong = ["--cascade=none", *window[1:], f"--as-of={AS_OF.isoformat()}", f"--database-url={sqlite_url}"]
    assert main(["run", *wrong]) == 1
    assert "none" in capsys.readouterr().err


def _rename(engine: Engine, tier: int, every: int) -> None:
    """Makes every n-th attempt of a tier one of another model, as an old replica would."""
    with transaction(engine) as session:
        ids = session.scalars(select(AttemptRow.decision_id).where(AttemptRow.tier == tier)).all()
        session.execute(
            update(AttemptRow)
            .where(AttemptRow.tier == tier, AttemptRow.decision_id.in_(ids[::every]))
            .values(model="another"),
            execution_options={"noted": False},
        )


@pytest.mark.slow
def test_decisions_begun_by_an_undeclared_model_teach_and_certify_nothing(seeded: Callable[..., Engine]) -> None:
    spec = spec_of(PolicyKind.P_T)
    engine = seeded(spec, Traffic(n=400, vectors=False))
    whole = read_window(engine, spec, WINDOW, as_of=AS_OF)
    _rename(engine, 0, every=4)
    rows = read_window(engine, spec, WINDOW, as_of=AS_OF)
    assert (whole.n, whole.undeclared, rows.n, rows.undeclared) == (400, 0, 300, 100)
    assert _train(engine).rows["undeclared"] == 100
    _rename(engine, 0, every=1)
    nothing = _train(engine)
    assert (nothing.status, nothing.rows) == (TrainingStatus.NO_DATA, {"window": 0, "undeclared": 400})


@pytest.mark.slow
def test_an_undeclared_last_tier_counts_as_the_worst_case(seeded: Callable[..., Engine]) -> None:
    """Left out, its rows would favour what is retained; with their outcome unknown the promise
    holds.
    """
    spec = spec_of(PolicyKind.P_T)
    engine = seeded(spec, Traffic(vectors=False))
    before, declared = _train(engine).certificate, read_window(engine, spec, WINDOW, as_of=AS_OF)
    _rename(engine, 1, every=2)
    rows = read_window(engine, spec, WINDOW, as_of=AS_OF)
    np.testing.assert_array_equal(rows.tiers[1].tokens_in, declared.tiers[1].tokens_in, "it was paid for all the same")
    assert rows.n == Traffic().n and int(np.isnan(rows.tiers[1].correct).sum()) == rows.n // 2
    assert rows.tiers[1].ran.all()
    after = _train(engine).certificate
    assert before is not None and after is not None
    assert before.retained_share is not None and before.retained_share > 0.2
    # Half of what is retained counts as lost, so at a drop of 5 points no more than a tenth can be.
    assert (after.retained_share or 0.0) <= 0.1


def test_a_vector_of_another_size_teaches_nothing_and_stops_nothing(
    seeded: Callable[..., Engine], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = spec_of(PolicyKind.SCORE)
    engine = seeded(spec, Traffic(n=40))
    at = END - timedelta(minutes=1)  # the newest of all: its size must not become the rule
    odd = make_decision(
        at, cascade=spec.name, attempts=(Attempt(tier=0, role=Role.SERVED, model="small", fingerprint=FINGERPRINT),)
    )
    with transaction(engine) as session:
        assert not add_decisions(session, [odd], received_at=END).rejected
        shard = write_shard(f"file://{tmp_path}/shards", np.ones((1, 5), np.float16), [str(odd.id)])
        place = VectorRow(decision_id=odd.id, tier=0, row=0, sha256=shard.row_sha256[0])
        add_shard(session, spec.name, shard.url, shard.sha256, [place], dimension=5, now=END)
    vectors = stored_vectors(read_window(engine, spec, WINDOW, as_of=AS_OF), 0)
    assert vectors is not None and vectors.rows.shape == (40, 1, 8)
    assert "1 vectors have other than 8 numbers" in caplog.text
