"""The betting bound: valid under weights, monotone, in an order that no label can touch."""

import numpy as np
import pytest

from evidence.bounds.betting import (
    betting_lower_bound,
    betting_upper_bound,
    drop_exceeds_by_betting,
    drop_refuted_by_betting,
    fixed_order,
    log_capital,
)
from evidence.errors import InvalidInputError


def capital_by_hand(x: np.ndarray, epsilon: float, delta: float, bound: float) -> float:
    """The wealth, bet by bet in plain Python."""
    z, m, n = (1 - x / bound) / 2, (1 - epsilon / bound) / 2, len(x)
    total, squares, wealth, best, before = 0.5, 0.25, 0.0, 0.0, 0.25
    for i, value in enumerate(z, start=1):
        bet = min(np.sqrt(2 * np.log(1 / delta) / (n * before)), 0.75 / m)
        wealth += np.log(1 + bet * (value - m))
        best = max(best, wealth)
        total += value
        squares += (value - total / (1 + i)) ** 2
        before = squares / (1 + i)
    return best


def test_the_capital_equals_its_definition_bet_by_bet() -> None:
    x = np.random.default_rng(3).choice([-2.0, 0.0, 2.0], size=300)
    assert log_capital(x, 0.3, 0.1, bound=2.0) == pytest.approx(capital_by_hand(x, 0.3, 0.1, 2.0))


def test_few_rows_bet_at_most_three_quarters_of_the_wealth() -> None:
    x = np.array([-2.0, -2.0, 0.0, -2.0])
    assert log_capital(x, 0.3, 0.1, bound=2.0) == pytest.approx(capital_by_hand(x, 0.3, 0.1, 2.0))
    assert log_capital(x[:1], 0.0, 0.1, bound=2.0) == pytest.approx(
        np.log1p(0.75 / 0.5 * (1.0 - 0.5))
    )  # z = 1 against m = ½


def weighted_rows(rng: np.random.Generator, n: int) -> np.ndarray:
    """Rows with E[X] = .02 exactly, seen with a propensity that depends on the row."""
    x = rng.choice([1.0, -1.0, 0.0], p=[0.06, 0.04, 0.9], size=n)
    propensity = rng.choice([0.25, 0.5, 1.0], size=n)
    return np.asarray(x * (rng.random(n) < propensity) / propensity)


def test_at_a_drop_of_exactly_epsilon_it_errs_at_most_delta() -> None:
    rng, runs = np.random.default_rng(11), 2000
    rate = np.mean([drop_refuted_by_betting(weighted_rows(rng, 1500), 0.02, 0.1, bound=4.0) for _ in range(runs)])
    assert rate <= 0.1 + 2 * np.sqrt(0.09 / runs)


def test_it_still_finds_what_is_there() -> None:
    rng, runs = np.random.default_rng(12), 200
    rate = np.mean([drop_refuted_by_betting(weighted_rows(rng, 4000), 0.08, 0.1, bound=4.0) for _ in range(runs)])
    assert rate > 0.9


def test_the_upper_bound_is_where_the_test_turns() -> None:
    x = weighted_rows(np.random.default_rng(5), 2000)
    bound = betting_upper_bound(x, 0.1, bound=4.0)
    assert drop_refuted_by_betting(x, bound + 1e-5, 0.1, bound=4.0)
    assert not drop_refuted_by_betting(x, bound - 1e-4, 0.1, bound=4.0)
    assert betting_lower_bound(x, 0.1, bound=4.0) < x.mean() < bound


def test_a_large_drop_is_shown_from_the_other_side() -> None:
    x = np.tile([1.0, 0.0, 0.0, 0.0], 200)
    assert drop_exceeds_by_betting(x, 0.1, 0.1)
    assert not drop_exceeds_by_betting(x, 0.3, 0.1)


def test_the_fixed_order_does_not_depend_on_how_rows_are_sorted() -> None:
    ids = [f"q{i}" for i in range(50)]
    shuffled = list(np.random.default_rng(0).permutation(ids))
    assert [ids[i] for i in fixed_order(ids)] == [shuffled[i] for i in fixed_order(shuffled)]
    assert [ids[i] for i in fixed_order(ids)] != ids


def test_an_id_that_occurs_twice_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="'a' twice"):
        fixed_order(["a", "b", "a"])


def test_a_row_beyond_the_bound_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="beyond bound 1"):
        betting_upper_bound(np.array([0.0, 2.0]), 0.1)


def test_nan_and_empty_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="x\\[1\\] is nan"):
        betting_upper_bound(np.array([0.0, np.nan]), 0.1)
    with pytest.raises(InvalidInputError, match="x is empty"):
        log_capital(np.array([]), 0.02, 0.1)
