"""Bounds on a drop from weighted or fractional rows, by betting.

The exact test needs X in {−1, 0, 1}. A row seen with propensity π counts (A/π)·X, which lies in
[−1/π_min, 1/π_min], and a soft label is a fraction: there a bettor who wagers against "the drop is
above ε" makes a wealth that grows past 1/δ with probability at most δ if it is true. The rows come
in an order fixed before labels are seen (`fixed_order`), so that sorting a file cannot change a
certificate.

Bets are sized by the variance seen so far. Where the rows' range is far wider than their spread
(few gold labels, each counting 1/π), that takes long to be learned: a caller who can guess the
variance without looking at a label may say so (`variance_guess`). A wrong guess costs power and
nothing else, since any bet fixed beforehand is fair.

Source: Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", JRSS-B 86
(2024) 1–27, section 4 (predictable plug-in bets, one-sided capital; Ville's inequality).
"""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from evidence.errors import InvalidInputError
from evidence.inputs import FloatArray, IntArray, level, number, real_array

LARGEST_BET = 0.75  # share of the wealth that a single row may cost at most
_GUESS_ROWS = 1.0 / 8.0  # a guess of the variance counts as this share of the rows


def fixed_order(ids: Sequence[str], salt: str = "knowgate.certify.v1") -> IntArray:
    """Row positions sorted by a keyed hash of the row's id: an order that no label and no file
    layout can touch.

    Raises InvalidInputError where an id occurs twice: two rows of one query are not independent.

    Examples:
        >>> [["a", "b", "c"][i] for i in fixed_order(["a", "b", "c"])]
        ['c', 'b', 'a']
        >>> [["c", "a", "b"][i] for i in fixed_order(["c", "a", "b"])]
        ['c', 'b', 'a']
    """
    if len(ids) == 0:
        raise InvalidInputError("ids is empty; give at least one row")
    if len(set(ids)) != len(ids):
        twice = next(row for row, seen in _with_seen(ids) if seen)
        raise InvalidInputError(f"ids holds {twice!r} twice; certify on one row per query")
    return np.argsort(_digests(ids, salt), kind="stable")


def thinning_coins(ids: Sequence[str], salt: str = "knowgate.thin.v1") -> FloatArray:
    """[n] a number in [0, 1) per row, from a keyed hash of its id: uniform, and the same wherever
    the row stands.

    Examples:
        >>> thinning_coins(["a", "b"]).round(3).tolist()
        [0.061, 0.989]
    """
    return _digests(ids, salt) / 2.0**64


def _digests(ids: Sequence[str], salt: str) -> npt.NDArray[np.uint64]:
    """[n] the first eight bytes of each id's SHA-256, big-endian: they sort as the digests do."""
    key = f"{salt}:".encode()
    return np.frombuffer(
        b"".join(hashlib.sha256(key + name.encode()).digest()[:8] for name in ids), dtype=">u8"
    ).astype(np.uint64)


def log_capital(
    x: FloatArray, epsilon: float, delta: float, bound: float = 1.0, variance_guess: float | None = None
) -> float:
    """The largest log wealth reached against H0: E[X] > ε by rows x [n] in [−bound, bound], in
    their order.

    Reject H0 at level δ where it is ≥ log(1/δ). The wealth grows with ε row by row, so bounds
    follow by bisection. `variance_guess`, of X, must be made without any label of these rows.

    Examples:
        >>> rows = np.tile([1.0, -1.0, 0.0, 0.0], 250)
        >>> bool(log_capital(rows, 0.2, 0.1) > np.log(10) > log_capital(rows, 0.01, 0.1))
        True
    """
    x, delta = real_array("x", x), level("delta", delta)
    bound = _checked_bound(x, bound)
    epsilon = number("epsilon", epsilon, low=-bound, high=bound)
    guess = _scaled(variance_guess, bound)
    return _log_capital((1.0 - x / bound) / 2.0, (1.0 - epsilon / bound) / 2.0, delta, guess)


def drop_refuted_by_betting(
    x: FloatArray, epsilon: float, delta: float, bound: float = 1.0, variance_guess: float | None = None
) -> bool:
    """True where H0: E[X] > ε is rejected at level δ by rows x in their fixed order.

    Examples:
        >>> drop_refuted_by_betting(np.zeros(500), 0.02, 0.1)
        True
    """
    return log_capital(x, epsilon, delta, bound, variance_guess) >= math.log(1.0 / delta)


def drop_exceeds_by_betting(
    x: FloatArray, epsilon: float, delta: float, bound: float = 1.0, variance_guess: float | None = None
) -> bool:
    """True where H0: E[X] ≤ ε is rejected at level δ: the mirrored bet.

    Examples:
        >>> drop_exceeds_by_betting(np.tile([1.0, 0.0], 100), 0.02, 0.1)
        True
    """
    return drop_refuted_by_betting(-np.asarray(x, dtype=np.float64), -epsilon, delta, bound, variance_guess)


def betting_upper_bound(x: FloatArray, delta: float, bound: float = 1.0, variance_guess: float | None = None) -> float:
    """E[X] lies below this with confidence 1 − δ: the smallest refuted ε, by bisection to 1e-6 of
    the range.

    Examples:
        >>> round(betting_upper_bound(np.tile([1.0, -1.0, 0.0, 0.0], 250), 0.1), 3)
        0.049
    """
    x, delta = real_array("x", x), level("delta", delta)
    bound = _checked_bound(x, bound)
    z, target, guess = (1.0 - x / bound) / 2.0, math.log(1.0 / delta), _scaled(variance_guess, bound)
    low, high = -bound, bound
    while high - low > 1e-6 * bound:
        middle = (low + high) / 2.0
        refuted = _log_capital(z, (1.0 - middle / bound) / 2.0, delta, guess) >= target
        low, high = (low, middle) if refuted else (middle, high)
    return high


def betting_lower_bound(x: FloatArray, delta: float, bound: float = 1.0, variance_guess: float | None = None) -> float:
    """E[X] lies above this with confidence 1 − δ.

    Examples:
        >>> round(betting_lower_bound(np.tile([1.0, -1.0, 0.0, 0.0], 250), 0.1), 3)
        -0.047
    """
    return -betting_upper_bound(-np.asarray(x, dtype=np.float64), delta, bound, variance_guess)


def _log_capital(z: FloatArray, m: float, delta: float, guess: float | None) -> float:
    """Wealth of the bets λ_i on z [n] in [0, 1] against E[z] < m; λ_i looks at rows
    before i only.
    """
    if m <= 0.0:  # ε is the largest value possible: nothing is left to refute
        return np.inf
    i = np.arange(1, len(z) + 1)
    mean = (0.5 + np.cumsum(z)) / (1 + i)
    first, rows = (0.25, 1.0) if guess is None else (guess, max(1.0, _GUESS_ROWS * len(z)))
    variance = (rows * first + np.cumsum((z - mean) ** 2)) / (rows + i)
    before = np.concatenate([[first], variance[:-1]])
    bet = np.minimum(np.sqrt(2.0 * np.log(1.0 / delta) / (len(z) * before)), LARGEST_BET / m)
    return max(float(np.cumsum(np.log1p(bet * (z - m))).max()), 0.0)


def _scaled(variance_guess: float | None, bound: float) -> float | None:
    """A guess of the variance of X as one of z = (1 − X/bound)/2; never so small that the first
    bets are wild.
    """
    if variance_guess is None:
        return None
    return max(number("variance_guess", variance_guess, low=0.0) / (4.0 * bound * bound), 1e-9)


def _checked_bound(x: FloatArray, bound: float) -> float:
    bound = number("bound", bound, low=0.0)
    if bound == 0.0 or np.abs(x).max() > bound * (1.0 + 1e-12):
        raise InvalidInputError(f"a row of x is {np.abs(x).max()}, beyond bound {bound}; give bound = 1 / π_min")
    return bound


def _with_seen(ids: Sequence[str]) -> list[tuple[str, bool]]:
    seen: set[str] = set()
    marked: list[tuple[str, bool]] = []
    for name in ids:
        marked.append((name, name in seen))
        seen.add(name)
    return marked
