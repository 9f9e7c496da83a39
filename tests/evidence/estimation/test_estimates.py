"""Off-policy estimates: right where propensities are right, refused where they are not there."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import t as student_t

from evidence.errors import InvalidInputError, NotIdentifiedError
from evidence.estimation.estimates import (
    Estimate,
    clipped_inverse_propensity,
    doubly_robust,
    inverse_propensity,
    self_normalised,
)
from evidence.inputs import why_not_identified

NAN = float("nan")


def explored(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """p_t, values seen only where the coin fell, the coin, and a propensity that depends on p_t."""
    p_t = rng.random(n)
    right = (rng.random(n) < p_t).astype(float)
    propensity = 0.1 + 0.8 * (1 - p_t)
    seen = rng.random(n) < propensity
    return p_t, np.where(seen, right, NAN), seen, propensity


@pytest.mark.parametrize("estimator", [inverse_propensity, self_normalised])
def test_inverse_weights_recover_the_mean_under_a_propensity_that_depends_on_p_t(
    estimator: Callable[..., Estimate],
) -> None:
    _, values, seen, propensity = explored(np.random.default_rng(1), 20_000)
    estimate = estimator(values, seen, propensity)
    assert abs(estimate.value - 0.5) < 3 * estimate.standard_error
    assert abs(np.nanmean(values) - 0.5) > 10 * estimate.standard_error  # without weights it is far off


def test_a_good_forecast_makes_the_doubly_robust_estimate_the_narrowest() -> None:
    p_t, values, seen, propensity = explored(np.random.default_rng(2), 20_000)
    robust = doubly_robust(values, seen, propensity, p_t)
    assert abs(robust.value - 0.5) < 3 * robust.standard_error
    assert robust.standard_error < self_normalised(values, seen, propensity).standard_error
    wrong = doubly_robust(values, seen, propensity, 1 - p_t)
    assert abs(wrong.value - 0.5) < 3 * wrong.standard_error


@pytest.mark.parametrize("estimator", [inverse_propensity, self_normalised])
def test_the_intervals_cover(estimator: Callable[..., Estimate]) -> None:
    rng, runs, covered = np.random.default_rng(3), 500, 0
    for _ in range(runs):
        _, values, seen, propensity = explored(rng, 500)
        estimate = estimator(values, seen, propensity)
        covered += estimate.lower <= 0.5 <= estimate.upper
    assert abs(covered / runs - 0.95) < 0.02 + 2 * np.sqrt(0.05 * 0.95 / runs)


def test_known_answers_by_hand() -> None:
    values, seen, propensity = [1.0, 0.0, NAN, NAN], [1, 1, 0, 0], [0.5, 0.25, 0.5, 0.25]
    assert inverse_propensity(values, seen, propensity).value == 0.5
    assert self_normalised(values, seen, propensity).value == pytest.approx(1 / 3)
    assert doubly_robust(values, seen, propensity, [0.5] * 4).value == pytest.approx(0.25)
    assert self_normalised(values, seen, propensity).effective_sample_size == pytest.approx(36 / 20)


def test_three_tiers_explored_by_the_next_tier_only_are_biased_and_by_the_last_are_right() -> None:
    rng, n = np.random.default_rng(4), 20_000
    small, middle, last = (rng.random(n) < share for share in (0.6, 0.7, 0.9))
    seen = rng.random(n) < 0.3
    truth = 0.3
    by_last = self_normalised(np.where(seen, last * 1.0 - small, NAN), seen, np.full(n, 0.3))
    by_next = self_normalised(np.where(seen, middle * 1.0 - small, NAN), seen, np.full(n, 0.3))
    assert abs(by_last.value - truth) < 3 * by_last.standard_error
    assert abs(by_next.value - truth) > 10 * by_next.standard_error


def test_zero_and_unknown_propensities_are_refused_with_the_reason() -> None:
    with pytest.raises(NotIdentifiedError, match="row 1 has propensity 0"):
        inverse_propensity([1.0, NAN], [1, 0], [0.5, 0.0])
    with pytest.raises(NotIdentifiedError, match="row 0 has an unknown propensity"):
        self_normalised([1.0, NAN], [1, 0], [NAN, 0.5])
    with pytest.raises(NotIdentifiedError, match="observed is false in every row"):
        self_normalised([NAN], [0], [0.5])
    assert why_not_identified([0.5, 0.0]) is not None
    assert why_not_identified([0.5, 1.0]) is None


def test_bad_input_is_named() -> None:
    with pytest.raises(InvalidInputError, match=r"values\[0\] is unknown although"):
        inverse_propensity([NAN], [1], [0.5])
    with pytest.raises(InvalidInputError, match="values is empty"):
        inverse_propensity([], [], [])
    with pytest.raises(InvalidInputError, match=r"propensity\[0\] is 1\.5"):
        inverse_propensity([1.0], [1], [1.5])
    with pytest.raises(InvalidInputError, match="unequal numbers of rows"):
        inverse_propensity([1.0, 1.0], [1], [0.5])
    with pytest.raises(InvalidInputError, match=r"observed\[0\] is 2"):
        inverse_propensity([1.0], [2], [0.5])


@pytest.mark.parametrize("right", [0, 4, 10])
def test_told_its_reach_a_mean_has_wilsons_interval_by_students_quantile(right: int) -> None:
    values = [1.0] * right + [0.0] * (10 - right)
    estimate = self_normalised(values, [1] * 10, [0.5] * 10, reach=(0.0, 1.0))
    square = float(student_t.ppf(0.975, 9)) ** 2
    centre = (right / 10 + square / 20) / (1 + square / 10)
    half = np.sqrt(square) / (1 + square / 10) * np.sqrt(estimate.standard_error**2 + square / 400)
    assert estimate.value == right / 10
    assert estimate.lower == pytest.approx(max(min(centre - half, estimate.value), 0.0))
    assert estimate.upper == pytest.approx(min(max(centre + half, estimate.value), 1.0))
    wide = self_normalised([10 * value - 5 for value in values], [1] * 10, [0.5] * 10, reach=(-5.0, 5.0))
    assert (wide.lower, wide.upper) == pytest.approx((10 * estimate.lower - 5, 10 * estimate.upper - 5))


def test_one_row_alone_leaves_most_of_the_reach_open() -> None:
    estimate = self_normalised([1.0, np.nan], [1, 0], [0.5, 0.5], reach=(0.0, 1.0))
    assert estimate.value == 1.0 and estimate.lower < 0.1 and estimate.upper == 1.0


@pytest.mark.parametrize("reach", [(0.0, 0.4), (0.6, 1.0), (1.0, 0.0), (0.5, 0.5)])
def test_a_reach_that_does_not_hold_the_mean_is_refused(reach: tuple[float, float]) -> None:
    with pytest.raises(InvalidInputError, match=rf"reach is \({reach[0]}, {reach[1]}\) for a mean of 0.5"):
        self_normalised([1.0, 0.0], [1, 1], [1.0, 1.0], reach=reach)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_a_value_beyond_the_stated_range_is_named(place: int, value: float) -> None:
    values = [0.0, 1.0, 0.5]
    assert clipped_inverse_propensity(values, [1, 1, 1], [0.5] * 3, largest_weight=4.0).estimate.value == 1.0
    values[place] = value
    with pytest.raises(InvalidInputError, match=rf"values\[{place}\] is {value}, outside \[0.0, 1.0\]"):
        clipped_inverse_propensity(values, [1, 1, 1], [0.5] * 3, largest_weight=4.0)


@pytest.mark.parametrize(("low", "high", "bias"), [(0.5, 1.0, (-0.25, 0.0)), (-1.0, -0.5, (0.0, 0.25))])
def test_of_a_row_whose_chance_was_not_logged_anything_from_the_stated_cut_to_nothing_may_be_missing(
    low: float, high: float, bias: tuple[float, float]
) -> None:
    """At the stated chance of .1 it would count .1 · 5 = half."""
    rows = ([low, np.nan], [1, 0])
    cut = clipped_inverse_propensity(*rows, [1.0, np.nan], largest_weight=5.0, low=low, high=high, least_propensity=0.1)
    assert (cut.bias_low, cut.bias_high) == bias
    logged = clipped_inverse_propensity(*rows, [1.0, 0.1], largest_weight=5.0, low=low, high=high)
    assert (logged.bias_low, logged.bias_high) == (-0.25 * high, -0.25 * low)
