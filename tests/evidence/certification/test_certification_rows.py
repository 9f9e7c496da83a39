"""What rows mean to a certification: known, unknown, weighted, drawn by one coin."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from evidence.certification.certification_rows import CertificationRows
from evidence.certification.counted import CountedAccuracy, CountedRows
from evidence.errors import InvalidInputError, NotIdentifiedError

NAN = float("nan")


def small(n: int) -> np.ndarray:
    return np.zeros(n, dtype=np.int64)


def test_x_is_last_minus_kept_and_zero_where_the_last_tier_answers() -> None:
    rows = CertificationRows(correct=[[1, 0], [0, 1], [1, 1], [0, 1]])
    assert rows.drops(np.array([0, 0, 0, 1])).tolist() == [-1.0, 1.0, 0.0, 0.0]


def test_a_missing_label_counts_as_the_worst_case() -> None:
    rows = CertificationRows(correct=np.array([[NAN, 1], [1, NAN], [NAN, NAN], [1, 1]]))
    assert rows.drops(small(4)).tolist() == [1.0, 1.0, 1.0, 0.0]
    assert rows.assumed_wrong(small(4)) == 3


def test_answers_that_agree_need_no_label() -> None:
    rows = CertificationRows(correct=np.full((2, 2), NAN), agrees=[[True], [False]])
    assert rows.drops(small(2)).tolist() == [0.0, 1.0]
    assert rows.assumed_wrong(small(2)) == 1


def test_rows_that_count_equally_count_once() -> None:
    assert CertificationRows(correct=[[1, 1]] * 2).bound == 1.0
    assert CertificationRows(correct=[[0.5, 1], [1, 1]], ids=("a", "b")).bound == 1.0
    chances = {"propensity": [0.5, NAN, 0.25], "observed": [1, 0, 1]}
    assert CertificationRows(correct=[[1, 1]] * 3, ids=("a", "b", "c"), **chances).bound == 4.0


def test_an_escalated_row_needs_no_label() -> None:
    rows = CertificationRows(correct=np.full((1, 2), NAN))
    assert rows.drops(np.array([1])).tolist() == [0.0]


def test_a_chain_takes_the_correctness_of_the_tier_that_is_kept() -> None:
    rows = CertificationRows(correct=[[0, 1, 1], [0, 0, 1], [1, 0, 0]])
    assert rows.drops(np.array([0, 1, 0])).tolist() == [1.0, 1.0, -1.0]
    assert rows.drops(np.array([1, 2, 1])).tolist() == [0.0, 0.0, 0.0]


def test_rows_of_unequal_coins_are_weighted_and_unseen_ones_weigh_nothing() -> None:
    rows = CertificationRows(
        correct=np.array([[0, 1], [NAN, NAN], [0, 1]]),
        propensity=[0.5, 0.25, 1.0],
        observed=[1, 0, 1],
        ids=("a", "b", "c"),
    )
    assert rows.weighted
    assert rows.bound == 4.0
    assert rows.drops(small(3)).tolist() == [2.0, 0.0, 1.0]
    assert rows.assumed_wrong(small(3)) == 0


def test_one_constant_coin_is_a_plain_sample_of_the_rows_it_showed() -> None:
    rows = CertificationRows(correct=np.array([[0, 1], [NAN, NAN], [1, 1]]), propensity=[0.1] * 3, observed=[1, 0, 1])
    assert not rows.weighted
    assert rows.drops(small(3)).tolist() == [1.0, 0.0]


def test_a_row_without_a_known_coin_counts_once_and_its_missing_label_as_the_worst_case() -> None:
    rows = CertificationRows(
        correct=np.array([[NAN, NAN], [1, 1]]), propensity=[NAN, 0.5], observed=[False, True], ids=("a", "b")
    )
    assert rows.drops(small(2)).tolist() == [1.0, 0.0]
    assert rows.assumed_wrong(small(2)) == 1


def test_a_propensity_of_zero_is_not_identified() -> None:
    with pytest.raises(NotIdentifiedError, match="propensity\\[1\\] is 0"):
        CertificationRows(correct=[[1, 1], [1, 1]], propensity=[0.5, 0.0], observed=[1, 0], ids=("a", "b"))


def test_weighted_rows_need_ids_for_their_order() -> None:
    with pytest.raises(InvalidInputError, match="ids is None"):
        CertificationRows(correct=[[1, 1], [0.5, 1]])


def forecasts(**fields: Any) -> dict[str, Any]:
    """Two labelled rows, each with a grader's verdicts; labels and runs fell with a chance of a
    half together.
    """
    both = [[1.0, 1.0], [0.0, 1.0]]
    return {"correct": both, "forecast": both, "propensity": [0.5, 0.5], "observed": [1, 1], "ids": ("a", "b")} | fields


def test_labels_of_answers_that_ran_by_the_same_coin_are_taken() -> None:
    rows = CertificationRows(**forecasts(ran=[True, True], run_propensity=[0.5, 0.5]))
    assert np.asarray(rows.ran).tolist() == [True, True]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"correct": [[1, 2]]}, "correct\\[1\\] is 2"),
        ({"correct": [[1]]}, "correct has shape \\(1, 1\\)"),
        ({"correct": np.zeros((0, 2))}, "correct has shape \\(0, 2\\)"),
        ({"correct": [[1, 1]], "agrees": [[True, True]]}, "agrees has shape"),
        ({"correct": [[1, 1]], "propensity": [0.5]}, "come together"),
        ({"correct": [[1, 1]], "propensity": [0.5, 0.5], "observed": [1]}, "unequal numbers of rows"),
        ({"correct": [[1, 1]], "propensity": [1.5], "observed": [1]}, "propensity\\[0\\] is 1.5"),
        ({"correct": [[1, 1]], "propensity": [0.5], "observed": [0]}, "observed is false in every row"),
        ({"correct": [[1, 1]], "ids": ("a", "b")}, "unequal numbers of rows"),
        (forecasts(ran=[True, False], run_propensity=[0.5, 0.5]), "labelled by a likelier coin than it ran"),
        (forecasts(ran=[True, True], run_propensity=[0.5, 0.4]), "labelled by a likelier coin than it ran"),
        (forecasts(ran=[True, True], run_propensity=[0.5]), "unequal numbers of rows"),
    ],
)
def test_bad_input_is_named(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        CertificationRows(**fields)


@pytest.mark.parametrize("delta", [0.02, 0.1, 0.2])
def test_a_counted_accuracy_is_shown_below_its_lower_bound_and_missed_above_its_upper_one(delta: float) -> None:
    accuracy = CountedAccuracy(rows=CountedRows(n=200, assumed_wrong=0), right=80, retained=100)
    lower, upper = accuracy.lower_bound(delta), accuracy.upper_bound(delta)
    assert 0.6 < lower < 0.8 < upper < 0.9
    assert accuracy.shown(lower - 1e-6, delta) and not accuracy.shown(lower + 1e-6, delta)
    assert accuracy.missed(upper + 1e-6, delta) and not accuracy.missed(upper, delta)


def test_of_nothing_retained_no_accuracy_is_known() -> None:
    accuracy = CountedAccuracy(rows=CountedRows(n=200, assumed_wrong=0), right=0, retained=0)
    assert accuracy.estimate is None and accuracy.rows_needed(0.9, 0.1, exact=True) is None
    assert (accuracy.lower_bound(0.1), accuracy.upper_bound(0.1)) == (0.0, 1.0)
    assert not accuracy.shown(0.0, 0.1) and not accuracy.missed(1.0, 0.1)
    assert replace(accuracy, right=1, retained=1).shown(0.09, 0.1), "one that is right shows what luck would not: δ"
