"""The reference distribution of one tier's hidden states: what it looks like to be in the training
traffic.

Decisions:
- Principal components come from the fit rows, the reference quantiles and the length regression
  from the calibration rows: distances of the very rows that shaped the components are too small.
- The components kept are the first 16, or as many as a tenth of the fit rows: kilobytes, not d × d.
- Without prompt lengths there are no OOD statistics, because unadjusted distances mostly measure
  length.
"""

import numpy as np
from scipy.sparse.linalg import svds

from knowgate._models.ood import OodStatistics
from knowgate._records.arrays import Float32Array, FloatArray

COMPONENTS = 16
QUANTILES = 101
LEAST_ROWS = 30
ALL_COMPONENTS_UP_TO = 400  # rows or dimensions; beyond it only those that are kept are computed
SMALLEST_VARIANCE = 1e-6  # of a standardised feature


def fit_ood(fit: Float32Array, calibration: Float32Array, tokens_in: FloatArray) -> OodStatistics | None:
    """OOD statistics from standardised states: fit [n, d], calibration [m, d] with prompt lengths
    [m] (NaN = unknown).

    None where fewer than 30 rows of either kind can be used.
    """
    known = np.isfinite(tokens_in) & (tokens_in >= 1)
    if len(fit) < LEAST_ROWS or known.sum() < LEAST_ROWS:
        return None
    mean = fit.mean(axis=0, dtype=np.float64)
    kept = max(1, min(COMPONENTS, len(fit) // 10, fit.shape[1] - 1))
    components, variances, rest = _principal(fit - mean.astype(np.float32), kept)
    bare = OodStatistics(
        mean=mean.astype(np.float32),
        components=components,
        variances=np.maximum(variances, SMALLEST_VARIANCE).astype(np.float32),
        residual_variance=max(rest, SMALLEST_VARIANCE),
        length_slope=0.0,
        length_intercept=0.0,
        reference=np.array([0.0, 1.0], dtype=np.float32),
    )
    raw = bare.raw(calibration[known])
    slope, intercept = _line(np.log(tokens_in[known]), raw)
    adjusted = raw - (intercept + slope * np.log(tokens_in[known]))
    return OodStatistics(
        mean=bare.mean,
        components=bare.components,
        variances=bare.variances,
        residual_variance=bare.residual_variance,
        length_slope=slope,
        length_intercept=intercept,
        reference=np.quantile(adjusted, np.linspace(0.0, 1.0, QUANTILES)).astype(np.float32),
    )


def _principal(centred: Float32Array, kept: int) -> tuple[Float32Array, FloatArray, float]:
    """The first components [kept, d], their variances, and the mean variance of every other
    direction.
    """
    if min(centred.shape) > ALL_COMPONENTS_UP_TO:
        _, singular, components = svds(centred, k=kept, v0=np.ones(min(centred.shape), dtype=centred.dtype))
    else:
        _, singular, components = np.linalg.svd(centred, full_matrices=False)
    order = np.argsort(singular)[::-1][:kept]
    variances = singular[order].astype(np.float64) ** 2 / (len(centred) - 1)
    total = float(np.square(centred, dtype=np.float64).sum()) / (len(centred) - 1)
    rest = (total - float(variances.sum())) / max(1, centred.shape[1] - kept)
    return np.ascontiguousarray(components[order]), variances, rest


def _line(x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """Least squares; a flat line where all lengths are equal."""
    spread = float(x.var())
    if spread < 1e-12:
        return 0.0, float(y.mean())
    slope = float(((x - x.mean()) * (y - y.mean())).mean() / spread)
    return slope, float(y.mean() - slope * x.mean())
