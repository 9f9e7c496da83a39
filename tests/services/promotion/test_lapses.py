"""Nothing stays in force that its own period, or its own season, did not certify."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine

from evidence.certification.season import QUARTER
from knowgate._bundles.bundle_documents import CertificateStatus, SeasonMark
from knowgate.spec import PromiseKind
from services.promotion import rollout
from services.promotion.rollout_state import Why
from services.settings import Settings
from store.engine import transaction
from store.releases.bundles import BundleStatus
from tests.services.deployment_of_jobs import START, Deployment

ROLLING, SEASON = PromiseKind.ROLLING, PromiseKind.SEASON


@pytest.fixture
def deployment(engine: Engine, settings: Settings) -> Deployment:
    return Deployment(engine, settings)


def a_champion(deployment: Deployment, promise: PromiseKind | None, season: SeasonMark | None = None) -> str:
    champion = deployment.certified("champion", promise=promise, season=season)
    deployment.tick()
    assert deployment.in_force.champion == champion
    deployment.later()
    return champion


@pytest.mark.parametrize("status", [s for s in CertificateStatus if s is not CertificateStatus.CERTIFIED])
def test_an_attempt_that_certifies_nothing_ends_a_rolling_promise_until_one_does(
    deployment: Deployment, status: CertificateStatus
) -> None:
    a_champion(deployment, ROLLING)
    deployment.certified("nothing", status=status, promise=ROLLING)
    deployment.tick()
    assert deployment.state == "stopped"
    assert deployment.history[-1].reason.startswith("the newest attempt certified nothing")
    assert deployment.history[-1].reason.endswith(status.value)
    deployment.later()
    deployment.tick()
    assert deployment.state == "stopped"
    fresh = deployment.certified("fresh", threshold=0.9, promise=ROLLING)
    deployment.tick()
    assert (deployment.state, deployment.in_force.champion) == ("active", fresh)


@pytest.mark.parametrize(("delta", "state"), [(0.05, "active"), (0.11, "stopped"), (0.2, "stopped")])
def test_an_attempt_that_somebody_asked_for_ends_nothing_and_the_turn_that_pays_for_it_does(
    deployment: Deployment, delta: float, state: str
) -> None:
    a_champion(deployment, ROLLING)
    none = CertificateStatus.INSUFFICIENT_EVIDENCE
    deployment.certified("nothing", status=none, promise=ROLLING, delta=delta)
    deployment.tick()
    assert deployment.state == state
    if state == "active":
        deployment.later()
        deployment.certified("the turn before", status=none, promise=ROLLING)
        deployment.later()
        deployment.certified("and asked again", status=none, promise=ROLLING, delta=delta)
        deployment.tick()
        assert deployment.state == "stopped", "asking does not put off what a turn ended"


@pytest.mark.parametrize("promise", [PromiseKind.SEASON, None])
def test_what_a_season_certified_stays_in_force_through_attempts_that_certify_nothing(
    deployment: Deployment, promise: PromiseKind | None
) -> None:
    champion = a_champion(deployment, promise)
    deployment.certified("nothing", status=CertificateStatus.INSUFFICIENT_EVIDENCE, promise=promise)
    deployment.later(24 * 200)
    deployment.tick()
    assert (deployment.state, deployment.in_force.champion) == ("active", champion)


def a_season(number: int) -> SeasonMark:
    return SeasonMark(number=number, opened_at=START)


@pytest.mark.parametrize(("number", "state"), [(1, "active"), (2, "stopped")])
def test_a_seasons_certificate_ends_when_the_next_season_has_certified_nothing(
    deployment: Deployment, number: int, state: str
) -> None:
    a_champion(deployment, SEASON, a_season(1))
    none = CertificateStatus.INSUFFICIENT_EVIDENCE
    deployment.certified("nothing", status=none, promise=SEASON, season=a_season(number))
    deployment.tick()
    assert deployment.state == state
    if state == "stopped":
        assert deployment.history[-1].reason.startswith("season 1 is over, and the newest attempt certified nothing")


def test_what_waits_is_not_promoted_past_another_season_that_certified_nothing(deployment: Deployment) -> None:
    a_champion(deployment, SEASON, a_season(1))
    older = deployment.certified("older", threshold=0.5, promise=SEASON, season=a_season(1))
    deployment.later()
    nothing = CertificateStatus.INSUFFICIENT_EVIDENCE
    deployment.certified("nothing", status=nothing, promise=SEASON, season=a_season(2))
    deployment.tick()
    assert deployment.status_of(older) is BundleStatus.REFUSED


def test_without_any_attempt_a_seasons_certificate_lasts_for_two_quarters(deployment: Deployment) -> None:
    a_champion(deployment, SEASON, a_season(1))
    deployment.clock.set(START + 2 * QUARTER)
    deployment.tick()
    assert deployment.state == "active"
    deployment.later()
    deployment.tick()
    assert deployment.state == "stopped"
    assert "no attempt was made" in deployment.history[-1].reason


def test_without_any_attempt_a_rolling_promise_lasts_for_twice_its_window(deployment: Deployment) -> None:
    a_champion(deployment, ROLLING)
    deployment.clock.set(deployment.now + timedelta(days=55))
    deployment.tick()
    assert deployment.state == "active"
    deployment.clock.set(deployment.now + timedelta(days=2))
    deployment.tick()
    assert deployment.state == "stopped"
    assert "twice its window" in deployment.history[-1].reason


def test_what_waits_is_not_promoted_past_a_newer_attempt_that_certified_nothing(deployment: Deployment) -> None:
    a_champion(deployment, ROLLING)
    older = deployment.certified("older", threshold=0.5, promise=ROLLING)
    deployment.later()
    deployment.certified("nothing", status=CertificateStatus.INFEASIBLE, promise=ROLLING)
    deployment.tick()
    assert deployment.state == "stopped"
    assert deployment.status_of(older) is BundleStatus.REFUSED


def test_a_person_may_put_it_in_force_again_and_it_does_not_lapse_for_the_same_attempt(deployment: Deployment) -> None:
    champion = a_champion(deployment, ROLLING)
    deployment.certified("nothing", status=CertificateStatus.INFEASIBLE, promise=ROLLING)
    deployment.tick()
    with transaction(deployment.engine) as session:
        why = Why(reason="seen by eye", by="ada")
        rollout.resume(session, deployment.in_force, deployment.settings, why, now=deployment.later())
    deployment.later()
    deployment.tick()
    assert (deployment.state, deployment.in_force.champion) == ("active", champion)
