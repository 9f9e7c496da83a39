"""The trainer under the promise of a season: counters go on where the last attempt left them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, text

from knowgate._bundles.bundle import Bundle, read_bundle
from knowgate._bundles.bundle_documents import CertificateStatus
from knowgate._records.records import Window
from knowgate._wire import codec
from knowgate.policy import PolicyKind
from knowgate.spec import PromiseKind, TargetKind, Targets
from store.engine import reading, transaction
from store.errors import ClaimLost
from store.jobs.job_runs import claim
from store.jobs.trainer_reports import TrainingOutcome, TrainingStatus
from store.ledger.ledger import unsealed
from store.releases.bundles import bundle_content
from store.releases.cascades import apply_cascade
from store.releases.certifications import certifications
from store.releases.rings import RISK, Spoken
from store.releases.seasons import SeasonRecord, latest_season
from store.watching.alerts import AlertRecord, open_alert
from tests.training.test_pipeline import AS_OF, QUICK, START, Traffic, seed_store, spec_of
from training.certification.seasons import QUARTER, SeasonDocument, goes_on
from training.errors import TrainingRefused
from training.pipeline import train_window

Seed = Callable[..., Engine]
HALF = START + timedelta(days=5)
END = START + timedelta(days=10)


def season_of(rule: PolicyKind, **changes: object) -> Targets:
    return replace(Targets(rule=rule, value=0.05, delta=0.2, promise=PromiseKind.SEASON), **changes)  # type: ignore[arg-type]


@pytest.fixture
def seeded(sqlite_engine: Engine, tmp_path: Path) -> Iterator[Seed]:
    def seed(targets: Targets, traffic: Traffic) -> Engine:
        seed_store(sqlite_engine, spec_of(targets.rule, targets=targets), traffic, f"file://{tmp_path}/shards")
        return sqlite_engine

    yield seed


def attempt(engine: Engine, end: datetime, **more: object) -> TrainingOutcome:
    window = Window(start=START, end=end)
    return train_window(engine, "facts", window, as_of=AS_OF, settings=QUICK, clock=lambda: AS_OF, **more)  # type: ignore[arg-type]


def after(engine: Engine) -> tuple[SeasonRecord, SeasonDocument]:
    with reading(engine) as session:
        record = latest_season(session, "facts")
    assert record is not None
    return record, codec.decode(SeasonDocument, codec.parse(record.document))


def bundle_of(engine: Engine, outcome: TrainingOutcome) -> Bundle:
    assert outcome.bundle is not None
    with reading(engine) as session:
        return read_bundle(bundle_content(session, outcome.bundle), expected_id=outcome.bundle)


@pytest.mark.slow
def test_each_attempt_adds_what_came_since_and_spends_no_more_than_the_seasons_delta(seeded: Seed) -> None:
    engine = seeded(season_of(PolicyKind.P_T), Traffic(n=2000, vectors=False))
    first = attempt(engine, HALF)
    began, before = after(engine)
    second = attempt(engine, END)
    record, counted = after(engine)
    assert (before.paths[0].rows, counted.paths[0].rows) == (1000, 2000)
    assert np.greater_equal(counted.paths[0].plus, before.paths[0].plus).all()
    assert counted.paths[0].path == before.paths[0].path
    assert counted.paths[0].certified >= before.paths[0].certified > 0
    assert (began.number, record.number, began.attempt, record.attempt) == (1, 1, 1, 2)
    assert (began.counted_until, record.counted_until, record.began_at) == (HALF, END, START)
    for outcome in (first, second):
        certificate = outcome.certificate
        assert certificate is not None and certificate.status is CertificateStatus.CERTIFIED
        assert (certificate.delta, certificate.delta_family, certificate.test) == (0.2, 0.2, "season")
        assert certificate.season is not None and certificate.season.opened_at == HALF
        assert certificate.cohort.start == START
        assert certificate.drop_upper_bound is not None and certificate.drop_upper_bound <= 0.05
    with reading(engine) as session:
        assert [one.delta_spent for one in certifications(session, "facts")] == [0.2, 0.2]
        assert {"season", "certification"} <= {leaf.kind for leaf in unsealed(session, 100_000)}


@pytest.mark.slow
def test_a_window_that_was_counted_is_not_counted_again(seeded: Seed) -> None:
    engine = seeded(season_of(PolicyKind.P_T), Traffic(vectors=False))
    attempt(engine, END)
    before = after(engine)
    assert attempt(engine, END).status is TrainingStatus.NO_DATA
    assert attempt(engine, HALF).status is TrainingStatus.NO_DATA
    assert after(engine) == before


@pytest.mark.slow
def test_an_attempt_that_dies_has_counted_nothing_and_its_repetition_counts_once(seeded: Seed) -> None:
    engine = seeded(season_of(PolicyKind.P_T), Traffic(vectors=False))
    attempt(engine, HALF)
    before, window = after(engine), Window(start=START, end=END)
    with transaction(engine) as session:
        dead = claim(session, "train", "facts", window, owner="a", lease=timedelta(minutes=5), now=AS_OF)
    with transaction(engine) as session:
        later = AS_OF + timedelta(hours=1)
        repeats = claim(session, "train", "facts", window, owner="b", lease=timedelta(minutes=5), now=later)
    with pytest.raises(ClaimLost):
        attempt(engine, END, claim=dead)
    assert after(engine) == before
    attempt(engine, END, claim=repeats)
    record, counted = after(engine)
    assert counted.paths[0].rows == 1500 and record.attempt == before[0].attempt + 1


@pytest.mark.slow
@pytest.mark.parametrize("rule", [PolicyKind.SCORE, PolicyKind.GATES])
def test_while_a_season_lasts_its_own_models_score_prompts_that_taught_nothing(seeded: Seed, rule: PolicyKind) -> None:
    engine = seeded(season_of(rule), Traffic(n=2000))
    first, second = bundle_of(engine, attempt(engine, HALF)), bundle_of(engine, attempt(engine, END))
    models = first.tiers[0], second.tiers[0]
    assert models[0] is not None and models[1] is not None
    np.testing.assert_array_equal(models[0].probe.first_layer, models[1].probe.first_layer)
    assert second.document.policy.kind is rule and second.document.policy.fallback is None
    _, counted = after(engine)
    assert second.document.policy.rules in counted.paths[0].path
    assert counted.paths[0].rows == pytest.approx(1000, abs=120)  # half of the prompts
    assert second.document.rows["fit"] == second.document.rows["validation"] == 0
    tested = second.document.rows["certification"]
    assert first.document.rows["certification"] + tested == counted.paths[0].rows


@pytest.mark.slow
def test_after_a_risk_alarm_a_new_season_counts_only_what_the_alarm_has_not_read(seeded: Seed) -> None:
    engine = seeded(season_of(PolicyKind.P_T), Traffic(n=2000, vectors=False))
    attempt(engine, HALF)
    read_until = HALF + timedelta(days=1)
    with transaction(engine) as session:
        alarm = AlertRecord(cascade="facts", rule=RISK, cause="a test", details="{}", opened_at=END)
        open_alert(session, alarm, Spoken(until=read_until))
    attempt(engine, END)
    record, counted = after(engine)
    assert (record.number, record.began_at, record.opened_at) == (2, read_until, END)
    assert counted.paths[0].rows == 800


@pytest.mark.slow
def test_another_target_begins_another_season(seeded: Seed) -> None:
    targets = season_of(PolicyKind.P_T)
    engine = seeded(targets, Traffic(vectors=False))
    attempt(engine, HALF)
    with transaction(engine) as session:
        apply_cascade(session, spec_of(PolicyKind.P_T, targets=replace(targets, value=0.04)), now=AS_OF)
    attempt(engine, END)
    record, counted = after(engine)
    assert (record.number, counted.target_value, counted.paths[0].rows) == (2, 0.04, 1500)


def test_a_season_lasts_for_a_quarter(seeded: Seed) -> None:
    targets = season_of(PolicyKind.P_T)
    engine, spec = seeded(targets, Traffic(n=400, vectors=False)), spec_of(PolicyKind.P_T, targets=targets)
    bundle = bundle_of(engine, attempt(engine, HALF))
    record, document = after(engine)
    for late, on in ((timedelta(seconds=-1), True), (timedelta(), False)):
        assert goes_on(record, document, bundle, spec, end=HALF + QUARTER + late, alarm=None) is on


@pytest.mark.slow
def test_the_accuracy_of_what_is_retained_is_counted_among_what_is_retained(seeded: Seed) -> None:
    targets = season_of(PolicyKind.P_T, kind=TargetKind.RETAINED_ACCURACY, value=0.7)
    engine = seeded(targets, Traffic(n=2000, vectors=False))
    attempt(engine, HALF)
    outcome = attempt(engine, END)
    assert outcome.certificate is not None and outcome.certificate.status is CertificateStatus.CERTIFIED
    _, counted = after(engine)
    shares = np.array(counted.paths[0].counted) / counted.paths[0].rows
    assert shares[0] >= 0.04 and shares[-1] == 1.0  # no level waits for rows of a share that is worth nothing


def test_labels_between_right_and_wrong_are_refused_with_the_way_out(seeded: Seed) -> None:
    engine = seeded(season_of(PolicyKind.P_T), Traffic(n=400, vectors=False))
    with transaction(engine) as session:
        session.execute(text("UPDATE label SET correct = 0.5 WHERE correct = 0"))
    with pytest.raises(TrainingRefused, match=r"decisions have labels between 0 and 1.*targets.promise = \"rolling\""):
        attempt(engine, END)
