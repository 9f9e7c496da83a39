"""How many labelled rows would settle a certification.

"Insufficient evidence" is only useful with a number beside it. It is computed at the shares seen so
far: if the drop really is what it seems to be, so many rows show it with the stated power. Where
the estimate itself breaks the target no number of rows would do, and the answer is None.
"""

import math

import numpy as np
from scipy.special import bdtrc, ndtri

from evidence.bounds.exact_drop import critical_value, drop_test_power
from evidence.inputs import level, number

_LEAST_PLANNED = 0.05  # what is less likely than that is not planned for
_EXACT_UP_TO = 20_000  # beyond it the normal limit is within 1 % and the exact search slow


def rows_needed_for_drop(p_plus: float, p_minus: float, epsilon: float, delta: float, power: float = 0.8) -> int | None:
    """Rows with which the exact test shows E[X] ≤ ε with this power; None where p_plus − p_minus ≥
    ε.

    Up to 20 000 rows the normal approximation is corrected by the test's exact power, to about 2 %.
    Source: Connor, Biometrics 43 (1987) 207–211 (paired design), with the restricted variance under
    H0.

    Examples:
        >>> rows_needed_for_drop(0.05, 0.04, 0.02, 0.1), rows_needed_for_drop(0.05, 0.02, 0.02, 0.1)
        (4202, None)
    """
    rows = approximate_rows_for_drop(p_plus, p_minus, epsilon, delta, power)
    if rows is None or rows > _EXACT_UP_TO:
        return rows
    for _ in range(3):  # z is renewed where the search ended, and hardly moves any more
        z = critical_value(rows, epsilon, delta)
        rows = _fewest_rows(rows, epsilon, delta, p_plus, p_minus, power, z)
        if drop_test_power(rows, epsilon, delta, p_plus, p_minus) >= power:
            return rows
    while rows <= 2 * _EXACT_UP_TO and drop_test_power(rows, epsilon, delta, p_plus, p_minus) < power:
        rows = math.ceil(1.01 * rows)
    return rows


def _fewest_rows(
    start: int, epsilon: float, delta: float, p_plus: float, p_minus: float, power: float, z: float
) -> int:
    """Rows that reach the power at critical value z, to within 2 %, searched from `start` both
    ways.
    """

    def enough(n: int) -> bool:
        return drop_test_power(n, epsilon, delta, p_plus, p_minus, z=z) >= power

    low, high = start, start
    while not enough(high) and high <= 2 * _EXACT_UP_TO:
        low, high = high, math.ceil(high * 1.1) + 1
    while low > 0 and enough(low):
        low, high = int(low / 1.1), low
    while high - low > max(1, high // 50):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def approximate_rows_for_drop(
    p_plus: float, p_minus: float, epsilon: float, delta: float, power: float = 0.8
) -> int | None:
    """The same by the normal limit alone: ((z_δ·σ0 + z_power·σ1) / (ε − p₊ + p₋))² rows.

    Examples:
        >>> approximate_rows_for_drop(0.05, 0.04, 0.02, 0.1)
        4099
    """
    p_plus, p_minus = number("p_plus", p_plus, low=0.0, high=1.0), number("p_minus", p_minus, low=0.0, high=1.0)
    epsilon, delta = number("epsilon", epsilon, low=-1.0, high=1.0), level("delta", delta)
    power = number("power", power, low=_LEAST_PLANNED, high=0.999)
    drop = p_plus - p_minus
    if drop >= epsilon:
        return None
    linear = (p_plus + p_minus) * (1.0 - epsilon) - 2.0 * epsilon * (1.0 - p_plus)
    restricted = (linear + math.sqrt(max(linear**2 + 8.0 * p_minus * epsilon * (1.0 - epsilon), 0.0))) / 4.0
    sigma_null = math.sqrt(max(2.0 * restricted + epsilon - epsilon**2, 0.0))
    sigma = math.sqrt(max(p_plus + p_minus - drop**2, 0.0))
    spread = max(-ndtri(delta) * sigma_null + ndtri(power) * sigma, 0.0)  # 0: that much power any number of rows has
    return max(1, math.ceil((spread / (epsilon - drop)) ** 2))


def rows_needed_for_betting(variance: float, gap: float, delta: float, power: float = 0.8) -> int | None:
    """Rows with which the betting bound clears a gap between the target and the estimate; None
    where gap ≤ 0.

    Its width tends to sqrt(2·variance·log(1/δ)/n) (Waudby-Smith & Ramdas 2024, section 4.2).

    Examples:
        >>> rows_needed_for_betting(0.09, 0.01, 0.1)
        8034
    """
    variance, delta = number("variance", variance, low=0.0), level("delta", delta)
    power, gap = number("power", power, low=_LEAST_PLANNED, high=0.999), number("gap", gap)
    if gap <= 0.0:
        return None
    width = max(math.sqrt(2.0 * math.log(1.0 / delta)) + ndtri(power), 0.0)
    return max(1, math.ceil(variance * (width / gap) ** 2))


def rows_needed_for_accuracy(accuracy: float, at_least: float, delta: float, power: float = 0.8) -> int | None:
    """Retained rows with which the exact binomial test shows accuracy ≥ at_least; None where it is
    not above.

    Examples:
        >>> rows_needed_for_accuracy(0.97, 0.95, 0.1), rows_needed_for_accuracy(0.94, 0.95, 0.1)
        (446, None)
    """
    accuracy = number("accuracy", accuracy, low=0.0, high=1.0)
    at_least, delta = number("at_least", at_least, low=0.0, high=1.0), level("delta", delta)
    power = number("power", power, low=_LEAST_PLANNED, high=0.999)
    if accuracy <= at_least:
        return None
    spread = -ndtri(delta) * math.sqrt(at_least * (1 - at_least)) + ndtri(power) * math.sqrt(accuracy * (1 - accuracy))
    rough = max(10, math.ceil((max(spread, 0.0) / (accuracy - at_least)) ** 2))
    n = np.unique(np.linspace(1, 3 * rough, min(3 * rough, 4000)).astype(np.int64))
    needed = np.array([_fewest_right(int(rows), at_least, delta) for rows in n])
    enough = (needed <= n) & (bdtrc(needed - 1.0, n, accuracy) >= power)
    return int(n[np.argmax(enough)]) if enough.any() else None


def _fewest_right(n: int, at_least: float, delta: float) -> int:
    """The fewest right rows among n that show accuracy ≥ at_least; n + 1 where not even n do."""
    low, high = 0, n + 1
    while high - low > 1:
        middle = (low + high) // 2
        rejects = bdtrc(middle - 1, n, at_least) <= delta
        low, high = (low, middle) if rejects else (middle, high)
    return high
