"""What the OOD gate costs, and where that is not identified."""

import numpy as np
import pytest

from evidence.errors import InvalidInputError, NotIdentifiedError
from evidence.signals.ood_conservativeness import escalation_gap, ood_conservativeness_of

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


def test_the_gap_is_standardised_so_that_score_does_not_explain_it() -> None:
    """Flagged queries have lower scores; escalation depends on score alone, so within bins there is
    no gap.
    """
    rng, n = np.random.default_rng(1), 40_000
    flagged = rng.random(n) < 0.5
    score = np.where(rng.random(n) < np.where(flagged, 0.8, 0.3), 0.2, 0.8)
    escalated = rng.random(n) < np.where(score < 0.5, 0.9, 0.1)
    right = rng.random(n) < 0.7
    gap = escalation_gap(escalated, flagged, right, np.ones(n), score, np.ones(n), bins=2)
    crude = escalated[right & flagged].mean() - escalated[right & ~flagged].mean()
    assert crude > 0.3
    assert abs(gap.difference) < 0.02
    assert gap.ratio == pytest.approx(1.0, abs=0.05)
    assert gap.labels == right.sum()


def test_a_real_gap_is_found_with_the_mass_it_does_not_cover() -> None:
    rng, n = np.random.default_rng(2), 20_000
    flagged = rng.random(n) < 0.5
    length = np.where(flagged & (rng.random(n) < 0.5), 900.0, 100.0)  # long ones are always flagged
    escalated = rng.random(n) < np.where(flagged, 0.6, 0.2)
    gap = escalation_gap(escalated, flagged, np.ones(n), np.ones(n), np.full(n, 0.5), length, bins=4)
    assert gap.difference == pytest.approx(0.4, abs=0.03)
    assert gap.uncovered == pytest.approx(0.25, abs=0.02)


def test_groups_that_never_meet_cannot_be_compared() -> None:
    with pytest.raises(NotIdentifiedError, match="no bin"):
        escalation_gap([1, 0], [1, 0], [1, 1], [1.0, 1.0], [0.1, 0.9], [5.0, 5.0], bins=2)
    with pytest.raises(NotIdentifiedError, match="no labelled row is right"):
        escalation_gap([1], [1], [0], [1.0], [0.5], [5.0])


def test_bad_input_is_named() -> None:
    with pytest.raises(InvalidInputError, match="unequal"):
        ood_conservativeness_of([1], [0, 1], [1], [1], [1.0], [1.0])
    with pytest.raises(InvalidInputError, match="bins is 0"):
        escalation_gap([1], [1], [1], [1.0], [0.5], [5.0], bins=0)
