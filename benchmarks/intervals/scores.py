"""Simulated cascades whose accuracy is read off their own scores, by the product's own calibration.

A tier shows two signals; the score is fitted on 600 labelled rows, calibrated on others, and half
of the traffic is retained. What the labels say of calibration is all that is known of it.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from evidence.signals.score_fit import SignalRows
from knowgate._records.arrays import FloatArray
from monitoring.figures.estimates import Estimated, mean
from monitoring.figures.score_errors import accuracy_by_scores
from training.tiers.calibrate import fit_score
from training.tiers.resample import resampled_scores

TAUGHT = 600
SHAPES = ("sigmoid", "bent", "flat")  # of P(right) in the sum of the signals; Platt's is the first


def scored_draws(
    n: int, calibrated: int, shape: str, rng: np.random.Generator, runs: int
) -> Iterator[tuple[Estimated, Estimated, float]]:
    """Per draw the accuracy by scores of n decisions, the plain mean of their scores, and the
    truth of what was retained in traffic like them.
    """
    crowd, chance = _rows(rng, 200_000, shape)
    for _ in range(runs):
        rows = _rows(rng, calibrated, shape)[0]
        model = fit_score(_rows(rng, TAUGHT, shape)[0], rows)
        refits = None if model is None else resampled_scores(model, rows, tuple(str(at) for at in range(calibrated)))
        if model is None or refits is None:
            continue
        everywhere = model.scores(p_t=crowd.p_t, p_ik=crowd.p_ik)
        threshold = float(np.median(everywhere))
        traffic = rng.integers(0, len(everywhere), n)
        score = everywhere[traffic]
        decisions = pd.DataFrame({"retained": score >= threshold, "score": score, "bundle": "b", "kept_tier": 0})
        truth = float(chance[everywhere >= threshold].mean())
        yield accuracy_by_scores(decisions, {("b", 0): refits}), mean(score[score >= threshold]), truth


def _rows(rng: np.random.Generator, n: int, shape: str) -> tuple[SignalRows, FloatArray]:
    a, b, unknown = rng.normal(0.4, 0.9, n), rng.normal(0.4, 0.9, n), np.full(n, np.nan)
    chance = _right(a + b, shape)
    rows = SignalRows(
        p_t=1 / (1 + np.exp(-a)),
        p_ik=1 / (1 + np.exp(-b)),
        entropy=unknown,
        margin=unknown,
        slices=(None,) * n,
        y=(rng.random(n) < chance).astype(np.float64),
    )
    return rows, chance


def _right(sums: FloatArray, shape: str) -> FloatArray:
    if shape == "sigmoid":
        return 1 / (1 + np.exp(-1.1 * sums))
    if shape == "bent":
        return 0.25 + 0.7 / (1 + np.exp(0.5 - 2 * sums))
    return np.minimum(0.93, 0.4 + 0.5 / (1 + np.exp(-2.5 * sums)))
