"""What a move does to the last tier, shown before it is made."""

from dataclasses import replace

import pytest
from sqlalchemy import Engine

from factories import make_certificate
from services.promotion import rollout
from services.promotion.load import LastTierLoad, load_of
from services.promotion.prospect import prospect_of
from services.promotion.rollout_state import Why
from services.settings import Settings
from store.engine import reading, transaction
from store.releases import cascades
from tests.services.deployment_of_jobs import Deployment, Traffic


@pytest.fixture
def world(engine: Engine, settings: Settings) -> Deployment:
    return Deployment(engine, settings)


def load_after(world: Deployment, kept: float | None) -> LastTierLoad | None:
    """Of a bundle that keeps so many, or where nothing is kept."""
    with reading(world.engine) as session:
        spec = cascades.cascade(session, "quiz")
        certificate = None if kept is None else replace(make_certificate(), retained_share=kept)
        return load_of(session, world.in_force, spec, certificate)


def test_before_anything_was_watched_the_certificates_tell(world: Deployment) -> None:
    assert load_after(world, 0.8) == LastTierLoad(today=1.0, measured=False, then=pytest.approx(0.6))
    bundle = world.certified("champion", kept=0.5)
    with reading(world.engine) as session:
        would = prospect_of(session, world.in_force).sentence
    assert would.endswith(
        "The last tier would answer 75.0 % of the queries, 0.8 × its load today (100.0 % by the certificate)."
    )
    with transaction(world.engine) as session:
        rollout.promote(session, world.in_force, bundle, world.settings, Why(reason="x"), now=world.later())
    assert load_after(world, None) == LastTierLoad(today=pytest.approx(0.75), measured=False, then=1.0)


@pytest.mark.slow
def test_what_was_watched_in_the_last_day_is_todays_load(world: Deployment) -> None:
    world.certified("champion", kept=0.9)
    world.tick()
    world.halves(4, Traffic())  # it keeps 70 %, half of them explored
    stopped = load_after(world, None)
    assert stopped is not None and stopped.measured
    assert stopped.today == pytest.approx(0.65, abs=0.06)
    assert stopped.sentence.startswith("The last tier would answer 100.0 % of the queries, 1.")


def test_a_certificate_that_does_not_say_what_it_keeps_tells_nothing(world: Deployment) -> None:
    with reading(world.engine) as session:
        spec = cascades.cascade(session, "quiz")
        assert load_of(session, world.in_force, spec, make_certificate()) is None
