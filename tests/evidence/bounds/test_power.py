"""Rows needed: enough of them, and not many more than enough."""

import numpy as np
import pytest
from scipy.stats import binom

from evidence.bounds.binomial import proportion_at_least
from evidence.bounds.exact_drop import drop_refuted, drop_test_power
from evidence.bounds.power import (
    approximate_rows_for_drop,
    rows_needed_for_accuracy,
    rows_needed_for_betting,
    rows_needed_for_drop,
)
from evidence.errors import InvalidInputError


@pytest.mark.parametrize(("p_plus", "p_minus"), [(0.05, 0.04), (0.03, 0.03), (0.02, 0.05)])
def test_the_rows_reach_the_power_and_a_tenth_fewer_do_not(p_plus: float, p_minus: float) -> None:
    n = rows_needed_for_drop(p_plus, p_minus, 0.02, 0.1)
    assert n is not None
    assert drop_test_power(n, 0.02, 0.1, p_plus, p_minus) >= 0.8
    assert drop_test_power(int(n * 0.9), 0.02, 0.1, p_plus, p_minus) < 0.8


@pytest.mark.parametrize(
    ("accuracy", "at_least", "delta", "rows", "rows_for_90"),
    [
        (0.96, 0.95, 0.1, 1955, 2825),
        (0.97, 0.95, 0.1, 446, 628),
        (0.99, 0.9, 0.05, 46, 46),
        (0.8, 0.79, 0.1, 7368, 10761),
    ],
)
def test_the_fewest_rows_that_show_an_accuracy(
    accuracy: float, at_least: float, delta: float, rows: int, rows_for_90: int
) -> None:
    assert rows_needed_for_accuracy(accuracy, at_least, delta) == rows
    assert rows_needed_for_accuracy(accuracy, at_least, delta, power=0.9) == rows_for_90
    right = next(k for k in range(rows + 1) if proportion_at_least(k, rows, at_least, delta))
    assert float(binom.sf(right - 1, rows, accuracy)) >= 0.8


@pytest.mark.parametrize(
    ("p_plus", "p_minus", "epsilon", "delta", "rows"),
    [
        (0.05, 0.04, 0.02, 0.1, 4099),
        (0.03, 0.03, 0.02, 0.1, 713),
        (0.0, 0.0, 0.02, 0.1, 81),
        (0.1, 0.05, 0.1, 0.2, 177),
    ],
)
def test_the_normal_limits_rows_by_hand(p_plus: float, p_minus: float, epsilon: float, delta: float, rows: int) -> None:
    assert approximate_rows_for_drop(p_plus, p_minus, epsilon, delta) == rows
    assert rows_needed_for_betting(0.09, 0.01, 0.1, 0.9) == 10574
    assert rows_needed_for_betting(0.09, 1.0, 0.1) == 1


def test_the_power_is_what_a_simulation_finds() -> None:
    n = rows_needed_for_drop(0.03, 0.03, 0.02, 0.1)
    assert n is not None
    runs = 2000
    counts = np.random.default_rng(4).multinomial(n, [0.03, 0.03, 0.94], size=runs)
    rate = np.mean([drop_refuted(int(a), int(b), n, 0.02, 0.1) for a, b, _ in counts])
    assert abs(rate - 0.8) < 0.02 + 2 * np.sqrt(0.16 / runs)


def test_a_drop_at_the_target_can_never_be_shown_to_be_below_it() -> None:
    assert rows_needed_for_drop(0.05, 0.03, 0.02, 0.1) is None
    assert approximate_rows_for_drop(0.05, 0.01, 0.02, 0.1) is None
    assert rows_needed_for_betting(0.1, 0.0, 0.1) is None
    assert rows_needed_for_accuracy(0.95, 0.95, 0.1) is None


def test_rare_disagreement_needs_few_rows() -> None:
    n = rows_needed_for_drop(0.0, 0.0, 0.02, 0.1)
    assert n is not None and drop_refuted(0, 0, n, 0.02, 0.1)
    assert n < 200


def test_rows_for_an_accuracy_reach_their_power() -> None:
    n = rows_needed_for_accuracy(0.97, 0.95, 0.1)
    assert n is not None
    right = np.random.default_rng(9).binomial(n, 0.97, size=3000)
    assert np.mean([proportion_at_least(int(k), n, 0.95, 0.1) for k in right]) > 0.77


def test_bad_input_is_named() -> None:
    with pytest.raises(InvalidInputError, match=r"p_plus is -0\.1"):
        rows_needed_for_drop(-0.1, 0.0, 0.02, 0.1)
    with pytest.raises(InvalidInputError, match="gap is nan"):
        rows_needed_for_betting(0.1, float("nan"), 0.1)
