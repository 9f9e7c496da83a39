"""How unlike the training rows a hidden state is, as a percentile in [0, 1].

A full covariance of d = 4096 would be 64 MB, so the statistic keeps k principal components and one
variance for all remaining directions (probabilistic PCA; Tipping and Bishop 1999):

    raw = log( Σ_j (c_j · (x - mean))² / variances_j  +  ‖rest‖² / residual_variance )

Distances of hidden states grow or shrink with the prompt's length, which would turn long prompts
into "unknown" ones. So the part that log(tokens_in) explains is taken off:

    statistic = raw - (length_intercept + length_slope · log tokens_in)

Without tokens_in there is no statistic: an unadjusted one would be a different quantity under the
same threshold. `x` is standardised as it is for the probe.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass, field

import numpy as np

from knowgate._records.arrays import Float32Array, FloatArray, own_float, own_float32, require_positive
from knowgate.errors import RecordInvalid

ORTHONORMAL_WITHIN = 1e-3  # float32 components of a PCA are orthonormal to about 1e-6
SMALLEST_DISTANCE = 1e-12  # keeps the logarithm finite at the mean itself


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OodStatistics:
    """Low-rank reference distribution of one tier's standardised hidden states.

    >>> ood = OodStatistics(mean=np.zeros(3), components=np.float32([[1, 0, 0]]),
    ...                     variances=np.float32([4]), residual_variance=1.0,
    ...                     length_slope=0.0, length_intercept=0.0,
    ...                     reference=np.float32([0, 1, 2]))
    >>> x = np.float32([2, 2, 0])
    >>> round(ood.statistic(x, tokens_in=50), 3)  # log(2²/4 + 2²/1)
    1.609
    >>> round(ood.percentile(x, tokens_in=50), 3)
    0.805
    >>> ood.percentile(x, tokens_in=None) is None
    True
    """

    mean: Float32Array  # [d]
    components: Float32Array  # [k, d], orthonormal rows
    variances: Float32Array  # [k], above 0
    residual_variance: float  # of each direction outside the components, above 0
    length_slope: float  # per log token
    length_intercept: float
    reference: Float32Array  # [q]: the statistic's quantiles in the reference rows, at levels 0, 1/(q-1), …, 1
    _quantiles: tuple[float, ...] = field(init=False, repr=False)
    _sums: Float32Array = field(init=False, repr=False)  # [2, k]: ones, and 1 / variances

    def __post_init__(self) -> None:
        own = object.__setattr__
        own(self, "mean", own_float32("ood.mean", self.mean, (None,)))
        own(self, "components", own_float32("ood.components", self.components, (None, len(self.mean))))
        own(self, "variances", own_float32("ood.variances", self.variances, (len(self.components),)))
        own(self, "reference", own_float32("ood.reference", self.reference, (None,)))
        for name in ("residual_variance", "length_slope", "length_intercept"):
            own(self, name, own_float(f"ood.{name}", getattr(self, name)))
        require_positive("ood.variances", self.variances)
        require_positive("ood.residual_variance", self.residual_variance)
        if len(self.reference) < 2 or (np.diff(self.reference) < 0).any():
            raise RecordInvalid("ood.reference", len(self.reference), "give at least two quantiles that never decrease")
        with np.errstate(over="ignore", invalid="ignore"):
            off = np.abs(self.components @ self.components.T - np.eye(len(self.components), dtype=np.float32)).max()
        if not off <= ORTHONORMAL_WITHIN:
            raise RecordInvalid("ood.components", float(off), f"rows are orthonormal within {ORTHONORMAL_WITHIN}")
        own(self, "_quantiles", tuple(self.reference.tolist()))
        precisions = own_float32("1 / ood.variances", 1 / self.variances.astype(np.float64), (None,))
        own(self, "_sums", np.stack([np.ones_like(precisions), precisions]))

    @property
    def dimension(self) -> int:
        return len(self.mean)

    def raw(self, x: Float32Array) -> FloatArray:
        """The statistic before its length adjustment, [n], of standardised states [n, d]."""
        centred = x - self.mean
        projections = (centred @ self.components.T).astype(np.float64)  # [n, k]
        return self._log_distances(projections, np.einsum("nd,nd->n", centred, centred, dtype=np.float64))

    def finish(self, projections: Float32Array, square: float, tokens_in: int) -> float:
        """The statistic, from one centred state's products with the components [k] and its squared
        length.
        """
        explained, along = self._sums.dot(projections * projections).tolist()
        distance = along + max(square - explained, 0.0) / self.residual_variance
        adjustment = self.length_intercept + self.length_slope * math.log(tokens_in)
        return math.log(max(distance, SMALLEST_DISTANCE)) - adjustment

    def finish_rows(self, projections: Float32Array, squares: Float32Array, tokens_in: FloatArray) -> FloatArray:
        """`finish` of n states: [n, k], [n] and [n]; NaN where tokens_in is not above 0."""
        raw = self._log_distances(projections.astype(np.float64), squares.astype(np.float64))
        return raw - self._by_length(tokens_in)

    def statistic(self, x: Float32Array, tokens_in: int | None) -> float | None:
        """The length-adjusted statistic of one standardised state [d]; None without tokens_in."""
        if tokens_in is None or tokens_in < 1:
            return None
        centred = x - self.mean
        return self.finish(self.components @ centred, float(centred @ centred), tokens_in)

    def statistics(self, x: Float32Array, tokens_in: FloatArray) -> FloatArray:
        """The length-adjusted statistics [n] of standardised states [n, d]; NaN where tokens_in [n]
        is not above 0.
        """
        return self.raw(x) - self._by_length(tokens_in)

    def _log_distances(self, projections: FloatArray, squares: FloatArray) -> FloatArray:
        along = projections**2
        rest = np.maximum(squares - along.sum(axis=1), 0.0)
        distance = (along / self.variances).sum(axis=1) + rest / self.residual_variance
        result: FloatArray = np.log(np.maximum(distance, SMALLEST_DISTANCE))
        return result

    def _by_length(self, tokens_in: FloatArray) -> FloatArray:
        lengths = np.log(np.where(tokens_in >= 1, tokens_in, np.nan))
        result: FloatArray = self.length_intercept + self.length_slope * lengths
        return result

    def rank(self, statistic: float) -> float:
        """Where one statistic lies in the reference distribution, in [0, 1]; linear between its
        quantiles.
        """
        quantiles = self._quantiles
        right = bisect_right(quantiles, statistic)
        if right == 0:
            return 0.0
        if right == len(quantiles):
            return 1.0
        low, high = quantiles[right - 1], quantiles[right]
        return (right - 1 + (statistic - low) / (high - low)) / (len(quantiles) - 1)

    def ranks(self, statistics: FloatArray) -> FloatArray:
        """`rank`, elementwise; NaN stays NaN."""
        quantiles = np.asarray(self._quantiles)
        last = len(quantiles) - 1
        right = np.searchsorted(quantiles, statistics, side="right")
        inside = np.clip(right, 1, last)
        low, high = quantiles[inside - 1], quantiles[inside]
        step = np.where(high > low, high - low, 1.0)
        between = (inside - 1 + (statistics - low) / step) / last
        outside = np.where(right == 0, 0.0, np.where(right > last, 1.0, between))
        result: FloatArray = np.where(np.isnan(statistics), np.nan, outside)
        return result

    def percentile(self, x: Float32Array, tokens_in: int | None) -> float | None:
        """The percentile in [0, 1] of one standardised state [d]; None without tokens_in."""
        statistic = self.statistic(x, tokens_in)
        return None if statistic is None else self.rank(statistic)

    def percentiles(self, x: Float32Array, tokens_in: FloatArray) -> FloatArray:
        """The percentiles [n] of standardised states [n, d]; NaN where tokens_in [n] is missing."""
        return self.ranks(self.statistics(x, tokens_in))
