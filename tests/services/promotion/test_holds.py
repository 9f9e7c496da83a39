"""What keeps jobs from putting anything in force: a freeze, and a person who has the last word."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from factories import make_comparison
from knowgate.spec import Approval, PromiseKind, Promotion
from monitoring.words import short
from services.acts import Act, Asked, CascadeState, carry_out, cascade_state
from services.audit.verify import verify_ledger
from services.errors import InputInvalid, Refused
from services.settings import Settings
from store.engine import reading, transaction
from store.releases import cascades
from store.releases.bundles import BundleStatus
from store.releases.promotions import Outcome
from tests.services.deployment_of_jobs import Deployment


@pytest.fixture
def deployment(engine: Engine, settings: Settings) -> Deployment:
    return Deployment(engine, settings)


@pytest.fixture
def asked_first(deployment: Deployment) -> Deployment:
    """A cascade whose every challenger awaits a person."""
    with transaction(deployment.engine) as session:
        spec = replace(cascades.cascade(session, "quiz"), promotion=Promotion(approval=Approval.MANUAL))
        cascades.apply_cascade(session, spec, now=deployment.now)
    return deployment


def act(deployment: Deployment, what: Act, *, reason: str = "a sale", **more: object) -> CascadeState:
    with transaction(deployment.engine) as session:
        asked = Asked(reason=reason, by="ada", **more)  # type: ignore[arg-type]
        carry_out(session, deployment.settings, "quiz", what, asked, now=deployment.later(0.1))
        return cascade_state(session, "quiz", now=deployment.now)


def stands(deployment: Deployment) -> CascadeState:
    with reading(deployment.engine) as session:
        return cascade_state(session, "quiz", now=deployment.now)


def freeze(deployment: Deployment, hours: float) -> CascadeState:
    return act(deployment, Act.FREEZE, until=deployment.now + timedelta(hours=hours))


def test_while_a_cascade_is_frozen_what_passes_waits_and_after_it_comes_into_force(deployment: Deployment) -> None:
    champion = deployment.certified("champion")
    deployment.tick()
    frozen = freeze(deployment, 5).frozen
    assert frozen is not None and (frozen.by, frozen.reason) == ("ada", "a sale")
    challenger = deployment.certified("challenger", comparison=make_comparison(champion))
    for _ in range(2):
        deployment.later()
        deployment.tick()
    assert (deployment.in_force.champion, deployment.status_of(challenger)) == (champion, BundleStatus.CERTIFIED)
    waits = deployment.history[-1]
    assert (waits.outcome, waits.reason) == (
        Outcome.HELD_BACK,
        "it waits: ada froze the cascade until 2026-03-02 05:00 UTC (a sale)",
    )
    assert len(deployment.history) == 2, "it is said once"
    deployment.later(4)
    deployment.tick()
    assert stands(deployment).frozen is None and deployment.in_force.champion == challenger


def test_a_freeze_ends_before_its_time_where_a_person_says_so_and_a_later_one_takes_its_place(
    deployment: Deployment,
) -> None:
    freeze(deployment, 100)
    assert freeze(deployment, 50).frozen == stands(deployment).frozen
    assert act(deployment, Act.UNFREEZE).frozen is None, "the first one does not come back"
    with pytest.raises(Refused, match="is not frozen"):
        act(deployment, Act.UNFREEZE)
    with pytest.raises(InputInvalid, match="give a time after"):
        freeze(deployment, -1)


def test_a_ring_stops_a_frozen_cascade_and_nothing_starts_it_but_a_person(deployment: Deployment) -> None:
    champion = deployment.certified("champion")
    deployment.tick()
    freeze(deployment, 1000)
    deployment.ring()
    deployment.tick()
    assert deployment.state == "stopped"
    deployment.later()
    deployment.certified("newer", since=deployment.now)
    deployment.tick()
    assert deployment.state == "stopped"
    act(deployment, Act.RESUME, despite_alarm="labels were wrong")
    assert (deployment.state, deployment.in_force.champion) == ("active", champion)


def test_what_lapses_is_stopped_though_the_cascade_is_frozen(deployment: Deployment) -> None:
    deployment.certified("champion", promise=PromiseKind.ROLLING)
    deployment.tick()
    freeze(deployment, 24 * 3000)
    deployment.later(24 * 2000)
    deployment.tick()
    assert deployment.state == "stopped"
    assert deployment.history[-1].decided_by is None


def test_what_passed_awaits_approval_and_comes_into_force_in_the_name_of_who_approves(asked_first: Deployment) -> None:
    bundle = asked_first.certified("first")
    for _ in range(2):
        asked_first.later()
        asked_first.tick()
    assert (asked_first.state, stands(asked_first).awaiting) == ("observing", bundle)
    assert [record.outcome for record in asked_first.history] == [Outcome.HELD_BACK]
    done = act(asked_first, Act.APPROVE, reason="looks right", bundle=short(bundle))
    assert (done.state, done.champion, done.awaiting) == ("active", bundle, None)
    record = asked_first.history[-1]
    assert (record.outcome, record.decided_by, record.reason) == (Outcome.PROMOTED, "ada", "looks right")
    with pytest.raises(Refused, match="is promoted: only a certified one that waits"):
        act(asked_first, Act.APPROVE, bundle=bundle)


def test_what_does_not_pass_is_not_approved_and_a_ring_is_no_matter_of_approval(asked_first: Deployment) -> None:
    champion = asked_first.certified("champion")
    asked_first.tick()
    act(asked_first, Act.APPROVE, bundle=champion)
    greedy = asked_first.certified("greedy", comparison=make_comparison(champion, savings_gain=-0.2))
    with pytest.raises(Refused, match=r"does not pass the check .*gives? .*away.*--reason TEXT"):
        act(asked_first, Act.APPROVE, bundle=greedy)
    asked_first.ring()
    asked_first.tick()
    waits = asked_first.certified("older than the ring")
    asked_first.later()
    asked_first.tick()
    assert stands(asked_first).awaiting is None, "it waits for decisions first"
    with pytest.raises(Refused, match="it was certified before the risk alarm"):
        act(asked_first, Act.APPROVE, bundle=waits)


def test_what_was_declined_is_judged_no_more_not_even_after_an_alarm(asked_first: Deployment) -> None:
    champion = asked_first.certified("champion")
    asked_first.tick()
    act(asked_first, Act.APPROVE, bundle=champion)
    challenger = asked_first.certified("challenger", comparison=make_comparison(champion))
    asked_first.tick()
    assert act(asked_first, Act.DECLINE, reason="not this week", bundle=challenger).awaiting is None
    record = asked_first.history[-1]
    assert (record.outcome, record.decided_by, record.reason) == (Outcome.REFUSED, "ada", "not this week")
    assert asked_first.status_of(challenger) is BundleStatus.REFUSED
    asked_first.ring()
    asked_first.later()
    asked_first.tick()
    said = [one for one in asked_first.history if one.bundle == challenger]
    assert said[-1] == record
    with pytest.raises(Refused, match="is refused: only a certified one"):
        act(asked_first, Act.DECLINE, bundle=challenger)


def test_what_was_asked_is_sealed(deployment: Deployment) -> None:
    freeze(deployment, 1)
    with transaction(deployment.engine) as session:
        session.connection().exec_driver_sql("UPDATE cascade_act SET by = 'eve'")
    with reading(deployment.engine) as session:
        assert any("cascade_act" in str(problem) for problem in verify_ledger(session).problems)
