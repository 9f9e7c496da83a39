"""How much a row counts in learning, by the coins that it took."""

import numpy as np

from training.rows.dataset import LARGEST_WEIGHT, TierColumns


def columns(correct: list[float], chances: list[float]) -> TierColumns:
    shape = len(correct)
    return TierColumns(ran=np.ones(shape, dtype=np.bool_), correct=np.array(correct), run_propensity=np.array(chances))


def test_before_any_label_a_row_counts_as_its_coins_say() -> None:
    assert columns([np.nan, np.nan], [1.0, 0.5]).weight.tolist() == [1.0, 2.0]


def test_no_row_counts_much_more_than_the_usual_labelled_one() -> None:
    weight = columns([1.0, 0.0, 1.0, np.nan], [0.5, 0.5, 0.5, 0.0001]).weight
    assert weight.tolist() == [2.0, 2.0, 2.0, 2.0 * LARGEST_WEIGHT]
