"""From raw logits to probabilities, and from all signals to one score; fitted on rows that taught
the probe nothing.

Decisions:
- Platt scaling while labels are few, isotonic regression from 1000 on: a free curve through a few
  hundred labels follows their noise. Platt's targets are smoothed as in his paper, so that no
  probability is 0 or 1.
- Isotonic regression runs over bins of at least ten rows, whose means become the knots; values stay
  off 0 and 1 by half a row, because their logits enter the score.
- The score's weights come from the validation rows (`evidence.signals.score_fit`) and its
  calibrator from the calibration rows.
"""

from dataclasses import replace

import numpy as np
from scipy.optimize import isotonic_regression

from evidence.signals import score_fit
from evidence.signals.ridge_logistic import ridge_logistic
from evidence.signals.score_fit import SignalRows
from knowgate._models.calibrator import Calibrator, Isotonic, Platt
from knowgate._models.score import ScoreModel
from knowgate._records.arrays import FloatArray
from training.errors import TrainingRefused

ISOTONIC_FROM = 1000  # labels
ROWS_PER_BIN = 10


def fit_calibrator(logits: FloatArray, y: FloatArray, weight: FloatArray | None = None) -> Calibrator:
    """The calibrator of n raw logits with labels in [0, 1]: Platt below 1000 labels, isotonic from
    there.

    Raises TrainingRefused without rows or for a logit that is not finite.
    """
    weight = np.ones(len(y)) if weight is None else weight
    if len(y) == 0 or not np.isfinite(logits).all() or not np.isfinite(y).all():
        raise TrainingRefused(f"{len(y)} rows to calibrate on, all must be finite: leave unlabelled rows out")
    if len(y) < ISOTONIC_FROM:
        return fit_platt(logits, y, weight)
    return fit_isotonic(logits, y, weight) or fit_platt(logits, y, weight)


def fit_platt(logits: FloatArray, y: FloatArray, weight: FloatArray) -> Platt:
    """Slope and intercept by penalised maximum likelihood with smoothed targets (Platt 1999; Lin,
    Lin and Weng 2007).

    A slope that would be negative becomes 0: the probability is then the base rate.
    """
    right, wrong = float((weight * y).sum()), float((weight * (1 - y)).sum())
    high, low = (right + 1) / (right + 2), 1 / (wrong + 2)
    targets = low + (high - low) * y
    centre, spread = float(np.average(logits, weights=weight)), float(logits.std()) or 1.0
    z = (logits - centre) / spread
    beta = ridge_logistic(np.column_stack([np.ones(len(z)), z]), targets, weight, np.array([0.0, 1e-3]))
    if beta[1] < 0:
        rate = (right + 1) / (right + wrong + 2)
        return Platt(slope=0.0, intercept=float(np.log(rate / (1 - rate))))
    slope = float(beta[1] / spread)
    return Platt(slope=slope, intercept=float(beta[0] - slope * centre))


def fit_isotonic(logits: FloatArray, y: FloatArray, weight: FloatArray) -> Isotonic | None:
    """A monotone curve through bin means; None where the logits take fewer than two distinct
    values.
    """
    order = np.argsort(logits, kind="stable")
    logits, y, weight = logits[order], y[order], weight[order]
    bins = max(2, min(200, len(y) // ROWS_PER_BIN))
    starts = np.unique(np.searchsorted(logits, logits[(np.arange(bins) * len(y)) // bins], side="left"))
    mass = np.add.reduceat(weight, starts)
    knots = np.add.reduceat(weight * logits, starts) / mass
    means = np.add.reduceat(weight * y, starts) / mass
    fitted = isotonic_regression(means, weights=mass)
    blocks = np.asarray(fitted.blocks)[:-1]
    block_mass = np.add.reduceat(mass, blocks)
    block_knots = np.add.reduceat(mass * knots, blocks) / block_mass
    if len(blocks) < 2 or not (np.diff(block_knots) > 0).all():
        return None
    edge = 0.5 / (len(y) + 1)
    values = np.clip(np.asarray(fitted.x)[blocks], edge, 1 - edge)
    return Isotonic(knots=tuple(block_knots.tolist()), values=tuple(values.tolist()))


def fit_score(validation: SignalRows, calibration: SignalRows) -> ScoreModel | None:
    """One calibrated probability from all signals; None where too few rows have both
    p_t and p_ik.
    """
    model = score_fit.fit_score(validation)
    if model is None:
        return None
    total = model.sums(
        p_t=calibration.p_t,
        p_ik=calibration.p_ik,
        entropy=calibration.entropy,
        margin=calibration.margin,
        slices=calibration.slices,
    )
    check = np.isfinite(total) & np.isfinite(calibration.y)
    if check.sum() < score_fit.FEWEST_ROWS:
        return None
    return replace(model, calibrator=fit_calibrator(total[check], calibration.y[check], calibration.weight[check]))
