"""One calibrated probability of being right, from all that a tier shows.

    score = calibrator(w_p_t · logit p_t + w_p_ik · logit p_ik + w_entropy · entropy
                       + w_margin · margin + intercept + offset of the slice)

Without p_t or p_ik there is no score, nor without an entropy or a margin that has a weight: a
missing signal must reach the fallback, never a made-up number. A slice the model was not fitted on,
or none, has the offset 0.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from knowgate._models.calibrator import Calibrator
from knowgate._models.logistic import logit, logits
from knowgate._records.arrays import FloatArray
from knowgate.errors import RecordInvalid


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreModel:
    """Weights of the signals on the logit axis, and the calibrator of their sum.

    >>> from knowgate._models.calibrator import Platt
    >>> model = ScoreModel(w_p_t=1.0, w_p_ik=1.0, w_entropy=0.0, intercept=0.0,
    ...                    slices={"history": -0.5}, calibrator=Platt(slope=1.0, intercept=0.0))
    >>> model.score(p_t=0.5, p_ik=0.5)
    0.5
    >>> round(model.score(p_t=0.5, p_ik=0.5, slice="history"), 3)
    0.378
    >>> model.score(p_t=0.5, p_ik=None) is None
    True
    """

    w_p_t: float
    w_p_ik: float
    w_entropy: float  # per nat
    intercept: float
    calibrator: Calibrator
    w_margin: float = 0.0  # per unit of probability
    slices: dict[str, float] = field(default_factory=dict)  # slice -> offset; one that is not here has 0

    def __post_init__(self) -> None:
        for name in ("w_p_t", "w_p_ik", "w_entropy", "w_margin", "intercept"):
            if not math.isfinite(getattr(self, name)):
                raise RecordInvalid(name, getattr(self, name), "a finite number is expected")
        for name, offset in self.slices.items():
            if not math.isfinite(offset):
                raise RecordInvalid(f"slices.{name}", offset, "a finite number is expected")

    def score(
        self,
        *,
        p_t: float | None,
        p_ik: float | None,
        entropy: float | None = None,
        margin: float | None = None,
        slice: str | None = None,
    ) -> float | None:
        """The score of one attempt, or None where a signal it needs is missing or not finite."""
        if p_t is None or p_ik is None:
            return None
        total = self.w_p_t * logit(p_t) + self.w_p_ik * logit(p_ik) + self.intercept
        if self.w_entropy != 0.0:
            if entropy is None:
                return None
            total += self.w_entropy * entropy
        if self.w_margin != 0.0:
            if margin is None:
                return None
            total += self.w_margin * margin
        if slice is not None:
            total += self.slices.get(slice, 0.0)
        return self.calibrator.probability(total) if math.isfinite(total) else None

    def scores(
        self,
        *,
        p_t: FloatArray,
        p_ik: FloatArray,
        entropy: FloatArray | None = None,
        margin: FloatArray | None = None,
        slices: Sequence[str | None] | None = None,
    ) -> FloatArray:
        """`score` of n attempts: arrays [n], NaN where a signal is missing, in and out."""
        sums = self.sums(p_t=p_t, p_ik=p_ik, entropy=entropy, margin=margin, slices=slices)
        return self.calibrator.probabilities(sums)

    def sums(
        self,
        *,
        p_t: FloatArray,
        p_ik: FloatArray,
        entropy: FloatArray | None = None,
        margin: FloatArray | None = None,
        slices: Sequence[str | None] | None = None,
    ) -> FloatArray:
        """What the calibrator is given of n attempts, NaN where a signal is missing."""
        total = self.w_p_t * logits(p_t) + self.w_p_ik * logits(p_ik) + self.intercept
        if self.w_entropy != 0.0:
            total = total + self.w_entropy * (np.full_like(total, np.nan) if entropy is None else entropy)
        if self.w_margin != 0.0:
            total = total + self.w_margin * (np.full_like(total, np.nan) if margin is None else margin)
        if slices is not None:
            total = total + np.array([0.0 if name is None else self.slices.get(name, 0.0) for name in slices])
        return np.where(np.isfinite(total), total, np.nan)
