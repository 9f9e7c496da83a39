"""How far a tier's scores may be off: its calibrator, fitted again to resamples of its rows.

A calibrator is fitted to a few hundred or thousand labels and is off by as much as those allow. A
mean of scores inherits that error whole, however many decisions it is over. So a bundle keeps what
the calibrator might as well have been: at a few scores, the probability that each refit gives to
rows of that score (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 6).
Deciding never looks at them.
"""

from dataclasses import dataclass

import numpy as np

from knowgate._records.arrays import Float32Array, FloatArray, own_float32
from knowgate.errors import RecordInvalid


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ResampledScores:
    """Per refit, the probability in place of each of k scores.

    >>> resampled = ResampledScores(at=np.float32([0.25, 0.75]),
    ...                             refits=np.float32([[0.25, 0.5], [0.25, 1.0]]))
    >>> resampled.error_of_mean(np.array([0.75, 0.75])), resampled.error_of_mean(np.array([0.25]))
    (0.25, 0.0)
    """

    at: Float32Array  # [k] scores, strictly increasing
    refits: Float32Array  # [b, k] in [0, 1]

    def __post_init__(self) -> None:
        own = object.__setattr__
        own(self, "at", own_float32("resampled.at", self.at, (None,)))
        own(self, "refits", own_float32("resampled.refits", self.refits, (None, len(self.at))))
        for name, values in (("at", self.at), ("refits", self.refits)):
            if values.size == 0 or not ((values >= 0.0) & (values <= 1.0)).all():
                raise RecordInvalid(f"resampled.{name}", values.size, "give at least one probability, all in [0, 1]")
        if not (np.diff(self.at) > 0).all():
            raise RecordInvalid("resampled.at", len(self.at), "the scores increase strictly")

    def error_of_mean(self, scores: FloatArray) -> float:
        """The standard error that the mean of scores [n] has from the calibrator alone.

        The root mean square of refits around the calibrator in force, not around their own mean: a
        shape that the calibrator cannot take is an error too.
        """
        at, off = self.at.astype(np.float64), self.refits.astype(np.float64) - self.at
        place = np.clip(scores, at[0], at[-1])
        above = np.clip(np.searchsorted(at, place), 1, len(at) - 1) if len(at) > 1 else np.zeros(len(place), dtype=int)
        below = np.maximum(above - 1, 0)
        width = np.where(above > below, at[above] - at[below], 1.0)
        part = np.where(above > below, (place - at[below]) / width, 0.0)
        weight = np.bincount(below, 1.0 - part, minlength=len(at)) + np.bincount(above, part, minlength=len(at))
        return float(np.sqrt(np.square(off @ weight / len(place)).mean()))
