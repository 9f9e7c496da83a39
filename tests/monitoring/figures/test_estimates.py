"""Means and their intervals: known answers, and when forecasts have a say."""

from math import sqrt

import numpy as np
import pytest

from monitoring.figures.estimates import LEAST_GOLD, Estimated, Forecasts, of_part, share, stratified_mean

Z = 1.959963984540054
NOTHING = float("nan")


def right(count: int, of: int) -> list[float]:
    return [1.0] * count + [0.0] * (of - count)


def half_of(estimated: Estimated) -> float:
    assert estimated.low is not None and estimated.high is not None
    return (estimated.high - estimated.low) / 2.0


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"), [(4, 10, 0.16818, 0.68733), (0, 10, 0.0, 0.27753), (10, 10, 0.72247, 1.0)]
)
def test_a_share_has_wilsons_interval(hits: int, n: int, low: float, high: float) -> None:
    found = share(hits, n)
    assert (found.n, found.value) == (n, hits / n)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-5), pytest.approx(high, abs=1e-5))


def test_a_mean_of_one_stratum_is_as_wide_as_wilsons_interval() -> None:
    found = stratified_mean(right(40, 100), np.ones(100), np.zeros(100), what="labels")
    assert (found.n, found.value) == (100, pytest.approx(0.4))
    assert half_of(found) == pytest.approx(half_of(share(40, 100)), rel=0.02)
    wider = stratified_mean(
        [2 * one - 1 for one in right(40, 100)], np.ones(100), np.zeros(100), what="labels", reach=(-1.0, 1.0)
    )
    assert wider.value == pytest.approx(-0.2) and half_of(wider) == pytest.approx(2 * half_of(found))


def test_a_single_row_proves_hardly_anything() -> None:
    found = stratified_mean([1.0, NOTHING, NOTHING], np.ones(3), np.zeros(3), what="labels", reach=(-5.0, 5.0))
    half = Z / (1 + Z**2) * sqrt(10.0**2 * Z**2 / 4)
    assert (found.n, found.value) == (1, 1.0)
    assert found.low == pytest.approx(max(1.0 - half, -5.0)) and found.high == pytest.approx(min(1.0 + half, 5.0))


def test_strata_count_by_their_sizes_and_their_difference_widens_the_interval() -> None:
    groups = ["a"] * 50 + ["b"] * 150
    values = right(40, 50) + right(30, 150)
    found = stratified_mean(values, np.ones(200), groups, what="labels")
    one = stratified_mean(values[:50], np.ones(50), groups[:50], what="labels")
    other = stratified_mean(values[50:], np.ones(150), groups[50:], what="labels")
    assert found.value == pytest.approx(0.25 * 0.8 + 0.75 * 0.2)
    between = 0.25 * 0.8**2 + 0.75 * 0.2**2 - 0.35**2
    expected = sqrt((0.25 * half_of(one)) ** 2 + (0.75 * half_of(other)) ** 2 + Z**2 * between / 200)
    assert half_of(found) == pytest.approx(expected)


def test_an_interval_ends_where_values_can_lie() -> None:
    found = stratified_mean(right(3, 3), np.ones(3), np.zeros(3), what="labels")
    half = Z / (1 + Z**2 / 3) * sqrt(Z**2 / (4 * 3**2))
    assert (found.low, found.high) == (pytest.approx(1.0 - half), 1.0)
    none = stratified_mean(right(0, 3), np.ones(3), np.zeros(3), what="labels")
    assert (none.low, none.high) == (0.0, pytest.approx(half))


def test_a_part_counts_by_its_share() -> None:
    found = of_part(Estimated(n=5, value=0.5, low=0.3, high=0.7), 10, 100)
    half = sqrt((0.1 * 0.2) ** 2 + (Z * 0.5) ** 2 * 0.1 * 0.9 / 100)
    assert (found.n, found.value) == (5, pytest.approx(0.05))
    assert (found.low, found.high) == (pytest.approx(0.05 - half), pytest.approx(0.05 + half))
    lacking = Estimated(n=5, not_identified="no labels")
    assert of_part(lacking, 10, 100) == lacking
    assert of_part(lacking, 0, 0).not_identified == "no decisions"


def forecast_mean(gold: int, *, spoilt: int | None = None) -> Estimated:
    """200 rows, the first `gold` labelled, every other one right; a grader says so too, and that
    all others are right.
    """
    said = np.where((np.arange(200) < gold) & (np.arange(200) % 2 == 1), 0.0, 1.0)
    values = np.where(np.arange(200) < gold, said, NOTHING)
    if spoilt is not None:
        said[spoilt] = NOTHING
    forecasts = Forecasts(values=said, ran=np.ones(200, dtype=bool), run_propensity=np.ones(200))
    return stratified_mean(values, np.full(200, gold / 200), np.zeros(200), what="labels", forecasts=forecasts)


def test_forecasts_have_a_say_from_ten_trusted_labels_on() -> None:
    assert LEAST_GOLD == 10
    assert forecast_mean(9).value == pytest.approx(5 / 9)
    assert forecast_mean(10).value == pytest.approx(195 / 200, abs=0.02)


@pytest.mark.parametrize("place", [0, 100, 199])
def test_forecasts_that_lack_one_row_have_no_say(place: int) -> None:
    assert forecast_mean(20).value == pytest.approx(190 / 200, abs=0.02)
    assert forecast_mean(20, spoilt=place).value == pytest.approx(0.5)


def test_the_stratum_without_labels_is_named_with_what_would_help() -> None:
    said = Forecasts(values=np.array([1.0, 1.0, NOTHING]), ran=np.ones(3, dtype=bool), run_propensity=np.ones(3))
    found = stratified_mean([1.0, NOTHING, NOTHING], np.ones(3), ["a", "b", "b"], what="labels", forecasts=said)
    assert found.not_identified == (
        "no labels on the 2 b decisions; 1 labels of sources that are not trusted are forecasts, and need some to"
        " correct them"
    )
    alone = stratified_mean([1.0, NOTHING], np.ones(2), ["a", "b"], what="labels")
    assert alone.not_identified == "no labels on the 1 b decisions"
