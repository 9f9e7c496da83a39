"""The logistic pair, for one number and for arrays: probability to logit and back.

Probabilities are clipped to [FLOOR, 1 - FLOOR] before the logit, because a model's softmax often
returns exactly 1, and an infinite logit would decide alone.
"""

import math

import numpy as np

from knowgate._records.arrays import FloatArray

FLOOR = 1e-6


def logit(probability: float) -> float:
    """log(p / (1 - p)) of one probability, clipped to [FLOOR, 1 - FLOOR]; NaN stays NaN.

    >>> logit(0.5), round(logit(1.0), 3)
    (0.0, 13.816)
    """
    if probability != probability:
        return math.nan
    clipped = min(max(probability, FLOOR), 1 - FLOOR)
    return math.log(clipped / (1 - clipped))


def logits(probabilities: FloatArray) -> FloatArray:
    """`logit`, elementwise."""
    clipped = np.clip(probabilities, FLOOR, 1 - FLOOR)
    result: FloatArray = np.log(clipped / (1 - clipped))
    return result


def sigmoid(value: float) -> float:
    """1 / (1 + exp(-value)) of one number, without overflow; NaN stays NaN.

    >>> sigmoid(0.0), sigmoid(-1e9)
    (0.5, 0.0)
    """
    if value >= 0:
        return 1.0 / (1.0 + math.exp(-value))
    power = math.exp(value)
    return power / (1.0 + power)


def sigmoids(values: FloatArray) -> FloatArray:
    """`sigmoid`, elementwise."""
    power = np.exp(-np.abs(values))
    result: FloatArray = np.where(values >= 0, 1.0, power) / (1.0 + power)
    return result
