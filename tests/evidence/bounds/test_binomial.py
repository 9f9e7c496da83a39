"""Exact proportions and the spending of error levels."""

import numpy as np
import pytest
from scipy.stats import binom

from evidence.bounds.binomial import (
    clopper_pearson,
    proportion_at_least,
    proportion_lower_bound,
    proportion_upper_bound,
    retained_rows_to_start,
)
from evidence.bounds.spending import alpha_for_start_month, delta_for_attempt
from evidence.errors import InvalidInputError


def test_clopper_pearson_gives_the_published_interval() -> None:
    interval = clopper_pearson(7, 20)  # .1539 to .5922 in tables of the 95 % interval
    assert (round(interval.lower, 4), round(interval.upper, 4)) == (0.1539, 0.5922)


def test_the_ends_are_open_where_nothing_was_seen() -> None:
    assert proportion_lower_bound(0, 5, 0.1) == 0.0
    assert proportion_upper_bound(5, 5, 0.1) == 1.0
    assert proportion_upper_bound(0, 5, 0.1) == pytest.approx(1 - 0.1 ** (1 / 5))


def test_the_lower_bound_is_where_the_test_turns() -> None:
    bound = proportion_lower_bound(90, 100, 0.1)
    assert proportion_at_least(90, 100, bound - 1e-9, 0.1)
    assert not proportion_at_least(90, 100, bound + 1e-6, 0.1)


def test_the_test_errs_at_most_delta_at_the_boundary() -> None:
    shown = [k for k in range(201) if proportion_at_least(k, 200, 0.9, 0.1)]
    assert 0.05 < float(np.sum(binom.pmf(shown, 200, 0.9))) <= 0.1


def test_the_walk_starts_where_half_the_allowed_errors_still_show_the_accuracy() -> None:
    n = retained_rows_to_start(0.95, 0.1)
    assert proportion_at_least(n - 1, n, 0.95, 0.1)
    assert not proportion_at_least(n - 2, n - 1, 0.95, 0.1)


def test_attempts_together_spend_delta_and_no_more() -> None:
    spent = sum(delta_for_attempt(0.1, k) for k in range(1, 20_000))
    assert spent == pytest.approx(0.1, abs=1e-5)
    assert spent < 0.1
    assert sum(alpha_for_start_month(0.05, m) for m in range(1, 1000)) < 0.05
    assert delta_for_attempt(0.1, 2) == pytest.approx(delta_for_attempt(0.1, 1) / 4)


def test_bad_input_is_named() -> None:
    with pytest.raises(InvalidInputError, match="successes is 6, more than n = 5"):
        clopper_pearson(6, 5)
    with pytest.raises(InvalidInputError, match="n is 0"):
        proportion_lower_bound(0, 0, 0.1)
    with pytest.raises(InvalidInputError, match="attempt is 0"):
        delta_for_attempt(0.1, 0)
    with pytest.raises(InvalidInputError, match="at_least is 1"):
        retained_rows_to_start(1.0, 0.1)


def test_intervals_cover_as_promised() -> None:
    n, p = 60, 0.3
    covered = [k for k in range(n + 1) if (i := clopper_pearson(k, n)).lower <= p <= i.upper]
    assert float(np.sum(binom.pmf(covered, n, p))) >= 0.95
