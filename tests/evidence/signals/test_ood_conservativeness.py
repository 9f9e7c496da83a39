"""What the OOD gate costs, and where that is not identified."""

import pytest

from evidence.errors import InvalidInputError, NotIdentifiedError
from evidence.signals.ood_conservativeness import ood_conservativeness_of

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
