"""After a ring: the most cautious bundle whose certificate holds decides, if the decisions that
rang show that it keeps the promise, and nothing does otherwise.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from knowgate.spec import Approval, OnRisk, PromiseKind, Promotion
from monitoring.words import short
from services.acts import cascade_state
from services.promotion import rollout
from services.promotion.champions import former_champions
from services.promotion.generations import declare
from services.promotion.rollout_state import Why
from services.settings import Settings
from store.engine import open_engine, reading, transaction
from store.releases import cascades
from store.releases.cascade_acts import CascadeAct, CascadeActKind, add_act
from store.releases.promotions import Outcome
from tests.services.deployment_of_jobs import Deployment, Traffic

# Right where P(T) is at least 0.6, and wrong below it from some day on.
GOOD, BROKEN_BELOW = Traffic(), Traffic(low_right=0.2, low_below=0.6)


@pytest.fixture
def world(sqlite_url: str, settings: Settings) -> Iterator[Deployment]:
    opened = open_engine(sqlite_url)
    yield prepared(opened, settings)
    opened.dispose()


def prepared(engine: Engine, settings: Settings) -> Deployment:
    """A cautious bundle that was in force, and a bold one that is."""
    world = Deployment(engine, settings)
    ask(world)
    put(world, "cautious", threshold=0.7, kept=0.3)
    put(world, "bold", threshold=0.3, kept=0.7)
    return world


def put(world: Deployment, name: str, *, threshold: float, kept: float) -> str:
    made = world.certified(name, threshold=threshold, since=world.later(), kept=kept)
    world.keeps_from[made] = threshold
    with transaction(world.engine) as session:
        rollout.promote(session, world.in_force, made, world.settings, Why(reason=name), now=world.now)
    return made


def ask(world: Deployment, promotion: Promotion | None = None) -> None:
    with transaction(world.engine) as session:
        spec = cascades.cascade(session, "quiz")
        alarms = replace(spec.alarms, on_risk=OnRisk.FALLBACK)
        spec = replace(spec, alarms=alarms, promotion=promotion or spec.promotion)
        cascades.apply_cascade(session, spec, now=world.now)
        declare(session, spec, world.settings, now=world.now)


def until_it_rings(world: Deployment, traffic: Traffic = BROKEN_BELOW) -> None:
    for _ in range(12):
        if world.rings:
            return
        world.half(traffic)
    raise AssertionError("nothing rang")


def walk(world: Deployment) -> None:
    bold, cautious = str(world.in_force.champion), str(world.history[0].bundle)
    world.halves(2, GOOD)
    until_it_rings(world)
    assert (world.state, world.in_force.champion) == ("active", cautious)
    stopped, fell_back = world.history[-2:]
    assert (stopped.outcome, fell_back.outcome) == (Outcome.STOPPED, Outcome.FELL_BACK)
    assert (stopped.previous, fell_back.bundle) == (bold, cautious), "the ring stops first, as any ring does"
    assert fell_back.reason.endswith("shown to keep the promise")
    with reading(world.engine) as session:
        assert former_champions(session, world.in_force)[0] == bold
    world.halves(4, BROKEN_BELOW)
    assert (world.in_force.champion, len(world.rings)) == (cautious, 1), "it keeps what is right still"
    for _ in range(12):
        if len(world.rings) == 1:
            world.half(Traffic(small_right=0.2))
    assert world.state == "stopped"
    assert world.history[-1].reason.startswith("nothing to fall back to")
    written = len(world.history)
    world.later(0.1)
    world.tick()
    assert len(world.history) == written, "it is said once"


@pytest.mark.slow
def test_it_falls_back_to_what_still_holds_and_stops_where_nothing_does(world: Deployment) -> None:
    walk(world)


@pytest.mark.slow
def test_the_walk_is_the_same_on_postgresql(postgresql_url: str, settings: Settings) -> None:
    opened = open_engine(postgresql_url)
    walk(prepared(opened, settings))
    opened.dispose()


@pytest.mark.slow
def test_what_the_decisions_that_rang_speak_against_is_no_fallback(world: Deployment) -> None:
    cautious = world.history[0].bundle
    until_it_rings(world, Traffic(small_right=0.2))
    assert world.state == "stopped"
    refused = world.history[-1]
    assert (refused.outcome, refused.bundle) == (Outcome.HELD_BACK, cautious)
    assert refused.reason.startswith("no fallback: on ") and refused.reason.endswith("which shows too little")


def test_what_a_ring_would_fall_back_to_is_told_before(world: Deployment) -> None:
    cautious = str(world.history[0].bundle)
    with reading(world.engine) as session:
        lines = cascade_state(session, "quiz", now=world.now).lines
    assert lines[-2] == (
        "if it were stopped, the last tier would answer 100.0 % of the queries, 1.5 × its load today (65.0 % by the"
        " certificate)"
    )
    assert lines[-1] == (
        f"after a ring bundle {short(cautious)} would be looked at, and decide if it is shown to hold. The last tier"
        " would answer 85.0 % of the queries, 1.3 × its load today (65.0 % by the certificate)"
    )


def rung(world: Deployment) -> str:
    """A ring on no decisions at all; what is said of a fallback, else of the stop."""
    world.later()
    world.ring(until=world.now)
    world.tick()
    assert world.state == "stopped"
    looked = [record.reason for record in world.history if "fallback" in json.loads(record.check)]
    return looked[-1] if looked else world.history[-1].reason


def test_without_decisions_nothing_is_shown(world: Deployment) -> None:
    assert rung(world).startswith("no fallback: nothing is known of what bundle")


def test_a_condemned_bundle_is_no_fallback(world: Deployment) -> None:
    world.later()
    world.ring(accused=(str(world.history[0].bundle), str(world.in_force.champion)))
    world.tick()
    assert world.history[-1].reason.startswith("nothing to fall back to")


def test_a_certificate_that_has_lapsed_is_none(engine: Engine, settings: Settings) -> None:
    world = Deployment(engine, settings)
    ask(world)
    old = world.certified("old", threshold=0.7, kept=0.2, promise=PromiseKind.ROLLING)
    with transaction(world.engine) as session:
        rollout.promote(session, world.in_force, old, world.settings, Why(reason="old"), now=world.now)
    world.later(24 * 70)
    put(world, "bold", threshold=0.3, kept=0.7)
    assert rung(world).startswith("nothing to fall back to")


def test_one_that_keeps_more_than_what_was_stopped_is_none(world: Deployment) -> None:
    put(world, "timid", threshold=0.9, kept=0.1)
    assert rung(world).startswith("nothing to fall back to"), "both others keep more"


def test_where_a_person_has_the_last_word_only_what_was_in_force_is_one(world: Deployment) -> None:
    ask(world, Promotion(approval=Approval.MANUAL))
    world.certified("waiting", threshold=0.9, kept=0.1)
    assert f"bundle {short(str(world.history[0].bundle))}" in rung(world)


def test_a_frozen_cascade_falls_back_to_nothing(world: Deployment) -> None:
    until = world.now + timedelta(days=2)
    act = CascadeAct(cascade="quiz", act=CascadeActKind.FROZEN, by="ada", reason="x", at=world.now, until=until)
    with transaction(world.engine) as session:
        add_act(session, act)
    assert rung(world) == "risk alarm: a test", "it is stopped, and no job puts anything in its place"
