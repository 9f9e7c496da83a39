"""What the OOD gate costs, and where that is not identified."""

import math

import numpy as np
import pytest

from evidence.errors import InvalidInputError, NotIdentifiedError
from evidence.signals.ood_conservativeness import matched_escalation_of, ood_conservativeness_of

NAN = float("nan")


def test_known_answers_by_hand() -> None:
    figure = ood_conservativeness_of(
        other_gates_pass=[1, 1, 1, 0, 1],
        ood_passes=[0, 0, 0, 0, 1],
        correct_small=[1, 0, NAN, 1, 1],
        correct_last=[1, 1, NAN, 1, 1],
        propensity=[0.5, 0.25, 0.5, NAN, NAN],
        extra_cost=[2.0, 4.0, 6.0, 9.0, 9.0],
    )
    assert (figure.share, figure.only_ood, figure.labels) == (0.6, 3, 2)
    assert figure.gain is not None and figure.gain.value == pytest.approx(4 / 6)
    assert figure.as_good is not None and figure.as_good.value == pytest.approx(2 / 6)
    assert figure.needless_cost == pytest.approx(12.0 * 2 / 6)


def test_the_share_needs_no_label_and_the_gain_does() -> None:
    figure = ood_conservativeness_of([1, 1], [0, 1], [NAN, NAN], [NAN, NAN], [0.1, 0.1], [1.0, 1.0])
    assert figure.share == 0.5
    assert figure.gain is None and figure.needless_cost is None


def test_self_selected_labels_are_not_identified() -> None:
    with pytest.raises(NotIdentifiedError, match="unknown propensity"):
        ood_conservativeness_of([1, 1], [0, 0], [1, NAN], [1, NAN], [NAN, NAN], [1.0, 1.0])


def test_bad_input_is_named() -> None:
    with pytest.raises(InvalidInputError, match="unequal"):
        ood_conservativeness_of([1], [0, 1], [1], [1], [1.0], [1.0])


def test_the_matched_comparison_by_hand() -> None:
    # Low scores: unlike 2 of 2 escalated, like 1 of 2. High scores: unlike 1 of 2, like 0 of 4 (one
    # of them stands for three). A wrong answer counts nowhere.
    figure = matched_escalation_of(
        escalated=[1, 1, 1, 0, 1, 0, 0, 0, 1],
        unlike=[1, 1, 0, 0, 1, 0, 0, 1, 1],
        correct_small=[1, 1, 1, 1, 1, 1, 1, 1, 0],
        propensity=[1, 1, 1, 1, 1, 1 / 3, 1, 1, 1],
        score=[0.1] * 4 + [0.9] * 4 + [0.9],
        length=[10.0] * 9,
    )
    assert figure.unlike == pytest.approx(0.5 * 1.0 + 0.5 * 0.5)
    assert figure.like == pytest.approx(0.5 * 0.5 + 0.5 * 0.0)
    assert (figure.difference, figure.ratio) == (pytest.approx(0.5), pytest.approx(3.0))
    assert (figure.uncovered, figure.labels) == (0.0, 8)
    assert figure.difference_low < 0.5 < figure.difference_high


def test_the_ratio_has_the_interval_of_two_shares_that_have_nothing_in_common() -> None:
    # 240 of 400 unlike answers escalated, 160 of 800 like ones: the variance of a ratio's logarithm
    # is the sum of (1 - p) / (n p), and two further rows of each hardly matter here.
    sent = [1] * 240 + [0] * 160 + [1] * 160 + [0] * 640
    unlike, n = [1] * 400 + [0] * 800, 1200
    figure = matched_escalation_of(sent, unlike, [1] * n, [1.0] * n, [0.5] * n, [10.0] * n)
    reach = 1.96 * math.sqrt(0.4 / 240 + 0.8 / 160)
    assert figure.ratio == pytest.approx(3.0)
    assert figure.ratio_low == pytest.approx(3.0 * math.exp(-reach), rel=0.005)
    assert figure.ratio_high == pytest.approx(3.0 * math.exp(reach), rel=0.005)


def test_what_has_no_like_answer_beside_it_is_said_and_not_compared() -> None:
    figure = matched_escalation_of([1, 0, 1], [1, 0, 1], [1, 1, 1], [1, 1, 0.5], [0.2, 0.2, 0.9], [5, 5, 5])
    assert figure.uncovered == pytest.approx(2 / 3)
    assert (figure.unlike, figure.like, figure.ratio) == (1.0, 0.0, None)
    with pytest.raises(NotIdentifiedError, match="nothing to compare"):
        matched_escalation_of([1, 0], [1, 0], [1, 1], [1, 1], [0.2, 0.9], [5, 5])
    with pytest.raises(NotIdentifiedError, match="no right answer"):
        matched_escalation_of([1, 0], [1, 0], [0, 1], [1, 1], [0.2, 0.9], [5, 5])
    with pytest.raises(NotIdentifiedError, match="unknown propensity"):
        matched_escalation_of([1, 0], [1, 0], [1, 1], [NAN, 1], [0.2, 0.9], [5, 5])


def test_escalation_by_score_alone_is_no_conservativeness_and_its_interval_covers() -> None:
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        unlike = rng.random(1500) < 0.3
        score = np.clip(rng.normal(np.where(unlike, 0.45, 0.65), 0.2), 0.0, 1.0)
        length = rng.integers(5, 400, 1500)
        right = (rng.random(1500) < score).astype(float)
        drawn = rng.random(1500) < 0.5
        sent = rng.random(1500) < (1.0 - score) * 0.8  # whatever it is like
        figure = matched_escalation_of(sent, unlike, np.where(drawn, right, NAN), np.full(1500, 0.5), score, length)
        covered += figure.difference_low <= 0.0 <= figure.difference_high
    assert covered >= 183  # of 200: 95 %, less two standard errors
