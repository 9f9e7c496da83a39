"""Calibration figures: known answers, and what no order of rows may change."""

import numpy as np
import pytest

from evidence.bounds.binomial import clopper_pearson
from evidence.errors import InvalidInputError
from evidence.signals.calibration import (
    calibration_of,
    misplaced_certainty,
    overconfidence,
    reliability_curve,
)


def test_known_answers_by_hand() -> None:
    figure = calibration_of([0.2, 0.4, 0.6, 1.0], [0, 1, 1, 1], bins=2)
    assert figure.expected_calibration_error == pytest.approx((2 * 0.2 + 2 * 0.2) / 4)
    assert figure.brier == pytest.approx((0.04 + 0.36 + 0.16 + 0.0) / 4)
    assert figure.in_the_large == pytest.approx(0.75 - 0.55)
    assert [(part.mean_score, part.n) for part in figure.reliability] == [(pytest.approx(0.3), 2), (0.8, 2)]


def test_calibrated_scores_have_a_small_error_and_squared_ones_a_large_one() -> None:
    rng = np.random.default_rng(1)
    scores = rng.random(20_000)
    right = (rng.random(20_000) < scores).astype(float)
    assert calibration_of(scores, right).expected_calibration_error < 0.02
    assert calibration_of(scores**2, right).expected_calibration_error > 0.1
    assert calibration_of(scores**2, right).in_the_large > 0.1


def test_bins_hold_equally_many_rows() -> None:
    scores = np.random.default_rng(2).beta(20, 1, 1500)
    assert {part.n for part in reliability_curve(scores, np.ones(1500), bins=15)} == {100}


def test_equal_scores_share_a_bin_so_that_no_order_changes_the_curve() -> None:
    rng = np.random.default_rng(3)
    scores = rng.choice([0.3, 0.9, 1.0], 500)
    right = (rng.random(500) < 0.7).astype(float)
    order = rng.permutation(500)
    curve = reliability_curve(scores, right, bins=10)
    assert [part.mean_score for part in curve] == pytest.approx([0.3, 0.9, 1.0])
    again = reliability_curve(scores[order], right[order], bins=10)
    assert [part.accuracy for part in again] == pytest.approx([part.accuracy for part in curve])


def test_overconfidence_counts_wrong_answers_of_high_scores_only() -> None:
    assert overconfidence([0.95, 0.92, 0.89, 0.99], [0, 1, 0, 0], [1, 1, 1, 0]) == 0.5
    assert overconfidence([0.5], [0], [1]) is None


def test_certainty_is_misplaced_where_half_of_the_rows_and_more_are_sure_and_far_fewer_are_right() -> None:
    scores, right = [0.9] * 50 + [0.89] * 50, [1, 0] * 50
    misplaced = misplaced_certainty(scores, right)
    assert misplaced is not None
    assert (misplaced.at_least, misplaced.share, misplaced.accuracy, misplaced.n) == (0.9, 0.5, 0.5, 100)
    assert misplaced_certainty([0.89, *scores[1:]], right) is None, "49 of 100 are sure"
    assert misplaced_certainty([0.89, *scores[1:-1]], right[:-1]) is None
    assert misplaced_certainty([0.89, *scores[1:-2]], right[:-2]) is not None


def test_how_far_a_certainty_is_off_is_measured_from_the_upper_end_of_its_accuracy() -> None:
    far = 1.0 - clopper_pearson(6, 10).upper
    right = [1, 1, 1, 1, 1, 0.5, 0.49, 0, 0, 0]  # a half counts as right
    assert misplaced_certainty([1.0] * 10, right, at_least=1.0, far=far) is None
    assert misplaced_certainty([1.0] * 10, right, at_least=1.0, far=far - 1e-9) is not None


def test_bad_input_is_named() -> None:
    with pytest.raises(InvalidInputError, match=r"scores\[0\] is 1\.2"):
        calibration_of([1.2], [1])
    with pytest.raises(InvalidInputError, match=r"correct\[0\] is nan"):
        calibration_of([0.2], [float("nan")])
    with pytest.raises(InvalidInputError, match=r"at_least is 1\.1"):
        overconfidence([0.2], [1], [1], 1.1)
    with pytest.raises(InvalidInputError, match=r"at_least is 1\.1"):
        misplaced_certainty([1.0], [1], at_least=1.1)
    with pytest.raises(InvalidInputError, match=r"far is 1\.1"):
        misplaced_certainty([1.0], [1], far=1.1)
    with pytest.raises(InvalidInputError, match="scores is empty"):
        calibration_of([], [])
    with pytest.raises(InvalidInputError, match="scores has 2, correct has 1"):
        reliability_curve([0.1, 0.2], [1])
    with pytest.raises(InvalidInputError, match="bins is 0"):
        reliability_curve([0.1], [1], bins=0)
