"""What holds of every estimator and every test, whatever the rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence.bounds.betting import betting_lower_bound, betting_upper_bound, thinning_coins
from evidence.bounds.binomial import clopper_pearson, proportion_at_least
from evidence.bounds.exact_drop import drop_lower_bound, drop_refuted, drop_upper_bound
from evidence.estimation.estimates import doubly_robust, inverse_propensity, self_normalised
from evidence.signals.quality import average_ranks
from evidence.signals.ridge_logistic import ridge_logistic

SEEDS = st.integers(0, 2**32 - 1)


def coins(seed: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    chance = rng.uniform(0.05, 1.0, n)
    seen = (rng.random(n) < chance) | (np.arange(n) == 0)
    return np.where(seen, rng.random(n), np.nan), seen, chance


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS, n=st.integers(2, 50))
def test_weights_of_one_give_the_plain_mean_and_a_perfect_forecast_its_own(seed: int, n: int) -> None:
    values = np.random.default_rng(seed).random(n)
    everywhere, certain = np.ones(n, dtype=bool), np.ones(n)
    for estimate in (
        inverse_propensity(values, everywhere, certain),
        self_normalised(values, everywhere, certain),
        doubly_robust(values, everywhere, certain, np.zeros(n)),
    ):
        assert estimate.value == pytest.approx(values.mean())
        assert estimate.events == n - 1 and (estimate.lower is None) == (estimate.upper is None) == (n <= 20)
        assert estimate.lower is None or estimate.lower <= estimate.value <= estimate.upper
        assert estimate.effective_sample_size == pytest.approx(n)
    values_seen, seen, chance = coins(seed, n)
    assert doubly_robust(values_seen, seen, chance, np.nan_to_num(values_seen, nan=0.7)).value == pytest.approx(
        np.nan_to_num(values_seen, nan=0.7).mean()
    )


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS, n=st.integers(2, 50))
def test_an_estimate_depends_on_no_order_and_a_rate_stays_a_rate(seed: int, n: int) -> None:
    values, seen, chance = coins(seed, n)
    order = np.random.default_rng(seed + 1).permutation(n)
    for estimator in (inverse_propensity, self_normalised):
        there, here = estimator(values, seen, chance), estimator(values[order], seen[order], chance[order])
        assert there.value == pytest.approx(here.value)
        assert there.standard_error == pytest.approx(here.standard_error)
        assert 1 - 1e-9 <= there.effective_sample_size <= there.observed + 1e-9
    assert 0.0 <= self_normalised(values, seen, chance).value <= 1.0


@settings(max_examples=12, deadline=None)
@given(n=st.integers(20, 120), plus=st.integers(0, 20), minus=st.integers(0, 20), epsilon=st.sampled_from([0.05, 0.2]))
def test_more_losses_never_help_the_exact_test(n: int, plus: int, minus: int, epsilon: float) -> None:
    plus, minus = min(plus, n // 2), min(minus, n // 2 - 1)
    if plus and drop_refuted(plus, minus, n, epsilon, 0.1):
        assert drop_refuted(plus - 1, minus, n, epsilon, 0.1)
    assert drop_lower_bound(plus, minus, n, 0.1) <= (plus - minus) / n <= drop_upper_bound(plus, minus, n, 0.1)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, n=st.integers(5, 200), bound=st.sampled_from([1.0, 4.0, 20.0]))
def test_betting_bounds_are_mirror_images_and_lie_within_the_range(seed: int, n: int, bound: float) -> None:
    x = np.random.default_rng(seed).choice([-bound, 0.0, 0.0, bound], n)
    low, high = betting_lower_bound(x, 0.1, bound), betting_upper_bound(x, 0.1, bound)
    # Each holds with its own chance, so that on rare rows the two cross.
    assert -bound <= low <= bound and -bound <= high <= bound
    assert low == -betting_upper_bound(-x, 0.1, bound)
    assert betting_upper_bound(x, 0.05, bound) >= high - 1e-5 * bound


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 300), share=st.floats(0, 1))
def test_a_binomial_interval_agrees_with_its_test(n: int, share: float) -> None:
    right = round(share * n)
    interval = clopper_pearson(right, n, 0.8)
    assert interval.lower <= right / n <= interval.upper
    assert right == 0 or proportion_at_least(right, n, max(interval.lower - 1e-9, 0.0), 0.1)
    assert not proportion_at_least(right, n, min(interval.lower + 1e-6, 1.0), 0.1)


def test_thinning_coins_are_uniform_and_belong_to_the_row() -> None:
    ids = [f"q{i}" for i in range(20_000)]
    drawn = thinning_coins(ids)
    assert abs(drawn.mean() - 0.5) < 4 / np.sqrt(12 * len(ids))
    assert abs((drawn < 0.05).mean() - 0.05) < 4 * np.sqrt(0.05 * 0.95 / len(ids))
    assert thinning_coins(ids[::-1]).tolist() == drawn[::-1].tolist()
    assert abs(np.corrcoef(drawn, thinning_coins(ids, "another salt"))[0, 1]) < 4 / np.sqrt(len(ids))


@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.integers(0, 6), min_size=1, max_size=40))
def test_ranks_share_their_mean_among_ties(values: list[int]) -> None:
    rank = average_ranks(np.array(values, dtype=float))
    by_hand = [sum(v < x for v in values) + (sum(v == x for v in values) + 1) / 2 for x in values]
    assert rank.tolist() == by_hand


def test_a_ridge_logistic_fit_has_no_gradient_left() -> None:
    rng = np.random.default_rng(1)
    x = np.column_stack([np.ones(500), rng.standard_normal((500, 2))])
    y = (rng.random(500) < 1 / (1 + np.exp(-x @ [0.2, 1.0, -0.5]))).astype(float)
    ridge = np.array([0.0, 1.0, 10.0])
    beta = ridge_logistic(x, y, np.ones(500), ridge)
    gradient = x.T @ (1 / (1 + np.exp(-x @ beta)) - y) + ridge * beta
    assert np.abs(gradient).max() < 1e-2
    assert beta == pytest.approx([0.2, 1.0, -0.5], abs=0.3)
