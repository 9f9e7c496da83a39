"""The gain of one signal over another on the same rows: DeLong's paired interval."""

import numpy as np
import pytest

from evidence.errors import InvalidInputError
from evidence.signals.quality import auroc, auroc_gain


def signals(rng: np.random.Generator, n: int, extra: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A signal, the same with an independent hint added, and labels."""
    base, hint = rng.normal(size=n), rng.normal(size=n)
    right = rng.random(n) < 1 / (1 + np.exp(-(base + extra * hint)))
    return base + extra * hint, base, right


def test_known_answer_by_hand() -> None:
    # placements of the right answers: signal (1, 1), baseline (.5, 1); of the wrong ones (1, 1) and
    # (1, .5)
    gain = auroc_gain([0.1, 0.2, 0.8, 0.9], [0.1, 0.6, 0.5, 0.9], [0, 0, 1, 1])
    assert gain.value == 0.25
    assert gain.standard_error == pytest.approx(np.sqrt(0.125 / 2 + 0.125 / 2))


def test_pairing_sees_a_gain_that_independence_would_hide() -> None:
    score, base, right = signals(np.random.default_rng(1), 1500, 0.4)
    gain = auroc_gain(score, base, right)
    apart = np.hypot(auroc(score, right).standard_error, auroc(base, right).standard_error)
    assert gain.standard_error < 0.6 * apart
    assert gain.lower > 0


def test_its_intervals_cover() -> None:
    truth_score, truth_base, truth_right = signals(np.random.default_rng(2), 400_000, 0.5)
    truth = auroc(truth_score, truth_right).value - auroc(truth_base, truth_right).value
    rng, runs, covered = np.random.default_rng(3), 600, 0
    for _ in range(runs):
        gain = auroc_gain(*signals(rng, 300, 0.5))
        covered += gain.lower <= truth <= gain.upper
    assert abs(covered / runs - 0.95) < 0.01 + 3 * np.sqrt(0.05 * 0.95 / runs)


def test_one_class_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="one class only"):
        auroc_gain([0.1, 0.2], [0.1, 0.2], [1, 1])
