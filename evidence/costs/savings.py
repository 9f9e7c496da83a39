"""What a cascade saves against its last tier alone.

Savings = 1 − ΣC / ΣC_last over a cohort: a ratio of sums, never a mean of ratios, so that long
queries count for what they cost. Exploration is paid to learn and not to answer: it is shown apart.
Costs may be GFLOPs, USD or tokens; they are the costs of their day, and a later price changes no
figure of the past.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from evidence.errors import InvalidInputError
from evidence.inputs import FloatArray, flag_array, number, propensity_array, real_array, same_length


@dataclass(frozen=True, slots=True, kw_only=True)
class Savings:
    """Savings of a cohort with a normal interval; all costs in the unit that was given."""

    value: float  # 1 − cost / cost_last; negative where the cascade costs more
    standard_error: float
    lower: float
    upper: float
    cost: float  # total, without exploration
    cost_last: float  # total had the last tier answered everything
    exploration_cost: float  # total, beside the savings
    after_exploration: float  # 1 − (cost + exploration_cost) / cost_last
    n: int
    confidence: float


def gflops(parameters: float, tokens: npt.ArrayLike) -> FloatArray:
    """[n] 2 · parameters · tokens / 1e9 (prefill and decode; tokens = in + out).

    Source: the usual forward-pass count of a dense transformer, Kaplan et al. 2020 (arXiv
    2001.08361), section 2.1.

    Examples:
        >>> gflops(8e9, [100]).tolist()
        [1600.0]
    """
    return 2.0 * number("parameters", parameters, low=0.0) * real_array("tokens", tokens, low=0.0) / 1e9


def usd(
    tokens_in: npt.ArrayLike, tokens_out: npt.ArrayLike, usd_per_million_in: float, usd_per_million_out: float
) -> FloatArray:
    """[n] the price of each run at the token prices of its day.

    Examples:
        >>> usd([1_000_000], [500_000], 0.5, 1.5).tolist()
        [1.25]
    """
    tokens_in, tokens_out = real_array("tokens_in", tokens_in, low=0.0), real_array("tokens_out", tokens_out, low=0.0)
    same_length(tokens_in=tokens_in, tokens_out=tokens_out)
    price_in = number("usd_per_million_in", usd_per_million_in, low=0.0)
    price_out = number("usd_per_million_out", usd_per_million_out, low=0.0)
    return (tokens_in * price_in + tokens_out * price_out) / 1e6


def savings_of(
    cost: npt.ArrayLike,
    cost_last: npt.ArrayLike,
    *,
    exploration_cost: npt.ArrayLike | None = None,
    stratum: npt.ArrayLike | None = None,
    confidence: float = 0.95,
) -> Savings:
    """Savings over rows [n]; `cost_last` may be imputed (`impute_last_cost`), `stratum` [n] narrows
    the interval.

    The interval is the delta method's for a ratio: residuals C − R·C_last, within strata where
    strata are given. Source: Cochran, Sampling Techniques (1977), sections 2.11 and 6.11. Raises
    InvalidInputError where ΣC_last is 0.

    Examples:
        >>> s = savings_of([1.0, 1.0, 11.0, 1.0], [10.0, 10.0, 10.0, 10.0], exploration_cost=[10.0,
        ...     0, 0, 0])
        >>> round(s.value, 3), round(s.after_exploration, 3)
        (0.65, 0.4)
    """
    cost, cost_last = real_array("cost", cost, low=0.0), real_array("cost_last", cost_last)
    n = same_length(cost=cost, cost_last=cost_last)
    explored = np.zeros(n) if exploration_cost is None else real_array("exploration_cost", exploration_cost, low=0.0)
    strata = np.zeros(n, dtype=np.int64) if stratum is None else np.unique(np.asarray(stratum), return_inverse=True)[1]
    same_length(cost=cost, exploration_cost=explored, stratum=strata)
    confidence = number("confidence", confidence, low=0.0, high=0.9999)
    total_last = float(cost_last.sum())
    if total_last <= 0.0:
        raise InvalidInputError(f"cost_last sums to {total_last}, expected more than 0; a free last tier saves nothing")
    ratio = float(cost.sum()) / total_last
    error = _total_error(cost - ratio * cost_last, strata) / total_last
    reach = float(ndtri(0.5 + confidence / 2.0)) * error
    return Savings(
        value=1.0 - ratio,
        standard_error=error,
        lower=1.0 - ratio - reach,
        upper=1.0 - ratio + reach,
        cost=float(cost.sum()),
        cost_last=total_last,
        exploration_cost=float(explored.sum()),
        after_exploration=1.0 - (float(cost.sum()) + float(explored.sum())) / total_last,
        n=n,
        confidence=confidence,
    )


def impute_last_cost(
    forecast: npt.ArrayLike, last_ran: npt.ArrayLike, propensity: npt.ArrayLike, cost_last: npt.ArrayLike
) -> FloatArray:
    """[n] C_last of every row: c + (O/π)(C_last − c), unbiased whatever the forecast, if it saw no
    row it forecasts.

    Args: forecast c, from earlier rows only; last_ran O, the last tier ran (escalated or explored);
    propensity π of that, 1 where escalated; cost_last, NaN where it did not run.

    Raises NotIdentifiedError on a propensity of zero or unknown.

    Examples:
        >>> impute_last_cost([10.0, 10.0], [True, False], [0.5, 0.5], [12.0, float("nan")]).tolist()
        [14.0, 10.0]
    """
    forecast, ran = real_array("forecast", forecast, low=0.0), flag_array("last_ran", last_ran)
    propensity = propensity_array("propensity", propensity)
    actual = real_array("cost_last", cost_last, low=0.0, unknown_allowed=True)
    same_length(forecast=forecast, last_ran=ran, propensity=propensity, cost_last=actual)
    missing = ran & np.isnan(actual)
    if missing.any():
        row = int(np.argmax(missing))
        raise InvalidInputError(f"cost_last[{row}] is unknown although the last tier ran; log its tokens")
    return forecast + np.where(ran, (np.where(ran, actual, 0.0) - forecast) / propensity, 0.0)


def predictable_forecast(slices: npt.ArrayLike, cost_last: npt.ArrayLike, prior: float) -> FloatArray:
    """[n] per row the mean C_last seen in its slice before it, rows in order of decision; `prior`
    counts as one row.

    cost_last is NaN where the last tier did not run. Looking at earlier rows only is what keeps
    `impute_last_cost` unbiased.

    Examples:
        >>> predictable_forecast(["a", "a", "b", "a"], [20.0, float("nan"), 5.0, 1.0],
        ...     prior=10.0).tolist()
        [10.0, 15.0, 10.0, 15.0]
    """
    actual = real_array("cost_last", cost_last, low=0.0, unknown_allowed=True)
    prior = number("prior", prior, low=0.0)
    kinds = np.unique(np.asarray(slices), return_inverse=True)[1]
    same_length(slices=kinds, cost_last=actual)
    forecast = np.empty(len(actual))
    for kind in range(int(kinds.max()) + 1):
        rows = kinds == kind
        seen = ~np.isnan(actual[rows])
        spent = np.where(seen, actual[rows], 0.0)
        forecast[rows] = (prior + np.cumsum(spent) - spent) / (1 + np.cumsum(seen) - seen)
    return forecast


def _total_error(residual: FloatArray, strata: npt.NDArray[np.int64]) -> float:
    """Standard error of the sum of residuals [n], each stratum about its own mean; a lone row
    counts in full.
    """
    variance = 0.0
    for stratum in range(int(strata.max()) + 1):
        inside = residual[strata == stratum]
        size = len(inside)
        variance += float(size * inside.var(ddof=1)) if size > 1 else float((inside**2).sum())
    return float(np.sqrt(variance))
