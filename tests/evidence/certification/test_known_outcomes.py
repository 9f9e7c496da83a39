"""Which coins are known of what was logged."""

from typing import Any

import numpy as np
import pytest

from evidence.certification.known_outcomes import LoggedRows, label_coin, run_coin

NAN = np.nan


def logged(*, first: list[float], last: list[float], rate: float = NAN, **changes: Any) -> LoggedRows:
    """Rows of two tiers with the chances that these ran by; NaN = the tier did not run."""
    chances = np.column_stack([first, last])
    n = len(chances)
    fields: dict[str, Any] = {
        "ids": tuple(f"id{row}" for row in range(n)),
        "ran": np.isfinite(chances),
        "agrees": np.zeros((n, 1), dtype=bool),
        "correct": np.where(np.isfinite(chances), 1.0, NAN),
        "label_propensity": np.full((n, 2), NAN),
        "run_propensity": chances,
        "exploration_rate": np.full(n, rate),
        "apart": np.zeros(n, dtype=bool),
    }
    return LoggedRows(**fields | changes)


@pytest.mark.parametrize("place", range(4))
def test_labels_of_which_one_has_an_unknown_chance_were_drawn_by_no_known_coin(place: int) -> None:
    chance = np.full((2, 2), 0.5)
    rows = logged(first=[1.0, 1.0], last=[1.0, 1.0], label_propensity=chance)
    assert label_coin(rows) is not None
    chance.flat[place] = NAN
    assert label_coin(rows) is None


@pytest.mark.parametrize(("chances", "coin"), [([0.5, NAN], True), ([1.0, 0.5], True), ([1.0, 1.0], False)])
def test_labels_were_drawn_by_a_coin_where_one_of_them_might_not_have_come(chances: list[float], coin: bool) -> None:
    labels = np.column_stack([chances, [NAN, NAN]])
    correct = np.where(np.isfinite(labels), 1.0, NAN)
    rows = logged(first=[1.0, 1.0], last=[1.0, 1.0], label_propensity=labels, correct=correct)
    assert (label_coin(rows) is not None) is coin


def test_where_nobody_says_the_rate_it_is_the_smallest_that_the_last_tier_ran_by() -> None:
    chance, there = run_coin(logged(first=[1.0] * 3, last=[0.5, 0.2, NAN]))
    assert (chance.tolist(), there.tolist()) == ([0.5, 0.2, 0.2], [True, True, False])


def test_a_first_tier_that_was_run_by_a_coin_counts_with_its_chance_beside_the_last_ones() -> None:
    chance, there = run_coin(logged(first=[0.4, NAN, 0.5, 0.5], last=[0.5, 0.5, 1.0, NAN]))
    assert (chance.tolist(), there.tolist()) == ([0.2, 0.2, 0.5, 0.25], [True, False, True, False])


def test_a_tier_that_never_ran_shows_no_coin_nor_one_that_ran_where_it_had_to() -> None:
    chance, there = run_coin(logged(first=[1.0] * 2, last=[1.0, NAN]))
    assert (np.isnan(chance).tolist(), there.tolist()) == ([False, True], [True, False])
    chance, there = run_coin(logged(first=[1.0] * 2, last=[NAN, NAN]))
    assert np.isnan(chance).all() and not there.any()
    chance, there = run_coin(logged(first=[NAN, NAN], last=[1.0, 1.0]))
    assert (chance.tolist(), there.tolist()) == ([1.0, 1.0], [True, True])
