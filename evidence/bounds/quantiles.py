"""A quantile with an interval that holds whatever the distribution: two of the values themselves.

How many of n values lie at or below the quantile is binomial, so ranks that such a count rarely
leaves enclose it (Conover, Practical Nonparametric Statistics, 1999, section 3.2).
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr

from evidence.errors import InvalidInputError
from evidence.inputs import number, real_array


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantile:
    """The least value that `share` of the values do not exceed, and its interval."""

    value: float
    lower: float | None  # None where so few values tell no bound
    upper: float | None
    n: int


def quantile(values: npt.ArrayLike, share: float, *, confidence: float = 0.95) -> Quantile:
    """The quantile of `values` [n], n ≥ 1, with a two-sided interval. Raises InvalidInputError.

    Examples:
        >>> quantile(range(1, 101), 0.5)
        Quantile(value=50.0, lower=40.0, upper=61.0, n=100)
        >>> quantile(range(1, 21), 0.95)
        Quantile(value=19.0, lower=17.0, upper=None, n=20)
    """
    known = np.sort(real_array("values", np.asarray(values, dtype=np.float64)))
    n, share = len(known), number("share", share, low=0.0, high=1.0)
    if n == 0 or not 0.0 < share < 1.0:
        raise InvalidInputError(f"values has {n} rows and share is {share}, expected one row or more and 0 < share < 1")
    tail = (1.0 - number("confidence", confidence, low=0.0, high=1.0)) / 2.0
    # Nothing lies ten standard deviations off that a tail of any use would tell.
    reach = 10.0 * sqrt(n * share * (1.0 - share)) + 10.0
    counts = np.arange(max(0, int(n * share - reach)), min(n, int(n * share + reach)) + 1)
    below = bdtr(counts.astype(np.float64), n, share)
    least, most = (int(counts[np.searchsorted(below, level)]) for level in (tail, 1.0 - tail))
    return Quantile(
        value=float(np.quantile(known, share, method="inverted_cdf")),
        lower=float(known[least - 1]) if least > 0 else None,
        upper=float(known[most]) if most < n else None,
        n=n,
    )
