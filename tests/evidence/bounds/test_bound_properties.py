"""What holds of every test and bound: against enumeration at tiny n, and in which direction each
must move.
"""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import binom, binomtest, multinomial

from evidence.bounds.betting import (
    betting_lower_bound,
    betting_upper_bound,
    drop_refuted_by_betting,
    fixed_order,
    log_capital,
)
from evidence.bounds.binomial import (
    clopper_pearson,
    proportion_at_least,
    proportion_lower_bound,
    proportion_upper_bound,
    retained_rows_to_start,
)
from evidence.bounds.exact_drop import (
    critical_value,
    drop_exceeds,
    drop_lower_bound,
    drop_refuted,
    drop_statistic,
    drop_test_power,
    drop_upper_bound,
)
from evidence.bounds.power import approximate_rows_for_drop, rows_needed_for_accuracy, rows_needed_for_betting
from evidence.bounds.spending import alpha_for_start_month, delta_for_attempt
from evidence.signals.quality import auroc, auroc_gain
from evidence.signals.signal_worth import fewest_rows_to_certify, fewest_rows_to_show_accuracy

settings.register_profile("bounds", deadline=None, max_examples=60)
settings.load_profile("bounds")

DELTA = st.sampled_from([0.01, 0.05, 0.1, 0.2])
EPSILON = st.sampled_from([-0.1, 0.0, 0.02, 0.05, 0.2])


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int, int]:
    """(plus, minus, n) on a few sizes, so that critical values are shared between examples."""
    n = draw(st.sampled_from([25, 60]))
    plus = draw(st.integers(0, n))
    return plus, draw(st.integers(0, n - plus)), n


@pytest.mark.parametrize(("n", "epsilon"), [(3, 0.3), (6, 0.1), (9, 0.25), (9, -0.2), (12, 0.02)])
def test_a_refutation_is_a_p_value_by_enumeration_below_delta(n: int, epsilon: float) -> None:
    """p = sup over the nuisance of P(Z ≤ z seen), every outcome and a fine grid of the nuisance by
    hand.
    """
    outcomes = [(a, b) for a in range(n + 1) for b in range(n + 1 - a)]
    seen = np.array([drop_statistic(a, b, n, epsilon) for a, b in outcomes])
    table = np.array([(a, b, n - a - b) for a, b in outcomes])
    p_minus = np.linspace(max(0.0, -epsilon), (1 - epsilon) / 2, 4001)
    chances = np.column_stack([p_minus + epsilon, p_minus, np.clip(1 - epsilon - 2 * p_minus, 0, 1)])
    coefficient = np.array([math.factorial(n) / math.prod(math.factorial(int(k)) for k in row) for row in table])
    likelihood = coefficient * np.prod(chances[:, None, :] ** table[None, :, :], axis=2)  # [grid, outcomes]
    assert likelihood.sum(axis=1) == pytest.approx(np.ones(len(p_minus)))
    for delta, (at, (plus, minus)) in itertools.product((0.05, 0.1, 0.2), enumerate(outcomes)):
        p_value = likelihood[:, seen <= seen[at] + 1e-12].sum(axis=1).max()
        if abs(p_value - delta) > 2e-3 * delta:  # a thousandth of δ is given up for what the search may miss
            assert drop_refuted(plus, minus, n, epsilon, delta) == (p_value < delta), (plus, minus, p_value)


def test_enumeration_agrees_with_scipys_multinomial() -> None:
    refuted = [(a, b) for a in range(13) for b in range(13 - a) if drop_refuted(a, b, 12, 0.3, 0.1)]
    by_hand = sum(multinomial.pmf([a, b, 12 - a - b], 12, [0.2, 0.1, 0.7]) for a, b in refuted)
    assert drop_test_power(12, 0.3, 0.1, 0.2, 0.1) == pytest.approx(by_hand)


@given(counts(), EPSILON, DELTA)
def test_more_losses_or_a_stricter_level_never_help_a_refutation(
    rows: tuple[int, int, int], epsilon: float, delta: float
) -> None:
    plus, minus, n = rows
    refuted = drop_refuted(plus, minus, n, epsilon, delta)
    if refuted:
        assert drop_refuted(plus, minus, n, epsilon, 0.2)
        assert plus == 0 or drop_refuted(plus - 1, minus, n, epsilon, delta)
    elif plus + minus < n:
        assert not drop_refuted(plus + 1, minus, n, epsilon, delta)
    assert not (refuted and drop_exceeds(plus, minus, n, epsilon, delta))


@pytest.mark.slow
@settings(max_examples=12)
@given(counts(), st.sampled_from([0.05, 0.1]))
def test_a_bound_covers_the_estimate_and_widens_as_delta_shrinks(rows: tuple[int, int, int], delta: float) -> None:
    plus, minus, n = rows
    upper, lower = drop_upper_bound(plus, minus, n, delta), drop_lower_bound(plus, minus, n, delta)
    assert -1.0 <= lower <= (plus - minus) / n <= upper <= 1.0
    assert upper == -drop_lower_bound(minus, plus, n, delta)
    error = math.sqrt(max((plus + minus) / n - ((plus - minus) / n) ** 2, 1 / n) / n)
    assert drop_upper_bound(plus, minus, n, 0.005) >= upper - 0.05 * error  # solved to some hundredths of it


@given(st.sampled_from([30, 100, 300]), EPSILON)
def test_critical_values_rise_as_delta_falls(n: int, epsilon: float) -> None:
    values = [critical_value(n, epsilon, delta) for delta in (0.2, 0.1, 0.05, 0.01)]
    assert values == sorted(values)
    assert values[1] > 1.2


@given(st.floats(0.0, 0.3), st.floats(0.0, 0.3))
def test_power_rises_with_rows_needed_and_falls_with_losses(p_plus: float, p_minus: float) -> None:
    power = drop_test_power(200, 0.05, 0.1, p_plus, p_minus)
    assert 0.0 <= power <= 1.0 + 1e-9
    assert drop_test_power(200, 0.05, 0.1, min(p_plus + 0.05, 1 - p_minus), p_minus) <= power + 1e-9
    needed = approximate_rows_for_drop(p_plus, p_minus, 0.05, 0.1)
    assert (needed is None) == (p_plus - p_minus >= 0.05)
    if needed is not None:
        stricter = approximate_rows_for_drop(p_plus, p_minus, 0.05, 0.01)
        surer = approximate_rows_for_drop(p_plus, p_minus, 0.05, 0.1, 0.95)
        assert stricter is not None and surer is not None
        assert stricter >= needed and surer >= needed


@given(st.floats(0.001, 1.0), st.floats(0.001, 0.5), DELTA)
def test_rows_for_a_bet_grow_with_variance_and_shrink_with_the_gap(variance: float, gap: float, delta: float) -> None:
    needed = rows_needed_for_betting(variance, gap, delta)
    assert needed is not None
    assert (rows_needed_for_betting(2 * variance, gap, delta) or 0) >= needed
    assert (rows_needed_for_betting(variance, 2 * gap, delta) or 0) <= needed
    assert rows_needed_for_betting(variance, -gap, delta) is None


@st.composite
def values(draw: st.DrawFn) -> np.ndarray:
    n = draw(st.integers(1, 80))
    return draw(arrays.arrays(float, n, elements=st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0])))


@given(values(), DELTA, st.floats(0.5, 20.0))
def test_a_bet_knows_no_unit(x: np.ndarray, delta: float, scale: float) -> None:
    assert log_capital(scale * x, 0.1 * scale, delta, bound=scale) == pytest.approx(log_capital(x, 0.1, delta))
    assert betting_upper_bound(scale * x, delta, scale) == pytest.approx(
        scale * betting_upper_bound(x, delta), abs=3e-6 * scale
    )


@given(values(), DELTA)
def test_a_bets_bounds_are_drops_and_turn_where_the_test_does(x: np.ndarray, delta: float) -> None:
    lower, upper = betting_lower_bound(x, delta), betting_upper_bound(x, delta)
    # A bet that was won stays won whatever rows follow, so the mean itself may lie outside once in
    # a while.
    assert -1.0 <= lower <= 1.0 and -1.0 <= upper <= 1.0
    if upper < 1.0 - 1e-5:
        assert drop_refuted_by_betting(x, upper, delta)
        assert not drop_refuted_by_betting(x, upper - 1e-5, delta)
    better = np.maximum(x - 0.5, -1.0)
    assert log_capital(better, 0.1, delta) >= 0.0
    assert betting_upper_bound(x, 0.01) >= betting_upper_bound(x, 0.2) - 1e-5


@pytest.mark.parametrize("epsilon", [-0.3, 0.0, 0.1, 0.4])
def test_a_bet_at_the_edge_of_its_hypothesis_gains_nothing_on_average(epsilon: float) -> None:
    """Enumerated: over all sequences of a two-point variable with mean ε, P(capital reaches 1/δ) ≤
    δ (Ville).
    """
    n, delta, chance = 12, 0.2, (1 + epsilon) / 2
    won = 0.0
    for signs in itertools.product([1.0, -1.0], repeat=n):
        x = np.array(signs)
        if drop_refuted_by_betting(x, epsilon, delta):
            won += chance ** float((x > 0).sum()) * (1 - chance) ** float((x < 0).sum())
    assert won <= delta + 1e-12


@given(st.integers(1, 60), st.data(), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_clopper_pearson_is_scipys(n: int, data: st.DataObject, confidence: float) -> None:
    right = data.draw(st.integers(0, n))
    ours = clopper_pearson(right, n, confidence)
    theirs = binomtest(right, n).proportion_ci(confidence, method="exact")
    assert ours.lower == pytest.approx(theirs.low, abs=1e-9)
    assert ours.upper == pytest.approx(theirs.high, abs=1e-9)
    assert proportion_lower_bound(right, n, 0.1) == pytest.approx(1 - proportion_upper_bound(n - right, n, 0.1))


@given(st.integers(1, 60), st.data(), st.floats(0.05, 0.99), DELTA)
def test_the_binomial_test_is_scipys_tail(n: int, data: st.DataObject, at_least: float, delta: float) -> None:
    right = data.draw(st.integers(0, n))
    tail = float(binom.sf(right - 1, n, at_least))
    if abs(tail - delta) > 1e-9:
        assert proportion_at_least(right, n, at_least, delta) == (tail <= delta and right > 0)
    size = sum(binom.pmf(k, n, at_least) for k in range(n + 1) if proportion_at_least(k, n, at_least, delta))
    assert size <= delta + 1e-9


@settings(max_examples=20)
@given(st.floats(0.5, 0.99), DELTA)
def test_no_fewer_rows_than_a_power_of_the_target_can_show_it(at_least: float, delta: float) -> None:
    fewest = fewest_rows_to_show_accuracy(at_least, delta)
    assert proportion_at_least(fewest, fewest, at_least, delta)
    assert fewest == 1 or not proportion_at_least(fewest - 1, fewest - 1, at_least, delta)
    assert retained_rows_to_start(at_least, delta) >= fewest


@settings(max_examples=15)
@given(st.floats(0.6, 0.9), st.floats(0.04, 0.08), DELTA)
def test_rows_for_an_accuracy_shrink_with_the_distance(at_least: float, above: float, delta: float) -> None:
    needed, further = (rows_needed_for_accuracy(at_least + gap, at_least, delta) for gap in (above, above + 0.02))
    assert needed is not None and further is not None
    assert further <= 1.1 * needed + 5
    assert rows_needed_for_accuracy(at_least, at_least, delta) is None


@settings(max_examples=12)
@given(st.sampled_from([0.02, 0.05, 0.2]), DELTA)
def test_one_row_fewer_than_the_fewest_shows_no_drop(epsilon: float, delta: float) -> None:
    fewest = fewest_rows_to_certify(epsilon, delta)
    assert drop_refuted(0, 0, fewest, epsilon, delta)
    assert fewest == 1 or not drop_refuted(0, 0, fewest - 1, epsilon, delta)


@given(DELTA, st.integers(1, 400))
def test_shares_of_a_level_never_add_up_to_more(delta: float, attempts: int) -> None:
    for spend in (delta_for_attempt, alpha_for_start_month):
        shares = [spend(delta, k) for k in range(1, attempts + 1)]
        assert all(share > 0.0 for share in shares)
        assert shares == sorted(shares, reverse=True)
        assert delta * 6 / math.pi**2 - 1e-12 <= sum(shares) < delta


@given(st.lists(st.text(max_size=5), min_size=1, max_size=30, unique=True))
def test_the_fixed_order_belongs_to_the_ids(ids: list[str]) -> None:
    shuffled = sorted(ids, key=lambda name: (len(name), name))
    assert [ids[i] for i in fixed_order(ids)] == [shuffled[i] for i in fixed_order(shuffled)]


@st.composite
def two_signals(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n = draw(st.integers(6, 25))
    grid = st.integers(0, 8).map(float)
    right = np.array([True, True, False, False, *draw(st.lists(st.booleans(), min_size=n - 4, max_size=n - 4))])
    return draw(arrays.arrays(float, n, elements=grid)), draw(arrays.arrays(float, n, elements=grid)), right


@given(two_signals())
def test_delongs_variance_is_that_of_the_placements(rows: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """By the definition, pair by pair: V10 over right answers, V01 over wrong ones, alone and
    paired.
    """
    score, baseline, right = rows
    placed = [_placements(signal, right) for signal in (score, baseline)]
    ones, zeros = placed[0][0] - placed[1][0], placed[0][1] - placed[1][1]
    figure = auroc(score, right)
    assert figure.value == pytest.approx(placed[0][0].mean())
    m, n = int(right.sum()), int((~right).sum())
    variance = placed[0][0].var(ddof=1) / m + placed[0][1].var(ddof=1) / n
    assert figure.standard_error == pytest.approx(math.sqrt(variance), abs=1e-9)
    gain = auroc_gain(score, baseline, right)
    assert gain.value == pytest.approx(ones.mean())
    assert gain.standard_error == pytest.approx(math.sqrt(ones.var(ddof=1) / m + zeros.var(ddof=1) / n), abs=1e-9)


def _placements(signal: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each right answer the share of wrong ones below it, for each wrong one that of right ones
    above it.
    """
    above = signal[right][:, None] - signal[~right][None, :]
    won = np.where(above > 0, 1.0, np.where(above == 0, 0.5, 0.0))
    return won.mean(axis=1), won.mean(axis=0)
