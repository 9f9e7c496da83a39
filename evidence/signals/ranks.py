"""Ranks with ties shared, without the second that importing scipy.stats takes."""

import numpy as np

from evidence.inputs import FloatArray


def average_ranks(values: FloatArray) -> FloatArray:
    """[n] ranks from 1; equal values share the mean of theirs.

    Examples:
        >>> average_ranks(np.array([0.3, 0.1, 0.3])).tolist()
        [2.5, 1.0, 2.5]
    """
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2.0)[place], dtype=np.float64)
