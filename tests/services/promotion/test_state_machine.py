"""What is in force, walked by its jobs and by people: every ring stops it, and nothing that was
stopped slips back.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations

import pytest
from sqlalchemy import Engine, select, update

from factories import make_comparison
from knowgate import Assignment, CascadeSpec, Mode
from knowgate.spec import Observe, OnRisk, SwitchOn
from monitoring.words import short
from services.errors import Refused
from services.jobs.job import Sweep
from services.jobs.promote import PromoteSweep, check_bundle
from services.jobs.respond import RespondSweep
from services.promotion import generations, ring_answers, rollout
from services.promotion.champions import condemned
from services.promotion.rollout_state import Why, described
from services.settings import Settings
from store.engine import open_engine, transaction
from store.errors import BundleDamaged
from store.releases import assignments, cascades, promotions
from store.releases.bundles import BundleStatus
from store.releases.promotions import Outcome
from store.releases.rings import Spoken
from store.tables import AssignmentRow, BundleRow
from store.watching import alerts
from store.watching.alerts import AlertRecord
from tests.services.deployment_of_jobs import Deployment, Traffic

GOOD, BROKEN = Traffic(), Traffic(small_right=0.2)


@pytest.fixture
def deployment(engine: Engine, settings: Settings) -> Deployment:
    return Deployment(engine, settings)


@pytest.fixture
def in_sqlite(sqlite_url: str, settings: Settings) -> Iterator[Deployment]:
    opened = open_engine(sqlite_url)
    yield Deployment(opened, settings)
    opened.dispose()


def walk(world: Deployment) -> None:
    """Three rings: of a first champion, of the one after it while the alert is open, of one that a
    person resumed.
    """
    first = world.certified("first")
    world.tick()
    world.halves(2, GOOD)
    assert (world.state, world.in_force.champion, world.rings) == ("active", first, ())
    world.until_stopped(BROKEN)

    second = world.certified("second", since=world.rings[-1].read_until)
    world.tick()
    assert (world.state, world.in_force.champion) == ("active", second)
    world.until_stopped(BROKEN)
    assert [ring.number for ring in world.rings] == [1, 2]
    assert [ring.stopped for ring in world.rings] == [first, second]
    assert world.messages == ["opened", "rang_again"]

    third = world.certified("third", threshold=0.31)
    with transaction(world.engine) as session:
        why = Why(reason="it must be the weather", by="ada", despite_alarm="asked twice")
        rollout.resume(session, world.in_force, world.settings, why, now=world.now)
    world.until_stopped(BROKEN)
    assert [ring.stopped for ring in world.rings] == [first, second, second]
    assert world.messages == ["opened", "rang_again", "rang_again"]
    assert third not in {record.bundle for record in world.history if record.outcome is Outcome.PROMOTED}

    world.halves(3, BROKEN)
    assert world.state == "stopped", "nothing comes into force while what came since shows the promise broken"
    assert "the promise would be broken" in world.history[-1].reason
    for _ in range(10):
        if world.state == "stopped":
            world.half(GOOD)
    assert (world.state, world.in_force.champion) == ("active", third)
    assert "on " in world.history[-1].reason and "since the risk alarm" in world.history[-1].reason
    world.halves(2, GOOD)
    assert (world.state, len(world.rings)) == ("active", 3), "what the stopped one had decided accuses no other"


@pytest.mark.slow
def test_three_rings_stop_three_times_and_nothing_is_promoted_while_the_risk_is_above_target(
    in_sqlite: Deployment,
) -> None:
    walk(in_sqlite)


@pytest.mark.slow
def test_the_walk_is_the_same_on_postgresql(postgresql_url: str, settings: Settings) -> None:
    opened = open_engine(postgresql_url)
    walk(Deployment(opened, settings))
    opened.dispose()


@pytest.mark.parametrize("jobs", list(permutations((RespondSweep(), PromoteSweep()))))
def test_a_ring_and_a_waiting_challenger_end_alike_in_either_order_of_the_jobs(
    engine: Engine, settings: Settings, jobs: tuple[Sweep, ...]
) -> None:
    world = Deployment(engine, settings, jobs=jobs)
    champion = world.certified("champion")
    world.tick()
    world.later()
    challenger = world.certified("challenger", comparison=make_comparison(champion))
    world.ring()
    world.tick()
    world.tick()
    assert (world.state, world.in_force.champion) == ("stopped", champion)
    assert world.status_of(challenger) is BundleStatus.CERTIFIED
    assert [record.outcome for record in world.history[1:]] == [Outcome.STOPPED, Outcome.HELD_BACK]


def test_a_ring_after_a_promotion_in_the_same_minute_stops_what_was_promoted(deployment: Deployment) -> None:
    first = deployment.certified("first")
    deployment.tick()
    deployment.ring("the first one's decisions")
    second = deployment.certified("second", since=deployment.now)
    with transaction(deployment.engine) as session:
        rollout.promote(
            session, deployment.in_force, second, deployment.settings, Why(reason="test"), now=deployment.now
        )
    RespondSweep().run(deployment.context)
    assert (deployment.state, deployment.in_force.champion) == ("stopped", second)
    assert deployment.rings[0].spoken.champion == first and deployment.rings[0].stopped == second


def test_every_ring_is_answered_once_and_says_what_was_done(deployment: Deployment) -> None:
    champion = deployment.certified("champion")
    deployment.tick()
    for _ in range(3):
        deployment.later()
        deployment.ring()
        deployment.tick()
        deployment.tick()
    assert [ring.answer for ring in deployment.rings] == [
        f"bundle {short(champion)} is stopped, every query goes to the last tier",
        "nothing was kept",
        "nothing was kept",
    ]
    assert deployment.in_force.generation == 3


def test_who_asks_to_be_told_only_is_told_of_every_ring_and_promotes_nothing_on_old_evidence(
    deployment: Deployment,
) -> None:
    champion = deployment.certified("champion")
    deployment.tick()
    declare(deployment, lambda spec: replace(spec, alarms=replace(spec.alarms, on_risk=OnRisk.ALERT)))
    for _ in range(2):
        deployment.later()
        deployment.ring()
        deployment.tick()
    assert (deployment.state, deployment.in_force.champion) == ("active", champion)
    assert [ring.answer for ring in deployment.rings] == ["told: alarms.on_risk is alert"] * 2
    deployment.certified("challenger", comparison=make_comparison(champion))
    deployment.tick()
    assert deployment.in_force.champion == champion
    deployment.later()
    fresh = deployment.certified("fresh", since=deployment.now, threshold=0.4, comparison=make_comparison(champion))
    deployment.tick()
    assert deployment.in_force.champion == fresh, "what was certified on decisions since the ring need not wait"


def test_who_asks_for_a_stop_while_the_alert_is_open_is_stopped_for_the_rings_that_were_told(
    deployment: Deployment,
) -> None:
    def ask(for_what: OnRisk) -> None:
        declare(deployment, lambda spec: replace(spec, alarms=replace(spec.alarms, on_risk=for_what)))
        deployment.tick()

    (champion,) = in_force_one_after_the_other(deployment, "champion")
    ask(OnRisk.ALERT)
    deployment.later()
    deployment.ring()
    deployment.tick()
    assert deployment.state == "active"
    ask(OnRisk.ESCALATE_ALL)
    assert (deployment.state, deployment.rings[0].stopped) == ("stopped", champion)
    with transaction(deployment.engine) as session:
        why = Why(reason="on purpose", by="ada", despite_alarm="labels were wrong")
        rollout.resume(session, deployment.in_force, deployment.settings, why, now=deployment.later())
    ask(OnRisk.ALERT)
    deployment.later()
    deployment.ring()
    deployment.tick()
    in_force_one_after_the_other(deployment, "next")
    ask(OnRisk.ESCALATE_ALL)
    assert deployment.state == "active", "what came into force after the ring is not what rang"


def test_a_challenger_that_waits_is_written_down_once(deployment: Deployment) -> None:
    deployment.certified("champion")
    deployment.tick()
    deployment.ring()
    deployment.later()
    deployment.certified("challenger", threshold=0.4)
    for _ in range(3):
        deployment.later(0.1)
        deployment.tick()
    assert [record.outcome for record in deployment.history].count(Outcome.HELD_BACK) == 1
    assert "none can be judged yet" in deployment.history[-1].reason


def test_a_challenger_refused_for_savings_alone_is_judged_again_once_the_champion_is_stopped(
    deployment: Deployment,
) -> None:
    champion = deployment.certified("champion")
    deployment.tick()
    frugal = deployment.certified("frugal", threshold=0.9, comparison=make_comparison(champion, savings_gain=-0.2))
    deployment.tick()
    late = deployment.certified("late", threshold=0.8, comparison=make_comparison("another"))
    deployment.tick()
    harmful = deployment.certified(
        "harmful", threshold=0.1, comparison=make_comparison(champion, harmful=True, passed=False)
    )
    deployment.tick()
    assert {deployment.status_of(name) for name in (frugal, late, harmful)} == {BundleStatus.REFUSED}
    deployment.later()
    deployment.ring(until=deployment.now)
    deployment.tick()
    held_back = [record.bundle for record in deployment.history if record.outcome is Outcome.HELD_BACK]
    assert sorted(map(str, held_back)) == sorted([frugal, late]), (
        "they wait for decisions since the ring, the harmful does not"
    )
    for _ in range(8):
        if deployment.state == "stopped":
            deployment.half(GOOD)
    assert deployment.in_force.champion in (frugal, late)
    assert deployment.status_of(harmful) is BundleStatus.REFUSED
    assert deployment.status_of(champion) is BundleStatus.RETIRED


def test_what_is_judged_again_and_found_wanting_is_not_judged_at_every_tick(deployment: Deployment) -> None:
    champion = deployment.certified("champion")
    deployment.tick()
    refused = deployment.certified("wasteful", comparison=make_comparison(champion, harmful=True, passed=False))
    deployment.tick()
    before = len(deployment.history)
    for _ in range(3):
        deployment.later()
        deployment.tick()
    assert len(deployment.history) == before and deployment.status_of(refused) is BundleStatus.REFUSED


def test_a_condemned_champion_is_not_rolled_back_to_but_on_purpose(deployment: Deployment) -> None:
    old, condemned_one = in_force_one_after_the_other(deployment, "old", "condemned")
    deployment.ring()
    deployment.tick()
    (present,) = in_force_one_after_the_other(deployment, "present")
    with pytest.raises(Refused, match=f"{short(condemned_one)} is condemned by the risk alarm of 2026-03-0") as refusal:
        roll_back(deployment)
    assert f"`--past-condemned` puts {short(old)} in force" in str(refusal.value)
    assert deployment.in_force.champion == present, "a refusal changes nothing"
    assert roll_back(deployment, past_condemned=True).champion == old
    assert roll_back(deployment).champion is None
    assert deployment.state == "observing"


def test_past_nothing_but_condemned_ones_everything_escalates(deployment: Deployment) -> None:
    in_force_one_after_the_other(deployment, "one")
    deployment.ring()
    deployment.tick()
    deployment.later()
    in_force_one_after_the_other(deployment, "two")
    with pytest.raises(
        Refused, match="escalates everything to the last tier, since every former champion is condemned"
    ):
        roll_back(deployment)
    assert roll_back(deployment, past_condemned=True).champion is None


def test_on_purpose_a_condemned_one_comes_back_with_the_reason_on_record(deployment: Deployment) -> None:
    (condemned_one,) = in_force_one_after_the_other(deployment, "one")
    deployment.ring()
    deployment.tick()
    in_force_one_after_the_other(deployment, "two")
    why = Why(reason="worse", by="ada", despite_alarm="the labels were wrong")
    assert roll_back(deployment, why=why, to=condemned_one).champion == condemned_one
    record = deployment.history[-1]
    assert (record.outcome, record.decided_by) == (Outcome.ROLLED_BACK, "ada")
    assert record.reason == "worse; despite alarm: the labels were wrong"
    deployment.later()
    deployment.ring("the labels were right")
    deployment.tick()
    assert (deployment.state, deployment.in_force.champion) == ("stopped", condemned_one), (
        "it is watched like any other"
    )


def test_a_ring_that_nobody_has_answered_yet_condemns_already(deployment: Deployment) -> None:
    (one,) = in_force_one_after_the_other(deployment, "one")
    in_force_one_after_the_other(deployment, "two")
    roll_back(deployment)
    deployment.ring()
    with pytest.raises(Refused, match=short(one)), transaction(deployment.engine) as session:
        assigned = ring_answers.in_force(session, "quiz", deployment.settings, now=deployment.now)
        rollout.resume(session, assigned, deployment.settings, Why(reason="quick", by="ada"), now=deployment.now)


def test_a_ring_condemns_those_it_accuses_and_only_without_any_the_champion_of_its_time(
    deployment: Deployment,
) -> None:
    declare(deployment, lambda spec: replace(spec, alarms=replace(spec.alarms, on_risk=OnRisk.ALERT)))
    one, two, three = in_force_one_after_the_other(deployment, "one", "two", "three")
    deployment.ring("first", accused=(one, two))
    deployment.tick()
    with transaction(deployment.engine) as session:
        assert condemned(session, "quiz").keys() == {one, two}
    deployment.later()
    deployment.ring("second")
    deployment.tick()
    with transaction(deployment.engine) as session:
        why = condemned(session, "quiz")
    assert why.keys() == {one, two, three}
    assert "(first)" in why[two] and "(second)" in why[three]


def test_who_waits_behind_a_newer_bundle_is_superseded_once_though_others_are_judged_again(
    deployment: Deployment,
) -> None:
    champion = deployment.certified("champion")
    deployment.tick()
    deployment.certified("frugal", threshold=0.9, comparison=make_comparison(champion, savings_gain=-0.2))
    deployment.tick()
    deployment.later()
    deployment.ring()
    older, oldest = (deployment.certified(name, threshold=0.5) for name in ("older", "oldest"))
    deployment.later()
    newest = deployment.certified("newest", threshold=0.6)
    deployment.tick()
    refused = [record.bundle for record in deployment.history[3:] if record.outcome is Outcome.REFUSED]
    assert sorted(map(str, refused)) == sorted([older, oldest])
    assert deployment.status_of(newest) is BundleStatus.CERTIFIED


def test_what_an_assignment_amounts_to_names_the_bundle_by_twelve_digits(deployment: Deployment) -> None:
    assert described(deployment.in_force) == ("every query goes to the last tier, and 100.0 % of them are observed")
    (champion,) = in_force_one_after_the_other(deployment, "champion")
    assert described(deployment.in_force) == f"bundle {short(champion)} decides"
    with transaction(deployment.engine) as session:
        rollout.stop(
            session, deployment.in_force, deployment.settings, Why(reason="x", by="ada"), now=deployment.later()
        )
    assert described(deployment.in_force) == f"bundle {short(champion)} is stopped, every query goes to the last tier"


def test_a_champion_whose_promise_a_comparison_showed_broken_is_condemned(deployment: Deployment) -> None:
    (broken,) = in_force_one_after_the_other(deployment, "broken")
    fresh = deployment.certified(
        "fresh", comparison=make_comparison(broken, champion_broken=True, savings_gain=-0.2), threshold=0.5
    )
    deployment.tick()
    assert deployment.in_force.champion == fresh
    with pytest.raises(Refused, match=f"{short(broken)} is condemned by a comparison on 1000 rows"):
        roll_back(deployment)


def test_repeated_rollbacks_walk_down_and_never_toggle(deployment: Deployment) -> None:
    names = in_force_one_after_the_other(deployment, "one", "two", "three")
    in_force_again = names[0]
    with transaction(deployment.engine) as session:
        why = Why(reason="once more", by="ada")
        rollout.choose(session, deployment.in_force, in_force_again, deployment.settings, why, now=deployment.later())
    seen = []
    while deployment.in_force.champion is not None:
        deployment.later()
        seen.append(roll_back(deployment).champion)
    assert seen == [names[2], names[1], None]


def test_what_a_person_stopped_no_job_starts_and_a_person_resumes(deployment: Deployment) -> None:
    (champion,) = in_force_one_after_the_other(deployment, "champion")
    with transaction(deployment.engine) as session:
        rollout.stop(
            session, deployment.in_force, deployment.settings, Why(reason="a scandal", by="ada"), now=deployment.later()
        )
    deployment.later()
    waiting = deployment.certified("waiting", threshold=0.4)
    deployment.tick()
    deployment.tick()
    assert deployment.state == "stopped" and deployment.status_of(waiting) is BundleStatus.CERTIFIED
    assert deployment.history[-1].reason == "it waits: ada stopped the cascade (a scandal)"
    with transaction(deployment.engine) as session, pytest.raises(Refused, match="a person starts it"):
        rollout.promote(
            session, deployment.in_force, waiting, deployment.settings, Why(reason="job"), now=deployment.now
        )
    with transaction(deployment.engine) as session:
        rollout.resume(
            session, deployment.in_force, deployment.settings, Why(reason="over", by="bob"), now=deployment.later()
        )
    assert (deployment.state, deployment.in_force.champion) == ("active", champion)
    record = deployment.history[-1]
    assert (record.outcome, record.decided_by, record.bundle) == (Outcome.RESUMED, "bob", champion)


def test_a_person_may_make_a_stop_by_the_alarm_their_own(deployment: Deployment) -> None:
    in_force_one_after_the_other(deployment, "champion")
    deployment.ring()
    deployment.tick()
    with transaction(deployment.engine) as session:
        assigned = deployment.in_force
        rollout.stop(session, assigned, deployment.settings, Why(reason="enough", by="ada"), now=deployment.later())
    deployment.certified("fresh", since=deployment.now)
    deployment.tick()
    assert deployment.state == "stopped"
    with transaction(deployment.engine) as session, pytest.raises(Refused, match="stopped already"):
        assigned = deployment.in_force
        rollout.stop(session, assigned, deployment.settings, Why(reason="again", by="bob"), now=deployment.now)


def test_a_person_puts_any_certified_bundle_in_force_and_only_a_certified_one(deployment: Deployment) -> None:
    champion, _ = in_force_one_after_the_other(deployment, "champion", "second")
    refused = deployment.certified("refused", comparison=make_comparison("nobody"), threshold=0.6)
    deployment.tick()
    assert deployment.status_of(refused) is BundleStatus.REFUSED
    for bundle in (refused, champion):
        with transaction(deployment.engine) as session:
            why = Why(reason="known to be good", by="ada")
            rollout.choose(session, deployment.in_force, bundle, deployment.settings, why, now=deployment.later())
        record = deployment.history[-1]
        assert (deployment.in_force.champion, record.decided_by) == (bundle, "ada")
        assert record.reason == "known to be good"
    uncertified = deployment.certified("uncertified", threshold=0.7, status=None)
    with transaction(deployment.engine) as session, pytest.raises(Refused, match="carries no certificate"):
        rollout.choose(
            session,
            deployment.in_force,
            uncertified,
            deployment.settings,
            Why(reason="x", by="ada"),
            now=deployment.now,
        )


def test_a_retired_bundle_is_not_judged_by_a_job(deployment: Deployment) -> None:
    first, _ = in_force_one_after_the_other(deployment, "first", "second")
    with pytest.raises(Refused, match="`--reason` puts it in force unjudged"):
        check_bundle(deployment.context, first)


def test_a_bundle_of_another_cascade_is_not_put_in_force(deployment: Deployment) -> None:
    bundle = deployment.certified("of quiz")
    declare(deployment, lambda spec: replace(spec, name="other"))
    with transaction(deployment.engine) as session:
        assigned = ring_answers.in_force(session, "other", deployment.settings, now=deployment.now)
        with pytest.raises(Refused, match="is of cascade quiz"):
            rollout.choose(
                session, assigned, bundle, deployment.settings, Why(reason="x", by="ada"), now=deployment.now
            )


def test_a_stop_recorded_before_stops_had_an_outcome_still_condemns(deployment: Deployment) -> None:
    (champion,) = in_force_one_after_the_other(deployment, "champion")
    record = replace(
        deployment.history[-1],
        bundle=None,
        previous=champion,
        outcome=Outcome.ROLLED_BACK,
        reason="risk alarm: of old",
        check="{}",
        decided_at=deployment.later(),
    )
    with transaction(deployment.engine) as session:
        promotions.add_promotion(session, record)
        assert condemned(session, "quiz") == {champion: "the risk alarm: of old"}


def in_force_one_after_the_other(deployment: Deployment, *names: str) -> list[str]:
    """Bundles promoted one after another, each on evidence of its own time."""
    made = []
    for name in names:
        deployment.later()
        made.append(deployment.certified(name, since=deployment.now))
        with transaction(deployment.engine) as session:
            assigned = ring_answers.in_force(session, "quiz", deployment.settings, now=deployment.now)
            rollout.promote(session, assigned, made[-1], deployment.settings, Why(reason=name), now=deployment.now)
    return made


def roll_back(deployment: Deployment, *, why: Why | None = None, **ways: object) -> Assignment:
    with transaction(deployment.engine) as session:
        given = why or Why(reason="worse", by="ada")
        assigned = ring_answers.in_force(session, "quiz", deployment.settings, now=deployment.now)
        return rollout.roll_back(session, assigned, deployment.settings, given, now=deployment.now, **ways)  # type: ignore[arg-type]


def declare(deployment: Deployment, change: object) -> None:
    with transaction(deployment.engine) as session:
        spec: CascadeSpec = change(cascades.cascade(session, "quiz"))  # type: ignore[operator]
        cascades.apply_cascade(session, spec, now=deployment.now)


def test_a_damaged_champion_is_stopped_like_any_other_and_does_not_come_back(deployment: Deployment) -> None:
    (champion,) = in_force_one_after_the_other(deployment, "champion")
    with transaction(deployment.engine) as session:
        spoilt = update(BundleRow).where(BundleRow.id == champion).values(content=b"spoilt")
        session.execute(spoilt, execution_options={"noted": False})
    deployment.ring()
    deployment.tick()
    assert (deployment.state, deployment.in_force.champion) == ("stopped", champion)
    with transaction(deployment.engine) as session, pytest.raises(BundleDamaged):
        why = Why(reason="x", by="ada", despite_alarm="y")
        rollout.resume(session, deployment.in_force, deployment.settings, why, now=deployment.now)


def test_a_cascade_whose_assignment_cannot_be_read_keeps_no_other_from_being_stopped_or_judged(
    deployment: Deployment,
) -> None:
    add_beside(deployment, "aside")  # before quiz, in order of names
    with transaction(deployment.engine) as session:
        record = AlertRecord(cascade="aside", rule="risk", cause="too", details="{}", opened_at=deployment.now)
        alerts.open_alert(session, record, Spoken())
        session.execute(update(AssignmentRow).where(AssignmentRow.cascade == "aside").values(document={}))
    champion = deployment.certified("champion")
    assert PromoteSweep().run(deployment.context) == 1
    assert deployment.in_force.champion == champion
    deployment.ring()
    assert RespondSweep().run(deployment.context) == 1
    assert deployment.state == "stopped"


def test_a_waiting_bundle_that_cannot_be_read_is_refused_and_stops_no_sweep(deployment: Deployment) -> None:
    good = deployment.certified("good")
    add_beside(deployment, "aside")
    broken = deployment.certified("broken")
    with transaction(deployment.engine) as session:
        changed = {"cascade": "aside", "document": {}, "content": b"no bundle"}
        statement = update(BundleRow).where(BundleRow.id == broken).values(**changed)
        session.execute(statement, execution_options={"noted": False})
    assert PromoteSweep().run(deployment.context) == 2
    assert deployment.in_force.champion == good
    assert deployment.status_of(broken) is BundleStatus.REFUSED


def test_what_a_bundles_file_says_is_judged_and_not_what_is_written_beside_it(deployment: Deployment) -> None:
    certified = deployment.certified("certified")
    plain = deployment.certified("plain", status=None)
    with transaction(deployment.engine) as session:
        document = session.scalar(select(BundleRow.document).where(BundleRow.id == certified))
        statement = update(BundleRow).where(BundleRow.id == plain).values(document=document)
        session.execute(statement, execution_options={"noted": False})
        with pytest.raises(Refused, match="carries no certificate"):
            why = Why(reason="x", by="ada")
            rollout.choose(session, deployment.in_force, plain, deployment.settings, why, now=deployment.now)
    assert not check_bundle(deployment.context, plain).check.passed
    assert deployment.state == "observing"


def add_beside(deployment: Deployment, name: str) -> None:
    with transaction(deployment.engine) as session:
        spec = replace(cascades.cascade(session, "quiz"), name=name)
        cascades.apply_cascade(session, spec, now=deployment.now)
        generations.declare(session, spec, deployment.settings, now=deployment.now)


def test_a_cascade_begins_observed_and_its_first_certified_bundle_switches_it_on(deployment: Deployment) -> None:
    first = deployment.in_force
    assert (first.mode, first.champion, first.exploration_rate) == (Mode.OBSERVE, None, 1.0)
    champion = deployment.certified("champion")
    deployment.tick()
    assert (deployment.state, deployment.in_force.champion) == ("active", champion)
    assert deployment.in_force.exploration_rate == 0.5, "who decides is explored at the cascade's own rate"


def test_where_a_person_is_to_switch_it_on_a_certified_bundle_waits_until_one_does(deployment: Deployment) -> None:
    declare(deployment, lambda spec: replace(spec, observe=Observe(rate=1.0, switch_on=SwitchOn.PERSON)))
    with pytest.raises(Refused, match="no certified bundle yet"):
        switch_on(deployment)
    champion = deployment.certified("champion")
    for _ in range(2):
        deployment.tick()
    assert deployment.state == "observing"
    assert deployment.history[-1].reason.startswith("it waits: observe.switch_on is person")
    with pytest.raises(Refused, match="a person starts it"), transaction(deployment.engine) as session:
        why = Why(reason="a job")
        rollout.promote(session, deployment.in_force, champion, deployment.settings, why, now=deployment.now)
    assert switch_on(deployment).champion == champion
    record = deployment.history[-1]
    assert (record.outcome, record.decided_by, record.reason) == (Outcome.PROMOTED, "ada", "it saves enough")


def test_a_person_puts_a_cascade_back_to_be_observed_and_no_job_but_a_person_ends_that(deployment: Deployment) -> None:
    (champion,) = in_force_one_after_the_other(deployment, "champion")
    put_back = observe(deployment)
    assert (deployment.state, put_back.mode, put_back.champion) == ("observing", Mode.OBSERVE, champion)
    assert put_back.exploration_rate == 1.0
    assert (deployment.history[-1].outcome, deployment.history[-1].decided_by) == (Outcome.OBSERVED, "ada")
    with pytest.raises(Refused, match="observed already"):
        observe(deployment)
    deployment.later()
    waiting = deployment.certified("waiting", threshold=0.4)
    deployment.tick()
    assert deployment.state == "observing" and deployment.status_of(waiting) is BundleStatus.CERTIFIED
    assert deployment.history[-1].reason == "it waits: ada put the cascade back to be observed (a new prompt)"
    assert switch_on(deployment).champion == champion
    assert (deployment.state, deployment.history[-1].outcome) == ("active", Outcome.RESUMED)


def test_a_ring_stops_nothing_that_is_observed(deployment: Deployment) -> None:
    in_force_one_after_the_other(deployment, "champion")
    observe(deployment)
    deployment.ring()
    deployment.tick()
    assert (deployment.state, deployment.rings[0].answer) == ("observing", "nothing was kept")


def switch_on(deployment: Deployment) -> Assignment:
    with transaction(deployment.engine) as session:
        why = Why(reason="it saves enough", by="ada")
        return rollout.resume(session, deployment.in_force, deployment.settings, why, now=deployment.later())


def observe(deployment: Deployment) -> Assignment:
    with transaction(deployment.engine) as session:
        why = Why(reason="a new prompt", by="ada")
        return rollout.observe(session, deployment.in_force, deployment.settings, why, now=deployment.later())


def test_what_was_in_force_before_cascades_were_observed_keeps_its_mode(deployment: Deployment) -> None:
    """A cascade of an earlier revision that has no bundle yet: its mode is active."""
    before = replace(deployment.in_force, mode=Mode.ACTIVE, generation=2, exploration_rate=0.5)
    with transaction(deployment.engine) as session:
        assignments.swap_assignment(session, before, expected_generation=1, now=deployment.later())
        generations.declare(session, cascades.cascade(session, "quiz"), deployment.settings, now=deployment.now)
    assert (deployment.in_force.mode, deployment.in_force.exploration_rate) == (Mode.ACTIVE, 1.0)
    assert deployment.state == "observing"
    champion = deployment.certified("champion")
    deployment.tick()
    assert (deployment.state, deployment.in_force.champion) == ("active", champion)
    declare(deployment, lambda spec: replace(spec, observe=Observe(rate=0.3)))
    assert (deployment.state, deployment.in_force.exploration_rate) == ("active", 0.5)
