"""Forecasts of correctness in a certificate: how they enter, how much of them, and what they may be
worth.

A grader's or a user's label is a forecast f of what a trusted label would say. A row counts

    λ·(R/ρ)·f + (A/π)·(v − λ·f)

with v the true value, R whether the answers ran (chance ρ), A whether a trusted label was drawn
(chance π ≤ ρ). Its mean is that of v for every f and every λ, if neither has seen whether A fell:
so a grader however bad breaks no promise, it only widens what must be shown. λ in [0, 1] is tuned
row by row on the trusted labels before it, in the order that no label can touch, so that the bet
stays fair; it starts from what an assumed error rate of the grader implies.

Sources: Angelopoulos, Bates, Fannjiang, Jordan & Zrnic, Science 382 (2023) (prediction-powered
inference); Zrnic & Candès, PNAS 121 (2024), "Active statistical inference" (sequential form with
betting); the augmented term is that of Robins, Rotnitzky & Zhao, JASA 89 (1994).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evidence.errors import InvalidInputError, NotIdentifiedError
from evidence.inputs import BoolArray, FloatArray, number

# Of a grader that nobody has measured: it decides between tests and sizes the first bets, nothing
# more.
ASSUMED_ERROR = 0.1
_TAUGHT_BY = 10.0  # how many trusted labels the assumption counts as
_TOO_FAR = 4.0  # standard errors between coverage by forecasts where trusted labels are, and where they are not


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What forecasts are expected to leave of a mean square, from forecasts and an assumed error
    alone.
    """

    square: float  # E[v²] where v is not known beforehand
    residual: float  # E[(v − λf)²] there
    share: float  # λ


def corrected(
    value: FloatArray,
    forecast: FloatArray,
    drawn_weight: FloatArray,
    ran_weight: FloatArray,
    first_share: float,
) -> tuple[FloatArray, float]:
    """The rows' counts [n] in the fixed order, and the share λ used on the last of them.

    Args, all [n]: value v (any number where not drawn); forecast f (0 = none); drawn_weight A/π;
    ran_weight R/ρ.

    Examples:
        >>> counts, share = corrected(np.ones(2), np.ones(2), np.array([2.0, 0.0]), np.ones(2), 1.0)
        >>> counts.tolist(), share
        ([1.0, 1.0], 1.0)
    """
    # What the row adds to the variance of the sum, beyond what it would add without a coin for
    # labels.
    weight = np.maximum(drawn_weight * (drawn_weight - ran_weight), 0.0)
    drawn = weight[weight > 0.0]
    start = _TAUGHT_BY * float(drawn.mean()) if drawn.size else 1.0
    product = start * first_share + np.cumsum(weight * value * forecast)
    square = start + np.cumsum(weight * forecast * forecast)
    share = np.clip(np.concatenate([[first_share], product / square]), 0.0, 1.0)
    before = share[:-1]
    return before * ran_weight * forecast + drawn_weight * (value - before * forecast), float(share[-1])


def worth_of_difference(forecast_square: float, error: float) -> Worth:
    """What forecasts of a difference v of two truths are worth, from E[f²] and each verdict's error
    rate.

    Where the truths differ the forecast differs as they do with probability (1 − e)² and the other
    way round with e²; where they are equal it differs with probability 2e(1 − e).

    Examples:
        >>> worth_of_difference(0.5, 0.0)
        Worth(square=0.5, residual=0.025, share=1.0)
    """
    flips = 2.0 * error * (1.0 - error)
    if forecast_square <= 0.0:
        return Worth(square=max(flips, 0.01), residual=max(flips, 0.01), share=0.0)
    square = min(max((forecast_square - flips) / (1.0 - 2.0 * flips), 0.02 * forecast_square), 1.0)
    return _worth(square, (1.0 - 2.0 * error) * square, forecast_square)


def worth_of_verdict(called_right: float, error: float) -> Worth:
    """What forecasts of one truth around its mean are worth, from the share called right and the
    error rate.

    Examples:
        >>> worth_of_verdict(0.82, 0.1).square.__round__(2), worth_of_verdict(0.82,
        ...     0.1).share.__round__(2)
        (0.09, 0.49)
    """
    right = min(max((called_right - error) / (1.0 - 2.0 * error), 0.5), 0.99)
    square = right * (1.0 - right)
    return _worth(square, (1.0 - 2.0 * error) * square, max(called_right * (1.0 - called_right), square))


def _worth(square: float, product: float, forecast_square: float) -> Worth:
    residual = max(square - product**2 / forecast_square, 0.05 * square)
    return Worth(square=square, residual=residual, share=min(product / forecast_square, 1.0))


def checked_error(error: npt.ArrayLike | None) -> float:
    """The error rate assumed of each verdict; one of a half or more would tell nothing."""
    if error is None:
        return ASSUMED_ERROR
    value = number("forecast_error", float(np.asarray(error, dtype=np.float64)))
    if not 0.0 <= value < 0.5:
        raise InvalidInputError(f"forecast_error is {value}, expected a share in [0, 0.5); leave it out when unknown")
    return value


def refuse_coin_in_forecasts(forecast: FloatArray, ran: BoolArray, drawn: BoolArray, chance: FloatArray) -> None:
    """Raise NotIdentifiedError where forecasts are there rather where trusted labels are, or rather
    where they are not.

    Whether a forecast exists must not depend on the coin for trusted labels. Given the rows that
    ran, that coin falls with `chance` [n] on each by itself, so Σ(h − h̄)(A − chance), h whether a
    forecast exists, is 0 up to chance.
    """
    open_rows = ran & (chance > 0.0) & (chance < 1.0)
    if not open_rows.any():
        return
    has: FloatArray = np.asarray(np.isfinite(forecast[open_rows]).all(axis=1), dtype=np.float64)
    centred = has - has.mean()
    off = float((centred * (drawn[open_rows] - chance[open_rows])).sum())
    error = float(np.sqrt((centred**2 * chance[open_rows] * (1.0 - chance[open_rows])).sum()))
    if abs(off) > _TOO_FAR * error + 1e-9:
        there = float(has[drawn[open_rows]].mean()) if drawn[open_rows].any() else 0.0
        rest = float(has[~drawn[open_rows]].mean()) if (~drawn[open_rows]).any() else 0.0
        raise NotIdentifiedError(
            f"forecasts exist for {there:.1%} of the rows with trusted labels and for {rest:.1%} of the others; they"
            " can be corrected only where they were made whether or not a trusted label was drawn: assess all rows"
        )
