"""The share of labels in by age: right although most decisions are too young for the slow ones."""

import numpy as np
import pytest

from evidence.errors import InvalidInputError
from evidence.estimation.delays import arrival_curve


def test_known_answer_of_a_small_study() -> None:
    # Rows watched 1+ (censored), 2, 3+, 4, 5: S(2) = 3/4, S(4) = 3/4 · 1/2
    points = arrival_curve([1, 2, 3, 4, 5], [0, 1, 0, 1, 1], [0.5, 2, 3.5, 4, 5])
    assert [point.share for point in points] == pytest.approx([0.0, 0.25, 0.25, 0.625, 1.0])
    # Greenwood at 4: 1/(4·3) + 1/(2·1)
    reach = 1.959964 * np.sqrt(1 / 12 + 1 / 2) / abs(np.log(0.375))
    assert points[3].lower == pytest.approx(1 - 0.375 ** np.exp(-reach), abs=1e-6)
    assert points[3].upper == pytest.approx(1 - 0.375 ** np.exp(reach), abs=1e-6)
    assert [point.watched for point in points] == [5, 4, 3, 3, 3]


def test_where_all_were_watched_it_is_the_plain_share() -> None:
    rng = np.random.default_rng(3)
    delay = rng.exponential(1.0, 500)
    points = arrival_curve(np.minimum(delay, 9.0), delay < 9.0, [0.5, 1.0, 2.0])
    assert [point.share for point in points] == pytest.approx([(delay <= at).mean() for at in (0.5, 1.0, 2.0)])


def test_young_rows_do_not_pull_the_curve_down() -> None:
    rng, n = np.random.default_rng(4), 20_000
    delay = np.where(rng.random(n) < 0.6, rng.exponential(3.0, n), np.inf)  # 40 % are never labelled
    watched = rng.uniform(0, 10, n)
    came = delay <= watched
    (point,) = arrival_curve(np.minimum(delay, watched), came, [6.0])
    truth = 0.6 * (1 - np.exp(-2.0))
    assert point.lower is not None and point.upper is not None
    assert point.lower < truth < point.upper
    assert (came & (delay <= 6.0)).mean() < truth - 0.05  # the plain share


def test_its_intervals_cover() -> None:
    rng, runs, covered = np.random.default_rng(5), 500, 0
    for _ in range(runs):
        delay, watched = rng.exponential(1.0, 200), rng.uniform(0, 3, 200)
        (point,) = arrival_curve(np.minimum(delay, watched), delay <= watched, [1.0])
        assert point.lower is not None and point.upper is not None
        covered += point.lower <= 1 - np.exp(-1.0) <= point.upper
    assert abs(covered / runs - 0.95) < 0.01 + 3 * np.sqrt(0.05 * 0.95 / runs)


def test_beyond_the_oldest_row_nothing_is_said() -> None:
    young, old = arrival_curve([1.0, 2.0], [0, 0], [1.5, 3.0])
    assert (young.share, young.lower, old.share) == (0.0, 0.0, None)
    assert young.upper == pytest.approx(0.975)


def test_bad_ages_are_named() -> None:
    with pytest.raises(InvalidInputError, match=r"age\[1\] is -1"):
        arrival_curve([1.0, -1.0], [1, 1], [1.0])
    with pytest.raises(InvalidInputError, match=r"age\[0\] is nan"):
        arrival_curve([float("nan")], [1], [1.0])
