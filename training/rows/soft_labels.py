"""What a probe may learn from a grader: not its verdict, but the chance that an answer is right
when the grader says so.

That chance is measured on the fitting rows where a trusted label speaks of the same answer, and is
the soft label of the rows where only the grader speaks. It is a mean over those rows, which
suffices for a probe: no certificate depends on what a probe has learned. Where fewer than 20 such
rows stand behind a verdict, it teaches nothing. Validation and calibration keep to trusted labels.
Smoothing by half a row on either side: Jeffreys.
"""

import numpy as np

from knowgate._records.arrays import BoolArray, FloatArray
from training.rows.dataset import LARGEST_WEIGHT, TierColumns

LEAST_COMPARED = 20


def fitting_labels(columns: TierColumns, fitting: BoolArray) -> tuple[FloatArray, FloatArray]:
    """What each row teaches in [0, 1] (NaN = nothing), and its weight; [n] each. `fitting` [n] may
    be learned from.
    """
    known, spoken = np.isfinite(columns.correct), np.isfinite(columns.forecast)
    both, says = fitting & known & spoken, columns.forecast >= 0.5
    taught = columns.correct.copy()
    for verdict in (False, True):
        compared = both & (says == verdict)
        if int(compared.sum()) < LEAST_COMPARED:
            continue
        right = float(columns.correct[compared].sum() + 0.5) / (int(compared.sum()) + 1.0)
        taught = np.where(fitting & spoken & ~known & (says == verdict), right, taught)
    if not (np.isfinite(taught) & ~known).any():
        return columns.correct, columns.weight
    # Rows without a trusted label now speak for themselves, so those with one stand for themselves
    # alone.
    run = np.where(np.isfinite(columns.run_propensity), columns.run_propensity, 1.0)
    return taught, np.minimum(1.0 / run, LARGEST_WEIGHT)
