"""How well a signal separates right answers from wrong ones.

AUROC asks about the order of scores, macro-F1 about one threshold. Each comes with an interval,
because on a few hundred labels the bare figure misleads.

Two signals on the same rows are compared in pairs (`auroc_gain`): their AUROCs move together, so an
interval that took them as independent would be far too wide to see a small gain.

Sources: DeLong, DeLong & Clarke-Pearson, Biometrics 44 (1988) (AUROC variance, alone and paired);
Takahashi et al., Applied Intelligence 52 (2022) (delta-method variance of macro-F1).
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, ndtri

from evidence.errors import InvalidInputError
from evidence.inputs import BoolArray, FloatArray, flag_array, number, real_array, same_length


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure with its interval: within [0, 1], a difference of two within [-1, 1]."""

    value: float
    standard_error: float
    lower: float
    upper: float
    n: int
    confidence: float


def auroc(scores: npt.ArrayLike, correct: npt.ArrayLike, *, confidence: float = 0.95) -> Figure:
    """P(score of a right answer > score of a wrong one), ties counted half, with DeLong's variance.

    Args: scores [n], any real; correct [n], 0 or 1. Raises InvalidInputError where all are right or
    all are wrong.

    Examples:
        >>> auroc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]).value
        0.75
    """
    scores, right = real_array("scores", scores), flag_array("correct", correct)
    n = same_length(scores=scores, correct=right)
    _both_classes(right)
    above, below = _placements(scores, right)
    variance = _spread(above) + _spread(below)
    value, error = float(above.mean()), float(np.sqrt(variance))
    figure = _figure(value, error, n, confidence)
    if not 0.0 < value < 1.0:
        return figure
    # Near 1 the plain interval is too short on one side; on the logit scale it covers (Pepe 2003,
    # section 5.2).
    reach = float(ndtri(0.5 + confidence / 2.0)) * error / (value * (1.0 - value))
    return replace(figure, lower=float(expit(logit(value) - reach)), upper=float(expit(logit(value) + reach)))


def auroc_gain(
    scores: npt.ArrayLike, baseline: npt.ArrayLike, correct: npt.ArrayLike, *, confidence: float = 0.95
) -> Figure:
    """AUROC of scores [n] − AUROC of baseline [n] on the same rows, with DeLong's paired variance.

    Raises InvalidInputError where all rows are right or all are wrong.

    Examples:
        >>> gain = auroc_gain([0.1, 0.2, 0.8, 0.9], [0.1, 0.6, 0.5, 0.9], [0, 0, 1, 1])
        >>> gain.value
        0.25
    """
    scores, baseline = real_array("scores", scores), real_array("baseline", baseline)
    right = flag_array("correct", correct)
    n = same_length(scores=scores, baseline=baseline, correct=right)
    _both_classes(right)
    above, below = _placements(scores, right)
    base_above, base_below = _placements(baseline, right)
    value = float(above.mean() - base_above.mean())
    error = float(np.sqrt(_spread(above - base_above, 1.0) + _spread(below - base_below, 1.0)))
    confidence = number("confidence", confidence, low=0.0, high=0.9999)
    reach = float(ndtri(0.5 + confidence / 2.0)) * error
    return Figure(
        value=value,
        standard_error=error,
        lower=max(-1.0, value - reach),
        upper=min(1.0, value + reach),
        n=n,
        confidence=confidence,
    )


def macro_f1(predicted: npt.ArrayLike, correct: npt.ArrayLike, *, confidence: float = 0.95) -> Figure:
    """Mean of the F1 of "right" and of "wrong", with the delta method's interval over the 2 × 2
    table.

    Raises InvalidInputError where all rows are of one class.

    Examples:
        >>> round(macro_f1([1, 1, 0, 0], [1, 0, 0, 0]).value, 4)
        0.7333
    """
    said, right = flag_array("predicted", predicted), flag_array("correct", correct)
    n = same_length(predicted=said, correct=right)
    _both_classes(right)
    cells = np.array([(said & right).mean(), (said & ~right).mean(), (~said & right).mean(), (~said & ~right).mean()])
    value, gradient = _macro_f1_of(cells)
    variance = float((gradient**2 * cells).sum() - (gradient * cells).sum() ** 2) / n
    return _figure(value, float(np.sqrt(max(variance, 0.0))), n, confidence)


def average_ranks(values: FloatArray) -> FloatArray:
    """[n] ranks from 1; equal values share the mean of theirs. scipy.stats imports for a second.

    Examples:
        >>> average_ranks(np.array([0.3, 0.1, 0.3])).tolist()
        [2.5, 1.0, 2.5]
    """
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2.0)[place], dtype=np.float64)


def _macro_f1_of(cells: FloatArray) -> tuple[float, FloatArray]:
    """Macro-F1 and its gradient at cell shares (true right, false right, false wrong,
    true wrong).
    """
    tp, fp, fn, tn = (float(cell) for cell in cells)
    whole_right, whole_wrong = 2 * tp + fp + fn, 2 * tn + fp + fn
    value = (2 * tp / whole_right + 2 * tn / whole_wrong) / 2.0
    shared = -tp / whole_right**2 - tn / whole_wrong**2
    return value, np.array([(fp + fn) / whole_right**2, shared, shared, (fp + fn) / whole_wrong**2])


def _placements(scores: FloatArray, right: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Per right answer the share of wrong ones below it, per wrong answer the share of right ones
    above it.
    """
    positives, negatives = scores[right], scores[~right]
    m, k = len(positives), len(negatives)
    ranks = average_ranks(np.concatenate([positives, negatives]))
    return (ranks[:m] - average_ranks(positives)) / k, 1.0 - (ranks[m:] - average_ranks(negatives)) / m


def _spread(placements: FloatArray, alone: float = 0.25) -> float:
    """The variance of the placements' mean; `alone`, the most it could be, for a single row."""
    return float(placements.var(ddof=1)) / len(placements) if len(placements) > 1 else alone


def _both_classes(right: BoolArray) -> None:
    if right.all() or not right.any():
        raise InvalidInputError(
            f"correct holds one class only ({int(right.sum())} right of {len(right)}); wait for labels of the other"
        )


def _figure(value: float, error: float, n: int, confidence: float) -> Figure:
    confidence = number("confidence", confidence, low=0.0, high=0.9999)
    reach = float(ndtri(0.5 + confidence / 2.0)) * error
    return Figure(
        value=value,
        standard_error=error,
        lower=max(0.0, value - reach),
        upper=min(1.0, value + reach),
        n=n,
        confidence=confidence,
    )
