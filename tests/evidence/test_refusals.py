"""Arguments that contradict each other are refused by name and value; what just fits is taken."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from evidence.bounds import betting
from evidence.bounds.exact_drop import drop_refuted, drop_test_power
from evidence.certification.certification_rows import CertificationRows
from evidence.certification.certify import certify_policy, refuse_overlap
from evidence.certification.forecasts import ASSUMED_ERROR, checked_error
from evidence.certification.path import equal_quantile_path
from evidence.certification.tally import tally_of
from evidence.costs.break_even import break_even, waiting
from evidence.errors import InvalidInputError, NotIdentifiedError
from evidence.estimation.estimates import clipped_inverse_propensity, joint_label_propensity
from evidence.estimation.prediction_powered import corrected_by_error_rates, prediction_powered
from evidence.signals.signal_gain import signal_gain
from knowgate.policy import PolicyKind

ONES = np.ones((3, 2))
DRAWN = {"propensity": [0.5] * 3, "observed": [1, 1, 1], "ids": ("a", "b", "c")}


def rows(**given: Any) -> CertificationRows:
    return CertificationRows(**({"correct": ONES} | given))


REFUSED: dict[str, Callable[[], object]] = {
    "correct has shape (3,), expected [n ≥ 1, tiers ≥ 2]": lambda: rows(correct=np.ones(3)),
    "correct has shape (0, 2), expected": lambda: rows(correct=np.ones((0, 2))),
    "correct has shape (3, 1), expected": lambda: rows(correct=np.ones((3, 1))),
    "agrees has shape (3, 2); give a flag per row and non-last tier": lambda: rows(agrees=np.ones((3, 2))),
    "propensity and observed come together": lambda: rows(propensity=[0.5] * 3),
    "propensity and observed come together; give": lambda: rows(observed=[1, 1, 1]),
    "observed is false in every row": lambda: rows(propensity=[0.5] * 3, observed=[0, 0, 0]),
    "ids is None, but weighted or fractional": lambda: rows(propensity=[0.5, 0.5, 1.0], observed=[1, 1, 1]),
    "ids is None, but weighted": lambda: rows(correct=[[1, 1], [0.5, 1], [1, 1]]),
    "forecast has shape (3, 1), correct (3, 2)": lambda: rows(forecast=np.ones((3, 1)), **DRAWN),
    "labelled by a likelier coin than it ran": lambda: rows(forecast=ONES, run_propensity=[1, 1, 0.4], **DRAWN),
    "a row was labelled by a likelier coin": lambda: rows(forecast=ONES, ran=[1, 0, 1], **DRAWN),
    "forecast_error is 0.5, expected a share in [0, 0.5)": lambda: checked_error(0.5),
    "forecast_error is -0.1": lambda: checked_error(-0.1),
    "signals are of 2 tiers, rows of 2; give all but the last's": lambda: certify_policy(
        PolicyKind.P_T,
        [{"p_t": np.ones(3)}] * 2,
        rows(),
        None,
        0.1,  # type: ignore[arg-type]
    ),
    "ids is None while learned_on is given": lambda: refuse_overlap(None, {"a"}),
    "kept has shape (2,) and range [0, 0]": lambda: tally_of(rows(), np.zeros(2, dtype=int), 0.1),
    "kept has shape (3,) and range [0, 2], expected a tier index below 2": lambda: tally_of(
        rows(), np.array([0, 1, 2]), 0.1
    ),
    "kept has shape (3,) and range [-1, 1]": lambda: tally_of(rows(), np.array([0, 1, -1]), 0.1),
    "tiers has a tier without a signal": lambda: equal_quantile_path([]),
    "tiers has a tier without a signal; give": lambda: equal_quantile_path([{"p_t": [0.1]}, {}]),
    "costs of the last tier sum to 0.0; a free last tier": lambda: break_even([[1.0, 0.0]] * 2, [0, 1]),
    "costs has shape (2,), expected": lambda: break_even([1.0, 2.0], [0, 1]),
    "latencies_ms has shape (1, 1), expected": lambda: waiting([[1.0]], [0]),
    "kept has shape (3,); give one of 2 tiers per query": lambda: break_even([[1.0, 2.0]] * 2, [0, 1, 1]),
    "kept has shape (2,); give one of 2 tiers": lambda: break_even([[1.0, 2.0]] * 2, [0, 2]),
    "kept has shape (2,); give one of 2": lambda: break_even([[1.0, 2.0]] * 2, [-1, 0]),
    "label_propensity has shape (2,), expected [decisions, tiers]": lambda: joint_label_propensity([0.5, 1], False),
    "label_propensity has a chance outside [0, 1]": lambda: joint_label_propensity([[0.5, 1.0], [1.0, 1.1]], False),
    "label_propensity has a chance outside": lambda: joint_label_propensity([[0.5, -0.1], [1.0, 1.0]], True),
    "p_plus + p_minus is 1.1, expected at most 1": lambda: drop_test_power(10, 0.1, 0.1, 0.6, 0.5),
    "plus + minus is 11, more than n = 10": lambda: drop_refuted(6, 5, 10, 0.1, 0.1),
    "ids is empty; give at least one row": lambda: betting.fixed_order([]),
    "ids holds 'b' twice": lambda: betting.fixed_order(["a", "b", "c", "b"]),
    "a row of x is 1.5, beyond bound 1.0": lambda: betting.betting_upper_bound(np.array([0.0, -1.5, 0.0]), 0.1),
    "a row of x is 0.0, beyond bound 0.0": lambda: betting.betting_upper_bound(np.zeros(2), 0.1, 0.0),
    "share is 0: nothing is retained": lambda: signal_gain([0.1, 0.2], [0.1, 0.2], [0, 1], share=0.0),
    "called_right is 5 of 4": lambda: corrected_by_error_rates(5, 4, wrong_called_right=0.1, right_called_wrong=0.1),
    "the error rates 0.5 and 0.5 sum to 1 or more": lambda: corrected_by_error_rates(
        1, 4, wrong_called_right=0.5, right_called_wrong=0.5
    ),
    "1 gold labels; at least two are needed": lambda: prediction_powered([1, 0, 1], [1, 0, 1], [0, 1, 0], [0.5] * 3),
    "gold[2] is unknown although the row was observed": lambda: prediction_powered(
        [1, 0, 1], [1, 0, float("nan")], [1, 1, 1], [0.5] * 3
    ),
    "confidence is 1.0, expected": lambda: prediction_powered([1, 0], [1, 0], [1, 1], [0.5] * 2, confidence=1.0),
    "confidence is 1.0": lambda: corrected_by_error_rates(
        1, 4, wrong_called_right=0.1, right_called_wrong=0.1, confidence=1.0
    ),
    "row 1 has an unknown propensity": lambda: clipped_inverse_propensity(
        [1.0, 0.0, 1.0], [1, 1, 0], [0.5, float("nan"), float("nan")], largest_weight=2.0
    ),
}


@pytest.mark.parametrize("named", REFUSED)
def test_a_contradiction_is_named(named: str) -> None:
    with pytest.raises((InvalidInputError, NotIdentifiedError), match=re.escape(named)):
        REFUSED[named]()


def test_what_just_fits_is_taken() -> None:
    assert rows(agrees=np.zeros((3, 1))).n == 3
    assert rows(forecast=ONES, run_propensity=[0.5] * 3, **DRAWN).n == 3
    assert (checked_error(0.0), checked_error(0.499), checked_error(None)) == (0.0, 0.499, ASSUMED_ERROR)
    refuse_overlap(None, ())
    assert joint_label_propensity([[0.0, 1.0], [0.5, 0.4]], [False, True]).tolist() == [0.0, 0.2]
    assert 0.0 <= drop_test_power(10, 0.1, 0.1, 0.5, 0.5) <= 1.0
    assert not drop_refuted(5, 5, 10, 0.1, 0.1)
    assert betting.betting_upper_bound(np.array([1.0, -1.0]), 0.1) <= 1.0
    assert corrected_by_error_rates(4, 4, wrong_called_right=0.4, right_called_wrong=0.4).value >= 1.0


def test_a_chance_that_is_unknown_leaves_the_joint_one_unknown() -> None:
    joint = joint_label_propensity([[0.5, float("nan")], [0.5, 1.0]], True)
    assert np.isnan(joint).tolist() == [True, False]
