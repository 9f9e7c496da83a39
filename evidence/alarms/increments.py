"""The increments that the two alarms watch: positive on average = harm.

Risk asks whether the accuracy drop exceeds ε; it needs labels, so it is heard after the label
horizon. Savings asks whether the cascade costs more than promised at promotion; it needs none, so
it is heard as soon as it is read. Both are linear in what a row shows, so that inverse weights keep
them unbiased; both come with the range that the alarm's bet needs. Source: knowgate's alarm
definitions; weights as in `evidence.estimation.estimates`.
"""

import numpy as np
import numpy.typing as npt

from evidence.errors import InvalidInputError
from evidence.inputs import FloatArray, flag_array, number, propensity_array, real_array, same_length


def risk_increments(
    x: npt.ArrayLike,
    observed: npt.ArrayLike,
    propensity: npt.ArrayLike,
    epsilon: float,
    least_propensity: float,
    forecast: npt.ArrayLike | None = None,
    forecast_weight: npt.ArrayLike | None = None,
) -> FloatArray:
    """[n] D = π_min·(W·g + (A/π)(X − g)) − π_min·ε, with W = R/ρ; every observed row has R = 1.

    Args: x, X where observed (NaN elsewhere; a mature row whose label is missing for unknown
    reasons counts as observed with X = −1, propensity 1); propensity, joint of run and label;
    forecast g in [−1, 1] that has not seen the coin for labels, 0 if none: of earlier rows, or what
    a grader says of the row's own answers. These must have run for that, by a coin of chance ρ ≥ π
    with outcome R: forecast_weight is R/ρ, 1 for a forecast that needs no run.

    Examples:
        >>> risk_increments([1.0, float("nan")], [1, 0], [0.5, 0.5], 0.02, 0.5).tolist()
        [0.99, -0.01]
    """
    x = real_array("x", x, low=-1.0, high=1.0, unknown_allowed=True)
    seen, chance = flag_array("observed", observed), propensity_array("propensity", propensity)
    guess = np.zeros(len(x)) if forecast is None else real_array("forecast", forecast, low=-1.0, high=1.0)
    ran = np.ones(len(x)) if forecast_weight is None else real_array("forecast_weight", forecast_weight, low=0.0)
    same_length(x=x, observed=seen, propensity=chance, forecast=guess, forecast_weight=ran)
    least = number("least_propensity", least_propensity, low=1e-9, high=1.0)
    _refuse_lower(chance, least)
    wrong = seen & ((ran < 1.0 - 1e-12) | (ran * chance > 1.0 + 1e-9))
    if wrong.any() or (ran * least > 1.0 + 1e-9).any():
        row = int(np.argmax(wrong | (ran * least > 1.0 + 1e-9)))
        raise InvalidInputError(f"forecast_weight[{row}] is {ran[row]}; it is R/ρ with ρ ≥ π, and R = 1 where observed")
    if (seen & np.isnan(x)).any():
        row = int(np.argmax(seen & np.isnan(x)))
        raise InvalidInputError(f"x[{row}] is unknown although observed; in a risk alarm a missing label counts as −1")
    residual = np.where(seen, (np.where(seen, x, 0.0) - guess) / chance, 0.0)
    return least * (ran * guess + residual) - least * number("epsilon", epsilon, low=0.0, high=1.0)


def risk_range(epsilon: float, least_propensity: float, largest_forecast: float = 0.0) -> tuple[float, float]:
    """The smallest and largest D of `risk_increments`: ∓(1 + (1 − π_min)·max|g|) − π_min·ε.

    Examples:
        >>> risk_range(0.02, 0.5)
        (-1.01, 0.99)
    """
    least = number("least_propensity", least_propensity, low=1e-9, high=1.0)
    reach = 1.0 + (1.0 - least) * number("largest_forecast", largest_forecast, low=0.0, high=1.0)
    shift = least * number("epsilon", epsilon, low=0.0, high=1.0)
    return -reach - shift, reach - shift


def savings_increments(
    cost: npt.ArrayLike, cost_last: npt.ArrayLike, promised_savings: float, margin: float = 0.0
) -> FloatArray:
    """[n] D = C − (1 − s0 + margin)·Ĉ_last, in the unit of cost; Ĉ_last as `impute_last_cost` gives
    it.

    `promised_savings` s0 is the lower bound at promotion, `margin` the loss of savings that is put
    up with.

    Examples:
        >>> savings_increments([6.0, 2.0], [10.0, 10.0], 0.5).tolist()
        [1.0, -3.0]
    """
    cost, cost_last = real_array("cost", cost, low=0.0), real_array("cost_last", cost_last)
    same_length(cost=cost, cost_last=cost_last)
    return cost - _allowed(promised_savings, margin) * cost_last


def savings_range(
    most_cost: float, most_cost_last: float, promised_savings: float, margin: float = 0.0, least_propensity: float = 1.0
) -> tuple[float, float]:
    """The smallest and largest D of `savings_increments`, from costs at the token limits of each
    tier.

    Args: most_cost, of a whole decision; most_cost_last, of the last tier alone, also the largest
    forecast; least_propensity, 1 where C_last is known on every row.

    Examples:
        >>> savings_range(12.0, 10.0, 0.5)
        (-5.0, 12.0)
    """
    most, most_last = number("most_cost", most_cost, low=0.0), number("most_cost_last", most_cost_last, low=0.0)
    least = number("least_propensity", least_propensity, low=1e-9, high=1.0)
    allowed = _allowed(promised_savings, margin)
    return -allowed * most_last / least, most + allowed * most_last * (1.0 / least - 1.0)


def _allowed(promised_savings: float, margin: float) -> float:
    """The share of C_last that a healthy cascade may cost."""
    return 1.0 - number("promised_savings", promised_savings, high=1.0) + number("margin", margin, low=0.0)


def _refuse_lower(propensity: FloatArray, least: float) -> None:
    if (propensity < least * (1.0 - 1e-12)).any():
        row = int(np.argmin(propensity))
        raise InvalidInputError(
            f"propensity[{row}] is {propensity[row]}, below least_propensity {least}; open the watch with a lower one"
        )
