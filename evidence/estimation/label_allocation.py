"""Where labels tell most: a chance of being labelled for each row, for a given number of labels.

An estimate that weighs rows by 1/π has the variance Σ E[v²]/π over the rows that can be labelled,
and costs Σ π labels. The least variance at a cost has π in proportion to the root of E[v²], cut at
1 (Neyman's allocation, as a coin per row). So a row's worth is how large its value may be times the
weight it carries already: 1 / run_propensity of what ran by a coin. A row of worth 0 is never
drawn, and what it would have said must be known without a label.

Source: Neyman, Journal of the Royal Statistical Society 97 (1934); Cochran, Sampling Techniques
(1977), section 5.5.
"""

import numpy as np
import numpy.typing as npt

from evidence.errors import InvalidInputError
from evidence.inputs import number, real_array, same_length

LEVEL = 0.25  # the worth of a row that tells nothing of the drop, where one that ran for certain has 1


def label_rate(worth: npt.ArrayLike, budget: float, rows: npt.ArrayLike | None = None) -> float:
    """c such that Σ rows · min(1, c · worth) = budget: with what chance a row of worth 1 is drawn,
    others with min(1, c · worth).

    Args: worth [n] of n kinds of rows; rows [n], how many there are of each, one unless given. c is
    0 where nothing has worth. Where the budget pays for all, each row of worth has the chance 1.

    Examples:
        >>> label_rate([1.0, 1.0, 4.0], 2.0)
        0.5
        >>> label_rate([20.0, 1.0], 10.0, rows=[5.0, 100.0])  # the 5 for certain, 5 of the 100
        0.05
    """
    worth = real_array("worth", worth, low=0.0)
    rows = np.ones(len(worth)) if rows is None else real_array("rows", rows, low=0.0)
    same_length(worth=worth, rows=rows)
    budget = number("budget", budget, low=0.0)
    if budget <= 0.0:
        raise InvalidInputError(f"budget is {budget}: at least one label is needed to draw any")
    order = np.argsort(-worth, kind="stable")
    order = order[(worth[order] > 0.0) & (rows[order] > 0.0)]
    if len(order) == 0:
        return 0.0
    worth, rows = worth[order], rows[order]
    if budget >= rows.sum():
        return float(1.0 / worth[-1])
    # With the k kinds of most worth labelled for certain, the others share what is left.
    left = budget - (np.cumsum(rows) - rows)
    shared = np.cumsum((rows * worth)[::-1])[::-1]
    fits = (left > 0.0) & (left * worth <= shared * (1.0 + 1e-12))
    first = int(np.argmax(fits))
    return float(left[first] / shared[first])
