"""Separation and paired differences, against brute force and simulation."""

import numpy as np
import pytest

from evidence.errors import InvalidInputError
from evidence.signals.quality import auroc, macro_f1


def auroc_by_pairs(scores: np.ndarray, right: np.ndarray) -> float:
    gap = scores[right][:, None] - scores[~right][None, :]
    return float(((gap > 0) + 0.5 * (gap == 0)).mean())


def test_auroc_equals_the_share_of_ordered_pairs() -> None:
    rng = np.random.default_rng(1)
    scores, right = np.round(rng.random(300), 1), rng.random(300) < 0.4
    assert auroc(scores, right).value == pytest.approx(auroc_by_pairs(scores, right))


def test_the_interval_of_auroc_covers() -> None:
    rng, runs, covered = np.random.default_rng(2), 1000, 0
    for _ in range(runs):
        right = rng.random(150) < 0.5
        figure = auroc(rng.standard_normal(150) + right, right)  # Φ(1/√2) = .7602
        covered += figure.lower <= 0.7602 <= figure.upper
    assert abs(covered / runs - 0.95) < 0.015 + 2 * np.sqrt(0.05 * 0.95 / runs)


def test_perfect_and_useless_scores() -> None:
    right = np.array([True] * 20 + [False] * 20)
    assert auroc(right * 1.0, right).value == 1.0
    assert auroc(np.zeros(40), right).value == 0.5


def test_macro_f1_by_hand() -> None:
    figure = macro_f1([1, 1, 1, 0, 0, 0], [1, 1, 0, 1, 0, 0])
    assert figure.value == pytest.approx(2 / 3)
    one_sided = macro_f1([1, 1, 1, 1], [1, 1, 1, 0])
    assert one_sided.value == pytest.approx((6 / 7) / 2)


def test_the_interval_of_macro_f1_covers() -> None:
    rng, runs, covered = np.random.default_rng(3), 600, 0
    big = rng.random(1_000_000) < 0.6
    truth = macro_f1(np.where(rng.random(1_000_000) < 0.25, ~big, big), big).value
    for _ in range(runs):
        right = rng.random(300) < 0.6
        figure = macro_f1(np.where(rng.random(300) < 0.25, ~right, right), right)
        covered += figure.lower <= truth <= figure.upper
    assert abs(covered / runs - 0.95) < 0.015 + 2 * np.sqrt(0.05 * 0.95 / runs)


def test_bad_input_is_named() -> None:
    with pytest.raises(InvalidInputError, match="one class only"):
        auroc([0.1, 0.2], [1, 1])
    with pytest.raises(InvalidInputError, match="one class only"):
        macro_f1([1, 0], [0, 0])
    with pytest.raises(InvalidInputError, match=r"scores\[0\] is nan"):
        auroc([float("nan"), 0.2], [1, 0])
    with pytest.raises(InvalidInputError, match=r"correct\[1\] is 0\.5"):
        auroc([0.1, 0.2], [1, 0.5])
