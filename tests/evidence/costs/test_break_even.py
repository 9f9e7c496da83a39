"""Break-even and the signal's worth: known answers, and bounds that hold whatever the data."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.bounds.exact_drop import drop_refuted
from evidence.costs.break_even import break_even, cascade_costs, waiting
from evidence.costs.savings import savings_of
from evidence.errors import InvalidInputError
from evidence.signals.signal_worth import (
    RetainableShares,
    fewest_rows_to_certify,
    perfect_kept,
    retainable_shares,
    retainable_shares_at_accuracy,
    worth_of_signal,
)

GRADES = st.lists(st.tuples(*[st.sampled_from([0.0, 1.0])] * 3), min_size=1, max_size=40)


def test_a_cascade_that_costs_more_than_its_last_tier_alone_saves_less_than_nothing() -> None:
    at = break_even([[6.0, 10.0]] * 10, [0] * 5 + [1] * 5)
    assert at.savings == pytest.approx(-0.1)
    assert at.price_factor == pytest.approx(5 / 6)
    assert at.largest_escalation_share == pytest.approx(0.4)


def test_at_the_break_even_price_nothing_is_saved_or_lost() -> None:
    costs, kept = np.array([[2.0, 10.0], [3.0, 20.0], [1.0, 30.0]]), [0, 1, 0]
    factor = break_even(costs, kept).price_factor
    assert factor is not None
    assert break_even(costs * [factor, 1.0], kept).savings == pytest.approx(0.0, abs=1e-12)


def test_at_the_break_even_escalation_share_nothing_is_saved_or_lost() -> None:
    at = break_even([[2.5, 10.0]] * 4, [0, 1, 1, 1])
    assert at.escalation_share == at.largest_escalation_share == 0.75
    assert at.savings == pytest.approx(0.0)


def test_a_free_small_tier_has_no_break_even_price() -> None:
    assert break_even([[0.0, 1.0]] * 2, [0, 1]).price_factor is None


@given(st.lists(st.tuples(*[st.floats(0.01, 100.0)] * 3, st.integers(0, 2)), min_size=1, max_size=30))
def test_savings_are_those_of_the_cascades_costs(rows: list[tuple[float, float, float, int]]) -> None:
    costs, kept = np.array([row[:3] for row in rows]), np.array([row[3] for row in rows])
    spent = cascade_costs(costs, kept)
    assert break_even(costs, kept).savings == pytest.approx(savings_of(spent, costs[:, -1]).value, abs=1e-9)
    assert (spent >= costs[:, 0]).all()


def test_escalation_adds_the_cheaper_tiers_time() -> None:
    waited = waiting([[100.0, 50.0, 1000.0]] * 4, [0, 1, 2, 2])
    assert waited.mean_ms == pytest.approx((100 + 150 + 1150 + 1150) / 4)
    assert waited.escalated_mean_ms == 1150.0
    assert waiting([[1.0, 2.0]], [0]).escalated_mean_ms is None


@pytest.mark.parametrize(
    ("costs", "kept", "message"),
    [
        ([[1.0, 0.0]], [0], "free last tier"),
        ([[1.0, np.nan]], [0], "nan"),
        ([[1.0, 2.0]], [2], "one of 2 tiers"),
        ([[1.0, 2.0]], [0, 1], "one of 2 tiers"),
        ([[1.0]], [0], r"\(1, 1\)"),
    ],
)
def test_bad_input_is_refused_by_name(costs: list[list[float]], kept: list[int], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        break_even(costs, kept)


@given(GRADES, st.sampled_from([0.0, 0.02, 0.1, 0.5]))
def test_a_perfect_signal_keeps_within_the_drop_and_retains_no_less_than_any_other(
    grades: list[tuple[float, ...]], epsilon: float
) -> None:
    correct = np.array(grades)
    kept = perfect_kept(correct, epsilon)
    rows = np.arange(len(correct))
    assert (correct[:, -1] - correct[rows, kept]).mean() <= epsilon + 1e-9
    shares = retainable_shares(correct, epsilon)
    p_plus = (correct[:, :-1].max(axis=1) < correct[:, -1]).mean()
    p_minus = (correct[:, :-1].max(axis=1) > correct[:, -1]).mean()
    most = min(1.0, 1.0 - max(0.0, p_plus - p_minus - epsilon))  # one minus the least escalation
    assert shares.perfect == pytest.approx(np.floor(most * len(correct) + 1e-6) / len(correct))


def test_at_an_accuracy_a_coin_retains_all_or_nothing() -> None:
    correct = [[1, 1]] * 8 + [[0, 1]] * 2
    assert retainable_shares_at_accuracy(correct, 0.8).random == 1.0
    assert retainable_shares_at_accuracy(correct, 0.81).random == 0.0
    assert retainable_shares_at_accuracy(correct, 0.81).perfect == 0.9
    assert retainable_shares_at_accuracy(correct, 1.0).perfect == 0.8
    assert retainable_shares_at_accuracy(correct, 1.0).drop_of_retaining_all == pytest.approx(0.2)
    for at_least in (-0.1, 1.1):
        with pytest.raises(InvalidInputError, match=f"at_least is {at_least}"):
            retainable_shares_at_accuracy(correct, at_least)


def test_worth_runs_from_the_coin_to_the_perfect_signal() -> None:
    shares = RetainableShares(random=0.25, perfect=0.75, drop_of_retaining_all=0.1)
    assert [worth_of_signal(share, shares) for share in (0.25, 0.5, 0.75, 0.0)] == [0.0, 0.5, 1.0, -0.5]
    assert worth_of_signal(1.0, RetainableShares(random=1.0, perfect=1.0, drop_of_retaining_all=0.0)) is None


def test_one_row_less_than_the_fewest_certifies_nothing() -> None:
    fewest = fewest_rows_to_certify(0.02, 0.1)
    assert drop_refuted(0, 0, fewest, 0.02, 0.1)
    assert not drop_refuted(0, 0, fewest - 1, 0.02, 0.1)
