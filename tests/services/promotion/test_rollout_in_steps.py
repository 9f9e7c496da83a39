"""A challenger on its way to the champion's place, step by step: what lets it on, what takes it
back, and that nothing else does.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from factories import make_comparison
from knowgate.spec import Approval, OnRisk, Promotion
from monitoring.words import short
from services.errors import Refused
from services.promotion import judging, rollout
from services.promotion.champions import condemned
from services.promotion.generations import declare
from services.promotion.rollout_state import Why, described
from services.promotion.standing import standing_of
from services.settings import Settings
from store.engine import open_engine, transaction
from store.releases import assignments, cascades
from store.releases.assignments import RuntimeState
from store.releases.bundles import BundleStatus
from store.releases.cascade_acts import CascadeAct, CascadeActKind, add_act
from store.releases.promotions import Outcome
from tests.services.deployment_of_jobs import Deployment, Traffic

GOOD, GOOD_WHERE_CERTIFIED = Traffic(), Traffic(low_right=0.2)
STEPS = Promotion(steps=(0.0, 0.2, 0.5), dwell=timedelta(hours=12), least=40, deadline=timedelta(days=4))


@pytest.fixture
def world(engine: Engine, settings: Settings) -> Deployment:
    return in_steps(engine, settings)


@pytest.fixture
def in_sqlite(sqlite_url: str, settings: Settings) -> Iterator[Deployment]:
    opened = open_engine(sqlite_url)
    yield in_steps(opened, settings)
    opened.dispose()


@pytest.fixture
def in_postgresql(postgresql_url: str, settings: Settings) -> Iterator[Deployment]:
    opened = open_engine(postgresql_url)
    yield in_steps(opened, settings)
    opened.dispose()


def in_steps(engine: Engine, settings: Settings, promotion: Promotion = STEPS) -> Deployment:
    """A champion that came into force before steps were declared."""
    world = Deployment(engine, settings)
    world.certified("champion")
    world.tick()
    ask(world, promotion=promotion)
    world.later()
    return world


def ask(world: Deployment, *, on_risk: OnRisk = OnRisk.ESCALATE_ALL, promotion: Promotion = STEPS) -> None:
    with transaction(world.engine) as session:
        spec = cascades.cascade(session, "quiz")
        spec = replace(spec, promotion=promotion, alarms=replace(spec.alarms, on_risk=on_risk))
        cascades.apply_cascade(session, spec, now=world.now)
        declare(session, spec, world.settings, now=world.now)


def challenge(world: Deployment, *, keeps_from: float = 0.0) -> str:
    """A challenger that passed the check, and keeps more than the champion."""
    champion = world.in_force.champion
    comparison = None if champion is None else make_comparison(champion)
    challenger = world.certified("challenger", threshold=keeps_from, comparison=comparison)
    world.keeps_from[challenger] = keeps_from
    return challenger


def walk(world: Deployment) -> None:
    champion, challenger = world.in_force.champion, challenge(world)
    world.tick()
    assert (world.in_force.champion, world.in_force.challenger, world.in_force.share) == (champion, challenger, 0.0)
    assert world.history[-1].outcome is Outcome.SHADOWED
    seen = [world.in_force.share]
    for _ in range(30):
        if world.in_force.champion == challenger:
            break
        world.half(GOOD)
        seen.append(world.in_force.share)
    assert world.in_force.champion == challenger and world.in_force.challenger is None
    assert [share for at, share in enumerate(seen) if at == 0 or share != seen[at - 1]] == [0.0, 0.2, 0.5, 0.0]
    steps = [record.outcome for record in world.history if record.outcome is not Outcome.HELD_BACK]
    assert steps == [Outcome.PROMOTED, Outcome.SHADOWED, Outcome.SHARED, Outcome.SHARED, Outcome.PROMOTED]
    assert (
        world.history[-1].previous == champion and "on the promise's side; it decides all" in world.history[-1].reason
    )
    assert world.rings == ()


@pytest.mark.slow
def test_a_good_challenger_goes_through_shadow_and_shares_to_the_champions_place(in_sqlite: Deployment) -> None:
    walk(in_sqlite)


@pytest.mark.slow
def test_the_walk_is_the_same_on_postgresql(in_postgresql: Deployment) -> None:
    walk(in_postgresql)


@pytest.mark.slow
def test_one_that_would_have_harmed_is_found_in_the_shadow_and_has_decided_nothing(world: Deployment) -> None:
    champion, challenger = world.in_force.champion, challenge(world)
    world.tick()
    for _ in range(6):
        if world.in_force.challenger is not None:
            world.half(GOOD_WHERE_CERTIFIED)
    assert (world.state, world.in_force.champion, world.in_force.challenger) == ("active", champion, None)
    record = world.history[-1]
    assert (record.outcome, record.bundle) == (Outcome.ABORTED, challenger)
    assert record.reason.startswith("harmful: of what it would have kept ")
    assert world.status_of(challenger) is BundleStatus.REFUSED
    assert Outcome.SHARED not in [one.outcome for one in world.history]
    with transaction(world.engine) as session:
        assert challenger in condemned(session, "quiz")
    world.halves(2, GOOD)
    assert world.in_force.champion == champion and world.history[-1] == record, "it is not judged again"


@pytest.mark.slow
def test_one_that_harms_where_it_decides_is_taken_back_by_what_it_decided(world: Deployment) -> None:
    ask(world, promotion=replace(STEPS, steps=(0.3,)))
    champion, challenger = world.in_force.champion, challenge(world)
    world.tick()
    assert (world.in_force.challenger, world.in_force.share) == (challenger, 0.3)
    for _ in range(6):
        if world.in_force.challenger is not None:
            world.half(GOOD_WHERE_CERTIFIED)
    assert (world.in_force.champion, world.in_force.challenger, world.in_force.share) == (champion, None, 0.0)
    aborted = next(record for record in world.history if record.outcome is Outcome.ABORTED)
    assert aborted.bundle == challenger and world.state == "active"


@pytest.mark.slow
def test_what_has_not_shown_enough_by_the_deadline_is_declined_and_says_what_was_missing(world: Deployment) -> None:
    ask(world, promotion=replace(STEPS, steps=(0.3,), least=10_000))
    champion, challenger = world.in_force.champion, challenge(world)
    world.tick()
    for _ in range(7):
        world.half(Traffic(daily=100))
        assert (world.in_force.champion, world.in_force.challenger) == (champion, challenger)
    with transaction(world.engine) as session:
        standing = standing_of(session, world.in_force, cascades.cascade(session, "quiz"))
    assert standing is not None and standing.last_look is not None
    says = standing.sentence(now=world.now)
    assert says.startswith(f"Step 1 of 2: bundle {short(challenger)} decides 30.0 % of the queries since 2026-03-02")
    assert f"{standing.last_look.n} of 10000 rows count so far; it waits for " in says and "until 2026-03-06" in says
    waits = [record.reason for record in world.history if record.outcome is Outcome.HELD_BACK]
    assert waits and all(reason.startswith("inconclusive: ") for reason in waits)
    world.halves(2, Traffic(daily=100))
    assert (world.in_force.champion, world.in_force.challenger) == (champion, None)
    assert world.status_of(challenger) is BundleStatus.REFUSED
    assert world.history[-1].reason.startswith("inconclusive: ") and "at its deadline" in world.history[-1].reason
    with transaction(world.engine) as session:
        assert challenger not in condemned(session, "quiz"), "too little is known of it, and nothing against it"


@pytest.mark.parametrize("on_risk", [OnRisk.ESCALATE_ALL, OnRisk.ALERT])
def test_a_ring_takes_the_challenger_back_whatever_else_it_does(world: Deployment, on_risk: OnRisk) -> None:
    ask(world, on_risk=on_risk, promotion=replace(STEPS, steps=(0.3,)))
    champion, challenger = world.in_force.champion, challenge(world)
    world.tick()
    world.later()
    world.ring()
    world.tick()
    assert (world.in_force.champion, world.in_force.challenger, world.in_force.share) == (champion, None, 0.0)
    assert world.state == ("stopped" if on_risk is OnRisk.ESCALATE_ALL else "active")
    aborted = next(record for record in world.history if record.outcome is Outcome.ABORTED)
    assert aborted.bundle == challenger and "risk alarm: a test" in aborted.reason
    generation = world.in_force.generation
    world.later()
    world.tick()
    assert world.in_force.generation == generation, "it waits for evidence since the ring"
    assert world.status_of(challenger) is BundleStatus.CERTIFIED


def test_a_challenger_that_the_ring_accuses_is_not_tried_again(world: Deployment) -> None:
    ask(world, promotion=replace(STEPS, steps=(0.3,)))
    challenger = challenge(world)
    world.tick()
    world.later()
    world.ring(accused=(challenger,))
    world.tick()
    assert world.status_of(challenger) is BundleStatus.REFUSED
    assert "condemned by the risk alarm" in world.history[-1].reason


def test_without_anything_beside_it_the_rest_goes_to_the_last_tier(engine: Engine, settings: Settings) -> None:
    world = Deployment(engine, settings)
    ask(world, promotion=replace(STEPS, steps=(0.3,)))
    challenger = challenge(world)
    world.tick()
    assert (world.state, world.in_force.champion, world.in_force.challenger) == ("active", None, challenger)
    assert world.in_force.exploration_rate == 1.0, "what it does not decide is observed"
    assert described(world.in_force) == (
        f"the last tier answers the others; bundle {short(challenger)} decides 30.0 % of the queries"
    )
    world.later()
    world.ring()
    world.tick()
    assert (world.state, world.in_force.challenger) == ("stopped", None)


def test_a_step_without_a_champion_ends_where_it_began(engine: Engine, settings: Settings) -> None:
    world = Deployment(engine, settings)
    ask(world, promotion=replace(STEPS, steps=(0.3,)))
    challenge(world)
    world.tick()
    for _ in range(4):
        if world.in_force.challenger is not None:
            world.half(Traffic(small_right=0.3))
    assert (world.state, world.in_force.champion, world.in_force.challenger) == ("observing", None, None)


def test_a_runtime_that_refuses_the_challenger_ends_its_rollout(world: Deployment) -> None:
    challenger = challenge(world)
    world.tick()
    said = RuntimeState(
        cascade="quiz",
        runtime="host-1",
        generation=world.in_force.generation,
        bundle=world.in_force.champion,
        accepted=False,
        detail="the challenger decides nothing",
        at=world.now,
    )
    with transaction(world.engine) as session:
        assignments.add_acknowledgement(session, said)
    world.tick()
    assert world.in_force.challenger is None
    assert world.history[-1].reason == "error: runtime host-1 refuses it: the challenger decides nothing"
    assert world.status_of(challenger) is BundleStatus.REFUSED


def test_what_protects_nothing_is_left_out(world: Deployment) -> None:
    cautious = challenge(world, keeps_from=0.6)
    world.tick()
    assert (world.in_force.champion, world.in_force.challenger) == (cautious, None)
    bold = world.certified("bold", threshold=0.1, comparison=make_comparison(cautious, champion_broken=True))
    world.tick()
    assert (world.in_force.champion, world.in_force.challenger) == (bold, None)


def test_a_person_ends_a_rollout_by_any_move_and_by_their_word_skips_it(world: Deployment) -> None:
    challenger = challenge(world)
    world.tick()
    with transaction(world.engine) as session:
        why = Why(reason="sure of it", by="ada")
        rollout.choose(session, world.in_force, challenger, world.settings, why, now=world.later())
    assert (world.in_force.champion, world.in_force.challenger) == (challenger, None)
    assert [record.outcome for record in world.history[-2:]] == [Outcome.SHADOWED, Outcome.PROMOTED]
    (other,) = [challenge(world, keeps_from=0.1)]
    ask(world, promotion=replace(STEPS, steps=(0.3,)))
    world.tick()
    assert world.in_force.challenger is None and world.in_force.champion == other, "more cautious: no steps"


def test_a_changed_declaration_leaves_the_challenger_its_share(world: Deployment) -> None:
    ask(world, promotion=replace(STEPS, steps=(0.3,)))
    challenger = challenge(world)
    world.tick()
    with transaction(world.engine) as session:
        spec = replace(cascades.cascade(session, "quiz"), exploration_rate=0.25)
        declare(session, spec, world.settings, now=world.now)
    assert (world.in_force.challenger, world.in_force.share) == (challenger, 0.3)
    assert world.in_force.exploration_rate == 0.25


def freeze(world: Deployment, hours: float) -> None:
    until = world.now + timedelta(hours=hours)
    act = CascadeAct(cascade="quiz", act=CascadeActKind.FROZEN, by="ada", reason="holidays", at=world.now, until=until)
    with transaction(world.engine) as session:
        add_act(session, act)


@pytest.mark.slow
def test_a_frozen_cascade_takes_no_step_forward_and_goes_on_afterwards(world: Deployment) -> None:
    ask(world, promotion=replace(STEPS, steps=(0.3,)))
    challenger = challenge(world)
    world.tick()
    freeze(world, 60)
    world.halves(4, GOOD)
    assert (world.in_force.challenger, world.in_force.share) == (challenger, 0.3)
    assert "it waits: ada froze the cascade until" in world.history[-1].reason
    written = len(world.history)
    world.later(0.1)
    world.tick()
    assert len(world.history) == written, "it is said once"
    world.halves(2, GOOD)
    assert world.in_force.champion == challenger


@pytest.mark.slow
def test_approved_once_it_goes_all_its_steps_and_a_person_may_decline_it_on_the_way(world: Deployment) -> None:
    ask(world, promotion=replace(STEPS, steps=(0.3,), approval=Approval.MANUAL))
    champion, challenger = world.in_force.champion, challenge(world)
    world.tick()
    assert world.in_force.challenger is None
    person = Why(reason="looks good", by="ada")
    with transaction(world.engine) as session:
        judging.approve(session, world.in_force, challenger, world.settings, person, now=world.later())
    assert (world.in_force.challenger, world.in_force.share) == (challenger, 0.3)
    with pytest.raises(Refused, match="in its rollout already"), transaction(world.engine) as session:
        judging.approve(session, world.in_force, challenger, world.settings, person, now=world.now)
    with transaction(world.engine) as session:
        judging.decline(session, world.in_force, challenger, world.settings, person, now=world.later())
    assert (world.in_force.champion, world.in_force.challenger) == (champion, None)
    assert world.status_of(challenger) is BundleStatus.REFUSED
    other = world.certified("other", threshold=0.0, comparison=make_comparison(champion))
    world.keeps_from[other] = 0.0
    with transaction(world.engine) as session:
        judging.approve(session, world.in_force, other, world.settings, person, now=world.later())
    for _ in range(8):
        if world.in_force.challenger is not None:
            world.half(GOOD)
    assert world.in_force.champion == other
