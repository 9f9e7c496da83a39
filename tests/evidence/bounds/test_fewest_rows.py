"""Fewer rows show nothing, whatever they say; and what asked attempts borrow is paid back."""

import pytest

from evidence.bounds.exact_drop import drop_refuted
from evidence.bounds.fewest_rows import fewest_rows
from evidence.bounds.spending import delta_asked, delta_of_turn
from evidence.errors import InvalidInputError


@pytest.mark.parametrize(("epsilon", "delta"), [(0.02, 0.1), (0.05, 0.1), (0.1, 0.05), (0.01, 0.2)])
def test_with_one_row_fewer_not_even_rows_without_a_loss_show_the_target(epsilon: float, delta: float) -> None:
    fewest = fewest_rows(epsilon, delta)
    assert (1 - epsilon) ** fewest <= delta < (1 - epsilon) ** (fewest - 1)
    assert not drop_refuted(0, 0, fewest - 1, epsilon, delta)
    assert any(drop_refuted(0, 0, rows, epsilon, delta) for rows in range(fewest, 2 * fewest))


def test_a_level_that_is_none_is_refused() -> None:
    for allowed, delta in ((0.0, 0.1), (1.0, 0.1), (0.1, 0.0), (0.1, 1.0)):
        with pytest.raises(InvalidInputError):
            fewest_rows(allowed, delta)


def test_two_turns_and_all_that_was_asked_for_between_them_have_two_deltas_together() -> None:
    asked: list[float] = []
    for _ in range(40):
        asked.append(delta_asked(0.1, asked))
    assert asked[:3] == [0.025, 0.0125, 0.00625]
    assert delta_of_turn(0.1, asked) + sum(asked) == pytest.approx(0.1)
    assert delta_of_turn(0.1, asked) >= 0.05 and delta_of_turn(0.1, []) == 0.1
