"""Does a score mean what it says? Calibration figures of scores in [0, 1] against outcomes.

Bins hold equally many rows: bins of equal width leave the crowd near 1 in one bin and say nothing
about it. Sources: Naeini, Cooper & Hauskrecht, AAAI 2015 (ECE); Brier, Monthly Weather Review 78
(1950); Cox, Biometrika 45 (1958) (calibration in the large).
"""

from dataclasses import dataclass
from math import pi, sqrt

import numpy as np
import numpy.typing as npt

from evidence.bounds.binomial import clopper_pearson
from evidence.inputs import BoolArray, count, flag_array, number, real_array, same_length


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """Rows of neighbouring scores."""

    mean_score: float
    accuracy: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How scores and outcomes agree over n rows."""

    expected_calibration_error: float  # mean |accuracy − mean score| over equal-mass bins, weighted by rows
    brier: float  # mean (score − outcome)²
    in_the_large: float  # mean outcome − mean score; > 0 = the scores are too modest
    reliability: tuple[ReliabilityBin, ...]
    n: int

    def error_by_chance(self) -> tuple[float, float]:
        """The calibration error that n rows would show on average, were their scores calibrated,
        and its standard deviation.

        A bin's accuracy then lies around its mean score m with variance m(1 − m)/rows at most, and
        the error takes the distance whatever its side: that of a normal variable of deviation s is
        s·√(2/π) on average, with variance s²·(1 − 2/π).

        Examples:
            >>> usual, spread = calibration_of([0.5] * 100, [0, 1] * 50).error_by_chance()
            >>> round(usual, 3), round(spread, 3)
            (0.04, 0.03)
        """
        spreads = [sqrt(part.mean_score * (1.0 - part.mean_score) / part.n) for part in self.reliability]
        weights = [part.n / self.n for part in self.reliability]
        usual = sqrt(2.0 / pi) * sum(weight * spread for weight, spread in zip(weights, spreads, strict=True))
        varies = sum((weight * spread) ** 2 for weight, spread in zip(weights, spreads, strict=True))
        return usual, sqrt((1.0 - 2.0 / pi) * varies)


@dataclass(frozen=True, slots=True, kw_only=True)
class MisplacedCertainty:
    """A score that is near 1 on most rows and far less often right."""

    at_least: float  # what counts as near 1
    share: float  # of the rows with such a score
    accuracy: float  # among those
    n: int  # rows


def misplaced_certainty(
    scores: npt.ArrayLike, correct: npt.ArrayLike, *, at_least: float = 0.9, far: float = 0.15
) -> MisplacedCertainty | None:
    """Whether half of the scores [n] and more are `at_least`, and the accuracy of those is lower by
    more than `far`: the upper end of its exact 95 % interval is. None where that is not shown.

    Examples:
        >>> misplaced_certainty([0.99] * 80 + [0.3] * 20, [1, 0] * 50)
        MisplacedCertainty(at_least=0.9, share=0.8, accuracy=0.5, n=100)
        >>> misplaced_certainty([0.99] * 80 + [0.3] * 20, [1] * 80 + [0] * 20) is None
        True
    """
    scores = real_array("scores", scores, low=0.0, high=1.0)
    right = real_array("correct", correct, low=0.0, high=1.0) >= 0.5
    n = same_length(scores=scores, correct=right)
    sure = scores >= number("at_least", at_least, low=0.0, high=1.0)
    if 2 * sure.sum() < n:
        return None
    accuracy = clopper_pearson(int(right[sure].sum()), int(sure.sum()))
    if accuracy.upper >= at_least - number("far", far, low=0.0, high=1.0):
        return None
    return MisplacedCertainty(at_least=at_least, share=float(sure.mean()), accuracy=accuracy.value, n=n)


def calibration_of(scores: npt.ArrayLike, correct: npt.ArrayLike, bins: int = 15) -> Calibration:
    """Calibration of scores [n] in [0, 1] against correctness [n] in [0, 1].

    Examples:
        >>> c = calibration_of([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], bins=2)
        >>> round(c.expected_calibration_error, 3), round(c.brier, 3), round(c.in_the_large, 3)
        (0.15, 0.025, 0.0)
    """
    scores = real_array("scores", scores, low=0.0, high=1.0)
    correct = real_array("correct", correct, low=0.0, high=1.0)
    n = same_length(scores=scores, correct=correct)
    reliability = reliability_curve(scores, correct, bins)
    gaps = sum(part.n * abs(part.accuracy - part.mean_score) for part in reliability)
    return Calibration(
        expected_calibration_error=gaps / n,
        brier=float(((scores - correct) ** 2).mean()),
        in_the_large=float(correct.mean() - scores.mean()),
        reliability=reliability,
        n=n,
    )


def reliability_curve(scores: npt.ArrayLike, correct: npt.ArrayLike, bins: int = 15) -> tuple[ReliabilityBin, ...]:
    """Bins of equal mass, lowest scores first; equal scores share a bin, so that no order of rows
    changes the curve.

    Examples:
        >>> [(b.mean_score, b.accuracy, b.n) for b in reliability_curve([0.5, 0.5, 1.0, 1.0], [0,
        ...     1, 1, 1], bins=2)]
        [(0.5, 0.5, 2), (1.0, 1.0, 2)]
    """
    scores = real_array("scores", scores, low=0.0, high=1.0)
    correct = real_array("correct", correct, low=0.0, high=1.0)
    n = same_length(scores=scores, correct=correct)
    bins = min(count("bins", bins, low=1), n)
    order = np.argsort(scores, kind="stable")
    scores, correct = scores[order], correct[order]
    edges = np.searchsorted(scores, scores[(np.arange(bins) * n) // bins], side="left")
    starts = np.unique(edges)
    parts = zip(np.split(scores, starts[1:]), np.split(correct, starts[1:]), strict=True)
    return tuple(
        ReliabilityBin(mean_score=float(inside.mean()), accuracy=float(right.mean()), n=len(inside))
        for inside, right in parts
    )


def overconfidence(
    scores: npt.ArrayLike, correct: npt.ArrayLike, retained: npt.ArrayLike, at_least: float = 0.9
) -> float | None:
    """The share of wrong answers among retained ones with score ≥ at_least; None where there is
    none.

    Examples:
        >>> overconfidence([0.95, 0.99, 0.5], [0, 1, 0], [True, True, True])
        0.5
    """
    scores = real_array("scores", scores, low=0.0, high=1.0)
    correct = real_array("correct", correct, low=0.0, high=1.0)
    kept: BoolArray = flag_array("retained", retained)
    same_length(scores=scores, correct=correct, retained=kept)
    sure = kept & (scores >= number("at_least", at_least, low=0.0, high=1.0))
    return float(1.0 - correct[sure].mean()) if sure.any() else None
