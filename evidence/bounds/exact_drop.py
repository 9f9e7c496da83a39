"""The exact test of an accuracy drop: is E[X] > ε, for X in {−1, 0, 1}?

X is +1 where the last tier was right and the kept answer wrong, −1 where it is the other way round,
else 0. The test statistic is Tango's score statistic for paired proportions, with the discordance p
as a nuisance parameter. Its normal limit errs in small samples, so the critical value is
unconditional and exact: the smallest z whose rejection probability is ≤ δ at every p. Fixed n:
looking again after more rows voids the promise.

Above 20 000 rows the search for z sums over every s-th number of discordant rows only (the terms
are smooth in it up to the lattice's jitter, for which 0.3 % of δ is given up), and the z that it
finds is then raised until the full sum holds at the worst points. A million rows take half a second
instead of several.

Sources: Tango, Statistics in Medicine 17 (1998) 891–908 (statistic and restricted estimate); Hsueh,
Liu, Chen, Biometrics 57 (2001) 478–483 (unconditional exact test on it).
"""

from functools import lru_cache

import numpy as np
from scipy.special import betainc, gammaln, ndtri, xlog1py, xlogy

from evidence.errors import InvalidInputError
from evidence.inputs import FloatArray, count, level, number

# The supremum over p is taken on a grid that is refined at its maxima. What it can still miss is
# far below this share of δ, which is given up (tests/evidence/bounds/test_exact_drop.py looks on a
# much denser grid).
_SIZE_MARGIN = 1e-3
_Z_STEP = 1e-4
_WHOLE_UP_TO = 20_000  # up to this n the boundary is found for every d at once, above it where the mass is
_TAIL_SD = 7.5  # binomial mass left out on either side: < 1e-12
_SEARCH_TAIL_SD = 4.5  # while z is searched; what is left out, < 1e-5, counts as rejected
_SAMPLED_MARGIN = 3e-3  # the share of δ given up where the search sums over a sample of its terms
_SAMPLED_TERMS = 400


def drop_statistic(plus: int, minus: int, n: int, epsilon: float) -> float:
    """Z of H0: E[X] > ε; very negative = the drop is clearly below ε. 0 where its variance
    vanishes.

    Args: plus, minus: rows with X = +1 and X = −1; n: all rows; epsilon in (−1, 1).

    Examples:
        >>> round(drop_statistic(10, 10, 1000, 0.02), 3)
        -3.548
    """
    plus, minus, n = _checked_counts(plus, minus, n)
    epsilon = _checked_epsilon(epsilon)
    return float(_z(np.asarray(float(plus)), np.asarray(float(plus + minus)), n, epsilon))


@lru_cache(maxsize=4096)
def critical_value(n: int, epsilon: float, delta: float) -> float:
    """The smallest z (in steps of 1e-4) such that rejecting at Z ≤ −z errs with probability ≤ δ at
    every p.

    Examples:
        >>> round(critical_value(1000, 0.02, 0.1), 2)
        1.36
    """
    n = count("n", n, low=1)
    epsilon, delta = _checked_epsilon(epsilon), level("delta", delta)
    target = delta * (1.0 - (_SIZE_MARGIN if n <= _WHOLE_UP_TO else _SAMPLED_MARGIN))
    points = 60
    coarse = _discordance_grid(n, epsilon, points // 5)
    worst = list(_worst_points(n, epsilon, float(-ndtri(delta)), coarse, keep=3))
    fine = _discordance_grid(n, epsilon, points)
    while True:
        z = _smallest_z(n, epsilon, target, worst, float(-ndtri(delta)))
        candidates = _worst_points(n, epsilon, z, fine, keep=3)
        refined = [_local_maximum(n, epsilon, z, q, fine) for q in candidates]
        violating = [q for q in refined if _size_at(n, epsilon, z, q) > target]
        if not violating:
            return round(z if n <= _WHOLE_UP_TO else _raised_until_exact(n, epsilon, delta, z, [*worst, *refined]), 4)
        worst.extend(violating)


def _raised_until_exact(n: int, epsilon: float, delta: float, z: float, worst: list[float]) -> float:
    """z, raised in steps until the full sum over all terms holds the level at each of the worst
    points.
    """
    target = delta * (1.0 - _SIZE_MARGIN)
    for q in worst:
        while _size_at(n, epsilon, z, q, whole=True) > target:
            z += _Z_STEP
    return z


def drop_refuted(plus: int, minus: int, n: int, epsilon: float, delta: float) -> bool:
    """True where H0: E[X] > ε is rejected at level δ, that is where a drop of at most ε is shown.

    Examples:
        >>> drop_refuted(10, 10, 1000, 0.02, 0.1), drop_refuted(20, 5, 1000, 0.02, 0.1)
        (True, False)
    """
    return drop_statistic(plus, minus, n, epsilon) <= -critical_value(n, float(epsilon), float(delta))


def drop_exceeds(plus: int, minus: int, n: int, epsilon: float, delta: float) -> bool:
    """True where H0: E[X] ≤ ε is rejected at level δ: the drop is larger than ε. The same test,
    mirrored.

    Examples:
        >>> drop_exceeds(80, 10, 1000, 0.02, 0.1), drop_exceeds(25, 5, 1000, 0.02, 0.1)
        (True, False)
    """
    return drop_refuted(minus, plus, n, -epsilon, delta)


def drop_upper_bound(plus: int, minus: int, n: int, delta: float) -> float:
    """A drop that is refuted at level δ: E[X] lies below it with confidence 1 − δ, to within 1 % of
    a standard error.

    The test is inverted: z barely depends on ε, so Z(ε) = −z is solved with z fixed, z is renewed,
    and the result is pushed up until the exact test itself rejects there.

    Examples:
        >>> round(drop_upper_bound(10, 10, 1000, 0.1), 4)
        0.0061
    """
    plus, minus, n = _checked_counts(plus, minus, n)
    delta = level("delta", delta)
    estimate = (plus - minus) / n
    step = 0.01 * np.sqrt(max((plus + minus) / n - estimate**2, 1.0 / n) / n)
    step = 10.0 ** np.floor(np.log10(2.0 * step))
    bound = _solve_statistic(plus, minus, n, float(-ndtri(delta)))
    bound = _solve_statistic(plus, minus, n, critical_value(n, _rounded(bound), delta))
    bound = float(np.ceil(bound / step) * step)  # the step's multiples are met again in the cache
    while bound < 1.0 and not drop_refuted(plus, minus, n, bound, delta):
        bound += step
    return min(float(bound), 1.0)


def drop_lower_bound(plus: int, minus: int, n: int, delta: float) -> float:
    """E[X] lies above this with confidence 1 − δ: the upper bound's mirror image.

    Examples:
        >>> round(drop_lower_bound(80, 10, 1000, 0.1), 4)
        0.0581
    """
    return -drop_upper_bound(minus, plus, n, delta)


def drop_test_power(
    n: int, epsilon: float, delta: float, p_plus: float, p_minus: float, *, z: float | None = None
) -> float:
    """The exact probability that n rows refute a drop above ε when P(X = 1) = p_plus and P(X = −1)
    = p_minus.

    `z` stands in for the critical value, for a search over n (it changes slowly with n).

    Examples:
        >>> round(drop_test_power(1000, 0.02, 0.1, 0.01, 0.01), 2)
        1.0
        >>> round(drop_test_power(1000, 0.02, 0.1, 0.04, 0.02), 2)
        0.09
    """
    n, epsilon = count("n", n, low=1), _checked_epsilon(epsilon)
    p_plus, p_minus = number("p_plus", p_plus, low=0.0, high=1.0), number("p_minus", p_minus, low=0.0, high=1.0)
    q = p_plus + p_minus
    if q > 1.0:
        raise InvalidInputError(f"p_plus + p_minus is {q}, expected at most 1; they exclude each other")
    z = critical_value(n, float(epsilon), float(delta)) if z is None else z
    return _rejection_probability(n, epsilon, z, q, p_plus / q if q > 0.0 else 0.5)


def _checked_counts(plus: int, minus: int, n: int) -> tuple[int, int, int]:
    plus, minus, n = count("plus", plus), count("minus", minus), count("n", n, low=1)
    if plus + minus > n:
        raise InvalidInputError(f"plus + minus is {plus + minus}, more than n = {n}; count every row once")
    return plus, minus, n


def _checked_epsilon(epsilon: float) -> float:
    epsilon = number("epsilon", epsilon)
    if not -1.0 < epsilon < 1.0:
        raise InvalidInputError(f"epsilon is {epsilon}, expected a drop in (−1, 1); 0.02 means two points")
    return epsilon


def _rounded(epsilon: float) -> float:
    # The critical value changes slowly with ε, and a rounded argument is met again in the cache.
    return float(np.clip(np.round(epsilon, 2), -0.99, 0.99))


def _z(a: FloatArray, d: FloatArray, n: int, epsilon: float) -> FloatArray:
    variance = 2.0 * _restricted_p(a, d, n, epsilon) + epsilon - epsilon**2
    safe = np.where(variance > 1e-15, variance, 1.0)
    return np.where(variance > 1e-15, (2.0 * a - d - n * epsilon) / np.sqrt(n * safe), 0.0)


def _restricted_p(a: FloatArray, d: FloatArray, n: int, epsilon: float) -> FloatArray:
    """The maximum-likelihood P(X = −1) given E[X] = ε: the larger root of 2n·p² − B·p − b·ε·(1 − ε)
    = 0.
    """
    b = d - a
    linear = d * (1.0 - epsilon) - 2.0 * epsilon * (n - a)
    root = (linear + np.sqrt(np.maximum(linear**2 + 8.0 * n * b * epsilon * (1.0 - epsilon), 0.0))) / (4.0 * n)
    bounded = np.minimum(np.maximum(root, max(0.0, -epsilon)), (1.0 - epsilon) / 2.0)  # np.clip is slow on scalars
    return np.asarray(bounded, dtype=np.float64)


def _largest_rejecting(d: FloatArray, n: int, epsilon: float, z: float) -> FloatArray:
    """k(d): the largest a with Z ≤ −z at d discordant rows, −1 where none is."""
    a = d / 2.0
    for _ in range(5):  # a fixed point lands within a row or two of the boundary; the loops below make it exact
        variance = 2.0 * _restricted_p(np.clip(a, 0.0, d), d, n, epsilon) + epsilon - epsilon**2
        a = (d + n * epsilon - z * np.sqrt(n * np.maximum(variance, 0.0))) / 2.0
    k = np.clip(np.floor(a), -1.0, d)
    while (up := (k < d) & (_z(np.minimum(k + 1.0, d), d, n, epsilon) <= -z)).any():
        k += up
    while (down := (k >= 0.0) & (_z(np.maximum(k, 0.0), d, n, epsilon) > -z)).any():
        k -= down
    return k


def _rejection_probability(
    n: int, epsilon: float, z: float, q: float, share_plus: float, *, whole: bool = True
) -> float:
    """P(Z ≤ −z) where d ~ Bin(n, q) rows are discordant and each of them is +1 with probability
    share_plus.

    Unless `whole`, terms in the tail count as rejected, and of many terms an even sample stands for
    all.
    """
    half = (
        _TAIL_SD * np.sqrt(n * q * (1.0 - q)) + 30.0 if whole else _SEARCH_TAIL_SD * np.sqrt(n * q * (1.0 - q)) + 12.0
    )
    first, last = max(0, int(n * q - half)), min(n, int(np.ceil(n * q + half)))
    if q <= 0.0 or q >= 1.0:
        first = last = 0 if q <= 0.0 else n
    step = 1 if whole or n <= _WHOLE_UP_TO else max(1, (last - first) // _SAMPLED_TERMS) | 1  # odd: both parities
    d = np.arange(first, last + 1, step, dtype=np.float64)
    if n <= _WHOLE_UP_TO:
        k, log_choose = _boundary(n, epsilon, z)[first : last + 1], _log_choose(n)[first : last + 1]
    else:
        k, log_choose = _largest_rejecting(d, n, epsilon, z), _log_choose_at(n, d)
    mass = np.exp(log_choose + xlogy(d, q) + xlog1py(n - d, -q))
    inner = (k >= 0.0) & (k < d)
    cdf = (k >= d).astype(np.float64)
    cdf[inner] = betainc(d[inner] - k[inner], k[inner] + 1.0, 1.0 - share_plus)
    if whole:
        return float(mass @ cdf)
    return float(mass @ cdf + 1.0 - mass.sum()) if step == 1 else float(mass @ cdf / mass.sum())


@lru_cache(maxsize=4)
def _boundary(n: int, epsilon: float, z: float) -> FloatArray:
    return _largest_rejecting(np.arange(n + 1, dtype=np.float64), n, epsilon, z)


@lru_cache(maxsize=4)
def _log_choose(n: int) -> FloatArray:
    return _log_choose_at(n, np.arange(n + 1, dtype=np.float64))


def _log_choose_at(n: int, d: FloatArray) -> FloatArray:
    return np.asarray(gammaln(n + 1.0) - gammaln(d + 1.0) - gammaln(n - d + 1.0), dtype=np.float64)


def _size_at(n: int, epsilon: float, z: float, q: float, *, whole: bool = False) -> float:
    """The probability of a false rejection on the boundary E[X] = ε at discordance q = 2p + ε."""
    share_plus = (q + epsilon) / (2.0 * q) if q > 0.0 else 0.5
    return _rejection_probability(n, epsilon, z, q, share_plus, whole=whole)


def _discordance_grid(n: int, epsilon: float, points: int) -> FloatArray:
    """Values of q in [|ε|, 1]: even on the arcsine scale, and finer where the rarer sign has only a
    few rows.
    """
    low = abs(epsilon)
    even = np.sin(np.linspace(np.arcsin(np.sqrt(low)), np.pi / 2.0, points)) ** 2
    few_rows = low + 2.0 * np.geomspace(0.05, 100.0, points // 2) / n
    return np.unique(np.clip(np.concatenate([even, few_rows]), low, 1.0))


def _worst_points(n: int, epsilon: float, z: float, grid: FloatArray, keep: int) -> FloatArray:
    sizes = np.array([_size_at(n, epsilon, z, float(q)) for q in grid])
    return grid[np.argsort(sizes)[::-1][:keep]]


def _local_maximum(n: int, epsilon: float, z: float, q: float, grid: FloatArray) -> float:
    """The worst q between the grid's neighbours of q, by two rounds of refinement."""
    at = int(np.searchsorted(grid, q))
    low, high = float(grid[max(at - 1, 0)]), float(grid[min(at + 1, len(grid) - 1)])
    for _ in range(2):
        local = np.linspace(low, high, 7)
        best = int(np.argmax([_size_at(n, epsilon, z, float(p)) for p in local]))
        low, q, high = float(local[max(best - 1, 0)]), float(local[best]), float(local[min(best + 1, 6)])
    return q


def _smallest_z(n: int, epsilon: float, target: float, worst: list[float], start: float) -> float:
    """The smallest multiple of the step with size ≤ target at each of the worst points, by
    bisection.
    """

    def holds(steps: int) -> bool:
        return all(_size_at(n, epsilon, steps * _Z_STEP, float(q)) <= target for q in worst)

    reach = 500 if n <= _WHOLE_UP_TO else 100
    low, high = int(start / _Z_STEP) - reach, int(start / _Z_STEP) + reach
    while holds(low):
        low, high = low - 2000, low
    while not holds(high):
        low, high = high, high + 4 * (high - low)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high * _Z_STEP


def _solve_statistic(plus: int, minus: int, n: int, z: float) -> float:
    """The ε above the estimate at which Z = −z, by bisection (Z falls as ε grows)."""
    a, d = np.asarray(float(plus)), np.asarray(float(plus + minus))
    low, high = (plus - minus) / n, 1.0 - 1e-9
    for _ in range(50):
        middle = (low + high) / 2.0
        low, high = (low, middle) if _z(a, d, n, middle) <= -z else (middle, high)
    return high
