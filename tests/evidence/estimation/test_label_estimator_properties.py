"""What holds of every estimator, whatever the rows: ranges, symmetries, agreement with
the census.
"""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from evidence.errors import NotIdentifiedError
from evidence.estimation.delays import arrival_curve
from evidence.estimation.estimates import clipped_inverse_propensity, doubly_robust, inverse_propensity, self_normalised
from evidence.estimation.events import LEAST_EVENTS
from evidence.estimation.label_allocation import label_rate
from evidence.estimation.prediction_powered import corrected_by_error_rates, prediction_powered
from evidence.signals.calibration import calibration_of
from evidence.signals.quality import auroc, auroc_gain, macro_f1

settings.register_profile("estimators", deadline=None, max_examples=60)
settings.load_profile("estimators")

UNIT = st.floats(0.0, 1.0)
CHANCE = st.floats(0.01, 1.0)


@st.composite
def sampled(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values in [0, 1] (NaN unseen), who was seen (two at least), propensities."""
    n = draw(st.integers(2, 50))
    values = draw(arrays.arrays(float, n, elements=UNIT))
    chance = draw(arrays.arrays(float, n, elements=CHANCE))
    seen = draw(arrays.arrays(bool, n))
    assume(seen.sum() >= 2)
    return np.where(seen, values, np.nan), seen, chance


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two signals and labels of both classes. Scores on a grid, so that a monotone map keeps ties
    ties.
    """
    n = draw(st.integers(4, 40))
    grid = st.integers(0, 20).map(lambda k: k / 20)
    first, second = (draw(arrays.arrays(float, n, elements=grid)) for _ in range(2))
    right = draw(arrays.arrays(bool, n))
    assume(0 < right.sum() < n)
    return first, second, right


@given(sampled())
def test_a_census_is_its_own_mean(rows: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    values = np.nan_to_num(rows[0])
    everyone, certain = np.ones(len(values), dtype=bool), np.ones(len(values))
    wrong_forecast = np.full(len(values), 0.9)
    for estimate in (
        inverse_propensity(values, everyone, certain),
        self_normalised(values, everyone, certain),
        doubly_robust(values, everyone, certain, wrong_forecast),
        clipped_inverse_propensity(values, everyone, certain, largest_weight=1.0).estimate,
    ):
        assert estimate.value == pytest.approx(values.mean())
        assert estimate.effective_sample_size == pytest.approx(len(values))
    powered = prediction_powered(wrong_forecast, values, everyone, certain)
    assert powered.value == pytest.approx(values.mean())


@given(sampled(), st.floats(-3, 3), st.floats(0.1, 4))
def test_self_normalised_means_stay_in_range_and_follow_scale_and_shift(
    rows: tuple[np.ndarray, np.ndarray, np.ndarray], shift: float, scale: float
) -> None:
    values, seen, chance = rows
    estimate = self_normalised(values, seen, chance)
    assert np.nanmin(values) - 1e-9 <= estimate.value <= np.nanmax(values) + 1e-9
    assert 1.0 - 1e-9 <= estimate.effective_sample_size <= seen.sum() + 1e-9
    assert (estimate.lower is None) == (estimate.upper is None) == (estimate.events < LEAST_EVENTS)
    assert estimate.lower is None or estimate.lower <= estimate.value <= estimate.upper
    moved = self_normalised(shift + scale * values, seen, chance)
    assert moved.value == pytest.approx(shift + scale * estimate.value, abs=1e-8)
    assert moved.standard_error == pytest.approx(scale * estimate.standard_error, abs=1e-8)
    common = self_normalised(values, seen, chance / 2)
    assert common.value == pytest.approx(estimate.value)  # only ratios of propensities matter


@given(sampled())
def test_no_order_of_rows_changes_an_estimate(rows: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    turned = tuple(column[::-1] for column in rows)
    for estimator in (inverse_propensity, self_normalised):
        assert estimator(*turned).value == pytest.approx(estimator(*rows).value)
    forecast = rows[2]
    assert doubly_robust(*turned, forecast[::-1]).value == pytest.approx(doubly_robust(*rows, forecast).value)
    forecast = rows[2]
    assert prediction_powered(forecast[::-1], *turned).value == pytest.approx(prediction_powered(forecast, *rows).value)


@given(sampled())
def test_a_forecast_of_zero_is_no_forecast(rows: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    nothing = np.zeros(len(rows[0]))
    assert doubly_robust(*rows, nothing).value == pytest.approx(inverse_propensity(*rows).value)


@pytest.mark.slow
@given(st.integers(1, 8), st.data())
def test_averaged_over_all_throws_of_the_coins_the_weighted_mean_is_the_mean(n: int, data: st.DataObject) -> None:
    values = data.draw(arrays.arrays(float, n, elements=UNIT))
    chance = data.draw(arrays.arrays(float, n, elements=st.floats(0.1, 1.0)))
    forecast = data.draw(arrays.arrays(float, n, elements=UNIT))
    largest = data.draw(st.floats(1.0, 10.0))
    plain = robust = cut = 0.0
    for throw in range(2**n):
        seen = np.array([throw >> row & 1 for row in range(n)], dtype=bool)
        likely = float(np.where(seen, chance, 1 - chance).prod())
        shown = np.where(seen, values, np.nan)
        plain += likely * inverse_propensity(shown, seen, chance).value
        robust += likely * doubly_robust(shown, seen, chance, forecast).value
        clipped = clipped_inverse_propensity(shown, seen, chance, largest_weight=largest)
        cut += likely * clipped.estimate.value
    assert plain == pytest.approx(values.mean())
    assert robust == pytest.approx(values.mean())
    assert clipped.bias_low - 1e-9 <= cut - values.mean() <= clipped.bias_high + 1e-9


@given(sampled(), st.floats(1.0, 50.0))
def test_the_stated_bias_widens_the_interval_and_vanishes_with_large_weights(
    rows: tuple[np.ndarray, np.ndarray, np.ndarray], largest: float
) -> None:
    cut = clipped_inverse_propensity(*rows, largest_weight=largest)
    assert cut.bias_low <= cut.bias_high <= 0.0
    assert (cut.lower is None) == (cut.upper is None) == (cut.estimate.lower is None)
    if cut.lower is not None:
        assert cut.lower <= cut.estimate.lower - cut.bias_high + 1e-12
        assert cut.upper >= cut.estimate.upper
    whole = clipped_inverse_propensity(*rows, largest_weight=100.0)
    assert (whole.bias_low, whole.clipped_rows) == (0.0, 0)
    assert whole.estimate.value == pytest.approx(inverse_propensity(*rows).value)


@given(sampled(), st.data())
def test_a_tuned_grader_never_widens_the_interval(
    rows: tuple[np.ndarray, np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    forecast = data.draw(arrays.arrays(float, len(rows[0]), elements=UNIT))
    tuned = prediction_powered(forecast, *rows)
    assert 0.0 <= tuned.forecast_share <= 1.0
    assert tuned.standard_error <= tuned.gold_alone_error + 1e-9
    assert tuned.standard_error <= prediction_powered(forecast, *rows, forecast_share=1.0).standard_error + 1e-9


@given(scored())
def test_auroc_and_its_gain_see_order_alone(rows: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    first, second, right = rows
    figure, gain = auroc(first, right), auroc_gain(first, second, right)
    assert auroc(np.exp(2 * first), right) == figure
    assert auroc(-first, right).value == pytest.approx(1 - figure.value)
    assert gain.value == pytest.approx(figure.value - auroc(second, right).value)
    swapped = auroc_gain(second, first, right)
    assert swapped.value == pytest.approx(-gain.value)
    assert swapped.standard_error == pytest.approx(gain.standard_error)
    itself = auroc_gain(first, first, right)
    assert (itself.value, itself.lower, itself.upper) == (0.0, itself.lower, -itself.lower)
    if 1 < right.sum() < len(right) - 1:
        assert itself.standard_error == 0.0


@given(scored())
def test_quality_figures_stay_in_their_range(rows: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    first, _, right = rows
    f1 = macro_f1(first >= 0.5, right)
    assert 0.0 <= f1.lower <= f1.value <= f1.upper <= 1.0
    assert macro_f1(right, right).value == 1.0
    calibration = calibration_of(first, right)
    assert abs(calibration.in_the_large) - 1e-9 <= calibration.expected_calibration_error <= 1.0
    assert sum(part.n for part in calibration.reliability) == len(first)


@given(st.integers(1, 30), st.data())
def test_the_arrival_curve_rises_between_0_and_1(n: int, data: st.DataObject) -> None:
    age = data.draw(arrays.arrays(float, n, elements=st.floats(0, 10)))
    came = data.draw(arrays.arrays(bool, n))
    points = arrival_curve(age, came, np.linspace(0, age.max(), 7))
    shares = [point.share for point in points if point.share is not None]
    assert len(shares) == 7
    assert shares == sorted(shares)
    for point in points:
        assert point.lower is not None and point.share is not None and point.upper is not None
        assert -1e-9 <= point.lower <= point.share + 1e-9 and point.share <= point.upper + 1e-9 <= 1 + 2e-9


@given(st.integers(1, 30), st.data())
def test_label_chances_spend_the_budget_in_proportion_to_worth(n: int, data: st.DataObject) -> None:
    worth = data.draw(arrays.arrays(float, n, elements=st.sampled_from([0.0, 0.25, 0.5, 1.0, 20.0])))
    budget = data.draw(st.floats(0.1, n + 1.0))
    chance = np.minimum(1.0, label_rate(worth, budget) * worth)
    assert ((chance >= 0) & (chance <= 1)).all()
    assert ((chance > 0) == (worth > 0)).all()
    assert chance.sum() == pytest.approx(min(budget, (worth > 0).sum()))
    order = np.argsort(worth)
    assert (np.diff(chance[order]) >= -1e-12).all()
    open_rows = (chance > 0) & (chance < 1)
    if open_rows.any():
        ratio = chance[open_rows] / worth[open_rows]
        assert ratio == pytest.approx(np.full(len(ratio), ratio[0]))


@given(st.floats(0, 1), st.floats(0, 0.45), st.floats(0, 0.45))
def test_error_rates_are_undone(share: float, up: float, down: float) -> None:
    n = 10**6
    called = round(n * (share * (1 - down) + (1 - share) * up))
    corrected = corrected_by_error_rates(called, n, wrong_called_right=up, right_called_wrong=down)
    assert corrected.value == pytest.approx(share, abs=2e-5)
    assert 0.0 <= corrected.lower <= corrected.upper <= 1.0


@given(st.floats(0.5, 1.0), st.floats(0.5, 1.0))
def test_a_grader_worse_than_a_coin_is_refused(up: float, down: float) -> None:
    with pytest.raises(NotIdentifiedError):
        corrected_by_error_rates(5, 10, wrong_called_right=up, right_called_wrong=down)


@given(st.integers(1, 6), st.data())
def test_the_stated_bias_holds_where_rows_not_drawn_log_no_propensity(n: int, data: st.DataObject) -> None:
    """Propensities vary, values are of either sign, and of what was not drawn only a least chance
    is known.
    """
    low, high = sorted(data.draw(st.tuples(st.floats(-1, 1), st.floats(-1, 1))))
    values = data.draw(arrays.arrays(float, n, elements=st.floats(low, high)))
    chance = data.draw(arrays.arrays(float, n, elements=st.floats(0.05, 1.0)))
    largest = data.draw(st.floats(1.0, 10.0))
    expected = least_low = most_high = 0.0
    for throw in range(2**n):
        seen = np.array([throw >> row & 1 for row in range(n)], dtype=bool)
        likely = float(np.where(seen, chance, 1 - chance).prod())
        cut = clipped_inverse_propensity(
            np.where(seen, values, np.nan),
            seen,
            np.where(seen, chance, np.nan),
            largest_weight=largest,
            low=low,
            high=high,
            least_propensity=float(chance.min()),
        )
        expected += likely * cut.estimate.value
        least_low, most_high = max(least_low, -cut.bias_low), max(most_high, cut.bias_high)
        assert cut.bias_low <= cut.bias_high
    bias = expected - values.mean()
    assert -least_low - 1e-9 <= bias <= most_high + 1e-9 or low > 0 or high < 0
    whole = clipped_inverse_propensity(
        values, np.ones(n), chance, largest_weight=largest, low=low, high=high, least_propensity=0.0
    )
    assert whole.bias_low - 1e-9 <= bias <= whole.bias_high + 1e-9  # every propensity is known
