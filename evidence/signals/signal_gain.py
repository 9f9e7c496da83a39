"""What a learned signal adds to a baseline (P(T) alone), on rows that taught neither: three
differences.

- AUROC, DeLong's paired interval (`evidence.signals.quality.auroc_gain`).
- The accuracy of what is retained, where both retain the same share of the rows.
- The share that is retained, where both retain as many wrong answers: what a target on the drop
  would allow either.

AUROC looks at all orders of two rows; a cascade lives on the upper end of one. Where questions of
several kinds come mixed, most of what a probe adds is often which kind it is, and a slice tells
that without a probe. So the difference of AUROCs is also given over orders of two rows of one
slice, where knowing the slice helps nobody: the mean over slices by their rows, whose variances add
up. It is what a signal adds beyond P(T) and the slice together, however P(T) is weighed in each.

The intervals of the latter two are bootstrap percentiles over the rows (Efron and Tibshirani, An
Introduction to the Bootstrap, 1993, chapter 13), drawn in pairs: both signals are looked at on the
same resampled rows. Ties are retained in part, as a coin among them would. They are figures beside
a certificate and promise nothing themselves.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from evidence.errors import InvalidInputError
from evidence.inputs import BoolArray, FloatArray, IntArray, flag_array, number, real_array, same_length
from evidence.signals.quality import auroc_gain
from knowgate._bundles.bundle_documents import GainWithinSlices, SignalGain

LEAST_COMPARED = 20  # labelled rows
COMPARED_AT = 0.5  # the retained share at which signals are compared, where no certificate names one
RESAMPLES = 400
CONFIDENCE = 0.95
SEED = 20_260_101  # the same rows give the same interval
ROWS_RESAMPLED = 20_000  # at most; an interval over more rows is narrow enough to need no more of them


def signal_gain(
    scores: npt.ArrayLike,
    baseline: npt.ArrayLike,
    correct: npt.ArrayLike,
    *,
    share: float,
    tier: int = 0,
    signal: str = "score",
) -> SignalGain:
    """What `scores` [n], a tier's `signal`, add to `baseline` [n], for correctness [n] of 0 or 1,
    at a retained `share` in (0, 1].

    Raises InvalidInputError where all rows are right or all are wrong.

    Examples:
        >>> right = [1, 1, 1, 1, 0, 0, 0, 0]
        >>> gain = signal_gain([8, 7, 6, 5, 4, 3, 2, 1], [8, 7, 5, 1, 6, 4, 3, 2], right, share=0.5)
        >>> gain.accuracy, round(gain.share, 3)
        (0.25, 0.125)
    """
    scores, baseline = real_array("scores", scores), real_array("baseline", baseline)
    right = flag_array("correct", correct).astype(np.float64)
    n = same_length(scores=scores, baseline=baseline, correct=right)
    share = number("share", share, low=0.0, high=1.0)
    if not share > 0:
        raise InvalidInputError("share is 0: nothing is retained, so nothing can be compared; give one above 0")
    one, other = _Order(scores, right), _Order(baseline, right)
    everything = np.ones(n, dtype=np.int64)
    value = _differences(one, other, everything, share)
    low, high = value + _reach(scores, baseline, right, share)
    # The interval holds the figure itself, also where its bootstrap is one-sided.
    low, high = np.minimum(value, np.maximum(low, -1.0)), np.maximum(value, np.minimum(high, 1.0))
    ordered = auroc_gain(scores, baseline, right, confidence=CONFIDENCE)
    return SignalGain(
        tier=tier,
        signal=signal,
        n=n,
        auroc=ordered.value,
        auroc_low=ordered.lower,
        auroc_high=ordered.upper,
        at_share=share,
        accuracy=float(value[0]),
        accuracy_low=float(low[0]),
        accuracy_high=float(high[0]),
        at_wrong=other.wrong_at(everything, share),
        share=float(value[1]),
        share_low=float(low[1]),
        share_high=float(high[1]),
    )


def gain_over(
    scores: FloatArray,
    baseline: FloatArray,
    correct: FloatArray,
    *,
    tier: int,
    signal: str,
    share: float | None = None,
    slices: Sequence[str | None] = (),
) -> SignalGain | None:
    """`signal_gain` over the labelled rows that show both signals, NaN = unknown, at the certified
    share (a half unless one is given); None where they are fewer than 20, or of one class.

    `slices` [n] names each row's slice, None = none known; () = no row has one.

    Examples:
        >>> gain_over(np.arange(40.0), np.ones(40), np.arange(40) % 2.0, tier=0, signal="score").n
        40
    """
    known = np.isfinite(scores) & np.isfinite(baseline) & np.isfinite(correct)
    right = correct[known] >= 0.5
    if not _comparable(right):
        return None
    share = share or COMPARED_AT
    gain = signal_gain(scores[known], baseline[known], right, share=share, tier=tier, signal=signal)
    named = [name for name, keep in zip(slices, known, strict=True) if keep] if len(slices) else []
    return replace(gain, within_slices=gain_within_slices(scores[known], baseline[known], right, named))


def gain_within_slices(
    scores: npt.ArrayLike, baseline: npt.ArrayLike, correct: npt.ArrayLike, slices: Sequence[str | None]
) -> GainWithinSlices | None:
    """The difference of AUROCs over pairs of one slice, for correctness [n] of 0 or 1.

    Slices count that have 20 rows, right ones and wrong ones; None where fewer than two do: without
    a second one it would be the gain itself.

    Examples:
        >>> right, kind = np.arange(80) % 2, ["easy"] * 40 + ["hard"] * 40
        >>> gain = gain_within_slices(np.repeat([0.9, 0.1], 40), right, right, kind)
        >>> gain.slices, gain.n, gain.auroc  # the score knows the slice alone, the baseline all
        (2, 80, -0.5)
    """
    scores, baseline = real_array("scores", scores), real_array("baseline", baseline)
    right = flag_array("correct", correct)
    if not len(slices):
        return None
    same_length(scores=scores, baseline=baseline, correct=right, slices=np.empty(len(slices)))
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(slices):
        if name is not None:
            rows_of.setdefault(name, []).append(row)
    compared = [np.array(rows) for rows in rows_of.values() if _comparable(right[rows])]
    if len(compared) < 2:
        return None
    gains = [auroc_gain(scores[rows], baseline[rows], right[rows], confidence=CONFIDENCE) for rows in compared]
    n = sum(gain.n for gain in gains)
    value = sum(gain.n / n * gain.value for gain in gains)
    reach = float(ndtri(0.5 + CONFIDENCE / 2.0)) * math.hypot(*(gain.n / n * gain.standard_error for gain in gains))
    return GainWithinSlices(
        slices=len(compared),
        n=n,
        auroc=value,
        auroc_low=max(-1.0, value - reach),
        auroc_high=min(1.0, value + reach),
    )


def _comparable(right: BoolArray) -> bool:
    """Whether there are rows enough, right ones and wrong ones."""
    return len(right) >= LEAST_COMPARED and bool(right.any()) and not right.all()


def _reach(scores: FloatArray, baseline: FloatArray, right: FloatArray, share: float) -> FloatArray:
    """[2, 2] how far the interval reaches below and above each of the two differences."""
    random = np.random.default_rng(SEED)
    n, m = len(right), min(len(right), ROWS_RESAMPLED)
    rows = np.arange(n) if m == n else random.choice(n, m, replace=False)
    one, other = _Order(scores[rows], right[rows]), _Order(baseline[rows], right[rows])
    centre = _differences(one, other, np.ones(m, dtype=np.int64), share)
    reached = [
        _differences(one, other, np.bincount(random.integers(m, size=m), minlength=m), share) for _ in range(RESAMPLES)
    ]
    ends = np.quantile(reached, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    # A part of the rows varies more than all of them do, by the root of the ratio.
    reach: FloatArray = (ends - centre) * np.sqrt(m / n)
    return reach


class _Order:
    """Rows from the surest to the least sure, in groups of equal scores."""

    def __init__(self, scores: FloatArray, right: FloatArray) -> None:
        self._group = np.unique(-scores, return_inverse=True)[1]
        self._groups = int(self._group.max()) + 1
        self._right = right

    def wrong_at(self, counts: IntArray, share: float) -> float:
        """The share of all rows that is wrong among the surest `share` of them, each row counted
        `counts` [n] times.
        """
        taken, wrong = self._curve(counts)
        return float(np.interp(share, taken, wrong))

    def share_at(self, counts: IntArray, wrong_at_most: float) -> float:
        """The largest share of the rows with so many wrong ones among them."""
        taken, wrong = self._curve(counts)
        last = int(np.searchsorted(wrong, wrong_at_most + 1e-12, side="right")) - 1
        if last == len(taken) - 1:
            return 1.0
        within = max(0.0, wrong_at_most - wrong[last]) / (wrong[last + 1] - wrong[last])
        return float(taken[last] + within * (taken[last + 1] - taken[last]))

    def _curve(self, counts: IntArray) -> tuple[FloatArray, FloatArray]:
        """At the end of each group, from none: shares of the rows that are taken, and that are
        taken and wrong.
        """
        taken = np.bincount(self._group, counts, minlength=self._groups)
        wrong = np.bincount(self._group, counts * (1.0 - self._right), minlength=self._groups)
        total = taken.sum()
        return np.concatenate([[0.0], np.cumsum(taken)]) / total, np.concatenate([[0.0], np.cumsum(wrong)]) / total


def _differences(one: _Order, other: _Order, counts: IntArray, share: float) -> FloatArray:
    """[2] of the accuracy at the share, and of the share with as many wrong ones."""
    wrong = other.wrong_at(counts, share)
    # The baseline may go beyond `share` without another wrong one, as the signal may.
    gained = one.share_at(counts, wrong) - other.share_at(counts, wrong)
    return np.array([(wrong - one.wrong_at(counts, share)) / share, gained])
