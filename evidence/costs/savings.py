"""What a cascade saves against its last tier alone.

Savings = 1 − ΣC / ΣC_last over a cohort: a ratio of sums, never a mean of ratios, so that long
queries count for what they cost. Exploration is paid to learn and not to answer: it is shown apart.
Costs may be GFLOPs, USD or tokens; they are the costs of their day, and a later price changes no
figure of the past.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

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


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenCosts:
    """What the last tier cost on the rows of one slice on which it ran."""

    slice: str | None  # None: of slices that are not kept apart
    cost: float = 0.0  # ΣC_last
    size: float = 0.0  # of these rows, Σ of what C_last is forecast from
    rows: int = 0


def predictable_forecast(
    slices: npt.ArrayLike,
    cost_last: npt.ArrayLike,
    prior: npt.ArrayLike,
    *,
    size: npt.ArrayLike | None = None,
    before: Sequence[SeenCosts] = (),
) -> FloatArray:
    """[n] per row C_last per unit of size in its slice before it, rows in order of decision:
    ΣC_last / Σsize, `prior` (one, or one per row) counting as a row of its own size.

    A ratio of sums and not a mean of ratios: short queries on which the last tier writes much would
    say that it writes much on long ones. Args: cost_last, NaN where the last tier did not run;
    size, 1 each by default (the mean C_last then); before, what earlier rows than these have shown.
    Looking at earlier rows only is what keeps `impute_last_cost` unbiased.

    Examples:
        >>> predictable_forecast(["a", "a", "b", "a"], [20.0, float("nan"), 5.0, 1.0],
        ...     prior=10.0).tolist()
        [10.0, 15.0, 10.0, 15.0]
        >>> predictable_forecast(["a", "a"], [30.0, 10.0], 1.0, size=[10.0, 20.0]).tolist()
        [1.0, 1.6666666666666667]
    """
    kinds, names, spent, sized, own = _of_slices(slices, cost_last, size)
    start = real_array("prior", np.broadcast_to(np.asarray(prior, dtype=np.float64), own.shape), low=0.0)
    known = {one.slice: one for one in before}
    ratio = start.copy()
    for kind, name in enumerate(names):
        rows, seen = np.flatnonzero(kinds == kind), known.get(name, SeenCosts(slice=name))
        cost = np.cumsum(np.concatenate([[seen.cost], spent[rows]]))[:-1] + start[rows] * own[rows]
        weight = np.cumsum(np.concatenate([[seen.size], sized[rows]]))[:-1] + own[rows]
        ratio[rows] = np.divide(cost, weight, out=start[rows], where=weight > 0.0)
    return ratio


def seen_costs(
    slices: npt.ArrayLike, cost_last: npt.ArrayLike, size: npt.ArrayLike, before: Sequence[SeenCosts] = ()
) -> tuple[SeenCosts, ...]:
    """`before` and these rows together, a record per slice; added one by one, so blocks do not
    matter.

    Examples:
        >>> seen_costs(["a", "b"], [30.0, float("nan")], [10.0, 20.0])
        (SeenCosts(slice='a', cost=30.0, size=10.0, rows=1),)
    """
    kinds, names, spent, sized, _ = _of_slices(slices, cost_last, size)
    known = {one.slice: one for one in before}
    earlier = [known.pop(name, SeenCosts(slice=name)) for name in names]
    costs, sizes = (np.array([getattr(one, total) for one in earlier]) for total in ("cost", "size"))
    np.add.at(costs, kinds, spent)
    np.add.at(sizes, kinds, sized)
    rows = np.bincount(kinds[sized > 0.0], minlength=len(names))
    moved = [
        replace(one, cost=float(cost), size=float(total), rows=one.rows + int(more))
        for one, cost, total, more in zip(earlier, costs, sizes, rows, strict=True)
    ]
    return (*known.values(), *(one for one in moved if one.rows))


def _of_slices(
    slices: npt.ArrayLike, cost_last: npt.ArrayLike, size: npt.ArrayLike | None
) -> tuple[npt.NDArray[np.int64], list[str], FloatArray, FloatArray, FloatArray]:
    """Each row's slice by number, the slices' names, C_last and size of the rows that show both (0
    elsewhere), and every row's size.
    """
    actual = real_array("cost_last", cost_last, low=0.0, unknown_allowed=True)
    own = np.ones(len(actual)) if size is None else real_array("size", size, low=0.0)
    names, kinds = np.unique(np.asarray(slices), return_inverse=True)
    same_length(slices=kinds, cost_last=actual, size=own)
    seen = ~np.isnan(actual) & (own > 0.0)
    return kinds, [str(name) for name in names], np.where(seen, actual, 0.0), np.where(seen, own, 0.0), own


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
