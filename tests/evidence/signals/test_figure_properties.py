"""What holds of every figure of savings, calibration, OOD conservativeness, signals and alarms,
whatever the rows.
"""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from evidence.alarms.alarms import AlarmRule, advance_watch, open_watch
from evidence.alarms.increments import risk_increments, risk_range, savings_increments, savings_range
from evidence.costs.break_even import waiting
from evidence.costs.savings import gflops, impute_last_cost, predictable_forecast, savings_of, usd
from evidence.signals.calibration import (
    calibration_of,
    overconfidence,
    reliability_curve,
)
from evidence.signals.ood_conservativeness import ood_conservativeness_of
from evidence.signals.signal_worth import perfect_kept_at_accuracy, retainable_shares, retainable_shares_at_accuracy

settings.register_profile("figures", deadline=None, max_examples=60)
settings.load_profile("figures")

COST = st.floats(0.0, 1000.0)
SEED = st.integers(0, 2**32 - 1)


def column(draw: st.DrawFn, n: int, elements: st.SearchStrategy[float]) -> np.ndarray:
    return draw(arrays.arrays(float, n, elements=elements))


@st.composite
def costs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n = draw(st.integers(2, 30))
    return column(draw, n, COST), column(draw, n, st.floats(0.5, 1000.0))


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores on a grid, correctness, and who is retained."""
    n = draw(st.integers(1, 40))
    grid = st.integers(0, 10).map(lambda k: k / 10)
    return column(draw, n, grid), column(draw, n, st.sampled_from([0.0, 1.0])), draw(arrays.arrays(bool, n))


@given(costs(), st.floats(0.1, 50.0), SEED)
def test_savings_know_no_unit_and_no_order(rows: tuple[np.ndarray, np.ndarray], unit: float, seed: int) -> None:
    cost, last = rows
    saved, scaled = savings_of(cost, last), savings_of(unit * cost, unit * last)
    order = np.random.default_rng(seed).permutation(len(cost))
    turned = savings_of(cost[order], last[order])
    assert saved.value == pytest.approx(1 - cost.sum() / last.sum())
    assert saved.lower <= saved.value <= saved.upper
    for other in (scaled, turned):
        assert other.value == pytest.approx(saved.value, abs=1e-9)
        assert other.standard_error == pytest.approx(saved.standard_error, abs=1e-9)
    assert savings_of(cost, last, stratum=np.zeros(len(cost))).standard_error == pytest.approx(saved.standard_error)
    assert savings_of(last, last).value == pytest.approx(0.0, abs=1e-12)
    explored = savings_of(cost, last, exploration_cost=last)
    assert explored.value == saved.value
    assert explored.after_exploration == pytest.approx(saved.value - 1.0)


@given(st.integers(1, 7), st.data())
def test_an_imputed_cost_is_right_on_average_over_all_throws(n: int, data: st.DataObject) -> None:
    cost, forecast = (data.draw(arrays.arrays(float, n, elements=COST)) for _ in range(2))
    chance = data.draw(arrays.arrays(float, n, elements=st.floats(0.1, 1.0)))
    mean = np.zeros(n)
    for throw in itertools.product([False, True], repeat=n):
        ran = np.array(throw)
        likely = float(np.where(ran, chance, 1 - chance).prod())
        mean += likely * impute_last_cost(forecast, ran, chance, np.where(ran, cost, np.nan))
    assert mean == pytest.approx(cost, abs=1e-6)


@given(st.integers(2, 20), st.data())
def test_a_forecast_is_deaf_to_its_own_and_to_later_rows(n: int, data: st.DataObject) -> None:
    slices = data.draw(st.lists(st.sampled_from(["a", "b"]), min_size=n, max_size=n))
    cost = data.draw(arrays.arrays(float, n, elements=st.one_of(COST, st.just(float("nan")))))
    at = data.draw(st.integers(0, n - 1))
    forecast = predictable_forecast(slices, cost, 5.0)
    other = cost.copy()
    other[at:] = data.draw(COST)
    assert predictable_forecast(slices, other, 5.0)[: at + 1] == pytest.approx(forecast[: at + 1], abs=1e-9)


@given(st.floats(0, 1e12), st.lists(st.integers(0, 10_000), min_size=1, max_size=9), st.floats(0, 50))
def test_costs_add_up_over_runs(parameters: float, tokens: list[int], price: float) -> None:
    assert gflops(parameters, tokens).sum() == pytest.approx(gflops(parameters, [sum(tokens)])[0])
    assert usd(tokens, tokens, price, 2 * price).sum() == pytest.approx(3 * price * sum(tokens) / 1e6)


@given(st.integers(1, 20), st.data())
def test_waiting_for_a_cascade_is_no_shorter_than_for_the_tier_that_answers(n: int, data: st.DataObject) -> None:
    times = np.column_stack([data.draw(arrays.arrays(float, n, elements=COST)) for _ in range(3)])
    kept = data.draw(arrays.arrays(np.int64, n, elements=st.integers(0, 2)))
    waited = waiting(times, kept)
    assert waited.mean_ms >= times[np.arange(n), kept].mean() - 1e-9
    assert waiting(times, np.zeros(n, dtype=np.int64)).mean_ms == pytest.approx(times[:, 0].mean())
    assert waited.last_mean_ms == pytest.approx(times[:, -1].mean())


@given(scored(), st.integers(1, 12), SEED)
def test_calibration_figures_see_no_order_and_partition_the_rows(
    rows: tuple[np.ndarray, np.ndarray, np.ndarray], bins: int, seed: int
) -> None:
    scores, right, _ = rows
    curve = reliability_curve(scores, right, bins)
    order = np.random.default_rng(seed).permutation(len(scores))
    assert [(part.n, part.mean_score) for part in reliability_curve(scores[order], right[order], bins)] == [
        (part.n, part.mean_score) for part in curve
    ]
    assert sum(part.n for part in curve) == len(scores)
    assert sum(part.n * part.accuracy for part in curve) == pytest.approx(right.sum())
    means = [part.mean_score for part in curve]
    assert means == sorted(means)
    calibration = calibration_of(scores, right, bins)
    assert calibration.brier == pytest.approx(((scores - right) ** 2).mean())
    assert calibration_of(right, right, bins).expected_calibration_error == 0.0


@given(scored())
def test_overconfident_shares_count_what_they_say(
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    scores, right, retained = rows
    sure = retained & (scores >= 0.9)
    share = overconfidence(scores, right, retained)
    assert share == (None if not sure.any() else pytest.approx((right[sure] == 0).mean()))
    assert overconfidence(scores, right, retained, 0.0) == (
        None if not retained.any() else pytest.approx(1 - right[retained].mean())
    )


@given(SEED)
def test_ood_figures_of_a_census_are_plain_means(seed: int) -> None:
    rng = np.random.default_rng(seed)
    others, passes = rng.random(60) < 0.7, rng.random(60) < 0.6
    small, last = (rng.random((2, 60)) < 0.6).astype(float)
    extra = rng.random(60)
    census = ood_conservativeness_of(others, passes, small, last, np.ones(60), extra)
    only = others & ~passes
    assert (census.share, census.only_ood, census.labels) == (only.mean(), only.sum(), only.sum())
    assume(only.sum() >= 2)
    assert census.gain is not None and census.as_good is not None
    assert census.gain.value == pytest.approx((last - small)[only].mean())
    assert census.needless_cost == pytest.approx(extra[only].sum() * (small >= last)[only].mean())
    half = ood_conservativeness_of(others, passes, small, last, np.full(60, 0.5), 2 * extra)
    assert half.gain is not None
    assert half.gain.value == pytest.approx(census.gain.value)
    assert half.needless_cost == pytest.approx(2 * (census.needless_cost or 0.0))


@st.composite
def graded(draw: st.DrawFn) -> np.ndarray:
    n, tiers = draw(st.integers(1, 30)), draw(st.integers(2, 4))
    return np.array(
        draw(st.lists(st.lists(st.booleans(), min_size=tiers, max_size=tiers), min_size=n, max_size=n)), dtype=float
    )


@given(graded(), st.floats(0.05, 1.0), st.floats(0.05, 1.0))
def test_a_perfect_signal_keeps_its_accuracy_and_retains_what_can_be(
    correct: np.ndarray, one: float, other: float
) -> None:
    loose, strict = sorted((one, other))
    kept = perfect_kept_at_accuracy(correct, strict)
    retained = kept < correct.shape[1] - 1
    answers = correct[np.arange(len(kept)), kept]
    assert not retained.any() or answers[retained].mean() >= strict - 1e-9
    right = correct[:, :-1].max(axis=1).sum()
    assert retained.sum() == min(len(kept), math.floor(right / strict + 1e-6))
    for shares, tighter in (
        (retainable_shares_at_accuracy(correct, loose), retainable_shares_at_accuracy(correct, strict)),
        (retainable_shares(correct, strict), retainable_shares(correct, loose)),
    ):
        assert 0.0 <= tighter.random <= shares.random <= 1.0
        assert tighter.perfect <= shares.perfect <= 1.0


@given(st.integers(1, 7), st.data(), st.floats(0.1, 1.0))
def test_risk_increments_have_the_drops_mean_over_all_throws_and_keep_their_range(
    n: int, data: st.DataObject, least: float
) -> None:
    x = data.draw(arrays.arrays(float, n, elements=st.sampled_from([-1.0, 0.0, 1.0])))
    chance = data.draw(arrays.arrays(float, n, elements=st.floats(least, 1.0)))
    guess = data.draw(arrays.arrays(float, n, elements=st.floats(-0.5, 0.5)))
    low, high = risk_range(0.02, least, 0.5)
    mean = np.zeros(n)
    for throw in itertools.product([False, True], repeat=n):
        seen = np.array(throw)
        increments = risk_increments(np.where(seen, x, np.nan), seen, chance, 0.02, least, guess)
        assert (increments >= low - 1e-9).all() and (increments <= high + 1e-9).all()
        mean += float(np.where(seen, chance, 1 - chance).prod()) * increments
    assert mean == pytest.approx(least * (x - 0.02), abs=1e-9)


@given(costs(), st.floats(-1.0, 0.9), st.floats(0.0, 0.5))
def test_savings_increments_are_harm_exactly_below_what_was_promised(
    rows: tuple[np.ndarray, np.ndarray], promised: float, margin: float
) -> None:
    cost, last = rows
    increments = savings_increments(cost, last, promised, margin)
    assert (increments.sum() > 0) == (savings_of(cost, last).value < promised - margin) or abs(increments.sum()) < 1e-6
    low, high = savings_range(cost.max(), last.max(), promised, margin)
    assert (increments >= low - 1e-9).all() and (increments <= high + 1e-9).all()


@given(st.integers(1, 9), st.floats(0.1, 0.9), st.integers(1, 3))
def test_a_watch_is_worth_at_most_one_on_average_under_no_harm(rows: int, low: float, starts: int) -> None:
    """Enumerated over all sequences of a fair two-point increment: E[M_t] ≤ 1, so Ville holds (days
    of 3 rows).
    """
    high, expected, weight = 1.0 - low, 0.0, 0.0
    rule = AlarmRule(name="fair", low=-low, high=high, alpha=0.05, starts=starts)
    days = np.arange(rows) // 3
    for steps in itertools.product([-low, high], repeat=rows):
        d = np.array(steps)
        chance = float(np.where(d > 0, low, 1 - low).prod())  # mean 0: harmless, exactly at the edge
        expected += chance * math.exp(advance_watch(open_watch(rule), d, days).log_wealth)
        weight += chance
    assert weight == pytest.approx(1.0)
    assert expected <= 1.0 + 1e-9


@given(st.integers(2, 40), SEED)
def test_more_harm_never_lowers_a_watchs_evidence_of_its_mean(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    d = rng.uniform(-1, 1, n)
    rule = AlarmRule(name="risk", low=-1.0, high=1.0, alpha=0.05, starts=2)
    state = advance_watch(open_watch(rule), d, np.zeros(n))
    assert state.mean_increment == pytest.approx(d.mean())
    harmed = advance_watch(open_watch(rule), np.minimum(d + 0.5, 1.0), np.zeros(n))
    assert harmed.mean_increment is not None and state.mean_increment is not None
    assert harmed.mean_increment >= state.mean_increment
