"""Simulations of what production does to labels: the promise holds, and the naive reading is shown
to fail.
"""

import numpy as np
import pytest

from evidence.certification.certificate import Target
from evidence.certification.certification_rows import CertificationRows
from evidence.certification.certify import certify_policy
from evidence.estimation.estimates import inverse_propensity, self_normalised
from knowgate._bundles.bundle_documents import CertificateStatus
from knowgate.policy import Policy, PolicyKind, kept_tiers
from knowgate.spec import TargetKind
from tests.evidence.walks import certify_one_gate

EPSILON, DELTA = 0.05, 0.1
TARGET = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=EPSILON)
NAN = float("nan")


def errors(rate: float, runs: int) -> float:
    """Two Monte-Carlo standard errors of a rate."""
    return float(2 * np.sqrt(rate * (1 - rate) / runs))


def population(tiers: int, n: int = 40_000) -> tuple[np.ndarray, np.ndarray]:
    """p_t [n, tiers − 1] and outcomes [n, tiers]: the truth of a threshold is a mean over it."""
    rng = np.random.default_rng(99)
    p_t = 1 - 0.7 * rng.random((n, tiers - 1)) ** 2
    small = rng.random((n, tiers - 1)) < p_t
    return p_t, np.column_stack([small, rng.random(n) < 0.95]).astype(float)


def true_drop(p_t: np.ndarray, correct: np.ndarray, thresholds: tuple[dict[str, float] | None, ...]) -> float:
    kept = kept_tiers(Policy.of(PolicyKind.P_T, thresholds), [{"p_t": column} for column in p_t.T])
    return float((correct[:, -1] - correct[np.arange(len(kept)), kept]).mean())


def broken_promises(tiers: int, n: int, runs: int, chance_of: object) -> tuple[float, float]:
    """The rate of broken promises, and the mean share retained; `chance_of(p_t)` is each row's
    propensity.
    """
    p_t, correct = population(tiers)
    rng = np.random.default_rng(5)
    broken, shares = 0, []
    for _ in range(runs):
        rows = rng.integers(0, len(p_t), n)
        known, coins = correct[rows].copy(), {}
        if callable(chance_of):
            chance = chance_of(p_t[rows])
            seen = rng.random(n) < chance
            known[~seen] = NAN
            coins = {"propensity": chance, "observed": seen}
        logged = CertificationRows(correct=known, ids=tuple(f"{i}" for i in range(n)), **coins)
        signals = [{"p_t": column} for column in p_t[rows].T]
        answer = certify_policy(PolicyKind.P_T, signals, logged, TARGET, DELTA)
        shares.append(answer.retained_share)
        if answer.status is CertificateStatus.CERTIFIED:
            at = tuple(None if tier is None else {"p_t": tier[0].threshold} for tier in answer.thresholds)
            broken += true_drop(p_t, correct, at) > EPSILON
    return broken / runs, float(np.mean(shares))


@pytest.mark.slow
@pytest.mark.parametrize("tiers", [3, 4, 5])
def test_chains_keep_the_promise_against_their_last_tier(tiers: int) -> None:
    rate, share = broken_promises(tiers, 1200, 150, None)
    assert rate <= DELTA + errors(DELTA, 150)
    assert share > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("rate_of_exploration", [0.05, 0.1])
def test_exploration_of_what_is_retained_keeps_the_promise(rate_of_exploration: float) -> None:
    rate, share = broken_promises(2, 8000, 100, lambda p: np.where(p[:, 0] >= 0.8, rate_of_exploration, 1.0))
    assert rate <= DELTA + errors(DELTA, 100)
    assert share > 0.05


@pytest.mark.slow
def test_labels_missing_by_score_keep_the_promise() -> None:
    rate, share = broken_promises(2, 6000, 100, lambda p: 0.1 + 0.8 * (1 - p[:, 0]))
    assert rate <= DELTA + errors(DELTA, 100)
    assert share > 0.05


def test_exploring_the_next_tier_only_certifies_against_the_wrong_tier() -> None:
    """Three tiers: against the middle one the small tier looks harmless, against the last it breaks
    the promise.
    """
    rng = np.random.default_rng(6)
    n, p_t = 4000, rng.random(4000)
    small, middle, last = (rng.random(n) < share for share in (0.7, 0.72, 0.9))
    by_next = CertificationRows(correct=np.column_stack([small, middle]).astype(float))
    by_last = CertificationRows(correct=np.column_stack([small, last]).astype(float))
    wrong = certify_one_gate(p_t, by_next, TARGET, DELTA)
    right = certify_one_gate(p_t, by_last, TARGET, DELTA)
    assert wrong.retained_share > 2.5 * right.retained_share
    assert wrong.retained_share * 0.2 > EPSILON  # its true drop: a fifth of what it retains


def test_wrong_answers_labelled_late_move_the_naive_estimate_and_not_the_mature_one() -> None:
    rng = np.random.default_rng(7)
    n, horizon = 20_000, 7.0
    day = rng.random(n) * 28
    right = rng.random(n) < 0.8
    delay = np.where(right, rng.exponential(0.5, n), 3.0 + rng.exponential(0.5, n)).clip(max=horizon - 0.01)

    def naive(now: float) -> float:
        return float(right[(day <= now) & (day + delay <= now)].mean())

    def mature(now: float) -> tuple[float, float]:
        cohort = (day >= 0) & (day < 7)  # of decision time, each older than the horizon when read
        assert now >= 7 + horizon
        seen = cohort & (day + delay <= now)
        estimate = self_normalised(np.where(seen, right, NAN)[cohort], seen[cohort], np.ones(int(cohort.sum())))
        return estimate.value, estimate.standard_error

    first, error = mature(14.0)
    assert mature(28.0)[0] == first
    assert abs(first - 0.8) < 3 * error
    assert naive(5.0) > 0.8 + 0.05
    assert abs(naive(5.0) - naive(28.0)) > 0.03


def test_feedback_on_served_answers_alone_is_refused_where_the_naive_reader_sees_no_drop() -> None:
    rng = np.random.default_rng(8)
    n, p_t = 4000, rng.random(4000)
    small, last = rng.random(n) < 0.6 + 0.3 * p_t, rng.random(n) < 0.75 + 0.2 * p_t
    served_small = p_t >= 0.5
    correct = np.column_stack([np.where(served_small, small, NAN), np.where(served_small, NAN, last)])
    naive_drop = served_small.mean() * (np.nanmean(correct[:, 1]) - np.nanmean(correct[:, 0]))
    assert naive_drop < 0.02 < (served_small * (last * 1.0 - small)).mean()
    answer = certify_one_gate(p_t, CertificationRows(correct=correct), TARGET, DELTA, min_retained_share=0.3)
    assert answer.retained_share <= EPSILON  # every unknown row is taken to be lost, so only as many can be kept


def test_the_weighted_estimate_has_no_bias_beyond_its_interval_and_the_naive_one_has() -> None:
    p_t, correct = population(2)
    x = (p_t[:, 0] >= 0.5) * (correct[:, 1] - correct[:, 0])
    rng, runs, weighted, naive, covered = np.random.default_rng(9), 300, [], [], 0
    for _ in range(runs):
        rows = rng.integers(0, len(x), 4000)
        chance = 0.1 + 0.8 * (1 - p_t[rows, 0])
        seen = rng.random(4000) < chance
        estimate = inverse_propensity(np.where(seen, x[rows], NAN), seen, chance)
        weighted.append(estimate.value)
        naive.append(x[rows][seen].mean())
        covered += estimate.lower <= x.mean() <= estimate.upper
    error = np.std(weighted) / np.sqrt(runs)
    assert abs(np.mean(weighted) - x.mean()) < 3 * error
    assert abs(np.mean(naive) - x.mean()) > 10 * error
    assert abs(covered / runs - 0.95) < errors(0.95, runs) + 0.02


@pytest.mark.slow
def test_an_ordering_learned_on_the_certification_rows_would_break_the_promise_most_of_the_time() -> None:
    """Why `learned_on` is refused: bins ordered by their own observed drop look harmless one after
    another.
    """
    rng, runs, broken = np.random.default_rng(10), 100, 0
    for _ in range(runs):
        bins = rng.integers(0, 60, 2000)
        x = rng.choice([1.0, -1.0, 0.0], p=[0.20, 0.13, 0.67], size=2000)  # the same 7 points of drop in every bin
        observed = np.array([x[bins == b].sum() for b in range(60)])
        order = np.argsort(np.argsort(observed))
        score = 1 - order[bins] / 60
        correct = np.column_stack([x <= 0, x >= 0]).astype(float)
        answer = certify_one_gate(score, CertificationRows(correct=correct), TARGET, DELTA)
        broken += answer.retained_share * 0.07 > EPSILON
    assert broken / runs > 0.5
