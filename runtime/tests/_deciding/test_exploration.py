"""Exploration: a floor for every query, more near a threshold, and the logged rate is the coin's
own chance.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import make_assignment
from knowgate._bundles.assignment import Assignment
from knowgate._deciding.exploration import coin_falls, largest_rate, row_rate
from knowgate._deciding.privacy import SecretKey
from knowgate._deciding.setting import NoSpool
from knowgate._records.ids import new_id
from knowgate._records.observation import Observation
from knowgate._records.records import Reason, Role, Signals
from knowgate._serving.cascade import Cascade
from knowgate.errors import RecordInvalid
from knowgate.policy import Policy, PolicyKind, decide

Make = Callable[..., Any]
POLICY = Policy.of(PolicyKind.P_T, ({"p_t": 0.6},))


def rate_at(assignment: Assignment, p_t: float) -> float:
    return row_rate(assignment, decide(POLICY, Signals(p_t=p_t)))


@pytest.fixture
def near(assignment: Make) -> Assignment:
    """A floor of 5 %, 40 % more at the threshold, gone at .2 from it."""
    made: Assignment = assignment(None, exploration_rate=0.05, exploration_extra=0.4, exploration_width=0.2)
    return made


def test_the_rate_is_highest_at_the_threshold_and_falls_to_the_floor(near: Assignment) -> None:
    rates = [rate_at(near, p_t) for p_t in (0.6, 0.65, 0.7, 0.8, 1.0)]
    assert rates == pytest.approx([0.45, 0.35, 0.25, 0.05, 0.05])
    assert rate_at(near, 0.59) == 0.05  # escalated: the last tier runs anyhow


def test_the_nearest_of_several_gates_counts_and_one_that_passes_everything_does_not(near: Assignment) -> None:
    gates = Policy.of(PolicyKind.GATES, ({"p_ik": 0.5, "p_t": 0.0},))
    verdict = decide(gates, Signals(p_t=0.01, p_ik=0.6))
    assert verdict.retained
    assert row_rate(near, verdict) == pytest.approx(0.05 + 0.4 * 0.5)


def test_without_an_extra_the_rate_is_the_floor_everywhere(assignment: Make) -> None:
    assert {rate_at(assignment(None, exploration_rate=0.2), p_t) for p_t in (0.6, 0.61, 0.9)} == {0.2}
    assert row_rate(None, None) == largest_rate(None) == 0.0


@given(
    floor=st.floats(0.01, 1), extra=st.floats(0, 1), width=st.floats(0.01, 1), p_t=st.floats(0, 1), tau=st.floats(0, 1)
)
def test_no_rate_is_below_the_floor_or_above_the_largest(
    floor: float, extra: float, width: float, p_t: float, tau: float
) -> None:
    now = datetime.fromisoformat("2026-03-01T00:00:00Z")
    assignment = make_assignment(
        cascade="c",
        mode="active",
        exploration_rate=floor,
        exploration_extra=extra,
        exploration_width=width,
        issued_at=now,
        valid_until=now,
    )
    verdict = decide(Policy.of(PolicyKind.P_T, ({"p_t": tau},)), Signals(p_t=p_t))
    assert floor <= row_rate(assignment, verdict) <= largest_rate(assignment) <= 1.0
    assert largest_rate(assignment) == min(floor + extra, 1.0)


def test_bad_parameters_are_refused(assignment: Make) -> None:
    with pytest.raises(RecordInvalid, match="exploration_extra"):
        assignment(None, exploration_extra=-0.1)
    with pytest.raises(RecordInvalid, match="exploration_width"):
        assignment(None, exploration_width=0.0)


def test_a_higher_rate_explores_the_same_ids_and_more(key: bytes) -> None:
    secret, ids = SecretKey(key), [new_id() for _ in range(2000)]
    low = {id for id in ids if coin_falls(secret, id, 0.1)}
    high = {id for id in ids if coin_falls(secret, id, 0.4)}
    assert low < high
    assert abs(len(high) / 2000 - 0.4) < 5 * np.sqrt(0.24 / 2000)


def near_threshold(pair: Make, key: bytes, now: datetime) -> Cascade:
    in_force = pair()
    changed = replace(in_force.assignment, exploration_rate=0.1, exploration_extra=0.5, exploration_width=0.1)
    return Cascade("questions", replace(in_force, assignment=changed), hash_key=key, spool=NoSpool(), clock=lambda: now)


def test_each_decision_logs_the_chance_its_own_coin_had(
    pair: Make, key: bytes, now: datetime, hidden: Make, fingerprint: Make
) -> None:
    cascade = near_threshold(pair, key, now)
    good = {"hidden": hidden(), "fingerprint": fingerprint(), "tokens_in": 20}
    explored: dict[float, list[bool]] = {}
    for p_t in (0.9, 0.98):
        for _ in range(600):
            query = cascade.open()
            ruling = query.attempt(Observation(**good, p_t=p_t))
            assert ruling.retained
            if query.explore:
                query.attempt(Observation(p_t=0.9), tier=query.last)
            decision = query.close()
            assert decision.exploration_rate == ruling.exploration_rate
            extra = [attempt for attempt in decision.attempts if attempt.role is Role.EXPLORATION]
            assert all(attempt.run_propensity == decision.exploration_rate for attempt in extra)
            explored.setdefault(decision.exploration_rate, []).append(bool(extra))
    assert len(explored) == 2
    assert max(explored) == pytest.approx(0.6)
    for rate, runs in explored.items():
        assert abs(np.mean(runs) - rate) < 5 * np.sqrt(rate * (1 - rate) / len(runs))


def test_an_escalated_query_logs_the_floor(pair: Make, key: bytes, now: datetime) -> None:
    query = near_threshold(pair, key, now).open()
    ruling = query.attempt(Observation(p_t=0.1))
    assert ruling.verdict.reason in (Reason.P_IK, Reason.P_T, Reason.MISSING_SIGNAL)
    query.attempt(Observation(p_t=0.9))
    assert query.close().exploration_rate == 0.1


def test_a_constant_rate_estimates_what_a_varied_rate_estimates(key: bytes, near: Assignment) -> None:
    """The inverse of the logged rate undoes the preference for the threshold."""
    rng, secret, n = np.random.default_rng(3), SecretKey(key), 6000
    p_t = rng.uniform(0.6, 1.0, n)
    harm = rng.random(n) < 0.5 * (1.0 - p_t)  # worse near the threshold
    rates = np.array([rate_at(near, value) for value in p_t])
    fell = np.array([coin_falls(secret, new_id(), rate) for rate in rates])
    weighted = fell * harm / rates
    assert abs(weighted.mean() - 0.1) < 5 * weighted.std() / np.sqrt(n)
    assert harm[fell].mean() > 0.12  # unweighted, the threshold's neighbours are over-counted
