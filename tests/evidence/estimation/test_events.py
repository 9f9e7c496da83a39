"""An interval is given where it covers: never from a few events, however many rows there are."""

import numpy as np
import pytest

from evidence.errors import InvalidInputError
from evidence.estimation.estimates import (
    Estimate,
    clipped_inverse_propensity,
    doubly_robust,
    inverse_propensity,
    self_normalised,
)
from evidence.estimation.events import LEAST_EVENTS, events_among, why_no_interval
from evidence.estimation.prediction_powered import PoweredEstimate, prediction_powered

NAN = float("nan")
RUNS = 600


def explored(
    rng: np.random.Generator, n: int, loss: float, rate: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """X of n decisions, half of them retained: lost by the chance `loss`, won by a third of it;
    seen where the query escalated (X = 0) or the coin of chance `rate` fell. And a forecast.
    """
    retained, luck = rng.random(n) < 0.5, rng.random(n)
    x = np.where(retained, np.where(luck < loss, 1.0, np.where(luck < 4 / 3 * loss, -1.0, 0.0)), 0.0)
    chance = np.where(retained, rate, 1.0)
    seen = rng.random(n) < chance
    return np.where(seen, x, NAN), seen, chance, np.where(retained, 0.6 * loss, 0.0)


def misses(estimate: Estimate | PoweredEstimate, truth: float) -> bool:
    """Whether there is an interval, and the truth is outside."""
    if estimate.lower is None or estimate.upper is None:
        return False
    return not estimate.lower <= truth <= estimate.upper


def nearly(share: float) -> float:
    """The share with two Monte-Carlo errors of RUNS draws, and what a normal interval of twenty
    events lacks.
    """
    return share + 2 * float(np.sqrt(share * (1 - share) / RUNS)) + 0.01


@pytest.mark.parametrize(("n", "loss", "rate"), [(2590, 0.006, 0.05), (2500, 0.02, 0.2), (20_000, 0.02, 0.2)])
def test_no_interval_of_a_rare_drop_misses_more_often_than_it_says(n: int, loss: float, rate: float) -> None:
    rng, truth = np.random.default_rng(2026), 0.5 * 2 / 3 * loss
    plain = robust = given = 0
    for _ in range(RUNS):
        x, seen, chance, forecast = explored(rng, n, loss, rate)
        weighted, corrected = inverse_propensity(x, seen, chance), doubly_robust(x, seen, chance, forecast)
        plain, robust = plain + misses(weighted, truth), robust + misses(corrected, truth)
        given += weighted.lower is not None
        assert (corrected.lower is None) == (weighted.lower is None)
    assert plain / RUNS < nearly(0.05) and robust / RUNS < nearly(0.05)
    assert given == (RUNS if n == 20_000 else 0)


def test_the_normal_interval_that_is_left_out_would_have_missed_most_of_the_time() -> None:
    """2590 decisions, 5 % explored, a true drop of .002: most draws show one loss or none."""
    rng, covered = np.random.default_rng(7), 0
    for _ in range(RUNS):
        x, seen, chance, _ = explored(rng, 2590, 0.006, 0.05)
        estimate = inverse_propensity(x, seen, chance)
        covered += abs(estimate.value - 0.002) <= 1.96 * estimate.standard_error
    assert covered / RUNS < 0.5


@pytest.mark.parametrize(("right", "rate"), [(0.7, 0.05), (0.95, 0.2), (0.99, 0.2)])
@pytest.mark.parametrize(("up", "down"), [(0.5, 0.02), (0.1, 0.1), (0.02, 0.02)])
def test_a_corrected_grader_has_an_interval_only_where_gold_labels_differ_from_it_often_enough(
    right: float, rate: float, up: float, down: float
) -> None:
    rng, missed, alone = np.random.default_rng(11), 0, 0
    for _ in range(RUNS):
        truth = rng.random(1000) < right
        verdict = np.where(truth, rng.random(1000) >= down, rng.random(1000) < up)
        seen = rng.random(1000) < rate
        powered = prediction_powered(verdict, np.where(seen, truth, NAN), seen, np.full(1000, rate))
        missed += misses(powered, right)
        alone += abs(powered.value - right) > 2.0 * powered.standard_error
    assert missed / RUNS < nearly(0.05)
    assert alone / RUNS > 0.1 or right < 0.99  # what the interval would have missed


def test_twenty_events_are_enough_and_nineteen_are_not() -> None:
    for events, given in ((19, False), (20, True)):
        values = [1.0] * events + [0.0] * (100 - events)
        for estimate in (
            inverse_propensity(values, [1] * 100, [1.0] * 100),
            doubly_robust(values, [1] * 100, [1.0] * 100, [0.3] * 100),
            self_normalised(values, [1] * 100, [1.0] * 100),
            clipped_inverse_propensity(values, [1] * 100, [1.0] * 100, largest_weight=2.0).estimate,
        ):
            assert estimate.events == events
            assert (estimate.lower is not None, estimate.upper is not None) == (given, given)
        clipped = clipped_inverse_propensity(values, [1] * 100, [1.0] * 100, largest_weight=2.0)
        assert (clipped.lower is not None, clipped.upper is not None) == (given, given)
        assert (why_no_interval(events) is None) == given
    assert LEAST_EVENTS == 20


def test_an_interval_within_a_known_reach_is_always_there() -> None:
    estimate = self_normalised([1.0] * 30, [1] * 30, [0.5] * 30, reach=(0.0, 1.0))
    assert estimate.events == 0 and estimate.lower is not None and 0.8 < estimate.lower < 1.0


def test_only_values_that_were_seen_are_events() -> None:
    estimate = inverse_propensity([1.0, 0.0, 0.0, NAN], [1, 1, 1, 0], [0.5] * 4)
    assert (estimate.events, estimate.observed) == (1, 3)
    assert events_among([]) == 0
    assert events_among([0.1 + 0.2, 0.3, 0.3]) == 0  # a float's last bit is no event
    with pytest.raises(InvalidInputError, match=r"values\[1\]"):
        events_among([0.0, NAN])
    assert inverse_propensity([NAN, NAN], [0, 0], [0.5, 0.5]).events == 0
