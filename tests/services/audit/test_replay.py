"""What a cascade decided replays to the same verdict, from its signals and from its vector: a P(T)
of another kind too, and a tier that a gate ended before it answered.
"""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from factories import Kept, make_assignment
from knowgate import Bundle, Cascade, Decision, Policy, PolicyKind, PTKind, Reason, Role, write_bundle
from knowgate._bundles.pair import Pair
from knowgate._records.observation import Observation
from services.audit.replay import replay

NOW = datetime(2026, 3, 1, tzinfo=UTC)
HIDDEN = np.array([2.0, 0, 0, 0], dtype=np.float16)


def cascade_of(bundle: Bundle, log: Kept, *, rate: float) -> Cascade:
    """One that `bundle` decides."""
    assignment = make_assignment(cascade="trivia", champion=bundle.id, exploration_rate=rate, issued_at=NOW)
    return Cascade(
        "trivia",
        Pair(assignment=assignment, champion=bundle),
        hash_key=b"a hash key for tests",
        clock=lambda: NOW,
        spool=log,
    )


def state_of(bundle: Bundle, *, layer: int | None = None) -> Observation:
    """What the first tier shows of a prompt; `layer` = another than the probe reads."""
    tier = bundle.document.tiers[0]
    assert tier is not None
    fingerprint = tier.fingerprint if layer is None else replace(tier.fingerprint, layer=layer)
    return Observation(hidden=HIDDEN, fingerprint=fingerprint, tokens_in=5, tokens_out=0)


def answered(bundle: Bundle, *, kind: PTKind | None, foreign: bool) -> Decision:
    kept = Kept()
    with cascade_of(bundle, kept, rate=0.1).open() as query:
        shown = replace(state_of(bundle, layer=7 if foreign else None), p_t=0.99, p_t_kind=kind, answer="a")
        if not query.attempt(shown).retained:
            query.attempt(Observation(p_t=0.9, answer="b"))
    return kept.rows[0][0]


def test_each_arm_of_a_rollout_replays_by_the_bundle_that_decided_it(bundle: Bundle, strict: Bundle) -> None:
    kept, arms = Kept(), {one.id: one for one in (bundle, strict)}
    assignment = make_assignment(
        cascade="trivia", champion=bundle.id, challenger=strict.id, share=0.5, exploration_rate=0.5, issued_at=NOW
    )
    pair = Pair(assignment=assignment, champion=bundle, challenger=strict)
    cascade = Cascade("trivia", pair, hash_key=b"a hash key for tests", clock=lambda: NOW, spool=kept)
    for number in range(40):
        with cascade.open(prompt=f"question {number}") as query:
            ruling = query.attempt(replace(state_of(bundle), p_t=0.99, answer="a"))
            if not ruling.retained or ruling.explore:
                query.attempt(Observation(p_t=0.9, answer="b"))
    decided = [decision for decision, _ in kept.rows]
    assert {decision.bundle for decision in decided} == set(arms)
    for decision in decided:
        found = replay(decision, arms[str(decision.bundle)], {0: HIDDEN})
        assert found.mismatches == () and found.attempts == 1
        chances = [attempt.run_propensity for attempt in decision.attempts]
        assert set(chances) <= {0.5, 1.0}, "an arm changes no chance"


def considered(bundle: Bundle, *, rate: float) -> Decision:
    kept = Kept()
    with cascade_of(bundle, kept, rate=rate).open() as query:
        if query.consider(state_of(bundle)).answers:
            query.attempt(Observation(p_t=0.99, answer="a", tokens_out=3))
        query.attempt(Observation(p_t=0.9, answer="b"))
    return kept.rows[0][0]


@pytest.fixture
def strict(bundle: Bundle) -> Bundle:
    """The bundle, with a P(IK) that no state reaches."""
    policy = Policy.of(PolicyKind.GATES, ({"p_ik": 1.0, "p_t": 0.5},))
    return write_bundle(replace(bundle.document, policy=policy), bundle.tiers)


@pytest.mark.parametrize("foreign", [False, True], ids=["own state", "foreign state"])
@pytest.mark.parametrize("kind", [None, PTKind.FIRST_TOKEN, PTKind.MEAN])
def test_an_answer_replays_whatever_kind_its_p_t_was(bundle: Bundle, kind: PTKind | None, foreign: bool) -> None:
    decision = answered(bundle, kind=kind, foreign=foreign)
    first = decision.attempts[0]
    assert (first.fault is Reason.P_T_KIND_MISMATCH) == (kind is PTKind.MEAN)
    result = replay(decision, bundle, {0: HIDDEN})
    assert result.mismatches == ()
    assert (result.attempts, result.vectors) == (1, 0 if foreign else 1)


def test_a_kind_that_was_changed_by_hand_is_found(bundle: Bundle) -> None:
    decision = answered(bundle, kind=PTKind.MEAN, foreign=False)
    first, *others = decision.attempts
    altered = replace(decision, attempts=(replace(first, fault=None), *others))
    assert [one.what for one in replay(altered, bundle, {}).mismatches] == ["verdict"]


@pytest.mark.parametrize(("rate", "role"), [(0.0, Role.SKIPPED), (1.0, Role.EXPLORATION)])
def test_a_tier_that_was_ended_replays_whether_or_not_it_answered_to_learn_from(
    strict: Bundle, rate: float, role: Role
) -> None:
    decision = considered(strict, rate=rate)
    assert decision.attempts[0].role is role
    result = replay(decision, strict, {0: HIDDEN})
    assert (result.mismatches, result.attempts, result.vectors) == ((), 1, 1)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_a_signal_of_a_tier_that_was_ended_is_found_where_it_was_changed_by_hand(strict: Bundle, rate: float) -> None:
    decision = considered(strict, rate=rate)
    first, *others = decision.attempts
    altered = replace(first, signals=replace(first.signals, p_ik=1.0))
    result = replay(replace(decision, attempts=(altered, *others)), strict, {})
    assert [one.what for one in result.mismatches] == ["verdict"]
