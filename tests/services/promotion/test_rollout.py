"""What may change the assignment, and what each change leaves behind."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine, update

from factories import make_assignment, make_certificate, make_comparison
from knowgate import Assignment, Bundle, Mode, write_bundle
from knowgate._bundles import signing
from knowgate._bundles.bundle_documents import CertificateDocument, ComparisonDocument, SeasonMark
from knowgate._records.receivers import Receiver, ReceiverKind
from knowgate._wire import codec
from knowgate.spec import Observe, OnRisk, PromiseKind
from services.clock import SimulatedClock
from services.declaration.cascade_file import parse_cascade
from services.errors import Refused
from services.jobs.job import JobContext
from services.jobs.promote import PromoteSweep
from services.jobs.respond import RespondSweep
from services.promotion import generations, rollout
from services.promotion.promotion import Ground, check_promotion
from services.promotion.rollout_state import Why
from services.settings import Settings
from store.engine import reading, transaction
from store.errors import BundleDamaged, GenerationMoved
from store.releases import assignments, bundles, cascades, promotions
from store.releases.bundles import BundleStatus
from store.releases.promotions import Outcome
from store.tables import BundleRow, CascadeVersionRow
from store.watching import alerts
from store.watching.alerts import AlertRecord
from store.watching.deliveries import newest_deliveries
from tests.services.conftest import CASCADE


@pytest.fixture
def context(engine: Engine, settings: Settings, clock: SimulatedClock) -> JobContext:
    return JobContext(engine=engine, settings=settings, clock=clock, owner="test")


@pytest.fixture
def certificate() -> CertificateDocument:
    return make_certificate(savings=0.3)


@pytest.fixture
def comparison(bundle: Bundle) -> ComparisonDocument:
    """A challenger that passes against `bundle`."""
    return make_comparison(bundle.id)


def stored(engine: Engine, bundle: Bundle, clock: SimulatedClock, **changes: object) -> Bundle:
    """A certified bundle in the store, waiting to be judged."""
    made = write_bundle(replace(bundle.document, **changes), bundle.tiers)  # type: ignore[arg-type]
    with transaction(engine) as session:
        document = codec.canonical(made.document)
        bundles.add_bundle(session, made.id, "trivia", document, made.content, BundleStatus.CERTIFIED, clock.now())
    return made


def in_force(engine: Engine) -> Assignment:
    with reading(engine) as session:
        assigned = assignments.assignment(session, "trivia")
    assert assigned is not None
    return assigned


@pytest.mark.usefixtures("trivia")
def test_the_first_certified_bundle_is_promoted_and_recorded(
    engine: Engine, context: JobContext, bundle: Bundle, certificate: CertificateDocument, clock: SimulatedClock
) -> None:
    made = stored(engine, bundle, clock, certificate=certificate)
    assert PromoteSweep().run(context) == 1
    assert in_force(engine).champion == made.id
    with reading(engine) as session:
        (record,) = promotions.promotions(session, "trivia")
        assert (record.outcome, record.bundle, record.previous) == (Outcome.PROMOTED, made.id, None)
        assert bundles.bundle(session, made.id).status is BundleStatus.PROMOTED
    assert PromoteSweep().run(context) == 0, "what was judged is not judged again"


@pytest.mark.usefixtures("trivia")
def test_a_bundle_of_a_cascade_that_cannot_be_read_waits_for_a_good_file(
    engine: Engine,
    context: JobContext,
    bundle: Bundle,
    certificate: CertificateDocument,
    clock: SimulatedClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = stored(engine, bundle, clock, certificate=certificate)
    with transaction(engine) as session:
        good = cascades.cascade(session, "trivia")
        declared = codec.encode(good) | {"alarms": {"max_tokens": 10**26}}
        session.execute(update(CascadeVersionRow).values(spec=declared), execution_options={"noted": False})
    assert PromoteSweep().run(context) == 0
    assert "no bundle of trivia is judged" in caplog.text and "alarms.max_tokens" in caplog.text
    with transaction(engine) as session:
        cascades.apply_cascade(session, good, now=clock.now())
    assert PromoteSweep().run(context) == 1
    assert in_force(engine).champion == made.id


def test_of_two_waiting_bundles_only_the_newer_is_judged_on_its_merits(
    engine: Engine,
    context: JobContext,
    promoted: Bundle,
    certificate: CertificateDocument,
    comparison: ComparisonDocument,
    clock: SimulatedClock,
) -> None:
    older = stored(engine, promoted, clock, certificate=certificate, comparison=comparison, rows={"n": 1})
    clock.set(clock.now() + timedelta(hours=1))
    newer = stored(engine, promoted, clock, certificate=certificate, comparison=comparison, rows={"n": 2})
    PromoteSweep().run(context)
    assert in_force(engine).champion == newer.id
    with reading(engine) as session:
        assert bundles.bundle(session, older.id).status is BundleStatus.REFUSED
        assert bundles.bundle(session, promoted.id).status is BundleStatus.RETIRED


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"harmful": True, "passed": False}, "less accurate than the champion"),
        ({"passed": False}, "too little evidence"),
        ({"savings_gain": -0.2}, "give away 20.0 %"),
        ({"champion": "another"}, "came into force meanwhile"),
    ],
)
def test_a_challenger_is_refused_with_its_reason(
    bundle: Bundle,
    certificate: CertificateDocument,
    comparison: ComparisonDocument,
    changes: dict[str, object],
    reason: str,
    clock: SimulatedClock,
) -> None:
    assigned = assignment_of(bundle.id, clock)
    against = replace(comparison, **changes)  # type: ignore[arg-type]
    check = check_promotion(replace(bundle.document, certificate=certificate, comparison=against), assigned)
    assert not check.passed and reason in check.reason


def test_a_broken_or_stopped_champion_is_replaced_by_one_that_saves_less(
    bundle: Bundle, certificate: CertificateDocument, comparison: ComparisonDocument, clock: SimulatedClock
) -> None:
    assigned = assignment_of(bundle.id, clock)
    poor = replace(comparison, savings_gain=-0.2)
    broken = replace(bundle.document, certificate=certificate, comparison=replace(poor, champion_broken=True))
    assert check_promotion(broken, assigned).passed
    stopped = replace(assigned, mode=Mode.ESCALATE_ALL)
    assert check_promotion(replace(bundle.document, certificate=certificate, comparison=poor), stopped).passed
    assert not check_promotion(bundle.document, stopped).passed, "without a certificate nothing is promoted"


def test_an_open_risk_alarm_stops_the_champion_once(
    engine: Engine, context: JobContext, promoted: Bundle, clock: SimulatedClock
) -> None:
    raise_risk(engine, clock)
    assert RespondSweep().run(context) == 1
    assigned = in_force(engine)
    assert (assigned.mode, assigned.champion) == (Mode.ESCALATE_ALL, promoted.id)
    assert RespondSweep().run(context) == 0


def test_a_ring_stops_whatever_decides_also_what_came_into_force_after_it(
    engine: Engine, context: JobContext, promoted: Bundle, certificate: CertificateDocument, clock: SimulatedClock
) -> None:
    raise_risk(engine, clock)
    clock.set(clock.now() + timedelta(hours=1))
    fresh = stored(engine, promoted, clock, certificate=certificate)
    with transaction(engine) as session:
        rollout.promote(session, in_force(engine), fresh.id, context.settings, Why(reason="test"), now=clock.now())
    assert RespondSweep().run(context) == 1
    assert (in_force(engine).mode, in_force(engine).champion) == (Mode.ESCALATE_ALL, fresh.id)


def test_who_only_wants_to_be_told_is_only_told(
    engine: Engine, context: JobContext, promoted: Bundle, clock: SimulatedClock
) -> None:
    with transaction(engine) as session:
        spec = cascades.cascade(session, "trivia")
        declared = replace(spec, alarms=replace(spec.alarms, on_risk=OnRisk.ALERT))
        cascades.apply_cascade(session, declared, now=clock.now())
    raise_risk(engine, clock)
    assert RespondSweep().run(context) == 0
    assert in_force(engine).champion == promoted.id


def test_a_declaration_that_cannot_be_read_says_nothing_against_stopping(
    engine: Engine, context: JobContext, promoted: Bundle, clock: SimulatedClock
) -> None:
    with transaction(engine) as session:
        declared = codec.encode(cascades.cascade(session, "trivia"))
        declared["alarms"] = {"on_risk": "alert", "max_tokens": 10**26}
        session.execute(update(CascadeVersionRow).values(spec=declared), execution_options={"noted": False})
    raise_risk(engine, clock)
    assert RespondSweep().run(context) == 1
    assert in_force(engine).mode is Mode.ESCALATE_ALL


def test_a_damaged_bundle_is_not_put_in_force(
    engine: Engine,
    context: JobContext,
    promoted: Bundle,
    certificate: CertificateDocument,
    comparison: ComparisonDocument,
    clock: SimulatedClock,
) -> None:
    def damage(bundle: Bundle) -> None:
        with transaction(engine) as session:
            spoilt = update(BundleRow).where(BundleRow.id == bundle.id).values(content=bundle.content[:-1])
            session.execute(spoilt, execution_options={"noted": False})

    fresh = stored(engine, promoted, clock, certificate=certificate)
    with transaction(engine) as session:
        rollout.promote(session, in_force(engine), fresh.id, context.settings, Why(reason="test"), now=clock.now())
    damage(promoted)
    with transaction(engine) as session, pytest.raises(BundleDamaged, match=promoted.id):
        rollout.roll_back(session, in_force(engine), context.settings, Why(reason="worse"), now=clock.now())
    assert in_force(engine).champion == fresh.id
    waiting = stored(
        engine, promoted, clock, certificate=certificate, comparison=replace(comparison, champion=fresh.id)
    )
    damage(waiting)
    assert PromoteSweep().run(context) == 1
    assert in_force(engine).champion == fresh.id
    with reading(engine) as session:
        assert bundles.bundle(session, waiting.id).status is BundleStatus.REFUSED
        assert any(
            row.bundle == waiting.id and "damaged" in row.reason for row in promotions.promotions(session, "trivia")
        )


def test_rolling_back_restores_the_champion_before(
    engine: Engine, context: JobContext, promoted: Bundle, certificate: CertificateDocument, clock: SimulatedClock
) -> None:
    fresh = stored(engine, promoted, clock, certificate=certificate)
    with transaction(engine) as session:
        rollout.promote(session, in_force(engine), fresh.id, context.settings, Why(reason="test"), now=clock.now())
    with transaction(engine) as session:
        rollout.roll_back(session, in_force(engine), context.settings, Why(reason="worse"), now=clock.now())
    assert in_force(engine).champion == promoted.id
    with transaction(engine) as session:
        rollout.roll_back(session, in_force(engine), context.settings, Why(reason="worse still"), now=clock.now())
    assert in_force(engine).champion is None
    with transaction(engine) as session, pytest.raises(Refused, match="nothing to roll back"):
        rollout.roll_back(session, in_force(engine), context.settings, Why(reason="again"), now=clock.now())


def test_a_change_based_on_an_older_generation_changes_nothing(
    engine: Engine, context: JobContext, promoted: Bundle, clock: SimulatedClock
) -> None:
    old = in_force(engine)
    with transaction(engine) as session:
        rollout.stop(session, old, context.settings, Why(reason="test"), now=clock.now())
    with pytest.raises(GenerationMoved), transaction(engine) as session:
        rollout.stop(session, old, context.settings, Why(reason="test"), now=clock.now())
    assert in_force(engine).generation == old.generation + 1


def assignment_of(champion: str, clock: SimulatedClock) -> Assignment:
    return make_assignment(
        cascade="trivia", generation=3, champion=champion, exploration_rate=0.1, issued_at=clock.now()
    )


def raise_risk(engine: Engine, clock: SimulatedClock) -> None:
    alert = AlertRecord(cascade="trivia", rule="risk", cause="a test", details="{}", opened_at=clock.now())
    with transaction(engine) as session:
        alerts.open_alert(session, alert)


def test_a_changed_exploration_rate_of_a_declaration_comes_into_force_and_nothing_else_moves(
    engine: Engine, context: JobContext, promoted: Bundle, clock: SimulatedClock
) -> None:
    before = in_force(engine)
    with transaction(engine) as session:
        spec = cascades.cascade(session, "trivia")
        assert generations.declare(session, spec, context.settings, now=clock.now()) == before
    for name, value in (("exploration_rate", 0.4), ("exploration_extra", 0.2), ("exploration_width", 0.3)):
        before = in_force(engine)
        spec = replace(spec, **{name: value})  # type: ignore[arg-type]
        with transaction(engine) as session:
            generations.declare(session, spec, context.settings, now=clock.now())
        after = in_force(engine)
        assert (getattr(after, name), after.generation) == (value, before.generation + 1)
        assert (after.champion, after.mode) == (promoted.id, Mode.ACTIVE)


def test_a_changed_exploration_rate_does_not_start_what_is_stopped(
    engine: Engine, context: JobContext, promoted: Bundle, clock: SimulatedClock
) -> None:
    raise_risk(engine, clock)
    RespondSweep().run(context)
    with transaction(engine) as session:
        spec = replace(cascades.cascade(session, "trivia"), observe=Observe(rate=0.4))
        generations.declare(session, spec, context.settings, now=clock.now())
    assert (in_force(engine).mode, in_force(engine).exploration_rate) == (Mode.ESCALATE_ALL, 0.4)


@pytest.mark.parametrize(("gain", "passed"), [(0.05, True), (-0.0099, True), (-0.0101, False), (None, True)])
def test_savings_are_given_away_only_beyond_the_tolerance(
    bundle: Bundle,
    certificate: CertificateDocument,
    comparison: ComparisonDocument,
    clock: SimulatedClock,
    gain: float | None,
    passed: bool,
) -> None:
    document = replace(bundle.document, certificate=certificate, comparison=replace(comparison, savings_gain=gain))
    check = check_promotion(document, assignment_of(bundle.id, clock))
    assert (check.passed, check.ground is Ground.GIVES_SAVINGS_AWAY) == (passed, not passed)


@pytest.mark.parametrize(
    ("changes", "passed"),
    [
        ({"savings_gain": -0.2}, True),  # what a period certified is in force for it, also where it is less bold
        ({"passed": False, "bolder": False}, True),
        ({"passed": False, "bolder": True}, False),  # the champion is the safer one on the same path
        ({"harmful": True, "passed": False, "bolder": False}, False),
        ({"champion": "another"}, True),  # of a champion that is no more nothing is known against it
    ],
)
def test_under_a_rolling_promise_only_harm_and_boldness_on_the_same_path_decline_a_challenger(
    bundle: Bundle,
    certificate: CertificateDocument,
    comparison: ComparisonDocument,
    clock: SimulatedClock,
    changes: dict[str, object],
    passed: bool,
) -> None:
    rolling = replace(certificate, promise=PromiseKind.ROLLING)
    against = replace(comparison, **({"champion": bundle.id} | changes))  # type: ignore[arg-type]
    document = replace(bundle.document, certificate=rolling, comparison=against)
    assert check_promotion(document, assignment_of(bundle.id, clock)).passed is passed


@pytest.mark.parametrize("ended", [True, False])
def test_a_champion_whose_season_is_over_is_not_preferred_for_what_it_saves(
    bundle: Bundle,
    certificate: CertificateDocument,
    comparison: ComparisonDocument,
    clock: SimulatedClock,
    ended: bool,
) -> None:
    season = replace(certificate, promise=PromiseKind.SEASON, season=SeasonMark(number=2, opened_at=clock.now()))
    less = replace(comparison, champion=bundle.id, savings_gain=-0.2, champion_ended=ended)
    check = check_promotion(
        replace(bundle.document, certificate=season, comparison=less), assignment_of(bundle.id, clock)
    )
    assert (check.passed, check.ground is Ground.GIVES_SAVINGS_AWAY) == (ended, not ended)
    harmful = replace(less, harmful=True, passed=False)
    document = replace(bundle.document, certificate=season, comparison=harmful)
    assert not check_promotion(document, assignment_of(bundle.id, clock)).passed


@pytest.mark.parametrize(("savings", "passed"), [(0.001, True), (0.0, False), (-0.3, False), (None, True)])
def test_what_saves_nothing_is_refused_by_name_whatever_is_in_force(
    bundle: Bundle, certificate: CertificateDocument, clock: SimulatedClock, savings: float | None, passed: bool
) -> None:
    document = replace(bundle.document, certificate=replace(certificate, savings=savings))
    for assigned in (replace(assignment_of("x", clock), champion=None), stopped_assignment(clock)):
        check = check_promotion(document, assigned)
        assert check.passed is passed and ("saves nothing" in check.reason) is not passed


@pytest.mark.usefixtures("trivia")
def test_whatever_comes_into_force_is_signed_where_there_is_a_key(
    engine: Engine, context: JobContext, bundle: Bundle, certificate: CertificateDocument, clock: SimulatedClock
) -> None:
    pair = signing.new_key_pair()
    keyed = replace(context, settings=context.settings.model_copy(update={"signing_key": pair.private_key}))
    first = stored(engine, bundle, clock, certificate=certificate)
    PromoteSweep().run(context)
    clock.set(clock.now() + timedelta(hours=1))
    second = stored(engine, bundle, clock, certificate=certificate, rows={"n": 2})
    with transaction(engine) as session:
        assert bundles.bundle(session, first.id).signature is None
        rollout.promote(session, in_force(engine), second.id, keyed.settings, Why(reason="test"), now=clock.now())
        assert bundles.bundle(session, second.id).signature == signing.sign_bundle(pair.private_key, second.id)
    with transaction(engine) as session:
        rollout.roll_back(session, in_force(engine), keyed.settings, Why(reason="worse"), now=clock.now())
        assert bundles.bundle(session, first.id).signature == signing.sign_bundle(pair.private_key, first.id)


def test_a_refused_bundle_is_marked_and_judged_once(
    engine: Engine,
    context: JobContext,
    promoted: Bundle,
    certificate: CertificateDocument,
    comparison: ComparisonDocument,
    clock: SimulatedClock,
) -> None:
    poor = replace(comparison, savings_gain=-0.2)
    made = stored(engine, promoted, clock, certificate=certificate, comparison=poor)
    assert [PromoteSweep().run(context) for _ in range(3)] == [1, 0, 0]
    with reading(engine) as session:
        assert bundles.bundle(session, made.id).status is BundleStatus.REFUSED
        (record,) = promotions.promotions(session, "trivia")
    assert (record.outcome, record.bundle, record.generation) == (Outcome.REFUSED, made.id, None)
    assert in_force(engine).champion == promoted.id


def stopped_assignment(clock: SimulatedClock) -> Assignment:
    return replace(assignment_of("x", clock), mode=Mode.ESCALATE_ALL)


def test_every_move_is_told_to_who_hears_of_moves(
    engine: Engine, context: JobContext, bundle: Bundle, certificate: CertificateDocument, clock: SimulatedClock
) -> None:
    hook = Receiver(name="hook", kind=ReceiverKind.WEBHOOK, url="http://127.0.0.1:9/")
    with transaction(engine) as session:
        spec = replace(parse_cascade(CASCADE), receivers=(hook,))
        cascades.apply_cascade(session, spec, now=clock.now())
        generations.declare(session, spec, context.settings, now=clock.now())
    stored(engine, bundle, clock, certificate=certificate)
    PromoteSweep().run(context)
    why = Why(reason="a deploy", by="ada")
    for move in (rollout.stop, rollout.resume, rollout.observe):
        with transaction(engine) as session:
            move(session, in_force(engine), context.settings, why, now=clock.now())
    with reading(engine) as session:
        messages = newest_deliveries(session, cascade="trivia")
    assert [(one.receiver, one.event) for one in sorted(messages, key=lambda one: one.number)] == [
        ("hook", event) for event in ("promoted", "stopped", "resumed", "observed")
    ]
    assert "a deploy" in messages[0].payload
