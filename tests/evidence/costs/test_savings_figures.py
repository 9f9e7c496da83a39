"""Savings: a ratio of sums, imputed without bias, with an interval that covers."""

import numpy as np
import pytest

from evidence.costs.savings import (
    SeenCosts,
    gflops,
    impute_last_cost,
    predictable_forecast,
    savings_of,
    seen_costs,
    usd,
)
from evidence.errors import InvalidInputError, NotIdentifiedError

NAN = float("nan")


def test_costs_follow_their_formulas() -> None:
    assert gflops(70e9, [10, 0]).tolist() == [1400.0, 0.0]
    assert usd([1000], [500], 2.0, 6.0).tolist() == [0.005]


def test_savings_are_a_ratio_of_sums() -> None:
    figure = savings_of([1.0, 1.0, 21.0], [10.0, 30.0, 20.0])
    assert figure.value == pytest.approx(1 - 23 / 60)
    assert (figure.cost, figure.cost_last, figure.n) == (23.0, 60.0, 3)


def test_a_cascade_that_costs_more_than_its_last_tier_saves_less_than_nothing() -> None:
    assert savings_of([11.0, 11.0], [10.0, 10.0]).value == pytest.approx(-0.1)


def test_exploration_is_shown_apart() -> None:
    figure = savings_of([1.0, 1.0], [10.0, 10.0], exploration_cost=[10.0, 0.0])
    assert figure.value == pytest.approx(0.9)
    assert figure.after_exploration == pytest.approx(0.4)
    assert figure.exploration_cost == 10.0


def cascade_costs(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Small runs cost 1; a third escalates and adds the last tier's cost, 5 to 15."""
    last = rng.uniform(5, 15, n)
    return 1.0 + last * (rng.random(n) < 1 / 3), last


def test_the_interval_covers_the_true_savings() -> None:
    rng, runs, covered = np.random.default_rng(1), 1000, 0
    truth = 1 - (1 + 10 / 3) / 10
    for _ in range(runs):
        figure = savings_of(*cascade_costs(rng, 300))
        covered += figure.lower <= truth <= figure.upper
    assert abs(covered / runs - 0.95) < 0.015 + 2 * np.sqrt(0.05 * 0.95 / runs)


def test_strata_narrow_the_interval_and_leave_the_value() -> None:
    rng = np.random.default_rng(2)
    stratum = np.repeat(["cheap", "dear"], 500)
    last = np.where(stratum == "cheap", 2.0, 40.0) * rng.uniform(0.9, 1.1, 1000)
    cost = 0.2 * last + np.where(stratum == "cheap", 1.5, 0.0)
    plain, stratified = savings_of(cost, last), savings_of(cost, last, stratum=stratum)
    assert stratified.value == plain.value
    assert stratified.standard_error < plain.standard_error


@pytest.mark.parametrize("forecast_is", ["random", "zero", "far too high"])
def test_savings_are_unbiased_whatever_the_forecast(forecast_is: str) -> None:
    rng, runs, n = np.random.default_rng(3), 400, 500
    totals, truths = [], []
    for _ in range(runs):
        _, last = cascade_costs(rng, n)
        propensity = rng.choice([0.1, 0.5, 1.0], n)
        ran = rng.random(n) < propensity
        forecast = {"random": rng.uniform(0, 30, n), "zero": np.zeros(n), "far too high": np.full(n, 99.0)}[forecast_is]
        imputed = impute_last_cost(forecast, ran, propensity, np.where(ran, last, NAN))
        totals.append(imputed.sum())
        truths.append(last.sum())
    difference = np.array(totals) - np.array(truths)
    assert abs(difference.mean()) < 3 * difference.std(ddof=1) / np.sqrt(runs)


def test_a_forecast_looks_at_earlier_rows_only() -> None:
    before = predictable_forecast(["a"] * 4, [1.0, 2.0, 3.0, 4.0], prior=10.0)
    changed = predictable_forecast(["a"] * 4, [1.0, 2.0, 99.0, 99.0], prior=10.0)
    assert before[:3].tolist() == changed[:3].tolist() == [10.0, 5.5, pytest.approx(13 / 3)]


def test_a_forecast_is_a_ratio_of_sums_where_lengths_vary() -> None:
    """Short queries on which the last tier writes three times what is expected, long ones with half
    of it: the mean of the ratios is 1.75, of the sums 1/2 and a little.
    """
    rng = np.random.default_rng(4)
    size = np.where(rng.random(4000) < 0.5, 1.0, 100.0)
    last = np.where(size == 1.0, 3.0, 50.0)
    ratio = predictable_forecast(np.zeros(4000), last, 1.0, size=size)[-1]
    assert ratio == pytest.approx(last.sum() / size.sum(), abs=0.002) and ratio < 0.53


def test_what_earlier_rows_have_shown_goes_on_bit_for_bit() -> None:
    rng = np.random.default_rng(5)
    slices, size = rng.choice(["a", "b", "c"], 300), rng.uniform(0, 9, 300)
    last = np.where(rng.random(300) < 0.4, rng.uniform(0, 9, 300), NAN)
    whole = predictable_forecast(slices, last, 2.0, size=size)
    seen: tuple[SeenCosts, ...] = ()
    for part in np.split(np.arange(300), [1, 40, 41, 200]):
        forecast = predictable_forecast(slices[part], last[part], 2.0, size=size[part], before=seen)
        assert forecast.tolist() == whole[part].tolist()
        seen = seen_costs(slices[part], last[part], size[part], seen)
    assert set(seen) == set(seen_costs(slices, last, size))
    assert sum(one.rows for one in seen) == (~np.isnan(last)).sum()


def test_rows_without_a_size_or_a_cost_show_nothing() -> None:
    assert seen_costs(["a", "a"], [5.0, NAN], [0.0, 3.0]) == ()
    assert predictable_forecast(["a", "a"], [5.0, NAN], 2.0, size=[0.0, 3.0]).tolist() == [2.0, 2.0]
    others = (SeenCosts(slice=None, cost=9.0, size=3.0, rows=2),)
    assert seen_costs(["a"], [NAN], [1.0], others) == others
    assert predictable_forecast(["a"], [NAN], 2.0, size=[1.0], before=others).tolist() == [2.0]


def test_a_known_last_cost_is_left_alone() -> None:
    assert impute_last_cost([3.0], [True], [1.0], [7.0]).tolist() == [7.0]


def test_bad_input_is_named() -> None:
    with pytest.raises(InvalidInputError, match=r"cost\[1\] is nan"):
        savings_of([1.0, NAN], [1.0, 1.0])
    with pytest.raises(InvalidInputError, match="cost_last sums to 0"):
        savings_of([1.0], [0.0])
    with pytest.raises(InvalidInputError, match="cost has 1, cost_last has 2"):
        savings_of([1.0], [1.0, 1.0])
    with pytest.raises(InvalidInputError, match="cost has 2, exploration_cost has 1"):
        savings_of([1.0, 1.0], [1.0, 1.0], exploration_cost=[1.0])
    with pytest.raises(InvalidInputError, match="cost has 2, stratum has 3"):
        savings_of([1.0, 1.0], [1.0, 1.0], stratum=["a", "a", "b"])
    with pytest.raises(InvalidInputError, match="propensity has 1, cost_last has 2"):
        impute_last_cost([1.0, 1.0], [True, False], [0.5], [1.0, NAN])
    with pytest.raises(NotIdentifiedError, match="propensity 0"):
        impute_last_cost([1.0], [False], [0.0], [NAN])
    with pytest.raises(InvalidInputError, match="slices has 2, cost_last has 1"):
        predictable_forecast(["a", "b"], [1.0], 1.0)
    with pytest.raises(InvalidInputError, match=r"size\[0\] is -1"):
        seen_costs(["a"], [1.0], [-1.0])
    with pytest.raises(InvalidInputError, match=r"cost_last\[0\] is unknown although"):
        impute_last_cost([1.0], [True], [0.5], [NAN])
