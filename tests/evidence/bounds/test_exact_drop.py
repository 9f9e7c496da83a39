"""The exact test of a drop: its statistic, its size at every nuisance value, its bounds."""

import numpy as np
import pytest
from scipy.stats import binom, multinomial

from evidence.bounds.exact_drop import (
    critical_value,
    drop_exceeds,
    drop_lower_bound,
    drop_refuted,
    drop_statistic,
    drop_test_power,
    drop_upper_bound,
)
from evidence.errors import InvalidInputError


def restricted_likelihood_root(plus: int, minus: int, n: int, epsilon: float) -> float:
    """P(X = −1) that maximises the trinomial likelihood on E[X] = ε, by looking at every point of a
    fine grid.
    """
    p = np.linspace(max(0.0, -epsilon) + 1e-9, (1 - epsilon) / 2 - 1e-9, 400_001)
    likelihood = plus * np.log(p + epsilon) + minus * np.log(p) + (n - plus - minus) * np.log(1 - epsilon - 2 * p)
    return float(p[np.argmax(likelihood)])


@pytest.mark.parametrize(
    ("plus", "minus", "n", "epsilon"), [(10, 10, 1000, 0.02), (30, 4, 250, 0.05), (3, 9, 80, -0.04)]
)
def test_the_statistic_uses_the_restricted_maximum_likelihood(plus: int, minus: int, n: int, epsilon: float) -> None:
    p = restricted_likelihood_root(plus, minus, n, epsilon)
    expected = (plus - minus - n * epsilon) / np.sqrt(n * (2 * p + epsilon - epsilon**2))
    assert drop_statistic(plus, minus, n, epsilon) == pytest.approx(expected, abs=1e-4)


def test_the_statistic_equals_mcnemars_at_epsilon_zero() -> None:
    assert drop_statistic(12, 20, 100, 0.0) == pytest.approx((12 - 20) / np.sqrt(32))


def test_without_any_discordant_row_and_no_margin_nothing_is_refuted() -> None:
    assert drop_statistic(0, 0, 50, 0.0) == 0.0
    assert not drop_refuted(0, 0, 50, 0.0, 0.1)


def rejection_by_enumeration(n: int, epsilon: float, delta: float, p_plus: float, p_minus: float) -> float:
    outcomes = np.array([(a, b) for a in range(n + 1) for b in range(n + 1 - a)])
    refuted = np.array([drop_refuted(int(a), int(b), n, epsilon, delta) for a, b in outcomes])
    counts = np.column_stack([outcomes, n - outcomes.sum(axis=1)])
    return float(multinomial.pmf(counts, n, [p_plus, p_minus, 1 - p_plus - p_minus])[refuted].sum())


def test_the_power_equals_an_enumeration_of_every_outcome() -> None:
    by_hand = rejection_by_enumeration(40, 0.1, 0.1, 0.06, 0.05)
    assert drop_test_power(40, 0.1, 0.1, 0.06, 0.05) == pytest.approx(by_hand, abs=1e-9)


@pytest.mark.parametrize("n", [12, 30, 45])
def test_no_drop_above_epsilon_is_refuted_too_often_inside_the_null_either(n: int) -> None:
    """The supremum is taken on the boundary; the interior of the null must not exceed it."""
    epsilon, delta = 0.1, 0.1
    outcomes = np.array([(a, b) for a in range(n + 1) for b in range(n + 1 - a)])
    refuted = np.array([drop_refuted(int(a), int(b), n, epsilon, delta) for a, b in outcomes])
    counts = np.column_stack([outcomes, n - outcomes.sum(axis=1)])[refuted]
    for drop in (0.1, 0.15, 0.3):
        for p_minus in np.linspace(0.0, (1 - drop) / 2, 8):
            shares = np.clip([p_minus + drop, p_minus, 1 - drop - 2 * p_minus], 0.0, 1.0)
            assert multinomial.pmf(counts, n, shares / shares.sum()).sum() <= delta + 1e-9


@pytest.mark.parametrize(
    ("n", "epsilon", "delta"), [(37, 0.05, 0.1), (400, -0.03, 0.1), (1000, 0.02, 0.0608), (2000, 0.02, 0.1)]
)
def test_the_critical_value_is_the_smallest_that_holds_the_level_on_a_denser_grid(
    n: int, epsilon: float, delta: float
) -> None:
    z = critical_value(n, epsilon, delta)
    q = np.concatenate([np.linspace(abs(epsilon), 1.0, 400), abs(epsilon) + 2 * np.geomspace(0.01, 100, 200) / n])
    q = q[q <= 1.0]

    def size(at: float) -> float:
        rates = [drop_test_power(n, epsilon, delta, (d + epsilon) / 2, (d - epsilon) / 2, z=at) for d in q]
        return max(rates)

    assert size(z) <= delta
    assert size(z - 2e-4) > delta * 0.998


@pytest.mark.parametrize("n", [200, 500, 3000])
def test_the_critical_value_stays_near_its_normal_limit(n: int) -> None:
    assert 1.28 < critical_value(n, 0.02, 0.1) < 1.36


def test_a_million_rows_have_a_critical_value() -> None:
    assert critical_value(1_000_000, 0.02, 0.1) == pytest.approx(1.2816, abs=0.01)


def test_at_a_drop_of_exactly_epsilon_the_test_errs_just_below_delta() -> None:
    rng = np.random.default_rng(20260101)
    n, epsilon, delta, runs = 2000, 0.02, 0.1, 6000
    counts = rng.multinomial(n, [0.07, 0.05, 0.88], size=runs)
    rate = np.mean([drop_refuted(int(a), int(b), n, epsilon, delta) for a, b, _ in counts])
    error = 2 * np.sqrt(0.1 * 0.9 / runs)
    assert 0.085 - error <= rate <= 0.10 + error
    assert 0.085 <= drop_test_power(n, epsilon, delta, 0.07, 0.05) <= 0.10


@pytest.mark.parametrize(("plus", "minus", "n"), [(10, 10, 1000), (0, 0, 300), (40, 60, 500), (5, 0, 20), (20, 0, 20)])
def test_the_upper_bound_is_refuted_and_a_little_less_is_not(plus: int, minus: int, n: int) -> None:
    bound = drop_upper_bound(plus, minus, n, 0.1)
    assert bound >= (plus - minus) / n
    if bound < 1.0:
        assert drop_refuted(plus, minus, n, bound, 0.1)
        # Critical values differ a little from one ε to the next, hence 5 % of a standard error.
        variance = max((plus + minus) / n - ((plus - minus) / n) ** 2, 1 / n)
        assert not drop_refuted(plus, minus, n, bound - 0.05 * np.sqrt(variance / n), 0.1)


def test_the_lower_bound_mirrors_the_upper_one() -> None:
    assert drop_lower_bound(60, 40, 500, 0.1) == -drop_upper_bound(40, 60, 500, 0.1)
    assert drop_exceeds(60, 10, 500, 0.02, 0.1)
    assert not drop_exceeds(12, 10, 500, 0.02, 0.1)


@pytest.mark.slow
def test_the_upper_bound_covers_the_true_drop() -> None:
    rng = np.random.default_rng(7)
    runs, n = 300, 400
    counts = rng.multinomial(n, [0.08, 0.05, 0.87], size=runs)
    missed = np.mean([drop_upper_bound(int(a), int(b), n, 0.1) < 0.03 for a, b, _ in counts])
    assert missed <= 0.1 + 2 * np.sqrt(0.09 / runs)


def test_one_sign_only_is_a_plain_binomial() -> None:
    """With p₋ = 0 the size at the boundary is P(Bin(n, ε) ≤ k)."""
    n, epsilon = 300, 0.02
    k = max(a for a in range(20) if drop_refuted(a, 0, n, epsilon, 0.1))
    assert drop_test_power(n, epsilon, 0.1, epsilon, 0.0) == pytest.approx(float(binom.cdf(k, n, epsilon)), abs=1e-9)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((-1, 0, 10, 0.02, 0.1), "plus is -1"),
        ((6, 6, 10, 0.02, 0.1), "plus \\+ minus is 12"),
        ((1, 1, 0, 0.02, 0.1), "n is 0"),
        ((1, 1, 10, 1.0, 0.1), "epsilon is 1"),
        ((1, 1, 10, float("nan"), 0.1), "epsilon is nan"),
        ((1, 1, 10, 0.02, 0.0), "delta is 0"),
        ((1, 1, 10, 0.02, 0.7), "delta is 0.7"),
    ],
)
def test_bad_input_is_named(arguments: tuple[int, int, int, float, float], named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        drop_refuted(*arguments)


def test_shares_beyond_one_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="p_plus \\+ p_minus"):
        drop_test_power(100, 0.02, 0.1, 0.7, 0.6)
