"""Tallies of a whole path at once: exactly what candidate by candidate gives, for any chain,
fallback and coins.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence.certification.certificate import Target
from evidence.certification.certification_rows import CertificationRows
from evidence.certification.certify import certify_policy
from evidence.certification.nested_path import entry_points, is_nested, nested_tallies, thinned_is_sharper
from evidence.certification.path import equal_quantile_path
from evidence.certification.tally import tally_of
from knowgate.policy import Policy, PolicyKind, kept_tiers
from knowgate.spec import TargetKind
from tests.evidence.walks import walk_candidates

NAN = float("nan")


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 60),
    tiers=st.integers(2, 5),
    kind=st.sampled_from([PolicyKind.P_T, PolicyKind.P_IK, PolicyKind.GATES, PolicyKind.SCORE]),
    weighted=st.booleans(),
    fallback=st.booleans(),
)
def test_a_nested_path_is_tallied_as_candidate_by_candidate(
    seed: int, n: int, tiers: int, kind: PolicyKind, weighted: bool, fallback: bool
) -> None:
    rng = np.random.default_rng(seed)
    gates = ("p_ik", "p_t", "ood") if kind is PolicyKind.GATES else (kind.value,)
    signals = [{gate: _signal(rng, n) for gate in (*gates, "p_t")} for _ in range(tiers - 1)]
    correct = rng.integers(0, 2, (n, tiers)).astype(float)
    correct[rng.random((n, tiers)) < 0.1] = NAN
    coins = {}
    if weighted:
        chance = rng.choice([0.2, 0.5, 1.0], n)
        coins = {"propensity": chance, "observed": (rng.random(n) < chance) | (np.arange(n) == 0)}
    rows = CertificationRows(correct=correct, ids=tuple(f"q{i}" for i in range(n)), **coins)
    kept_back = Policy(kind=PolicyKind.P_T, rules=equal_quantile_path([{"p_t": s["p_t"]} for s in signals])[0])
    path = equal_quantile_path([{gate: tier[gate] for gate in gates} for tier in signals], points=12)
    policies = [Policy(kind=kind, rules=at, fallback=kept_back if fallback else None) for at in path]
    assert is_nested(policies)
    ran = rng.random((n, tiers)) < 0.8 if seed % 2 else None
    together = list(nested_tallies(path, entry_points(policies, signals, ran), rows, 0.1))
    for thresholds, policy, tally in zip(path, policies, together, strict=True):
        alone = tally_of(rows, kept_tiers(policy, signals, ran), 0.1, thresholds)
        assert tally.retained_share == pytest.approx(alone.retained_share)
        for kind_of_target in TargetKind:
            ours, theirs = tally.on(kind_of_target), alone.on(kind_of_target)
            assert ours.estimate == pytest.approx(theirs.estimate)
            assert ours.basis(0.3) == theirs.basis(0.3)
            assert ours.shown(0.3, 0.1) == theirs.shown(0.3, 0.1)


def _signal(rng: np.random.Generator, n: int) -> np.ndarray:
    values = rng.integers(0, 8, n) / 7  # ties
    values[1:][rng.random(n - 1) < 0.2] = NAN
    return values


def test_a_path_that_closes_again_is_not_nested() -> None:
    strict, bold = (Policy.of(PolicyKind.GATES, ({"p_ik": a, "p_t": b},)) for a, b in ((0.9, 0.5), (0.5, 0.6)))
    assert not is_nested([strict, bold])
    escalating = Policy.of(PolicyKind.GATES, (None,))
    assert is_nested([escalating, strict])
    assert not is_nested([strict, escalating])


def test_a_path_that_closes_again_is_walked_candidate_by_candidate() -> None:
    rng = np.random.default_rng(1)
    n = 2000
    p_ik, p_t = rng.random(n), rng.random(n)
    correct = np.column_stack([rng.random(n) < 0.9 + 0.1 * p_t, rng.random(n) < 0.97]).astype(float)
    rows = CertificationRows(correct=correct)
    target = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=0.05)
    opening = equal_quantile_path([{"p_ik": p_ik, "p_t": p_t}], points=10)
    crossing = [*opening[:3], *equal_quantile_path([{"p_ik": np.sqrt(p_ik), "p_t": p_t**2}], points=10)[3:6]]
    signals = [{"p_ik": p_ik, "p_t": p_t}]
    assert not is_nested([Policy(kind=PolicyKind.GATES, rules=thresholds) for thresholds in crossing])
    answer = certify_policy(PolicyKind.GATES, signals, rows, target, 0.1, path=crossing)
    by_hand = walk_candidates(
        [(t, kept_tiers(Policy(kind=PolicyKind.GATES, rules=t), signals)) for t in crossing],
        rows,
        target,
        0.1,
    )
    assert answer == by_hand


def test_the_mean_weight_of_what_a_candidate_retains_says_which_test_is_sharper() -> None:
    """z²·4 = 6.57 against 2·log(10)·weight: 9.2 for a weight of 2, 4.6 for one of 1."""
    chance = np.array([0.5, 1.0, 1.0, 0.25])
    rows = CertificationRows(
        correct=np.ones((4, 2)), ids=tuple("abcd"), propensity=chance, observed=np.ones(4, dtype=bool)
    )
    path = [({"p_t": 0.9 - step / 10},) for step in range(5)]
    entry = np.array([[1], [2], [2], [3]])  # none at first, then the row of weight 2, two of 1, the one of 4
    assert thinned_is_sharper(path, entry, rows, 0.1).tolist() == [False, True, False, True, True]
