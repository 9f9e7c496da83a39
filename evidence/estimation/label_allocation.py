"""Where labels tell most: a chance of being labelled for each row, for a given number of labels.

An estimate that weighs rows by 1/π has the variance Σ E[v²]/π over the rows that can be labelled,
and costs Σ π labels. The least variance at a cost has π in proportion to the root of E[v²], cut at
1 (Neyman's allocation, as a coin per row). So a row's worth is how large its value may be times the
weight it carries already; a row of worth 0 is never drawn, and what it would have said must be
known without a label.

Source: Neyman, Journal of the Royal Statistical Society 97 (1934); Cochran, Sampling Techniques
(1977), section 5.5.
"""

import numpy as np
import numpy.typing as npt

from evidence.errors import InvalidInputError
from evidence.inputs import FloatArray, number, real_array


def label_propensities(worth: npt.ArrayLike, budget: float) -> FloatArray:
    """[n] min(1, c · worth) with c such that they sum to `budget`; 1 for every row of worth where
    it pays for all.

    Examples:
        >>> label_propensities([1.0, 1.0, 2.0, 0.0], 2.0).tolist()
        [0.5, 0.5, 1.0, 0.0]
        >>> label_propensities([1.0, 1.0, 4.0], 2.0).tolist()
        [0.5, 0.5, 1.0]
    """
    worth = real_array("worth", worth, low=0.0)
    budget = number("budget", budget, low=0.0)
    if budget <= 0.0:
        raise InvalidInputError(f"budget is {budget}: at least one label is needed to draw any")
    wanted = np.sort(worth[worth > 0.0])[::-1]
    if budget >= len(wanted):
        return np.where(worth > 0.0, 1.0, 0.0)
    # With the k rows of most worth labelled for certain, the others share what is left of the
    # budget.
    left = np.cumsum(wanted[::-1])[::-1]  # worth of the rows from k on
    k = np.arange(len(wanted))
    fits = (budget - k > 0.0) & ((budget - k) * wanted <= left * (1.0 + 1e-12))
    first = int(np.argmax(fits))
    chances: FloatArray = np.minimum(1.0, (budget - first) / left[first] * worth)
    return chances
