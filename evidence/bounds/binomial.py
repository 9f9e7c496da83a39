"""Exact statements about one proportion.

`retained_accuracy` promises how often a kept answer is right. Given how many rows are retained, the
number of right ones is binomial, so its test and its interval are exact and need no normal limit.

Source: Clopper & Pearson, Biometrika 26 (1934) 404–413.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import bdtrc, betaincinv

from evidence.errors import InvalidInputError
from evidence.inputs import count, level, number


@dataclass(frozen=True, slots=True, kw_only=True)
class Proportion:
    """A share with its interval."""

    value: float  # successes / n
    lower: float
    upper: float
    successes: int
    n: int
    confidence: float  # of the two-sided interval


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> Proportion:
    """The two-sided exact interval of a proportion.

    Examples:
        >>> p = clopper_pearson(9, 10)
        >>> round(p.lower, 4), round(p.upper, 4)
        (0.555, 0.9975)
    """
    successes, n = _checked(successes, n)
    tail = (1.0 - number("confidence", confidence, low=0.0, high=1.0)) / 2.0
    return Proportion(
        value=successes / n,
        lower=proportion_lower_bound(successes, n, tail),
        upper=proportion_upper_bound(successes, n, tail),
        successes=successes,
        n=n,
        confidence=confidence,
    )


def proportion_lower_bound(successes: int, n: int, delta: float) -> float:
    """The proportion lies above this with confidence 1 − δ.

    Examples:
        >>> round(proportion_lower_bound(10, 10, 0.1), 4)  # 0.1 ** (1 / 10)
        0.7943
    """
    successes, n = _checked(successes, n)
    return 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, level("delta", delta)))


def proportion_upper_bound(successes: int, n: int, delta: float) -> float:
    """The proportion lies below this with confidence 1 − δ.

    Examples:
        >>> round(proportion_upper_bound(0, 10, 0.1), 4)
        0.2057
    """
    return 1.0 - proportion_lower_bound(_checked(successes, n)[1] - successes, n, delta)


def proportion_at_least(successes: int, n: int, at_least: float, delta: float) -> bool:
    """True where H0: proportion < `at_least` is rejected at level δ, that is P(Bin(n, at_least) ≥
    successes) ≤ δ.

    Examples:
        >>> proportion_at_least(45, 45, 0.95, 0.1), proportion_at_least(44, 44, 0.95, 0.1)
        (True, False)
    """
    successes, n = _checked(successes, n)
    at_least = number("at_least", at_least, low=0.0, high=1.0)
    return successes > 0 and float(bdtrc(successes - 1, n, at_least)) <= level("delta", delta)


@lru_cache(maxsize=64)
def retained_rows_to_start(at_least: float, delta: float) -> int:
    """The fewest retained rows with which `at_least` can be shown although half the allowed share
    of errors occurs.

    A walk from conservative to bold starts here: with fewer rows the test could only fail, or would
    be lost by a single error, and a first failure ends the walk. It depends on no label.

    Examples:
        >>> retained_rows_to_start(0.95, 0.1)
        77
    """
    at_least, delta = number("at_least", at_least, low=0.0, high=1.0), level("delta", delta)
    if not 0.0 < at_least < 1.0:
        raise InvalidInputError(f"at_least is {at_least}, expected an accuracy in (0, 1); no n can show certainty")
    n = np.arange(1, 200_000)
    errors = np.floor(n * (1.0 - at_least) / 2.0)
    enough = bdtrc(n - errors - 1, n, at_least) <= delta
    enough &= errors >= 1
    if not enough.any():
        raise InvalidInputError(f"at_least is {at_least}: more than {len(n)} retained rows are needed; lower it")
    return int(n[np.argmax(enough)])


def _checked(successes: int, n: int) -> tuple[int, int]:
    successes, n = count("successes", successes), count("n", n, low=1)
    if successes > n:
        raise InvalidInputError(f"successes is {successes}, more than n = {n}; count every row once")
    return successes, n
