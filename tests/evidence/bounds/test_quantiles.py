"""A quantile's interval: known ranks, and how often it holds."""

import numpy as np
import pytest

from evidence.bounds.quantiles import quantile
from evidence.errors import InvalidInputError


@pytest.mark.parametrize(("share", "n"), [(0.5, 6), (0.5, 40), (0.95, 72), (0.95, 400)])
def test_the_interval_holds_at_least_as_often_as_it_says(share, n):
    draws = np.random.default_rng(5).random((2000, n))
    found = [quantile(row, share) for row in draws]
    assert all(one.lower <= one.value <= one.upper for one in found)
    held = np.mean([one.lower <= share <= one.upper for one in found])
    assert held >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / 2000)


def test_few_values_have_a_quantile_and_no_bound():
    assert quantile([3.0], 0.5) == quantile([3.0], 0.5, confidence=0.9)
    one = quantile([3.0], 0.95)
    assert (one.value, one.lower, one.upper, one.n) == (3.0, None, None, 1)
    assert quantile(range(71), 0.95).upper is None and quantile(range(72), 0.95).upper == 71.0


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], 0.0), ([1.0], 1.0), ([float("nan")], 0.5)])
def test_what_has_no_quantile_is_refused(values, share):
    with pytest.raises(InvalidInputError):
        quantile(values, share)
