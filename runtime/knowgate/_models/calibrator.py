"""From a raw logit to a probability: Platt scaling, or a monotone curve.

A calibrator never changes which of two answers looks better: both kinds are monotone, and a file
that holds one that is not is refused. Versioned apart from the probe, so that recalibrating does
not mean retraining.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise

import numpy as np

from knowgate._models.logistic import sigmoid, sigmoids
from knowgate._records.arrays import FloatArray
from knowgate.errors import RecordInvalid

KNOT_LIMIT = 1e6  # logits beyond it mean nothing, and their differences could overflow


class CalibratorKind(StrEnum):
    PLATT = "platt"
    ISOTONIC = "isotonic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Platt:
    """sigmoid(slope · logit + intercept), slope at least 0 (Platt 1999).

    >>> Platt(slope=2.0, intercept=-1.0).probability(0.5)
    0.5
    """

    slope: float
    intercept: float
    kind: CalibratorKind = field(default=CalibratorKind.PLATT, init=False)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.slope) and self.slope >= 0):
            raise RecordInvalid("slope", self.slope, "a calibrator is monotone: the slope is finite and at least 0")
        if not math.isfinite(self.intercept):
            raise RecordInvalid("intercept", self.intercept, "a finite number is expected")

    def probability(self, logit: float) -> float:
        """The probability of one logit; NaN for NaN."""
        return sigmoid(self.slope * logit + self.intercept)

    def probabilities(self, logits: FloatArray) -> FloatArray:
        """`probability`, elementwise."""
        return sigmoids(self.slope * logits + self.intercept)


@dataclass(frozen=True, slots=True, kw_only=True)
class Isotonic:
    """Linear interpolation between (knot, value) pairs on the logit axis, constant outside them.

    The pairs come from an isotonic regression (Zadrozny and Elkan 2002).

    >>> Isotonic(knots=(-1.0, 1.0), values=(0.25, 0.75)).probability(0.5)
    0.625
    """

    knots: tuple[float, ...]  # logits, strictly increasing, at least two
    values: tuple[float, ...]  # probabilities, never decreasing
    kind: CalibratorKind = field(default=CalibratorKind.ISOTONIC, init=False)

    def __post_init__(self) -> None:
        knots, values = self.knots, self.values
        if len(knots) < 2 or len(values) != len(knots):
            raise RecordInvalid("values", len(values), f"one for each of at least two knots, not {len(knots)}")
        if not all(abs(knot) <= KNOT_LIMIT for knot in knots):
            raise RecordInvalid("knots", knots, f"knots lie in ±{KNOT_LIMIT:g}")
        if not all(low < high for low, high in pairwise(knots)):
            raise RecordInvalid("knots", knots, "a calibrator is monotone: knots increase strictly")
        if not all(0.0 <= value <= 1.0 for value in values):
            raise RecordInvalid("values", values, "probabilities lie in [0, 1]")
        if not all(low <= high for low, high in pairwise(values)):
            raise RecordInvalid("values", values, "a calibrator is monotone: values never decrease")

    def probability(self, logit: float) -> float:
        """The probability of one logit; NaN for NaN."""
        if logit != logit:
            return math.nan
        knots, values = self.knots, self.values
        right = bisect_right(knots, logit)
        if right == 0:
            return values[0]
        if right == len(knots):
            return values[-1]
        low, high = values[right - 1], values[right]
        share = (logit - knots[right - 1]) / (knots[right] - knots[right - 1])
        return min(low + share * (high - low), high)

    def probabilities(self, logits: FloatArray) -> FloatArray:
        """`probability`, elementwise."""
        knots, values = np.asarray(self.knots), np.asarray(self.values)
        inside = np.clip(logits, knots[0], knots[-1])
        right = np.clip(np.searchsorted(knots, inside, side="right"), 1, len(knots) - 1)
        low, high = values[right - 1], values[right]
        share = (inside - knots[right - 1]) / (knots[right] - knots[right - 1])
        result: FloatArray = np.minimum(low + share * (high - low), high)
        return result


Calibrator = Platt | Isotonic
